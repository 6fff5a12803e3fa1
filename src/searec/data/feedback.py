"""What events say of items, for training and lists: weights of clicks, and what a user's lists leave out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import FEED, Dataset
from searec.data.ragged import Ints, gather_windows
from searec.data.schema import Task
from searec.data.split import Requests, Split


def train_weights(split: Split, tasks: Sequence[Task]) -> NDArray[np.float32]:
    """Return the weights [E] of `Split.train_clicks`: an event's over the median of the feed's, 1 after a search.

    All are 1 where the feed has events of one weight.

    Args:
        split: the split.
        tasks: what the model learns for.
    """
    click_history, old = split.data.click_history, _is_old(split, tasks)
    return relative_weights(click_history.weight[old], click_history.source[old])


def train_times(split: Split, tasks: Sequence[Task]) -> Ints:
    """Return the times [E] of `Split.train_clicks`, microseconds since 1970.

    Args:
        split: the split.
        tasks: what the model learns for.
    """
    times: Ints = np.asarray(split.data.click_history.time)[_is_old(split, tasks)]
    return times


def _is_old(split: Split, tasks: Sequence[Task]) -> NDArray[np.bool_]:
    click_history = split.data.click_history
    user = np.repeat(np.arange(len(click_history.offsets) - 1, dtype=np.int32), np.diff(click_history.offsets))
    is_old: NDArray[np.bool_] = click_history.time < split.cutoff(tasks)[user]
    return is_old


def relative_weights(weight: NDArray[np.float32], source: Ints) -> NDArray[np.float32]:
    """Return weights of clicks [E] on one scale: of the feed over their median, 1 after a search.

    Args:
        weight: [E] of events.
        source: [E] FEED or SEARCH.
    """
    in_feed = source == FEED
    relative = np.ones(len(weight), dtype=np.float32)
    if in_feed.any():
        relative[in_feed] = weight[in_feed] / np.median(weight[in_feed])
    return relative


def excluded_items(data: Dataset, requests: Requests) -> Ints:
    """Return [R, E] items that a list for each request leaves out: clicked before it, or refused; 0 pads.

    Args:
        data: the dataset.
        requests: R requests.
    """
    first = np.asarray(data.click_history.offsets[requests.user])
    clicked = gather_windows(data.click_history.item, first, requests.click_end - first)
    return np.concatenate((clicked, disliked_items(data, requests)), axis=1).astype(np.int64)


def disliked_items(data: Dataset, requests: Requests) -> Ints:
    """Return [R, M] items that each request's user refused before it and has not chosen since; 0 pads.

    Args:
        data: the dataset.
        requests: R requests.
    """
    dislikes = data.dislikes
    first = np.asarray(dislikes.offsets[requests.user])
    item, until = (
        gather_windows(column, first, requests.dislike_end - first) for column in (dislikes.item, dislikes.until)
    )
    return np.where(until >= np.asarray(requests.time)[:, None], item, 0)
