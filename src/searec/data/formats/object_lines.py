"""Lines of JSON objects as columns, where a line that cannot be read is named and stops no other line."""

import gzip
import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import polars as pl

from searec.data.formats.base import ROW, reading

FAULT = "__fault"
"""Column of an object's table: the rule that its line breaks; null for a line that was read."""
LINE = "__line"
"""Column of an object's table: the beginning of a line that was not read as it is; null for the others.

Where `FAULT` is null, half a surrogate pair in the line, which is no character, was replaced by U+FFFD.
"""
SHOWN = 80
"""Characters of a line that a message shows."""

BROKEN = "broken JSON line"
NO_OBJECT = "JSON line is not an object"
OTHER_SHAPE = "{} has another shape"

_TAB_BEFORE_OBJECT = r"^[^{}\[\]\"\t]*\t\s*(\{.*)$"
_PAIR = r"(?:\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
_HALF = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_PAIR_OR_HALF = re.compile(f"({_PAIR})|{_HALF}")


def scan_lines(path: Path) -> pl.LazyFrame:
    """Return `ROW` (the line, from 1) and `line` of a text file; no byte order mark, no blank lines.

    Args:
        path: plain or gzip.

    Raises:
        DataError: no such file, or a packed file that cannot be opened.
    """
    with reading(path):
        lines = pl.scan_lines(path, row_index_name=ROW, row_index_offset=1)
    text = pl.col("line").str.strip_chars(" \t\r\n\ufeff")
    return lines.with_columns(text).filter(pl.col("line") != "")


def count_lines(path: Path) -> int:
    """Return how many lines of a file, packed or not, hold more than white space and a byte order mark."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        return sum(1 for line in file if line.strip(b" \t\r\n\xef\xbb\xbf"))


def decoded(lines: pl.LazyFrame, fields: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Return `ROW`, the fields, `FAULT` and `LINE` of lines that hold one JSON object each.

    A field that a line lacks is null, a field that is not named is not read. A name and a tab before the object, as
    some exports of an index have them, are left out.

    Args:
        lines: `ROW` and `line`, as `scan_lines` gives them.
        fields: the fields to read, with their types.
    """
    schema = pl.Schema(fields)
    dtype = pl.Struct({**schema, FAULT: pl.String, LINE: pl.String})
    value = pl.col("line").map_batches(partial(_decoded, schema), return_dtype=dtype, is_elementwise=True)
    return lines.select(ROW, value.alias("object")).unnest("object")


def _decoded(schema: pl.Schema, lines: pl.Series) -> pl.Series:
    texts = lines
    tabbed = ~lines.str.starts_with("{")
    if tabbed.any():
        texts = lines.str.replace(_TAB_BEFORE_OBJECT, "$1")
    halves = with_half_surrogates(texts)
    if halves is None:
        return _by_halves(schema, texts).to_struct(lines.name)
    table = _by_halves(schema, mended(texts, halves))
    shown = pl.when(pl.lit(halves)).then(pl.lit(texts).str.slice(0, SHOWN)).otherwise(LINE).alias(LINE)
    return table.with_columns(shown).to_struct(lines.name)


def with_half_surrogates(texts: pl.Series) -> pl.Series | None:
    r"""Return True for lines with a `\ud83d` that is no pair, which Polars reads as NUL; None if there is none.

    Args:
        texts: JSON.
    """
    suspects = texts.str.contains(_HALF)
    if not suspects.any():
        return None
    is_half = texts.filter(suspects).str.replace_all(_PAIR, "").str.contains(_HALF)
    return suspects.scatter(suspects.arg_true(), is_half) if is_half.any() else None


def mended(texts: pl.Series, halves: pl.Series) -> pl.Series:
    """Return the lines with U+FFFD in place of each half of a surrogate pair.

    Args:
        texts: JSON.
        halves: as `with_half_surrogates` gives them.
    """
    whole = [_PAIR_OR_HALF.sub(lambda match: match.group(1) or "\\ufffd", line) for line in texts.filter(halves)]
    return texts.clone().scatter(halves.arg_true(), whole)


def _by_halves(schema: pl.Schema, texts: pl.Series) -> pl.DataFrame:
    """The objects of lines, some of which may be broken: halves of halves, until the broken ones are alone."""
    block = _block(schema, texts)
    if block is not None:
        return block
    if len(texts) == 1:
        line = texts[0]
        nothing = pl.DataFrame({name: pl.Series([None], dtype=dtype) for name, dtype in schema.items()})
        rule, shown = _fault(line, schema)
        return nothing.with_columns(pl.lit(rule).alias(FAULT), pl.lit(shown).alias(LINE))
    half = len(texts) // 2
    return pl.concat([_by_halves(schema, texts[:half]), _by_halves(schema, texts[half:])])


def _block(schema: pl.Schema, texts: pl.Series) -> pl.DataFrame | None:
    """The objects of lines that can all be read; None if one cannot."""
    none = pl.lit(None, dtype=pl.String)
    if not len(texts):
        return pl.DataFrame(schema={**schema, FAULT: pl.String, LINE: pl.String})
    if not (texts.str.starts_with("{") & texts.str.ends_with("}")).all():
        return None
    try:
        block = pl.read_ndjson(texts.str.join("\n").item().encode(), schema=schema)
    except pl.exceptions.PolarsError:
        return None
    return block.with_columns(none.alias(FAULT), none.alias(LINE)) if block.height == len(texts) else None


def _fault(line: str, schema: pl.Schema) -> tuple[str, str]:
    """The rule that a line breaks, and what of the line to show."""
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return BROKEN, line[:SHOWN]
    if not isinstance(value, dict):
        return NO_OBJECT, line[:SHOWN]
    wrong = _misshapen(value, pl.Struct(schema), ())
    if wrong is None:
        return BROKEN, line[:SHOWN]
    place, misshapen = wrong
    return OTHER_SHAPE.format(".".join(place)), json.dumps(misshapen, ensure_ascii=False)[:SHOWN]


def _misshapen(value: object, dtype: object, place: tuple[str, ...]) -> tuple[tuple[str, ...], object] | None:
    """Where a value has another shape than its type, from the outside in, and the value there; None if nowhere."""
    if isinstance(dtype, pl.Struct) and value is not None:
        if not isinstance(value, dict):
            return place, value
        wrong = (_misshapen(value.get(field.name), field.dtype, (*place, field.name)) for field in dtype.fields)
        return next((where for where in wrong if where is not None), None)
    if isinstance(dtype, pl.List) and value is not None and not isinstance(value, list):
        return place, value
    return None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
