"""Files with one object a line, as JSON or, in older sets, as a Python literal, read in blocks of whole columns."""

import ast
import json
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from searec.data.formats.base import ROW, reading
from searec.data.log import REJECT_SCHEMA

FAULT = "__fault"
"""Column of an object's table: the beginning of a line that is no object; null for one that is."""

_SHOWN = 80
_FEW = 8
_ESCAPED = r"\\(?:[\\bfrt]|u00(?:[01][0-9a-fA-F]|5[cC]))"
"""Escapes that Polars drops where it stores a list as JSON text: of the backslash and of control characters."""


def scan_objects(path: Path, fields: Sequence[str], rows: pl.DataFrame | None = None) -> pl.LazyFrame:
    """`ROW` (the line, from 1), the fields and `FAULT`, unread; blank lines are left out.

    A field is text, and JSON text where it holds a list or an object; null where the object lacks it.

    Args:
        fields: the fields to read.
        path: plain or gzip.
        rows: the only lines to read, a frame of `ROW`; by default all.
    """
    with reading(path):
        lines = pl.scan_lines(path, row_index_name=ROW, row_index_offset=1)
    lines = lines.filter(pl.col("line").str.strip_chars() != "")
    if rows is not None:
        lines = lines.join(rows.lazy(), on=ROW, how="semi", maintain_order="left")
    texts_read = pl.Struct(dict.fromkeys([*fields, FAULT], pl.String))
    read: Callable[[pl.Series], pl.Series] = partial(_read, tuple(fields))
    return lines.select(
        ROW, pl.col("line").map_batches(read, return_dtype=texts_read, is_elementwise=True).alias("object")
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
    frame = _by_block(fields, lines, lines)
    return (_by_parts(fields, _as_json(lines), lines) if frame is None else frame).to_struct(lines.name)


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
