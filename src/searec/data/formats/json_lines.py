"""JSON Lines, read by Polars into a temporary file and counted a second time by its lines.

Ids and lists come as the text in the file, never through a floating-point number: 12345678901234567 and 7.0 stay as
they are written. Lines that Polars would change are rewritten first; lines that are no JSON object become rejects.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from searec.data.formats.base import ROW
from searec.data.formats.text_files import BYTE_ORDER_MARK, TableFile, as_utf8, check_utf8, temporary
from searec.data.log import REJECT_SCHEMA
from searec.data.schema import Kind
from searec.errors import DataError

_SHOWN = 80
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = r"\\u[dD][89a-fA-F]"


def read_json_lines_file(
    path: Path, room: Path, kinds: Mapping[str, Kind], *, others: bool, encoding: str | None = None
) -> TableFile:
    """Return one file: known columns as text or lists of texts, other columns as their values are.

    A known column that no line has a value for is left out.

    Args:
        path: the file, packed with gzip or not.
        room: a folder for temporary files, which the table reads.
        kinds: what the columns hold, by their name in the file.
        others: also read other columns.
        encoding: of the file; UTF-8 if None.

    Raises:
        SettingsError: an unknown encoding.
        DataError: not text of that encoding, or a file that cannot be read.
    """
    text = as_utf8(path, room, encoding)
    records = _count_lines(text)
    if not records:
        raise DataError("file is empty", where=path, remedy="write it again, or leave out a table that holds nothing")
    rejects, notes = pl.DataFrame(schema=REJECT_SCHEMA), []
    try:
        marks = _find_marks(text, kinds)
        if marks.must_rewrite or _begins_with_mark(text):
            text, rejects, halves = _rewrite(text, path, room, marks, every=False)
            notes = _note_halves(path, halves)
        frame = _stage(text, room, path, kinds, marks, others=others)
    except pl.exceptions.PolarsError:
        check_utf8(path, text)
        text, rejects, halves = _rewrite(text, path, room, marks, every=True)
        notes = _note_halves(path, halves) or notes
        try:
            frame = _stage(text, room, path, kinds, marks, others=others)
        except pl.exceptions.PolarsError as error:
            got = str(error).splitlines()[0]
            raise DataError("cannot read the JSON Lines file", where=path, got=got) from error
    rows = frame.select(pl.len()).collect().item()
    if rows + rejects.height != records:
        raise DataError(
            "two readers of the JSON Lines file count differently",
            where=path,
            got=f"{rows + rejects.height:,} records and {records:,} lines",
            expected="one JSON object a line",
        )
    return TableFile(frame, records, rejects, tuple(notes), lambda: _names(text))


def _names(text: Path) -> list[str]:
    try:
        return pl.scan_ndjson(text).collect_schema().names() if text.stat().st_size else []
    except pl.exceptions.PolarsError:  # objects of several shapes in a column that is not read
        with text.open(encoding="utf-8") as lines:
            return list(dict.fromkeys(name for line in lines if line.strip() for name in json.loads(line)))


@dataclass(frozen=True)
class _Marks:
    """What in a file Polars would change.

    kinds: of the known columns.
    has_halves: half a surrogate pair, which is no character.
    has_odd_numbers: ids that are numbers with a point or an exponent.
    has_texts: text or a number where a list belongs; then lists become text too.
    """

    kinds: Mapping[str, Kind]
    has_halves: bool
    has_odd_numbers: bool
    has_texts: bool

    @property
    def must_rewrite(self) -> bool:
        return self.has_halves or self.has_odd_numbers or self.has_texts

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds a line that must be rewritten."""
        lists = _field(self.kinds, Kind.TEXTS) + r"\["
        return re.compile("|".join([_ESCAPED_HALF, _odd_numbers(self.kinds), *([lists] if self.has_texts else [])]))


def _field(kinds: Mapping[str, Kind], kind: Kind) -> str:
    names = [re.escape(json.dumps(name)[1:-1]) for name, of in kinds.items() if of is kind]
    return f'"(?:{"|".join(names)})"\\s*:\\s*' if names else "(?:[^\\s\\S])"


def _odd_numbers(kinds: Mapping[str, Kind]) -> str:
    number = r"-?[0-9]+[.eE]"
    return f"{_field(kinds, Kind.TEXT)}{number}|{_field(kinds, Kind.TEXTS)}\\[[^\\]]*[0-9][.eE]"


def _find_marks(text: Path, kinds: Mapping[str, Kind]) -> _Marks:
    line = pl.col("line")
    has = {
        "has_halves": line.str.contains(_ESCAPED_HALF),
        "has_odd_numbers": line.str.contains(_odd_numbers(kinds)),
        "has_texts": line.str.contains(_field(kinds, Kind.TEXTS) + r"[^\[n\s]"),
    }
    frame = pl.scan_lines(text).select(mark.any().alias(name) for name, mark in has.items())
    return _Marks(kinds, **frame.collect(engine="streaming").row(0, named=True))


def _count_lines(text: Path) -> int:
    with text.open("rb") as lines:
        first = next(lines, b"").removeprefix(BYTE_ORDER_MARK)
        return int(bool(first.strip())) + sum(1 for line in lines if not line.isspace())


def _begins_with_mark(text: Path) -> bool:
    with text.open("rb") as file:
        return file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK


class _Number(float):
    """A number with a point or an exponent, and how it is written."""

    text: str

    def __new__(cls, text: str) -> "_Number":
        number = super().__new__(cls, text)
        number.text = text
        return number


def _rewrite(
    text: Path, path: Path, room: Path, marks: _Marks, *, every: bool
) -> tuple[Path, pl.DataFrame, list[tuple[int, str]]]:
    """Write a copy whose lines Polars reads as they are; also rejects, and the lines with half a surrogate pair.

    Args:
        text: the file, in UTF-8.
        path: the file that rejects name.
        room: for the copy.
        marks: what the file has.
        every: look at every line, not at those with a mark alone; lines that are no object become rejects.
    """
    copy = temporary(room, "rewritten.jsonl")
    bad: list[tuple[str, int, str, str]] = []
    halves: list[tuple[int, str]] = []
    with text.open(encoding="utf-8-sig", newline="\n") as lines, copy.open("w", encoding="utf-8", newline="") as out:
        for number, line in enumerate((line for line in lines if line.strip()), start=1):
            if not every and marks.pattern.search(line) is None:
                out.write(line)
                continue
            try:
                value = json.loads(line.rstrip(), parse_float=_Number, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                if not every:
                    out.write(line)  # Polars refuses it, and then every line is looked at
                    continue
                bad.append((path.name, number, "broken JSON line", f"{line.strip()[:_SHOWN]} ({error})"))
                continue
            if not isinstance(value, dict):
                bad.append((path.name, number, "JSON line is not an object", line.strip()[:_SHOWN]))
                continue
            value = {name: _as_written(given, marks.kinds.get(name), marks) for name, given in value.items()}
            rewritten = json.dumps({**value, ROW: number} if every else value, ensure_ascii=False)
            if _HALF.search(rewritten):
                halves.append((number, line.strip()[:_SHOWN]))
                rewritten = _HALF.sub("\ufffd", rewritten)
            out.write(rewritten + "\n")
    return copy, pl.DataFrame(bad, schema=REJECT_SCHEMA, orient="row"), halves


def _as_written(value: Any, kind: Kind | None, marks: _Marks) -> Any:
    if kind is Kind.TEXTS and isinstance(value, list):
        members = [_text(member) for member in value]
        return json.dumps(members, ensure_ascii=False) if marks.has_texts else members
    return _text(value) if kind is Kind.TEXT else value


def _text(value: Any) -> Any:
    return value.text if isinstance(value, _Number) else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null")


def _note_halves(path: Path, halves: list[tuple[int, str]]) -> list[str]:
    if not halves:
        return []
    rows = f"{len(halves):,} {'row holds' if len(halves) == 1 else 'rows hold'}"
    number, line = halves[0]
    return [f"{path.name}: {rows} half a character, replaced by \ufffd; the first is row {number}: {line}"]


def _stage(
    text: Path, room: Path, path: Path, kinds: Mapping[str, Kind], marks: _Marks, *, others: bool
) -> pl.LazyFrame:
    """The table, in a temporary file."""
    texts = pl.String() if marks.has_texts else pl.List(pl.String)
    known = {name: texts if kind is Kind.TEXTS else pl.String() for name, kind in kinds.items()}
    schema: dict[str, Any] = {**known, ROW: pl.Int64()}
    if text.stat().st_size == 0:  # no line was an object
        return pl.LazyFrame(schema=schema)
    if others:  # types from every line, so that a number that turns to text in the last one is text in all
        inferred = pl.scan_ndjson(text, infer_schema_length=None).collect_schema()
        inferred = inferred or pl.Schema({ROW: pl.Int64()})  # every line is an empty object
        schema = {name: schema.get(name, dtype) for name, dtype in inferred.items()}
    staged = temporary(room, f"{path.name}.arrow")
    pl.scan_ndjson(text, schema=schema).sink_ipc(staged)
    frame = pl.scan_ipc(staged)
    empty = frame.select(pl.col(*schema).is_null().all()).collect(engine="streaming").row(0, named=True)
    return frame.drop(name for name, is_empty in empty.items() if is_empty and (name in known or name == ROW))
