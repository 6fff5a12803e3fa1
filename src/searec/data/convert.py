"""Columns of any source type as the kinds of the dataset folder: text, time in UTC, list of texts, number."""

from pathlib import Path
from typing import Literal

import polars as pl

from searec.data.schema import TIME, Kind, as_kind
from searec.errors import DataError

TimeUnit = Literal["s", "ms", "us"]

_PER_UNIT = {"s": 1e6, "ms": 1e3, "us": 1.0}
# Numbers since 1970 that mean a time between 1973 and 2286 in one unit and in no other.
_RANGES: dict[TimeUnit, tuple[float, float]] = {"s": (1e8, 1e10), "ms": (1e11, 1e13), "us": (1e14, 1e16)}
_YEAR_9999 = 253_402_300_800e6
_NUMBER = r"^\s*[-+]?\d+(\.\d*)?([eE][-+]?\d+)?\s*$"
_ISO = r"^\d{4}-\d{2}-\d{2}([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?\s*(Z|UTC|[-+]\d{2}:?\d{2})?)?$"

_STRING = (
    r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u(?:[0-9abcefABCEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    r'|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))*"'
)
_MEMBER = rf"(?:{_STRING}|-?(?:0|[1-9]\d*)(?:\.\d+)?|null)"
_JSON_LIST = rf"^\[\s*(?:{_MEMBER}\s*(?:,\s*{_MEMBER}\s*)*)?\]$"
_MEANT_AS_JSON = r"(?s)^\[.*\]$"


def as_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Return ids and words as text, or None if the type holds no text.

    A whole number stored as a float (123.0, as pandas does beside gaps) becomes "123".

    Args:
        value: the column.
        dtype: its type.
    """
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Decimal, pl.Null)) or dtype.is_integer():
        return value.cast(pl.String)
    if dtype.is_float():
        whole = pl.when(value.round() == value).then(value.cast(pl.Int64, strict=False)).cast(pl.String)
        return pl.when(value.is_not_nan()).then(pl.coalesce(whole, value.cast(pl.String)))
    return None


def as_numbers(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Return numbers, or None if the type holds none; text that is no number becomes NaN.

    Args:
        value: the column.
        dtype: its type.
    """
    if dtype.is_numeric() or isinstance(dtype, (pl.Null, pl.Boolean)):
        return value.cast(pl.Float64)
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        text = value.cast(pl.String)
        return pl.when(text.is_not_null()).then(_numbers(text).fill_null(float("nan")))
    return None


def as_times(name: str, dtype: pl.DataType, unit: TimeUnit | None) -> pl.Expr | None:
    """Return times in microseconds UTC, or None if the type holds no time.

    None: no time type.

    Args:
        name: a column of times, dates, ISO 8601 text (no zone: UTC) or numbers since 1970; other values become null.
        dtype: its type.
        unit: of numbers.
    """
    value = pl.col(name)
    if isinstance(dtype, (pl.Datetime, pl.Date)):
        return as_kind(name, dtype, Kind.TIME)
    if isinstance(dtype, pl.Null):
        return value.cast(TIME)
    if dtype.is_numeric():
        return _since_1970(value.cast(pl.Float64), unit)
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        text = value.cast(pl.String)
        return pl.coalesce(_from_iso(text), _since_1970(_numbers(text), unit))
    return None


def guess_unit(frame: pl.LazyFrame, name: str, where: Path) -> TimeUnit | None:
    """Return the unit of a column of numeric times, from one pass over it; None without numbers.

    Args:
        frame: the table.
        name: the column.
        where: the file that an error names.

    Raises:
        DataError: their size fits no unit, or more than one.
    """
    dtype = frame.collect_schema()[name]
    if dtype.is_numeric():
        number = pl.col(name).cast(pl.Float64)
    elif isinstance(dtype, pl.String):
        number = _numbers(pl.col(name))
    else:
        return None
    number = number.filter(number.is_finite() & (number > 0))
    low, high = frame.select(number.min().alias("low"), number.max().alias("high")).collect(engine="streaming").row(0)
    if low is None:
        return None
    for unit, (first, last) in _RANGES.items():
        if first <= low and high < last:
            return unit
    raise DataError(
        f"the unit of the times in {name!r} is not clear",
        where=where,
        got=f"numbers from {low:.0f} to {high:.0f}",
        expected="seconds, milliseconds or microseconds since 1970",
        remedy="--time-unit s, ms or us",
    )


def as_lists(value: pl.Expr, dtype: pl.DataType, separator: str) -> pl.Expr | None:
    """Return lists of texts, or None if the type holds no list.

    Text in square brackets that is not JSON becomes a list of that one text, for the caller to refuse.

    Args:
        value: lists, JSON text ('["a","b"]') or separated text ('a|b').
        dtype: its type.
        separator: between the members of separated text.
    """
    if isinstance(dtype, pl.List):
        inner = as_text(pl.element(), dtype.inner)  # type: ignore[arg-type]
        return None if inner is None else value.list.eval(inner)
    text = as_text(value, dtype)
    if text is None:
        return None
    text = text.str.strip_chars()
    meant, good = text.str.contains(_MEANT_AS_JSON), text.str.contains(_JSON_LIST)
    read = pl.when(good).then(text).str.json_decode(pl.List(pl.String))
    parts = text.str.split(separator).list.eval(pl.element().str.strip_chars())
    parts = parts.list.filter(pl.element() != "")
    return pl.when(good).then(read).when(meant).then(pl.concat_list(text)).otherwise(parts)


def unread_list(name: str) -> pl.Expr:
    """True where `as_lists` met square brackets that hold no JSON."""
    first = pl.col(name).list.first()
    return ((pl.col(name).list.len() == 1) & first.str.contains(_MEANT_AS_JSON)).fill_null(False)


def _numbers(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.contains(_NUMBER)).then(text.str.strip_chars()).cast(pl.Float64, strict=False)


def _since_1970(number: pl.Expr, unit: TimeUnit | None) -> pl.Expr:
    """Float64 has 53 bits: microseconds are exact until the year 2255."""
    if unit is None:
        return pl.lit(None, dtype=TIME)
    micro = number * _PER_UNIT[unit]
    return pl.when(micro.is_finite() & (micro.abs() < _YEAR_9999)).then(micro.round()).cast(pl.Int64).cast(TIME)


def _from_iso(text: pl.Expr) -> pl.Expr:
    """By places, not by captured groups, which are slower; digits past the microsecond are cut off."""
    text = text.str.strip_chars()

    def number(start: int) -> pl.Expr:
        return text.str.slice(start, 2).cast(pl.Int64, strict=False).fill_null(0)

    day = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)  # null for 31 February
    second = pl.when(text.str.slice(16, 1) == ":").then(number(17)).otherwise(0)
    rest = text.str.slice(16)
    micro = rest.str.extract(r"\.(\d{1,6})").str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    zone = (
        rest.str.extract(r"([-+]\d{2}:?\d{2})$").str.replace(":", "", literal=True).cast(pl.Int64).fill_null(0)
    )  # hhmm
    ahead = zone.sign() * (zone.abs() // 100 * 60 + zone.abs() % 100)
    minutes = (day * 24 + number(11)) * 60 + number(14) - ahead
    return pl.when(text.str.contains(_ISO)).then(((minutes * 60 + second) * 1_000_000 + micro).cast(TIME))
