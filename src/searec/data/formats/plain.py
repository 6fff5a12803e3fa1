"""Plain files: a folder with items, users, interactions and searches as Parquet, CSV or JSON Lines."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import polars as pl

from searec.config import nearest
from searec.data.formats.base import ImportOptions, Raw, reading, refuse_file, split_mapping
from searec.data.schema import INTERACTIONS, SEARCHES, TABLES, USERS, Table
from searec.errors import DataError

ENDINGS: dict[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
}
_MAY_BE_ABSENT = (USERS, SEARCHES)


def read_plain(form: str, source: Path, options: ImportOptions) -> Raw:
    """The folder's tables, unread.

    Args:
        form: "parquet", "csv" or "jsonl": the ending looked for, and the reader of a mapped file with another ending.
        source: a folder.
        options: the mapping is "table.column" -> source column, or "table" -> file name in the folder.

    Raises:
        SettingsError: a mapping of something that does not exist.
        DataError: no such folder or file, or a file that cannot be read.
    """
    if not source.is_dir():
        raise DataError("no such folder", where=source, expected="a folder with " + ", ".join(_names(form)))
    files, columns = split_mapping(options.mapping, {table.name: [c.name for c in table.columns] for table in TABLES})
    tables: dict[str, pl.LazyFrame] = {}
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
            notes.append(
                f"no {table.name} file: "
                + ("users are the ids seen in events" if table is USERS else "there are no searches")
            )
            continue
        frame = renamed(scan(path, form), columns[table.name], table, path)
        if table is INTERACTIONS and "event" not in frame.collect_schema():
            frame = frame.with_columns(pl.lit("click").alias("event"))
            notes.append(f"{path.name} has no event column: every interaction is a 'click'")
        tables[table.name], files_of[table.name] = frame, path
    return Raw(tables, files_of, tuple(notes))


def _names(form: str) -> list[str]:
    return [table.name + ENDINGS[form][0] for table in TABLES]


def _find(form: str, source: Path, table: Table, named: str | None) -> Path | None:
    """The file of one table; None where a table that may be absent is."""
    there = [source / named] if named is not None else [source / (table.name + ending) for ending in ENDINGS[form]]
    there = [path for path in there if path.is_file()]
    if len(there) > 1:
        got = ", ".join(path.name for path in there)
        raise DataError(
            f"two files for {table.name!r}", where=source, got=got, remedy=f"--map {table.name}=FILE says which"
        )
    if there:
        return there[0]
    if named is None and table in _MAY_BE_ABSENT:
        return None
    raise DataError(
        "missing file",
        where=source / (named or table.name + ENDINGS[form][0]),
        got=", ".join(sorted(p.name for p in source.iterdir())) or "an empty folder",
        remedy=f"--map {table.name}=FILE names another file, another FORMAT another ending",
    )


def scan(path: Path, form: str) -> pl.LazyFrame:
    """Return one file, unread.

    CSV columns are all text: the table says what is an id or a time, not a guess from the first rows.

    Args:
        path: the file.
        form: how to read a file of unknown ending.
    """
    form = next((name for name, endings in ENDINGS.items() if path.name.endswith(endings)), form)
    with reading(path):
        if form == "parquet":
            frame = pl.scan_parquet(path)
            frame.collect_schema()
        elif form == "csv":
            frame = pl.scan_csv(path, infer_schema=False)
            if any("\ufffd" in name for name in frame.collect_schema()):
                refuse_file(path, ValueError("the header is not UTF-8"))
        else:
            # Types from every line, so that an id that turns to text in the last one is text in all.
            frame = pl.scan_ndjson(path, schema=pl.scan_ndjson(path, infer_schema_length=None).collect_schema())
    return frame


def renamed(frame: pl.LazyFrame, columns: Mapping[str, str], table: Table, path: Path) -> pl.LazyFrame:
    """Return the columns under searec's names; a source column whose name is taken is left out.

    Args:
        frame: the file's table.
        columns: searec's column -> source column.
        table: which table it is.
        path: the file that an error names.
    """
    if not columns:
        return frame
    there = frame.collect_schema().names()
    for target, source in columns.items():
        if source not in there:
            raise DataError(
                f"missing column {source!r}",
                where=path,
                got=", ".join(there),
                expected=f"the column mapped to {table.name}.{target}",
                remedy=nearest(source, there),
            )
    others = [name for name in there if name not in columns and name not in columns.values()]
    return frame.select(*(pl.col(source).alias(target) for target, source in columns.items()), *others)


read_parquet = partial(read_plain, "parquet")
read_csv = partial(read_plain, "csv")
read_json_lines = partial(read_plain, "jsonl")
