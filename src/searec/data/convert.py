"""Columns of any source type as the kinds of the dataset folder: text, time in UTC, list of texts, number."""

from dataclasses import dataclass
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
_PLAIN_ISO = r"^\d{4}-\d{2}-\d{2}([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?\s*(Z|UTC|[-+]\d{2}:?\d{2})?)?$"
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2}|(?:19|20)\d{6})"
    r"(?:(?:[Tt]|\s+)(?<hour>\d{2})(?::?(?<minute>\d{2})(?::?(?<second>\d{2})(?:[.,](?<part>\d+))?)?)?"
    r"\s*(?<zone>Z|z|UTC|[-+]\d{2}(?::?\d{2})?)?)?$"
)
_DAY, _TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_LAYOUTS = {
    "%Y-%m-%dT%H:%M:%SZ": f"^{_DAY}T{_TIME}Z$",
    "%Y-%m-%dT%H:%M:%S%.fZ": rf"^{_DAY}T{_TIME}\.[0-9]{{1,6}}Z$",
    "%Y-%m-%d %H:%M:%S": f"^{_DAY} {_TIME}$",
    "digits": "^[0-9]{9,16}$",
}
"""What the times of most columns look like, each read faster than the general form: a format of strptime, or digits."""
_BASIC_DATE = r"^\s*(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\s*$"
_ROUNDED = r"^\s*\d(\.\d{1,5})?[eE]\+?\d+\s*$"
_CLEAR = 0.9
"""Share of the numbers of a column that must fit one unit."""

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


@dataclass(frozen=True)
class TimeFacts:
    """What one pass over a column of times tells.

    values: how many are not null.
    iso: how many are texts in the plain form of ISO 8601, YYYY-MM-DDThh:mm:ss and a zone, or a part of it.
    rounded: how many are numbers with an exponent, such as 1.70E+12, which a spreadsheet has rounded.
    unit: of numbers, read from their size; None where there are none or few.
    layout: of texts, the one of `_LAYOUTS` that all have.
    is_simple: each text is of the plain form or a number above 0.
    """

    values: int
    iso: int
    rounded: int
    unit: TimeUnit | None
    layout: str | None = None
    is_simple: bool = False


def as_times(
    name: str,
    dtype: pl.DataType,
    unit: TimeUnit | None,
    *,
    time_format: str | None = None,
    guessed: bool = False,
    facts: TimeFacts | None = None,
) -> pl.Expr | None:
    """Return times in microseconds UTC, or None if the type holds no time.

    Args:
        name: a column of times, dates, ISO 8601 text (no zone: UTC) or numbers since 1970; other values become null.
        dtype: its type.
        unit: of numbers.
        time_format: how texts (and whole numbers, such as 20240131) are written, in place of ISO 8601.
        guessed: the unit was read from the size of the numbers; those of another size become null.
        facts: of the column, which save work.
    """
    value = pl.col(name)
    if isinstance(dtype, (pl.Datetime, pl.Date)):
        return as_kind(name, dtype, Kind.TIME)
    if isinstance(dtype, pl.Null):
        return value.cast(TIME)
    is_text = isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))
    if time_format is not None and (dtype.is_integer() or is_text):
        return _formatted(value.cast(pl.String), time_format)
    if dtype.is_numeric():
        return _since_1970(value.cast(pl.Float64), unit, guessed=guessed)
    if is_text:
        return _from_text(value.cast(pl.String), unit, guessed=guessed, facts=facts)
    return None


def _from_text(text: pl.Expr, unit: TimeUnit | None, *, guessed: bool, facts: TimeFacts | None) -> pl.Expr:
    if facts is not None and facts.layout == "digits":
        return _since_1970(text.cast(pl.Float64), unit, guessed=guessed)
    if facts is not None and facts.layout is not None:
        return text.str.to_datetime(facts.layout, time_unit="us", strict=False).dt.replace_time_zone("UTC")
    if facts is not None and facts.iso == facts.values:
        return _from_plain_iso(text)
    plain = pl.when(text.str.contains(_PLAIN_ISO)).then(_from_plain_iso(text))
    number = _since_1970(_numbers(text), unit, guessed=guessed)
    if facts is not None and facts.is_simple:
        return pl.coalesce(plain, number)
    return pl.coalesce(plain, _from_iso(text), number)


def time_facts(frame: pl.LazyFrame, name: str, where: Path, *, is_unit_given: bool = False) -> TimeFacts:
    """Return what a column of times holds, from one pass over it.

    Args:
        frame: the table.
        name: the column.
        where: the file that an error names.
        is_unit_given: the unit of numbers need not be read from their size.

    Raises:
        DataError: most values are numbers, and their size fits no unit, or more than one.
    """
    dtype = frame.collect_schema()[name]
    text = isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))
    if not text and not dtype.is_numeric():
        return TimeFacts(0, 0, 0, None)
    value = pl.col(name).cast(pl.String) if text else pl.col(name)
    layout = None
    if text:  # most columns are of one layout, or of the plain form, and one look is enough
        looks = {**_LAYOUTS, "iso": _PLAIN_ISO}
        counts = frame.select(value.count(), *(value.str.contains(look).sum().alias(n) for n, look in looks.items()))
        values, *by_layout, iso = counts.collect(engine="streaming").row(0)
        layout = next((n for n, count in zip(_LAYOUTS, by_layout, strict=True) if count == values), None)
        if values == iso:
            return TimeFacts(values, iso, 0, None, layout)
    if layout is not None or not text:
        number = value.cast(pl.Float64)
        number = number.filter(number.is_finite() & (number > 0))
    else:
        number = _numbers(value).filter(~value.str.contains(_BASIC_DATE))
        number = number.filter(number > 0)
    is_free = text and layout is None
    figures: dict[str, pl.Expr] = {
        "values": value.count(),
        "iso": value.str.contains(_PLAIN_ISO).sum() if is_free else pl.lit(0),
        "rounded": value.str.contains(_ROUNDED).sum() if is_free else pl.lit(0),
        "numbers": number.count(),
        "low": number.min(),
        "high": number.max(),
        **{name: number.is_between(*ends, closed="left").sum() for name, ends in _RANGES.items()},
    }
    columns = [value.alias(kind) for kind, value in figures.items()]
    row = frame.select(columns).collect(engine="streaming").row(0, named=True)
    unit: TimeUnit = max(_RANGES, key=lambda name: row[name])
    is_clear = row[unit] >= _CLEAR * row["numbers"]
    if not (is_unit_given or is_clear) and 2 * row["numbers"] > row["values"]:
        raise DataError(
            f"the unit of the times in {name!r} is not clear",
            where=where,
            got=f"numbers from {row['low']:.0f} to {row['high']:.0f}",
            expected="seconds, milliseconds or microseconds since 1970",
            remedy="--time-unit s, ms or us; --time-format for dates written as numbers, such as %Y%m%d",
        )
    unit_read = unit if row["numbers"] and is_clear else None
    is_simple = row["iso"] + row["numbers"] == row["values"]
    return TimeFacts(row["values"], row["iso"], row["rounded"], unit_read, layout, is_simple)


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


def _since_1970(number: pl.Expr, unit: TimeUnit | None, *, guessed: bool) -> pl.Expr:
    """Float64 has 53 bits: microseconds are exact until the year 2255."""
    if unit is None:
        return pl.lit(None, dtype=TIME)
    micro = number * _PER_UNIT[unit]
    low, high = (end * _PER_UNIT[unit] for end in _RANGES[unit]) if guessed else (-_YEAR_9999, _YEAR_9999)
    return pl.when(micro.is_finite() & micro.is_between(low, high)).then(micro.round()).cast(pl.Int64).cast(TIME)


def _formatted(text: pl.Expr, time_format: str) -> pl.Expr:
    text = text.str.strip_chars()
    if "%z" in time_format or "%:z" in time_format or "%#z" in time_format:
        return text.str.to_datetime(time_format, time_unit="us", time_zone="UTC", strict=False)
    return text.str.to_datetime(time_format, time_unit="us", strict=False).dt.replace_time_zone("UTC")


def _from_plain_iso(text: pl.Expr) -> pl.Expr:
    """Times of the plain form, by places, not by captured groups, which are slower; 31 February becomes null."""
    text = text.str.strip_chars()

    def number(start: int) -> pl.Expr:
        return text.str.slice(start, 2).cast(pl.Int64, strict=False).fill_null(0)

    day = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    second = pl.when(text.str.slice(16, 1) == ":").then(number(17)).otherwise(0)
    rest = text.str.slice(16)
    micro = rest.str.extract(r"\.(\d{1,6})").str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    ahead = _ahead(rest.str.extract(r"([-+]\d{2}:?\d{2})$"))
    minutes = (day * 24 + number(11)) * 60 + number(14) - ahead
    return ((minutes * 60 + second) * 1_000_000 + micro).cast(TIME)


def _ahead(zone: pl.Expr) -> pl.Expr:
    """Minutes that a zone such as +02:00, +0200 or +02 is ahead of UTC."""
    hhmm = zone.str.replace(":", "", literal=True).str.pad_end(5, "0").cast(pl.Int64).fill_null(0)
    return hhmm.sign() * (hhmm.abs() // 100 * 60 + hhmm.abs() % 100)


def _from_iso(text: pl.Expr) -> pl.Expr:
    """Times of any form of ISO 8601 with a calendar date; digits past the microsecond are cut off."""
    parts = text.str.strip_chars().str.extract_groups(_ISO)

    def number(name: str) -> pl.Expr:
        return parts.struct.field(name).cast(pl.Int64, strict=False).fill_null(0)

    date = parts.struct.field("date").str.replace_all("-", "", literal=True)
    day = date.str.to_date("%Y%m%d", strict=False).cast(pl.Int64)
    hour, minute, second = number("hour"), number("minute"), number("second")
    micro = parts.struct.field("part").str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    zone = parts.struct.field("zone")
    ahead = _ahead(pl.when(~zone.is_in(["Z", "z", "UTC"])).then(zone))
    seconds = ((day * 24 + hour) * 60 + minute - ahead) * 60 + second
    is_time = (hour < 24) | ((hour == 24) & (minute == 0) & (second == 0) & (micro == 0))
    return pl.when(is_time & (minute < 60) & (second < 60)).then((seconds * 1_000_000 + micro).cast(TIME))
