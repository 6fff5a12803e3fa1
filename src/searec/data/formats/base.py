"""What every importer hands over (Raw), and the one error for a source file that cannot be read."""

import contextlib
import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn, get_args

import polars as pl

from searec.config import nearest
from searec.data.convert import TimeUnit
from searec.data.log import disk_full
from searec.data.tables import damaged
from searec.errors import DataError, SettingsError

REMEDY_UTF8 = "save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"

_LINES = ("dat", "data", "item", "user", "txt", "qrels")
"""Endings of files whose lines have a form of their own."""

FILE, ROW = "\ue000file", "\ue000row"
"""Columns that name the source of a row: the file, and its data row from 1.

A raw table has them where its rows are not those of its file, in order. The first character is one that Unicode leaves
to private use, so that a column of the source never has the same name.
"""

FoldRule = Literal["blanks", "invisible", "case", "zeros", "decimal"]
FOLD_RULES: tuple[FoldRule, ...] = get_args(FoldRule)


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a source; None where the format decides.

    mapping: "table.column" -> source column, or "table" -> file name.
    separator: between the fields of a CSV row; a comma by default.
    encoding: of text files, any codec of Python; UTF-8 with or without byte order mark by default.
    time_format: of times given as text, as `strptime` reads it; ISO 8601 by default.
    time_unit: of times given as numbers since 1970; by default read from their size where that is plain.
    list_separator: between the members of a list given as text that is not JSON; "|" by default.
    fold_ids: differences between ids that are none: blanks around, invisible characters, case, leading zeros, a
        trailing ".0". Ids that are equal but for these become one.
    event_weights: weight by event name, beside those that `data.events` has.
    language: of titles and descriptions (`text.language.LANGUAGES`); that of SOURCE, else detected, if None.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    encoding: str | None = None
    time_format: str | None = None
    time_unit: TimeUnit | None = None
    list_separator: str | None = None
    fold_ids: tuple[FoldRule, ...] = ()
    event_weights: Mapping[str, float] = field(default_factory=dict)
    language: str | None = None

    def refuse_unused(self, format: str, *used: str) -> None:
        """Refuse an option that a format has no use for.

        `mapping` is left to `refuse_mapping` and `split_mapping`; ids and events are folded and weighed in any format.

        Args:
            format: its name.
            used: names of options that it reads, among separator, encoding, time_format, time_unit, list_separator.

        Raises:
            SettingsError: another one is given.
        """
        for name in ("separator", "encoding", "time_format", "time_unit", "list_separator"):
            if getattr(self, name) is not None and name not in used:
                raise SettingsError(
                    f"format {format!r} has no use for this option",
                    where="--" + name.replace("_", "-"),
                    got=repr(getattr(self, name)),
                    remedy="leave it out: the format decides",
                )


@dataclass(frozen=True)
class Outcome:
    """What became of some records of a source file that are neither in a row of a table nor a reject.

    file: its name, as in `Raw.read`.
    rule: why, as the end of "12 records ...", such as "merged into the search of their session".
    rows: how many records.
    example: one of them, if one can be shown.
    """

    file: str
    rule: str
    rows: int
    example: str | None = None


@dataclass(frozen=True)
class Raw:
    """A source as unread tables whose columns already bear searec's names; types and rows are not yet checked.

    tables: "items" and "interactions", and "users" and "searches" where the source has them. Columns of
        `schema.TABLES` may be of any type `importing` can convert; other columns of items and users stay. A
        table must give
        the same rows in the same order each time it is read.
    files: for each table the file that an error about it names. Row n of a table is data row n of that file, unless
        the table says otherwise in `ROW`, and in `FILE` where there are several; both may be null for a row of no file.
    notes: what the importer decided for the user, one sentence each.
    rejects: rows that never became one of a table, as `log.REJECT_SCHEMA` says.
    unit: of times given as numbers, where the format fixes it.
    repeats: the published files hold rows twice: the second of two equal interactions, or of two searches of one
        search_id, is left out
        and counted in a note, and is no reject.
    read: records of each source file, by the name that `files`, `FILE` and rejects have for it, as the format's own
        reader counts them; None for a format that does not count.
    outcomes: what became of records that are in no row of a table and no reject. For every file of `read`:
        read = records in a row that is kept + records rejected + rows of its outcomes. A record is the row that `ROW`
        names, or the row of the same number of a table without `ROW`; a record in several rows counts once. Rows left
        out by `repeats` are counted by the import itself.
    """

    tables: dict[str, pl.LazyFrame]
    files: dict[str, Path]
    notes: tuple[str, ...] = ()
    rejects: pl.LazyFrame | None = None
    unit: TimeUnit | None = None
    repeats: bool = False
    read: Mapping[str, int] | None = None
    outcomes: tuple[Outcome, ...] = ()
    room: object = None


Importer = Callable[[Path, ImportOptions], Raw]
"""From a source and what the user says about it to Raw."""
Exporter = Callable[[Mapping[str, pl.LazyFrame], str], dict[str, pl.LazyFrame]]
"""From the tables of a dataset folder, with searec's types, and the name of the folder to its files: for each
file name one
column of text, the file's lines in order."""


def of_count(count: int, one: str, many: str) -> str:
    """Return a count and the words for one thing or for several, as in "1 film is" and "2 films are".

    Args:
        count: how many.
        one: the words for one thing.
        many: the words for another count.
    """
    return f"{count:,} {one if count == 1 else many}"


def refuse_mapping(format: str, mapping: Mapping[str, str], allowed: Sequence[str] = ()) -> None:
    """Refuse a mapping of a format whose files and columns are known.

    Args:
        format: its name.
        mapping: what `--map` says.
        allowed: tables whose file may be named.

    Raises:
        SettingsError: a mapping that is not allowed.
    """
    for target in mapping:
        if target not in allowed:
            expected = (
                " or ".join(f"{table}=FILE" for table in allowed) or "no mapping: its files and columns are known"
            )
            raise SettingsError(
                f"format {format!r} has no use for the mapping {target!r}", where="--map", expected=expected
            )


def named(
    frame: pl.LazyFrame, columns: Mapping[str, str], path: Path, optional: Mapping[str, str] | None = None
) -> pl.LazyFrame:
    """The columns of a published table under searec's names; `FILE` and `ROW` stay.

    Args:
        frame: the published table.
        columns: published name -> searec's; required.
        path: the file that an error names.
        optional: published name -> searec's, of columns that may be missing.

    Raises:
        DataError: a column of `columns` is missing.
    """
    there = frame.collect_schema().names()
    missing = [name for name in columns if name not in there]
    if missing:
        got, expected = ", ".join(there), ", ".join(columns)
        raise DataError(
            f"missing column {missing[0]!r}",
            where=path,
            got=got,
            expected=expected,
            remedy="take the file as it was published",
        )
    known = {**columns, **{name: to for name, to in (optional or {}).items() if name in there}}
    return frame.select(
        *(name for name in (FILE, ROW) if name in there), *(pl.col(name).alias(to) for name, to in known.items())
    )


def unlisted(table: pl.LazyFrame, key: str, seen: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    """Return the ids that events name and a table lacks, in order, as one column `key`.

    Args:
        table: a table.
        key: its id column, text.
        seen: frames with that column.
    """
    return _lacking(table, key, seen).collect(engine="streaming")


def completed(table: pl.LazyFrame, key: str, seen: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Return a table and, after it, a row for each id that events name and it lacks, in the order of the ids.

    Args:
        table: a table.
        key: the table's id column, text.
        seen: frames with that column, text; null and blank ids are left out.
    """
    return pl.concat([table, _lacking(table, key, seen)], how="diagonal")


def _lacking(table: pl.LazyFrame, key: str, seen: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    ids = pl.concat([frame.select(key) for frame in seen]).filter(pl.col(key).str.strip_chars() != "").unique()
    return ids.join(table.select(key), on=key, how="anti").sort(key)


def split_mapping(
    mapping: Mapping[str, str], tables: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """File names by table, and source columns by table and column.

    Args:
        mapping: what `--map` says.
        tables: the tables that may be mapped, with the columns of each.

    Raises:
        SettingsError: a mapping of anything else.
    """
    targets = [*tables, *(f"{table}.{column}" for table, names in tables.items() for column in names)]
    files: dict[str, str] = {}
    columns: dict[str, dict[str, str]] = {table: {} for table in tables}
    for target, source in mapping.items():
        table, dot, column = target.partition(".")
        if target not in targets:
            expected = "table.column=source column, or table=file"
            raise SettingsError(
                f"unknown mapping {target!r}", where="--map", expected=expected, remedy=nearest(target, targets)
            )
        if dot:
            columns[table][column] = source
        else:
            files[table] = source
    return files, columns


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn a failure to read `path` inside the block into one DataError that says where the fault is.

    Raises:
        DataError: bytes that are not UTF-8, a broken line, a damaged or empty file.
        OSError: a full disk, if the block also writes.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        if disk_full(error):
            raise
        refuse_file(path, error)


def refuse_file(path: Path, error: Exception) -> NoReturn:
    """Raise an error that says what is wrong with a file that Polars refused.

    The file is read line by line, which only a failed import pays for.

    Args:
        path: the file.
        error: what Polars raised.

    Raises:
        DataError: always.
    """
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    if kind in (*_CHECKS, *_LINES) and path.is_file():
        if path.stat().st_size == 0:
            remedy = "write it again, or leave out a users or searches file that holds nothing"
            raise DataError("file is empty", where=path, remedy=remedy) from error
        try:
            refuse_encoding(path)
            if kind in _CHECKS:
                _CHECKS[kind](path)
        except (OSError, EOFError) as broken:  # a gzip file cut short
            raise damaged(path, broken) from broken
        got = str(error).splitlines()[0]
        raise DataError(
            f"cannot read the {kind.upper()} file", where=path, got=got, remedy="write the file again"
        ) from error
    raise damaged(path, error) from error


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, packed with gzip or not."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield from file


def refuse_encoding(path: Path) -> None:
    """Raise for the first byte that is not UTF-8, if there is one."""
    before = 0
    for number, line in enumerate(lines_of(path), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                "file is not UTF-8",
                where=f"{path} line {number} (byte {before + error.start})",
                got=f"byte 0x{line[error.start]:02x} in {line.decode('utf-8', errors='replace').strip()[:80]!r}",
                expected="text in UTF-8",
                remedy=REMEDY_UTF8,
            ) from error
        before += len(line)


def _refuse_csv(path: Path) -> None:
    rows = csv.reader((line.decode("utf-8") for line in lines_of(path)), strict=True)
    try:
        width = len(next(rows))
        for number, row in enumerate(rows, start=1):
            if len(row) > width:
                raise DataError(
                    "too many fields in a CSV row",
                    where=f"{path} row {number} (line {rows.line_num})",
                    got=f"{len(row)} fields",
                    expected=f"{width}, as in the header",
                    remedy="put quotes round a value that holds a comma",
                )
    except csv.Error as error:
        where = f"{path} line {rows.line_num}"
        raise DataError(
            "broken CSV", where=where, got=str(error), remedy="close the quotes; write a quote in a value twice"
        ) from error


def _refuse_json_lines(path: Path) -> None:
    for number, line in enumerate(lines_of(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=_no_constant)
        except ValueError as error:
            got = f"{line.decode().strip()[:80]!r} ({error})"
            raise DataError(
                "broken JSON line", where=f"{path} line {number}", got=got, expected="one JSON object a line"
            ) from error
        if not isinstance(value, dict):
            got, expected = repr(value)[:80], 'a line like {"item_id": "a", "title": "b"}'
            raise DataError("JSON line is not an object", where=f"{path} line {number}", got=got, expected=expected)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null")


_CHECKS = {"csv": _refuse_csv, **dict.fromkeys(("json", "jsonl", "ndjson"), _refuse_json_lines)}
"""What is looked for in a file that could not be read, by its ending."""
