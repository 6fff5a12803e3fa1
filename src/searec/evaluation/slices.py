"""Slices: the groups of requests for which figures are also given apart."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from searec.data.candidates import Seen
from searec.data.dataset import FEED, SEARCH, Dataset
from searec.data.ragged import Ints, Ragged
from searec.data.split import Requests, Split

SPARSE_BELOW = 10
"""A sparse searcher has fewer search sessions than this before the target."""
COLD_BELOW = 5
"""A cold user has fewer clicks than this before the target."""

NEWCOMERS = ("new-user", "known-user", "new-item", "known-item")
"""Slices of a global split alone: users and targets without and with an event before it."""

Mask = NDArray[np.bool_]


def slices(split: Split, requests: Requests, *, sparse_below: int = SPARSE_BELOW) -> dict[str, Mask]:
    """Slice name -> [R] which requests are in it, all by what lies strictly before the request.

    sparse / rich: fewer than `sparse_below` search sessions, or not. low- / high-similarity: the cosine between
    the categories clicked in the feed and after searches, below or from the median of those who have both.
    cold-user: fewer than 5 clicks. cold-item: the target was never clicked in training. repeat / new: the
    user has clicked the target before, or not. unseen-user, if the split keeps users from training: one of them.
    new-user / known-user, new-item / known-item, in a global split: no event of the user, no click on the target, lies
    before the split, or one does.

    Args:
        split: of the requests.
        requests: R requests of one task.
        sparse_below: search sessions from which a user is a rich searcher.
    """
    data = split.data
    sessions = requests.search_end - data.searches.offsets[requests.user]
    clicks = requests.click_end - data.click_history.offsets[requests.user]
    similarity = interest_similarity(data, requests)
    both = ~np.isnan(similarity)
    median = np.median(similarity[both]) if both.any() else 0.0
    trained = np.bincount(split.train_clicks((requests.task,))[1], minlength=data.sizes.items + 1)
    repeat = is_repeat(data, requests)
    masks = {
        "sparse": sessions < sparse_below,
        "rich": sessions >= sparse_below,
        "low-similarity": both & (similarity < median),
        "high-similarity": both & (similarity >= median),
        "cold-user": clicks < COLD_BELOW,
        "cold-item": trained[requests.target] == 0,
        "repeat": repeat,
        "new": ~repeat,
    }
    if split.split_at is not None:
        new_user, new_item = split.new_users[requests.user], split.new_items[requests.target]
        masks |= dict(zip(NEWCOMERS, (new_user, ~new_user, new_item, ~new_item), strict=True))
    if split.unseen:
        masks |= {"unseen-user": ~split.known[requests.user]}
    return masks


def is_repeat(data: Dataset, requests: Requests) -> Mask:
    """Return [R] whether the user has clicked the target before.

    Args:
        data: the dataset.
        requests: R requests.
    """
    items, owner = history(data, requests)
    return Seen.of(owner, items, data.sizes.items).contains(np.arange(len(requests)), requests.target)


def history(data: Dataset, requests: Requests) -> tuple[Ints, Ints]:
    """Every item [E] clicked before its request, and the row [E] of that request.

    Args:
        data: the dataset.
        requests: R requests.
    """
    items, owner, _ = _history(data, requests)
    return items, owner


def _history(data: Dataset, requests: Requests) -> tuple[Ints, Ints, Ints]:
    first = np.asarray(data.click_history.offsets[requests.user])
    length = requests.click_end - first
    owner = np.repeat(np.arange(len(requests)), length)
    position = np.arange(len(owner)) + np.repeat(first - (np.cumsum(length) - length), length)
    return data.click_history.item[position], owner, data.click_history.source[position]


def interest_similarity(data: Dataset, requests: Requests) -> NDArray[np.float64]:
    """[R] cosine between the category counts of feed clicks and of search clicks; NaN where either is empty.

    Args:
        data: the dataset.
        requests: R requests.
    """
    items, owner, source = _history(data, requests)
    categories = membership(data.item_categories, data.sizes.categories)
    sides = []
    for kind in (FEED, SEARCH):
        rows, columns = owner[source == kind], items[source == kind]
        clicks = scipy.sparse.csr_matrix(
            (np.ones(len(rows)), (rows, columns)), shape=(len(requests), len(data.item_categories))
        )
        sides.append(clicks @ categories)
    feed, search = sides
    dot = np.asarray(feed.multiply(search).sum(axis=1)).ravel()
    norm = np.sqrt(np.asarray(feed.power(2).sum(axis=1)).ravel() * np.asarray(search.power(2).sum(axis=1)).ravel())
    return np.where(norm > 0, dot / np.where(norm > 0, norm, 1.0), np.nan)


def membership(categories: Ragged, count: int) -> scipy.sparse.csr_matrix:
    """[I + 1, C + 1] 1 where an item bears a category.

    Args:
        categories: rows of categories by internal item id.
        count: number of categories, C.
    """
    return scipy.sparse.csr_matrix(
        (np.ones(len(categories.values)), categories.values, categories.offsets), shape=(len(categories), count + 1)
    )
