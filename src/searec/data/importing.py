"""From any source to a dataset folder: types, rules, and a write that is whole or not at all.

An importer of `formats` returns Raw tables. They are converted to searec's types, written beside OUT while
they stream, checked there by the rules of `log`, and renamed over OUT only when all is well.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from searec.config import nearest
from searec.data.convert import TimeUnit, as_lists, as_text, as_times, guess_unit, unread_list
from searec.data.formats import FORMATS
from searec.data.formats.base import FILE, ROW, Importer, ImportOptions, Raw, reading
from searec.data.log import REJECT_SCHEMA, Log, read_log, refuse_rejects, write_table
from searec.data.remote import local_source, refuse_url
from searec.data.schema import INTERACTIONS, ITEMS, SEARCHES, TABLES, USERS, Column, Kind, Table
from searec.errors import DataError
from searec.files import replacing
from searec.progress import progress

LIST_SEPARATOR = "|"
_DEFAULT = ImportOptions()
SHARD_ROWS = 20_000_000
"""The most rows of one file that an import writes."""
REJECTS_FILE = "rejects.parquet"
_REMEDY = "mend them, or import again with --drop-bad, which leaves them out and writes rejects.parquet"


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    out: the dataset folder.
    read, written: rows by table.
    rejects: file, row (1-based data row), rule, value; one line for each broken rule.
    notes: what was decided for the user, one sentence each.
    """

    out: Path
    read: dict[str, int]
    written: dict[str, int]
    rejects: pl.DataFrame
    notes: tuple[str, ...]


def import_folder(
    format: str,
    source: Path | str,
    out: Path | str,
    options: ImportOptions = _DEFAULT,
    *,
    drop_bad: bool = False,
    shard_rows: int = SHARD_ROWS,
) -> ImportReport:
    """Make a dataset folder from a source in one of `FORMATS`.

    Args:
        format: a name of `FORMATS`.
        source: what the format reads, for plain files a folder; or its URL.
        out: the folder to write; an older dataset folder there is replaced when all has gone well.
        options: what the user says about the source.
        drop_bad: leave out rows that break a rule and list them in rejects.parquet, rather than stop.
        shard_rows: a table of more rows is written as a folder of Parquet files with at most this many rows each.

    Raises:
        SettingsError: an unknown format or mapping, or an option that the format has no use for.
        DataError: a source that cannot be read, a missing column, or a row that breaks a rule. OUT is as it was.
        StorageError: the disk is full. OUT is as it was.
    """
    read: Importer = FORMATS.named(format)
    out = Path(out)
    refuse_url(out)
    with local_source(source) as local:
        refuse_out(local, out)
        return import_raw(read(local, options), local, out, options, drop_bad=drop_bad, shard_rows=shard_rows)


def import_raw(
    raw: Raw, source: Path, out: Path, options: ImportOptions, *, drop_bad: bool, shard_rows: int = SHARD_ROWS
) -> ImportReport:
    """Convert, check and write what an importer returned; arguments and errors as in `import_folder`.

    Args:
        raw: the tables of the source.
        source: where they come from.
        out: the folder to write.
        options: what the user says about the source.
        drop_bad: leave out rows that break a rule.
        shard_rows: of a file at most.
    """
    unit, separator = options.time_unit or raw.unit, options.list_separator or LIST_SEPARATOR
    with replacing(out) as beside, progress(f"import {source.name}", len(TABLES) + 1) as advance:
        beside.mkdir()
        for table in TABLES:
            if table.name in raw.tables:
                with reading(raw.files[table.name]):
                    frame = conform(
                        raw.tables[table.name], table, raw.files[table.name], time_unit=unit, separator=separator
                    )
                    write_table(frame, beside / table.file)
                _refuse_lists(beside / table.file, table, raw)
            advance(1, table.name)
        _fill_absent(raw, beside)
        log = read_log({table.name: _judged_by(beside / table.file, table) for table in TABLES})
        located, notes = _without_repeats(log.rejects) if raw.repeats else (log.rejects, ())
        rejects = _of_source(located, raw, beside)
        if not drop_bad:
            refuse_rejects(rejects, source, _REMEDY)
        _finish(log.rejects, beside)
        if rejects.height:
            write_table(rejects, beside / REJECTS_FILE)
        for table in TABLES:
            _split(beside, table, shard_rows)
        advance(1, "rules")
    return ImportReport(out=out, read=log.rows, written=_rows(log), rejects=rejects, notes=raw.notes + notes)


def conform(
    frame: pl.LazyFrame,
    table: Table,
    where: Path,
    *,
    time_unit: TimeUnit | None = None,
    separator: str = LIST_SEPARATOR,
) -> pl.LazyFrame:
    """Return a raw table with the columns and types of the dataset folder, still unread.

    Other columns stay for items and users.

    Args:
        frame: the raw table.
        table: which table of the dataset folder it is.
        where: the file that errors name.
        time_unit: of times given as numbers; read from their size if None.
        separator: between the members of a list that is not JSON.

    Raises:
        DataError: a missing column, a type that cannot be converted, numeric times of unclear unit.
    """
    schema = frame.collect_schema()
    converted: list[pl.Expr] = []
    for column in table.columns:
        if column.name in schema:
            converted.append(_convert(frame, column, where, time_unit, separator))
        elif column.required:
            raise DataError(
                f"missing column {column.name!r}",
                where=where,
                got=", ".join(schema.names()) or "no columns",
                expected=", ".join(c.name for c in table.columns if c.required),
                remedy=f"{nearest(column.name, schema.names())} --map {table.name}.{column.name}=COLUMN names another",
            )
    known = [column.name for column in table.columns]
    others = schema.names() if table in (ITEMS, USERS) else (FILE, ROW)
    return frame.select(*converted, *(name for name in others if name in schema and name not in known))


def _convert(frame: pl.LazyFrame, column: Column, where: Path, time_unit: TimeUnit | None, separator: str) -> pl.Expr:
    dtype = frame.collect_schema()[column.name]
    value = pl.col(column.name)
    converted: pl.Expr | None
    if column.kind is Kind.TEXT:
        converted = as_text(value, dtype)
    elif column.kind is Kind.TIME:
        converted = as_times(column.name, dtype, time_unit or guess_unit(frame, column.name, where))
    else:
        converted = as_lists(value, dtype, separator)
        if converted is not None and column.required:
            converted = converted.fill_null(pl.lit([], dtype=pl.List(pl.String)))
    if converted is None:
        raise DataError(
            f"column {column.name!r} has the wrong type", where=where, got=dtype, expected=column.kind.value
        )
    return converted.alias(column.name)


def _judged_by(staged: Path, table: Table) -> pl.LazyFrame:
    """The columns that rules read: a large catalogue's others would fill the memory."""
    return pl.scan_parquet(staged).select(column.name for column in table.columns if column.required)


def refuse_out(source: Path, out: Path, *also: str) -> None:
    """Refuse an OUT that holds the source or anything but a dataset folder, since it is replaced at the end.

    Args:
        source: what is read.
        out: the folder to write.
        also: names of further files that OUT may hold.

    Raises:
        DataError: it is not.
    """
    here = out.resolve()
    if here in (source.resolve(), *source.resolve().parents):
        raise DataError("OUT would replace the source", where=out, got=source, remedy="name another folder for OUT")
    ours = {name for table in TABLES for name in (table.file, table.name)} | {REJECTS_FILE, *also}
    if out.exists():
        others = sorted(p.name for p in out.iterdir() if p.name not in ours) if out.is_dir() else [out.name]
        if others:
            got = ", ".join(others[:5])
            raise DataError(
                "OUT holds files that are not a dataset folder's",
                where=out,
                got=got,
                remedy="name a new folder for OUT",
            )


def _fill_absent(raw: Raw, beside: Path) -> None:
    """No searches file: an empty table. No users file: the ids seen in events, in the order they are first seen."""
    if SEARCHES.name not in raw.tables:
        types = {Kind.TEXT: pl.String(), Kind.TIME: pl.Datetime("us", "UTC"), Kind.TEXTS: pl.List(pl.String)}
        write_table(
            pl.DataFrame(schema={c.name: types[c.kind] for c in SEARCHES.columns if c.required}), beside / SEARCHES.file
        )
    if USERS.name not in raw.tables:
        seen = pl.concat(
            [pl.scan_parquet(beside / name).select("user_id") for name in ("interactions.parquet", "searches.parquet")]
        )
        ids = seen.filter(pl.col("user_id").str.strip_chars() != "").unique(maintain_order=True)
        write_table(ids, beside / USERS.file)


def _refuse_lists(path: Path, table: Table, raw: Raw) -> None:
    """Refuse lists that should be JSON and are not, where no rule checks them."""
    schema = raw.tables[table.name].collect_schema()
    for column in table.columns:
        if column.kind is not Kind.TEXTS or column.required or schema.get(column.name) != pl.String:
            continue
        bad = (
            pl.scan_parquet(path)
            .select(pl.row_index("row") + 1, column.name)
            .filter(unread_list(column.name))
            .head(1)
            .collect()
        )
        if bad.height:
            raise DataError(
                f"column {column.name!r} holds a list that is not JSON",
                where=f"{raw.files[table.name]} row {bad['row'][0]}",
                got=bad[column.name][0][0],
                expected='["a","b"], or values with a separator between',
                remedy="write the lists with double quotes",
            )


def _of_source(rejects: pl.DataFrame, raw: Raw, beside: Path) -> pl.DataFrame:
    """Rejects of the staged tables under the source's file names and rows; then the importer's own."""
    parts = [] if raw.rejects is None else [raw.rejects.cast(REJECT_SCHEMA).collect()]  # type: ignore[arg-type]
    for table in TABLES:
        of_table = rejects.filter(pl.col("file") == table.file)
        lost = of_table.filter((pl.col("rule") == "no valid time") & pl.col("value").is_null())["row"]
        if table.name in raw.tables and len(lost):
            index = pl.row_index("row").cast(pl.Int64) + 1
            frame = raw.tables[table.name].select(index, pl.col("timestamp").cast(pl.String).alias("given"))
            given = (
                frame.filter(pl.col("row").is_in(lost.implode()))
                .collect()
                .with_columns(pl.lit("no valid time").alias("rule"))
            )
            of_table = of_table.join(given, on=["row", "rule"], how="left", maintain_order="left").with_columns(
                value=pl.coalesce("value", "given")
            )
        name = raw.files[table.name].name if table.name in raw.files else table.file
        parts.append(
            _placed(of_table, beside / table.file)
            .with_columns(pl.col("file").fill_null(name))
            .select(REJECT_SCHEMA.keys())
        )
    return pl.concat(parts)


def _without_repeats(rejects: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rejects without the rows whose one fault is to stand twice, and a note on how many those are in each table."""
    rules = {INTERACTIONS.file: "duplicate row", SEARCHES.file: "duplicate search_id"}
    alone = pl.len().over("file", "row") == 1
    repeat = alone & pl.any_horizontal(
        *((pl.col("file") == file) & (pl.col("rule") == rule) for file, rule in rules.items())
    )
    repeats = rejects.filter(repeat)["file"]
    counts = {table.name: (repeats == table.file).sum() for table in (INTERACTIONS, SEARCHES)}
    notes = tuple(
        f"{count:,} {name} occur more than once in the source and are written once"
        for name, count in counts.items()
        if count
    )
    return rejects.filter(~repeat), notes


def _placed(rejects: pl.DataFrame, staged: Path) -> pl.DataFrame:
    """Rejects of one table with the file and row of the source; file is null where the staged file names none."""
    there = [name for name in (FILE, ROW) if name in pl.scan_parquet(staged).collect_schema()]
    rejects = rejects.with_columns(file=pl.lit(None, dtype=pl.String))
    if not there or rejects.is_empty():
        return rejects
    index = pl.row_index("row").cast(pl.Int64) + 1
    places = (
        pl.scan_parquet(staged)
        .select(index, *there)
        .filter(pl.col("row").is_in(rejects["row"].unique().implode()))
        .collect()
    )
    located = rejects.join(places, on="row", how="left", maintain_order="left")
    return located.with_columns(
        pl.col(ROW).cast(pl.Int64).alias("row"),
        *([pl.col(FILE).cast(pl.String).alias("file")] if FILE in there else []),
    )


def _finish(rejects: pl.DataFrame, beside: Path) -> None:
    """Leave the rows of `rejects` out of the staged tables, and where each row came from."""
    for table in TABLES:
        rows = rejects.filter(pl.col("file") == table.file)["row"].unique()
        staged = pl.scan_parquet(beside / table.file)
        marks = [name for name in (FILE, ROW) if name in staged.collect_schema()]
        if not len(rows) and not marks:
            continue
        remaining = (
            staged.with_row_index("__place", 1).filter(~pl.col("__place").is_in(rows.implode()))
            if len(rows)
            else staged
        )
        clean = beside / f"clean-{table.file}"
        write_table(remaining.drop("__place", *marks, strict=False), clean)
        os.replace(clean, beside / table.file)


def _split(folder: Path, table: Table, rows: int) -> None:
    """Replace the one file of a table by a folder of shards if it has more than so many rows."""
    path = folder / table.file
    frame = pl.scan_parquet(path)
    height = frame.select(pl.len()).collect().item()
    if height <= rows:
        return
    (folder / table.name).mkdir()
    for number, first in enumerate(range(0, height, rows)):
        write_table(frame.slice(first, rows), folder / table.name / f"part-{number:05}.parquet")
    path.unlink()


def _rows(log: Log) -> dict[str, int]:
    return {
        "items": log.items.height,
        "users": log.users.height,
        "interactions": log.interactions.height,
        "searches": log.searches.height,
    }
