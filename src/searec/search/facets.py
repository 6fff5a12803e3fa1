"""Facets: how many of the matching items have each value of a column, or lie in each range of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from searec.search.filters import RANGE, Filter, Kind, interval
from searec.search.item_columns import CATEGORIES, Floats, ItemColumns, Mask, TextColumn

if TYPE_CHECKING:
    from searec.data.taxonomy import Taxonomy

VALUES = 50
"""Most values of a facet."""
_RANGES, _SAMPLE = 5, 10_000
_FEW = 8
"""Distinct numbers up to which a facet lists them in place of ranges."""
_YEAR = timedelta(days=365)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FacetValue:
    """A value of a column, as a filter takes it, how many items have it, and the category above it, if it has one."""

    value: str
    count: int
    parent: str | None = None


@dataclass(frozen=True)
class Facet:
    """What the matching items have in one column.

    Attributes:
        values: of texts the most frequent first, at most `VALUES`; of numbers and dates ascending, ranges if there are
            many. A number on the border of two ranges counts in both, as it passes the filter of each.
        low: the least number or date; None of texts, and where no item has one.
        high: the greatest.
    """

    values: Sequence[FacetValue]
    low: float | str | None = None
    high: float | str | None = None


def facet(columns: ItemColumns, name: str, is_counted: Mask, taxonomy: "Taxonomy | None" = None) -> Facet:
    """Return the facet of a column over the items of a mask.

    Args:
        columns: of the items.
        name: of the column.
        is_counted: [N + 1] the items to count.
        taxonomy: of the categories.

    Raises:
        SettingsError: no item has the column.
    """
    column = columns.column(name)
    if not isinstance(column, TextColumn):
        numbers = columns.numbers(name)[is_counted]
        return _of_numbers(name, numbers[np.isfinite(numbers)], is_date=column.kind == "date")
    counts = columns.counts(name, is_counted)
    counts[0] = 0
    frequent = _most(counts, VALUES)
    values = zip(column.names(frequent), counts[frequent].tolist(), frequent.tolist(), strict=True)
    if name != CATEGORIES or taxonomy is None:
        return Facet([FacetValue(value, count) for value, count, _ in values])
    parents = taxonomy.parent
    above = [int(parents[code]) if code < len(parents) else 0 for code in frequent.tolist()]
    return Facet(
        [
            FacetValue(value, count, taxonomy.name(parent) if parent else None)
            for (value, count, _), parent in zip(values, above, strict=True)
        ]
    )


def useful_values(columns: ItemColumns, name: str, is_counted: Mask) -> list[str]:
    """Return the values of a facet; none of a column whose values say little, as one of ids.

    Args:
        columns: of the items.
        name: of the column.
        is_counted: [N + 1] the items to count.
    """
    column = columns.column(name)
    if name != CATEGORIES and isinstance(column, TextColumn) and len(column) >= max(2, columns.size // 2):
        return []
    return [one.value for one in facet(columns, name, is_counted).values]


def _most(counts: NDArray[np.integer], k: int) -> NDArray[np.integer]:
    """The codes of the k largest counts above 0, equal ones in their order."""
    codes = np.flatnonzero(counts)
    if len(codes) > k:
        least = np.partition(counts[codes], len(codes) - k)[len(codes) - k]
        codes = codes[counts[codes] >= least]
    return codes[np.argsort(-counts[codes], kind="stable")][:k]


def _of_numbers(name: str, numbers: Floats, *, is_date: bool) -> Facet:
    if not len(numbers):
        return Facet([])
    low, high = float(numbers.min()), float(numbers.max())
    sample = np.sort(numbers[:: max(1, len(numbers) // _SAMPLE)])
    kind: Kind = "date" if is_date else "number"
    for names in (
        (_date_ranges(sample, low, high),) if is_date else (_single_numbers(sample), _number_ranges(sample, low, high))
    ):
        values = []
        for value in names:
            least, most = interval(Filter(name, value), kind)  # so that a count is what the filter lets pass
            values.append(FacetValue(value, int(np.count_nonzero((numbers >= least) & (numbers <= most)))))
        if sum(one.count for one in values) >= len(numbers):
            break
    write = _date if is_date else _number
    return Facet([one for one in values if one.count], write(low), write(high))


def _single_numbers(sample: Floats) -> list[str]:
    """The numbers themselves where there are few."""
    distinct = np.unique(sample)
    return [str(_number(float(value))) for value in distinct] if len(distinct) <= _FEW else []


def _number_ranges(sample: Floats, low: float, high: float) -> list[str]:
    """About five ranges between round numbers, of about as many items each; one range of all without such numbers."""
    borders = dict.fromkeys(_round(float(border)) for border in _quantiles(sample))
    return _between([str(_number(border)) for border in borders if low < border < high]) or [
        f"{_number(low)}{RANGE}{_number(high)}"
    ]


def _quantiles(sample: Floats) -> Floats:
    return sample[[place * len(sample) // _RANGES for place in range(1, _RANGES)]]


def _between(borders: Sequence[str]) -> list[str]:
    return [f"{low}{RANGE}{high}" for low, high in zip(("", *borders), (*borders, ""), strict=True) if low or high]


def _round(value: float) -> float:
    """A number with one significant digit.

    >>> _round(47.3), _round(0.0234), _round(-1520.0)
    (50.0, 0.02, -2000.0)
    """
    return float(f"{value:.0e}")


def _date_ranges(sample: Floats, low: float, high: float) -> list[str]:
    """Years, months or days, whole and without gaps: about five ranges of about as many items each."""
    first, last = _time(low), _time(high)
    width = 4 if last - first > 2 * _YEAR else 7 if last - first > _YEAR / 6 else 10
    borders = dict.fromkeys(_time(border).isoformat()[:width] for border in _quantiles(sample))
    starts = [start for start in borders if start > first.isoformat()[:width]]
    before = [_day_before(start) for start in starts]
    ranges = [f"{low}{RANGE}{high}" for low, high in zip(("", *starts), (*before, ""), strict=True) if low or high]
    return ranges or [f"{_date(low)}{RANGE}{_date(high)}"]


def _day_before(start: str) -> str:
    """The year, month or day before one."""
    whole = datetime.fromisoformat((start + "-01-01")[:10]).replace(tzinfo=UTC)
    return (whole - timedelta(days=1)).isoformat()[: len(start)]


def _time(micros: float) -> datetime:
    return _EPOCH + timedelta(microseconds=int(micros))


def _date(micros: float) -> str:
    return _time(micros).date().isoformat()


def _number(value: float) -> float:
    return int(value) if value.is_integer() else value
