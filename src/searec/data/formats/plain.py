"""Plain files: a folder with items, users, interactions and searches as Parquet, CSV or JSON Lines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from searec.config import nearest
from searec.data.formats.base import FILE, ROW, ImportOptions, Raw, reading, split_mapping
from searec.data.formats.csv_text import read_csv_file
from searec.data.formats.json_lines import read_json_lines_file
from searec.data.formats.text_files import Room, TableFile
from searec.data.log import REJECT_SCHEMA
from searec.data.schema import INTERACTIONS, ITEMS, SEARCHES, TABLES, USERS, Table
from searec.data.tables import end_to_end, parquet_files
from searec.errors import DataError

ENDINGS: dict[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
}
_ABSENT = {
    USERS.name: "users are the ids seen in events",
    INTERACTIONS.name: "there are no interactions",
    SEARCHES.name: "there are no searches",
}
"""What becomes of a table that may be missing."""
_MADE = ("event", "search_id")
"""Columns that are made where a file has none."""


def read_plain(form: str, source: Path, options: ImportOptions) -> Raw:
    """The folder's tables, unread.

    Args:
        form: "parquet", "csv" or "jsonl": the ending looked for, and the reader of a mapped file with another ending.
        source: a folder.
        options: the mapping is "table.column" -> source column, or "table" -> file name in the folder.

    Raises:
        SettingsError: a mapping of something that does not exist, an unknown encoding or separator.
        DataError: no such folder or file, or a file that cannot be read.
    """
    if not source.is_dir():
        raise DataError("no such folder", where=source, expected="a folder with " + ", ".join(_names(form)))
    files, columns = split_mapping(options.mapping, {table.name: [c.name for c in table.columns] for table in TABLES})
    room = Room()
    read: dict[str, TableFile] = {}
    files_of: dict[str, Path] = {}
    notes: list[str] = []
    for table in TABLES:
        path = _find(form, source, table, files.get(table.name))
        if path is None:
            if columns[table.name]:
                expected = table.name + ENDINGS[form][0]
                raise DataError(
                    f"a column of {table.name!r} is mapped, but its file is missing", where=source, expected=expected
                )
            notes.append(f"no {table.name} file: {_ABSENT[table.name]}")
            continue
        files_of[table.name] = path
        read[table.name] = read_table(path, form, room.path, table, columns[table.name], options)
        notes += read[table.name].notes
    if INTERACTIONS.name not in files_of and SEARCHES.name not in files_of:
        raise _missing(source / _names(form)[2], source, "a log of interactions, of searches, or both")
    return Raw(
        {name: _completed(file.frame, name, files_of[name], notes) for name, file in read.items()},
        files_of,
        tuple(notes),
        pl.concat([file.rejects for file in read.values()]).lazy(),
        read={
            shard: count
            for name, file in read.items()
            for shard, count in (file.shards or {files_of[name].name: file.records}).items()
        },
        room=room,
    )


def _completed(frame: pl.LazyFrame, table: str, path: Path, notes: list[str]) -> pl.LazyFrame:
    """A log with the columns that may be missing."""
    names = frame.collect_schema().names()
    if table == INTERACTIONS.name and "event" not in names:
        frame = frame.with_columns(pl.lit("click").alias("event"))
        notes.append(f"{path.name} has no event column: every interaction is a 'click'")
    if table == SEARCHES.name and "search_id" not in names:
        number = pl.col(ROW) if ROW in names else pl.row_index() + 1
        frame = frame.with_columns((pl.lit("row-") + number.cast(pl.String)).alias("search_id"))
        notes.append(f"{path.name} has no search_id column: every row is a search of its own, row-1, row-2, ...")
    return frame


def _names(form: str) -> list[str]:
    return [table.name + ENDINGS[form][0] for table in TABLES]


def _find(form: str, source: Path, table: Table, named: str | None) -> Path | None:
    """The file of one table; None where a table that may be absent is."""
    is_parquet = form == "parquet"
    endings = (*ENDINGS[form], "") if is_parquet else ENDINGS[form]
    there = [source / named] if named is not None else [source / (table.name + ending) for ending in endings]
    there = [path for path in there if path.is_file() or (is_parquet and path.is_dir())]
    if len(there) > 1:
        got = ", ".join(path.name for path in there)
        raise DataError(
            f"two files for {table.name!r}", where=source, got=got, remedy=f"--map {table.name}=FILE says which"
        )
    if there:
        return there[0]
    if named is None and table.name in _ABSENT:
        return None
    remedy = f"--map {table.name}=FILE names another file, another FORMAT another ending"
    raise _missing(source / (named or table.name + ENDINGS[form][0]), source, None, remedy)


def _missing(path: Path, source: Path, expected: str | None, remedy: str | None = None) -> DataError:
    got = ", ".join(sorted(p.name for p in source.iterdir())) or "an empty folder"
    return DataError("missing file", where=path, got=got, expected=expected, remedy=remedy)


def form_of(path: Path) -> str | None:
    """Return "parquet", "csv" or "jsonl" by the ending of a file; None for another."""
    return next((form for form, endings in ENDINGS.items() if path.name.endswith(endings)), None)


def read_table(
    path: Path, form: str, room: Path, table: Table, columns: Mapping[str, str], options: ImportOptions
) -> TableFile:
    """Return one file under searec's names; a source column whose name is taken is left out.

    Columns of CSV are all text, and those that searec knows are in JSON Lines: the table says what is an id or a time,
    not a guess from the rows.

    Args:
        path: the file.
        form: how to read a file of unknown ending.
        room: a folder for temporary files, which the table reads.
        table: which table it is.
        columns: searec's column -> source column.
        options: separator and encoding.

    Raises:
        SettingsError: an unknown encoding or separator.
        DataError: a missing column, or a file that cannot be read.
    """
    form = form_of(path) or form
    if form == "parquet":
        file = _read_parquet(path, table)
    elif form == "csv":
        file = read_csv_file(path, room, options.separator or ",", options.encoding)
    else:
        kinds = {columns.get(column.name, column.name): column.kind for column in table.columns}
        file = read_json_lines_file(path, room, kinds, others=table in (ITEMS, USERS), encoding=options.encoding)
    names = file.frame.collect_schema().names()
    _refuse_missing(names, file, form, path, table, columns)
    if any(name in (FILE, ROW) for name in file.names):
        raise DataError("a column has a name that searec uses itself", where=path, got=ascii((FILE, ROW)))
    targets = {target: source for target, source in columns.items() if source in names}
    others = [name for name in names if name not in columns and name not in columns.values()]
    frame = file.frame.select(*(pl.col(source).alias(target) for target, source in targets.items()), *others)
    return replace(file, frame=frame)


def _read_parquet(path: Path, table: Table) -> TableFile:
    """One file, or a folder of shards."""
    frames, counts = [], {}
    for shard in parquet_files(path):
        name = path.name if shard == path else f"{path.name}/{shard.relative_to(path).as_posix()}"
        with reading(shard):
            frame = pl.scan_parquet(shard)
            counts[name] = frame.select(pl.len()).collect().item()
        if path.is_file():
            return TableFile(frame, counts[name], pl.DataFrame(schema=REJECT_SCHEMA))
        frames.append(frame)
    names = list(dict.fromkeys(name for frame in frames for name in frame.collect_schema().names()))
    frames = [
        frame.with_columns(pl.lit(name).alias(FILE), (pl.row_index() + 1).alias(ROW))
        for name, frame in zip(counts, frames, strict=True)
    ]
    joined = end_to_end(table, [path.parent / name for name in counts], frames)
    rejects = pl.DataFrame(schema=REJECT_SCHEMA)
    return TableFile(joined, sum(counts.values()), rejects, columns=lambda: names, shards=counts)


def _refuse_missing(
    names: Sequence[str], file: TableFile, form: str, path: Path, table: Table, columns: Mapping[str, str]
) -> None:
    """Refuse a file that lacks a column that is mapped, or one that the table must have."""
    required = [c.name for c in table.columns if c.required and c.name not in _MADE]
    for target in [*columns, *required]:
        source = columns.get(target, target)
        if source in names:
            continue
        there = file.names
        other = _other_separator(there) if form == "csv" else None
        if source in there:
            what, remedy = f"column {source!r} holds no value", "leave the column out, or fill it"
        elif other is not None:
            what = f"missing column {source!r}: the fields look separated by {other!r}"
            remedy = f"--separator {'tab' if other == chr(9) else repr(other)}"
        elif target in columns:
            what, remedy = f"missing column {source!r}", nearest(source, there)
        else:
            what = f"missing column {source!r}"
            remedy = f"{nearest(source, there)} --map {table.name}.{target}=COLUMN names another"
        raise DataError(
            what,
            where=path,
            got=", ".join(there) or "no columns",
            expected=f"the column mapped to {table.name}.{target}" if target in columns else ", ".join(required),
            remedy=remedy,
        )


def _other_separator(names: Sequence[str]) -> str | None:
    """The character between the fields of a header that was read as one field."""
    return next((mark for mark in (";", "\t", "|", ",") if len(names) == 1 and mark in names[0]), None)


read_parquet = partial(read_plain, "parquet")
read_csv = partial(read_plain, "csv")
read_json_lines = partial(read_plain, "jsonl")
