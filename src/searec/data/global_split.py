"""Times of a global split: where training ends for everybody, and where validation ends and test begins."""

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.errors import SettingsError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED = "a number between 0 and 1, or an ISO 8601 time such as 2024-05-01 or 2024-05-01T12:00:00Z"


def event_times(data: Dataset) -> NDArray[np.int64]:
    """Return [E] the time of every event, feed and searches together, in no order; microseconds since 1970."""
    return np.concatenate((data.interactions.time, data.searches.time))


def split_time(data: Dataset, at: float | str | None) -> int | None:
    """Return the time at which training ends, in microseconds since 1970; None for leave-one-out.

    Args:
        data: the dataset.
        at: a number above 0 and below 1, or its text, is a quantile: at most this share of all events lies before the
            time. Any other text is an ISO 8601 time, in UTC if it names no zone. A whole number from 1 is a time in
            microseconds since 1970, as this function returns it.

    Raises:
        SettingsError: it is none of these, or there is no event to take a quantile of.
    """
    if at is None or (isinstance(at, int) and at >= 1):
        return at
    quantile = _number(at)
    if quantile is None:
        return _microseconds(str(at))
    if not 0 < quantile < 1:
        raise SettingsError("bad split time", got=repr(at), expected=_EXPECTED)
    times = event_times(data)
    if not len(times):
        raise SettingsError("the log has no event to split at", got="0 events", expected="interactions or searches")
    rank = int(quantile * len(times))
    return int(np.partition(times, rank)[rank])


def median_time_from(data: Dataset, split_at: int) -> int:
    """Return the median time of the events from `split_at` on: validation ends there and test begins.

    Args:
        data: the dataset, with an event from `split_at` on.
        split_at: microseconds since 1970.
    """
    times = event_times(data)
    times = times[times >= split_at]
    return int(np.partition(times, len(times) // 2)[len(times) // 2])


def iso(time: int) -> str:
    """Return a time, microseconds since 1970, as ISO 8601 in UTC."""
    return f"{np.datetime64(int(time), 'us')}Z"


def _number(at: float | str) -> float | None:
    try:
        return float(at)
    except ValueError:
        return None


def _microseconds(text: str) -> int:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingsError("bad split time", got=repr(text), expected=_EXPECTED) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // timedelta(microseconds=1)
