"""From any source to a dataset folder: types, rules, and a write that is whole or not at all.

An importer of `formats` returns Raw tables. They are converted to searec's types, written beside OUT while
they stream, checked there by the rules of `log`, and renamed over OUT only when all is well.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from searec.data import events
from searec.data.accounting import ONCE, FileAccount, account
from searec.data.conform import broken_lists, conform
from searec.data.formats import FORMATS
from searec.data.formats.base import FILE, ROW, Importer, ImportOptions, Raw, of_count, reading
from searec.data.formats.plain import ENDINGS, form_of, read_table
from searec.data.formats.text_files import Room
from searec.data.ids import fold_map, id_counts, note_similar, replace_ids
from searec.data.log import NOT_JSON, REJECT_SCHEMA, Log, read_log, refuse_rejects, write_table, writing
from searec.data.plausibility import odd_times
from searec.data.remote import local_source, refuse_url
from searec.data.schema import INTERACTIONS, ITEMS, SEARCHES, TABLES, USERS, Kind, Table
from searec.data.text_settings import TextSettings
from searec.errors import DataError
from searec.files import replacing
from searec.progress import progress

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
    files: what became of the records of each source file; empty for a format that does not count them.
    """

    out: Path
    read: dict[str, int]
    written: dict[str, int]
    rejects: pl.DataFrame
    notes: tuple[str, ...]
    files: tuple[FileAccount, ...] = ()


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
    notes = list(raw.notes)
    with replacing(out) as beside, progress(f"import {source.name}", len(TABLES) + 1) as advance:
        beside.mkdir()
        for table in TABLES:
            if table.name in raw.tables:
                with reading(raw.files[table.name]):
                    frame, said = conform(raw, table, options)
                    _stage(frame, beside, table)
                notes += said
            advance(1, table.name)
        folds = _fold(raw, beside, options, notes)
        _fill_absent(raw, beside)
        weights = events.EventWeights.read(source).updated(options.event_weights)
        weights.write(beside)
        text = TextSettings.read(source) if options.language is None else TextSettings(options.language)
        text.write(beside)
        judged = {table.name: _judged_by(beside / table.file, table, raw) for table in TABLES}
        log = read_log(judged, event_weights=weights)
        removed = _removed(log.rejects, raw, folds)
        located = _of_source(removed.filter(pl.col("merged").is_null()), raw, beside)
        if not drop_bad:
            refuse_rejects(located, source, _remedy(located))
        _refuse_nothing(log, source, located)
        staged = {table.name: _places(beside, table) for table in TABLES if table.name in raw.tables}
        gone = {
            table.name: removed.filter(pl.col("file") == table.file).select("row", pl.col("merged").alias("rule"))
            for table in TABLES
        }
        files = account(raw, staged, gone, located)
        notes += [*_note_repeats(removed), *_finish(removed, beside)]
        notes += odd_times(log.interactions["time"], log.searches["time"])
        if located.height:
            write_table(located, beside / REJECTS_FILE)
        for table in TABLES:
            _split(beside, table, shard_rows)
        advance(1, "rules")
        notes += events.described(log.interactions["event"], weights)
    return ImportReport(out=out, read=log.rows, written=_rows(log), rejects=located, notes=tuple(notes), files=files)


def read_items(path: Path | str, options: ImportOptions = _DEFAULT) -> list[dict[str, Any]]:
    """Return the rows of one table of items, with the types that an import gives them.

    Args:
        path: Parquet, CSV or JSON Lines, by its ending.
        options: what the user says about the file.

    Raises:
        DataError: no such file, a file that cannot be read, a missing column, or a row that breaks a rule.
    """
    path = Path(path)
    if form_of(path) is None or not path.is_file():
        endings = ", ".join(ending for endings in ENDINGS.values() for ending in endings)
        raise DataError("not a table that can be read", where=path, expected=f"a file that ends in {endings}")
    room = Room()
    file = read_table(path, "", room.path, ITEMS, {}, options)
    raw = Raw({ITEMS.name: file.frame}, {ITEMS.name: path}, room=room)
    with reading(path):
        frame = conform(raw, ITEMS, options)[0].collect()
    blank = pl.row_index("row").cast(pl.Int64) + 1
    rules = {"empty item_id": "item_id", "empty title": "title"}
    bad = [
        frame.select(blank, pl.lit(path.name).alias("file"), pl.lit(rule).alias("rule"), pl.col(column).alias("value"))
        .filter(pl.col("value").is_null() | (pl.col("value").str.strip_chars() == ""))
        .select(REJECT_SCHEMA.keys())
        for rule, column in rules.items()
    ]
    refuse_rejects(pl.concat([file.rejects, *bad]), path, "mend the file")
    return frame.drop(ROW, strict=False).to_dicts()


def _stage(frame: pl.LazyFrame, beside: Path, table: Table) -> None:
    """Write a table and, in a file beside it, where its rows came from, if it says so: both from one reading."""
    path, marks = beside / table.file, [name for name in (FILE, ROW) if name in frame.collect_schema()]
    if not marks:
        write_table(frame, path)
        return
    places = frame.select(marks).sink_parquet(beside / f"places-{table.file}", lazy=True)
    with writing(path):
        pl.collect_all([frame.drop(marks).sink_parquet(path, lazy=True), places])


def _places(beside: Path, table: Table) -> Path:
    """The file that says where the rows of a staged table came from, or the table, whose rows are those of its file."""
    places = beside / f"places-{table.file}"
    return places if places.exists() else beside / table.file


@dataclass(frozen=True)
class _Folds:
    """Ids that were replaced in the staged tables, by "user_id" and "item_id": old -> new.

    repeats: rows of interactions (from 1) that repeated another before.
    """

    ids: Mapping[str, Mapping[str, str]]
    repeats: pl.Series


def _fold(raw: Raw, beside: Path, options: ImportOptions, notes: list[str]) -> _Folds:
    """Fold ids in the staged tables where that is requested; note those that look alike."""
    staged = {table.name: beside / table.file for table in TABLES if table.name in raw.tables}
    scans = {name: pl.scan_parquet(path) for name, path in staged.items()}
    folds: dict[str, dict[str, str]] = {}
    for key in ("user_id", "item_id"):
        counts = id_counts(scans, key)
        folds[key] = fold_map(counts, options.fold_ids) if options.fold_ids else {}
        if folds[key]:
            old, new = next(iter(folds[key].items()))
            rules = ",".join(options.fold_ids)
            ids = f"{len(folds[key]):,} {key.removesuffix('_id')} {'id' if len(folds[key]) == 1 else 'ids'}"
            notes.append(f"{ids} folded into others by --fold-ids {rules}, such as {old!r} into {new!r}")
        notes += note_similar(counts.filter(~pl.col("id").is_in(list(folds[key]))), key)
    repeats = pl.Series(dtype=pl.Int64)
    if any(folds.values()):
        if INTERACTIONS.name in scans:
            again = ~pl.struct("user_id", "item_id", "timestamp", "event").is_first_distinct()
            rows = scans[INTERACTIONS.name].select((pl.row_index().cast(pl.Int64) + 1).filter(again))
            repeats = rows.collect(engine="streaming").to_series()
        for name, path in staged.items():
            replaced = beside / f"folded-{path.name}"
            write_table(replace_ids(scans[name], folds), replaced)
            os.replace(replaced, path)
    return _Folds(folds, repeats)


def _removed(rejects: pl.DataFrame, raw: Raw, folds: _Folds) -> pl.DataFrame:
    """Rejects of the staged tables with a column "merged": the rule where a row is merged and is no reject."""
    alone = pl.len().over("file", "row") == 1
    merged = pl.lit(None, dtype=pl.String)
    if raw.repeats:
        again = [(INTERACTIONS.file, "duplicate row"), (SEARCHES.file, "duplicate search_id")]
        merged = pl.when(alone & _any_of(again)).then(pl.lit(ONCE))
    elif any(folds.ids.values()):
        same = alone & _any_of([(INTERACTIONS.file, "duplicate row")]) & ~pl.col("row").is_in(folds.repeats.implode())
        merged = pl.when(same).then(pl.lit("left out: the same interaction is there before when ids are folded"))
    for table, key in ((USERS, "user_id"), (ITEMS, "item_id")):
        folded = pl.col("value").is_in(list(set(folds.ids[key].values())))
        same = alone & _any_of([(table.file, f"duplicate {key}")]) & folded
        merged = pl.when(same).then(pl.lit(f"left out: another has this {key} when ids are folded")).otherwise(merged)
    return rejects.with_columns(merged.alias("merged"))


def _note_repeats(removed: pl.DataFrame) -> list[str]:
    counts = {
        table.name: removed.filter((pl.col("file") == table.file) & (pl.col("merged") == ONCE)).height
        for table in (INTERACTIONS, SEARCHES)
    }
    return [
        of_count(count, f"row of {name} occurs", f"rows of {name} occur")
        + " in the source more than once: written once"
        for name, count in counts.items()
        if count
    ]


def _any_of(rules: Sequence[tuple[str, str]]) -> pl.Expr:
    return pl.any_horizontal(*((pl.col("file") == file) & (pl.col("rule") == rule) for file, rule in rules))


def _remedy(rejects: pl.DataFrame) -> str:
    if rejects.filter(pl.col("rule").str.ends_with(NOT_JSON)).height:
        return f'{_REMEDY}; a list is written as ["a","b"], or with a separator between its values'
    if rejects.filter(pl.col("rule") == "no valid time").height:
        return f"{_REMEDY}; --time-format says how times are written that are not ISO 8601, such as %Y/%m/%d"
    return _REMEDY


def _refuse_nothing(log: Log, source: Path, rejects: pl.DataFrame) -> None:
    """Refuse a source of which nothing would be left.

    Raises:
        DataError: there are no items, or neither interactions nor searches.
    """
    events = log.interactions.height + log.searches.height
    if log.items.height and events:
        return
    rows = f"{rejects.height:,} {'line' if rejects.height == 1 else 'lines'}"
    got = f"{log.items.height:,} items, {log.interactions.height:,} interactions, {log.searches.height:,} searches"
    broken = f"; {rows} of broken rules, the first: {_first(rejects)}" if rejects.height else ""
    raise DataError(
        "nothing is left to write",
        where=source,
        got=got + broken,
        expected="at least one item and one interaction or search",
        remedy="look for empty files, or for a column that is not what its name says",
    )


def _first(rejects: pl.DataFrame) -> str:
    file, row, rule, value = rejects.row(0)
    return f"{file} row {row}: {rule} ({'no value' if value is None else ' '.join(value.splitlines())})"


def _judged_by(staged: Path, table: Table, raw: Raw) -> pl.LazyFrame:
    """The columns that rules read: a large catalogue's others would fill the memory."""
    frame = pl.scan_parquet(staged)
    schema = frame.collect_schema()
    read = (c.name for c in table.columns if c.required or (c.kind is Kind.NUMBER and c.name in schema))
    return frame.select(*read, *broken_lists(raw, table))


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
    ours = {name for table in TABLES for name in (table.file, table.name)} | {REJECTS_FILE, events.FILE, *also}
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
    """A log that is not there is an empty table. No users file: the ids of events, in the order they are first seen."""
    types = {Kind.TEXT: pl.String(), Kind.TIME: pl.Datetime("us", "UTC"), Kind.TEXTS: pl.List(pl.String)}
    for table in (INTERACTIONS, SEARCHES):
        if table.name not in raw.tables:
            schema = {column.name: types[column.kind] for column in table.columns if column.required}
            write_table(pl.DataFrame(schema=schema), beside / table.file)
    if USERS.name not in raw.tables:
        seen = pl.concat([pl.scan_parquet(beside / table.file).select("user_id") for table in (INTERACTIONS, SEARCHES)])
        ids = seen.filter(pl.col("user_id").str.strip_chars() != "").unique(maintain_order=True)
        write_table(ids, beside / USERS.file)


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
            _placed(of_table, _places(beside, table))
            .with_columns(pl.col("file").fill_null(name))
            .select(REJECT_SCHEMA.keys())
        )
    return pl.concat(parts)


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


def _finish(removed: pl.DataFrame, beside: Path) -> list[str]:
    """Leave rows out of the staged tables, and files of places; return notes on repeats inside lists."""
    notes = []
    for table in TABLES:
        rows = removed.filter(pl.col("file") == table.file)["row"].unique()
        staged = pl.scan_parquet(beside / table.file)
        remaining = staged.filter(~(pl.row_index() + 1).is_in(rows.implode())) if len(rows) else staged
        lists = ["clicked"] if table is SEARCHES else []
        repeats = _repeats(remaining, lists)
        for name, count in repeats.items():
            times = f"{count:,} {'repeat' if count == 1 else 'repeats'} of an item"
            notes.append(f"{times} inside one list of {name} of {table.name} left out: an item counts once a search")
        if len(rows) or repeats:
            remaining = remaining.with_columns(pl.col(name).list.unique(maintain_order=True) for name in repeats)
            clean = beside / f"clean-{table.file}"
            write_table(remaining, clean)
            os.replace(clean, beside / table.file)
        (beside / f"places-{table.file}").unlink(missing_ok=True)
    return notes


def _repeats(frame: pl.LazyFrame, lists: Sequence[str]) -> dict[str, int]:
    """How many members of lists are in their list before, by column; columns without one are left out."""
    if not lists:
        return {}
    counts = frame.select((pl.col(name).list.len() - pl.col(name).list.n_unique()).sum() for name in lists)
    return {name: n for name, n in counts.collect(engine="streaming").row(0, named=True).items() if n}


def _split(folder: Path, table: Table, rows: int) -> None:
    """Replace the one file of a table by a folder of shards if it has more rows than that."""
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
