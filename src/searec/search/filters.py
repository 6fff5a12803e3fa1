"""Filters: conditions on items as people write them, `column:value`, with ranges of numbers and dates."""

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from searec.errors import SettingsError

Kind = Literal["text", "number", "date"]
RANGE = ".."
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ].+)?)?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


class Filter(NamedTuple):
    """A condition on items: `value` is in a column of the item table; several values of one column are alternatives.

    In a column of numbers or dates the value may be a range: "10..20", "..20" or "10..", both ends included. A date is
    a year, a month, a day or a time; the end of a range includes all of it. In a column of texts, and among the
    categories, case counts.
    """

    column: str
    value: str


def interval(condition: Filter, kind: Kind) -> tuple[float, float]:
    """Return the least and the greatest number that a filter lets pass; dates in microseconds since 1970.

    Args:
        condition: on a column of numbers or dates.
        kind: of the column.

    Raises:
        SettingsError: the value is neither a number or date nor a range, or the range is empty.

    >>> interval(Filter("price", "10..20"), "number"), interval(Filter("price", "10.."), "number")
    ((10.0, 20.0), (10.0, inf))
    """
    first, dots, last = condition.value.partition(RANGE)
    if not dots:
        last = first
    low = _ends(condition, first, kind)[0] if first.strip() else -float("inf")
    high = _ends(condition, last, kind)[1] if last.strip() else float("inf")
    if low > high or not condition.value.strip(" ."):
        raise _refused(condition, kind)
    return low, high


def instant(text: str) -> tuple[float, float] | None:
    """Return the first and the last microsecond of a year, month, day or time; None of anything else.

    >>> instant("1970"), instant("1970-01-01T00:00:01Z"), instant("soon")
    ((0.0, 31535999999999.0), (1000000.0, 1000000.0), None)
    """
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day = match.groups()
    try:
        if day and len(match[0]) > 10:
            time = datetime.fromisoformat(match[0])
            start = end = time if time.tzinfo else time.replace(tzinfo=UTC)
        else:
            start = datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC)
            if day:
                after = start + timedelta(days=1)
            elif month:
                after = (start + timedelta(days=31)).replace(day=1)
            else:
                after = start.replace(year=start.year + 1)
            end = after - _MICRO
    except (ValueError, OverflowError):
        return None
    return float((start - _EPOCH) // _MICRO), float((end - _EPOCH) // _MICRO)


def _ends(condition: Filter, text: str, kind: Kind) -> tuple[float, float]:
    if kind == "date":
        ends = instant(text)
    else:
        try:
            ends = (float(text), float(text))
        except ValueError:
            ends = None
    if ends is None or ends[0] != ends[0]:
        raise _refused(condition, kind)
    return ends


def _refused(condition: Filter, kind: Kind) -> SettingsError:
    examples = "10, 10..20, ..20 or 10.." if kind == "number" else "2024, 2024-05-31, 2023..2024 or 2024-05.."
    return SettingsError(
        f"a filter of {condition.column!r} that is no {kind} and no range",
        got=repr(condition.value),
        expected=f"a {kind} or a range, as {examples}",
    )
