"""Files with one object a line, as JSON or, in older sets, as a Python literal, read in blocks of whole columns."""

import ast
import gzip
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from searec.data.formats.base import ROW, reading, refuse_encoding
from searec.data.formats.object_lines import mended, scan_lines, with_half_surrogates
from searec.data.log import REJECT_SCHEMA

FAULT = "\ue000fault"
"""Column of an object's table: the beginning of a line that is no object; null for one that is."""
MENDED = "\ue000mended"
"""Column of an object's table: true where half a surrogate pair, which is no character, was replaced by U+FFFD."""

_SHOWN = 80
_FEW = 8
_GAP = re.compile(r"[\s,]*")
_END = re.compile(r"\]\s*\Z")
_ESCAPED = r"\\(?:[\\bfrt]|u00(?:[01][0-9a-fA-F]|5[cC]))"
"""Escapes that Polars drops where it stores a list as JSON text: of the backslash and of control characters."""


def object_lines(path: Path) -> pl.LazyFrame:
    """Return `ROW` and `line`, unread: the lines of a file, or the elements of a file that is one JSON array.

    Blank lines are left out; an element is numbered by its place in the array, which is held in memory.

    Args:
        path: plain or gzip.

    Raises:
        DataError: a file that cannot be read.
    """
    lines = scan_lines(path)
    with reading(path):
        first = lines.head(1).collect()
    if first.is_empty() or not first["line"][0].startswith("["):
        return lines
    with reading(path):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            refuse_encoding(path)
            raise
    elements = list(_elements(text))
    return pl.LazyFrame({"line": elements}, schema={"line": pl.String}).with_row_index(ROW, 1)


def _elements(text: str) -> Iterator[str]:
    """The elements of a JSON array, each as one line; what cannot be read is an element up to the end of its line."""
    decoder = json.JSONDecoder()
    place = _GAP.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
    while place < len(text) and not _END.match(text, place):
        try:
            _, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            line_end = text.find("\n", place)
            end = len(text) if line_end < 0 else line_end
        yield " ".join(text[place:end].rstrip(", \r").split("\n"))
        place = _GAP.match(text, end).end()  # type: ignore[union-attr]


def scan_objects(lines: pl.LazyFrame, fields: Sequence[str], rows: pl.DataFrame | None = None) -> pl.LazyFrame:
    """`ROW` (the line, from 1), the fields, `FAULT` and `MENDED`, unread.

    A field is text, and JSON text where it holds a list or an object; null where the object lacks it.

    Args:
        lines: as `object_lines` gives them.
        fields: the fields to read.
        rows: the only lines to read, a frame of `ROW`; by default all.
    """
    if rows is not None:
        lines = lines.join(rows.lazy(), on=ROW, how="semi", maintain_order="left")
    dtype = pl.Struct({**dict.fromkeys([*fields, FAULT], pl.String), MENDED: pl.Boolean})
    read: Callable[[pl.Series], pl.Series] = partial(_read, tuple(fields))
    return lines.select(
        ROW, pl.col("line").map_batches(read, return_dtype=dtype, is_elementwise=True).alias("object")
    ).unnest("object")


def faults(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return rejects for the lines that are no object.

    Args:
        table: lines with `ROW` and `FAULT`.
        path: their file.
    """
    rule = pl.lit("neither JSON nor a Python literal").alias("rule")
    bad = table.filter(pl.col(FAULT).is_not_null())
    return bad.select(
        pl.lit(path.name).alias("file"), pl.col(ROW).cast(pl.Int64).alias("row"), rule, pl.col(FAULT).alias("value")
    ).cast(
        REJECT_SCHEMA  # type: ignore[arg-type]
    )


def _read(fields: tuple[str, ...], lines: pl.Series) -> pl.Series:
    """The objects of some lines. Most lines of a set are JSON; else most are literals that `_as_json` rewrites."""
    halves = with_half_surrogates(lines)
    if halves is not None:
        lines = mended(lines, halves)
    frame = _by_block(fields, lines, lines)
    frame = _by_parts(fields, _as_json(lines), lines) if frame is None else frame
    is_mended = pl.lit(False) if halves is None else pl.lit(halves)
    return frame.with_columns(is_mended.alias(MENDED)).to_struct(lines.name)


def _by_parts(fields: tuple[str, ...], texts: pl.Series, lines: pl.Series) -> pl.DataFrame:
    """The objects of lines, some of which may not be JSON: halves of halves, until a few are read one by one."""
    frame = _by_block(fields, texts, lines)
    if frame is not None:
        return frame
    if len(lines) <= _FEW:
        return _by_line(fields, lines)
    half = len(lines) // 2
    return pl.concat([_by_parts(fields, texts[:half], lines[:half]), _by_parts(fields, texts[half:], lines[half:])])


def _by_block(fields: tuple[str, ...], texts: pl.Series, lines: pl.Series) -> pl.DataFrame | None:
    """The objects of lines that are all JSON as `texts`; None if one is not."""
    odd = texts.str.contains(_ESCAPED)
    sure = texts.filter(~odd)
    try:
        block = pl.read_ndjson(sure.str.join("\n").item().encode() or b"{}", schema=dict.fromkeys(fields, pl.String))
    except pl.exceptions.ComputeError:
        return None
    block = block.head(len(sure)).with_columns(pl.lit(None, dtype=pl.String).alias(FAULT))
    if block.height != len(sure):
        return None
    places = pl.concat([(~odd).arg_true(), odd.arg_true()])
    return pl.concat([block, _by_line(fields, lines.filter(odd))])[places.arg_sort()]


def _as_json(lines: pl.Series) -> pl.Series:
    r"""Python literals as JSON, by rewriting their strings; the rest is left to `ast.literal_eval`.

    A string goes between \x01 in place of its quotes, so that remaining quotes belong to a text; \x02 is an escaped
    backslash.
    """
    text = lines.set(lines.str.contains("[\x01\x02]"), "")
    text = text.str.replace_all(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'""", "\x01$1$2\x01")
    text = text.str.replace_all("\\\\", "\x02", literal=True)
    text = text.str.replace_all(r"""\\(["'])""", "$1").str.replace_all(r"\\x([0-9a-fA-F]{2})", r"\u00$1")
    text = text.str.replace_all('"', '\\"', literal=True).str.replace_all("\x02", "\\\\", literal=True)
    return text.str.replace_all("\x01", '"', literal=True)


def _by_line(fields: tuple[str, ...], lines: pl.Series) -> pl.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes inside literals
        rows = [_object(fields, line) for line in lines]
    return pl.DataFrame(rows, schema=dict.fromkeys([*fields, FAULT], pl.String), orient="row")


def _object(fields: tuple[str, ...], line: str) -> list[str | None]:
    try:
        value = json.loads(line)
    except ValueError:
        try:
            value = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = None
    if not isinstance(value, dict):
        return [*(None for _ in fields), line.strip()[:_SHOWN]]
    return [*(_text(value.get(name)) for name in fields), None]


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
