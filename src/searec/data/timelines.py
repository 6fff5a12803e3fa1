"""Stretches of users' timelines, from which a causal model learns an item at every event."""

from collections.abc import Sequence

import numpy as np

from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.split import Requests, Split, requests_at


def timelines(split: Split, tasks: Sequence[Task], length: int) -> Requests:
    """Return requests whose histories together hold every training event, those of a user `length` at a time.

    The newest stretch of a user ends after the newest event before the cut-off. Where one begins amid events of one
    time, such as a search and its clicks, the older of them are left out. Targets are 0: what follows each event lies
    in the history.

    Args:
        split: whose training events are read.
        tasks: what the model learns; they set the cut-off.
        length: events in a stretch; a search counts as one, and each of its clicks as one.
    """
    time, owner = _event_times(split)
    cutoff = split.cutoff(tasks)
    is_old = time < cutoff[owner]
    order = np.lexsort((time[is_old], owner[is_old]))
    time, owner = time[is_old][order], owner[is_old][order]
    count = np.bincount(owner, minlength=len(cutoff))
    stretches = -(-count // length)
    user = np.repeat(np.arange(len(count), dtype=np.int32), stretches)
    newer = np.arange(len(user)) - np.repeat(np.cumsum(stretches) - stretches, stretches)
    first = np.cumsum(count) - count
    end = first[user] + count[user] - newer * length
    until = time[np.where(newer == 0, end - 1, end)] + (newer == 0)
    return requests_at(split.data, "recommend", user, until)


def _event_times(split: Split) -> tuple[Ints, Ints]:
    """Time and user [E] of every feed event, search and click of a search."""
    feed, searches = split.data.interactions, split.data.searches
    events = 1 + searches.clicks.lengths
    owners = [np.repeat(np.arange(len(one.offsets) - 1), np.diff(one.offsets)) for one in (feed, searches)]
    time = np.concatenate((feed.time, np.repeat(searches.time, events)))
    return time, np.concatenate((owners[0], np.repeat(owners[1], events)))
