"""Figures of a log that are possible and unlikely: what a damaged or misread export looks like."""

from datetime import UTC, datetime

import polars as pl

_SECOND = 1_000_000
_YEAR = 365 * 86_400 * _SECOND


def odd_times(*times: pl.Series) -> list[str]:
    """Return a sentence for each thing that is odd about the times of a log; none for one event or no event.

    Args:
        times: of events, microseconds since 1970.
    """
    whole = pl.concat([series.cast(pl.Int64) for series in times])
    if len(whole) < 2:
        return []
    first, last = int(whole.min()), int(whole.max())  # type: ignore[arg-type]
    notes = []
    if last - first <= _SECOND:
        notes.append(
            f"all {len(whole):,} events are within one second, at {_iso(first)}: either the export has lost the times, "
            "or their unit is not what it was taken for (--time-unit)"
        )
    if first < _YEAR:
        early = int((whole < _YEAR).sum())
        notes.append(
            f"{early:,} of {len(whole):,} events are in 1970, the first at {_iso(first)}: a missing time written as 0, "
            "or a unit that is not what it was taken for (--time-unit)"
        )
    return notes


def _iso(micro: int) -> str:
    return datetime.fromtimestamp(micro / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
