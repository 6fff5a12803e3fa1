"""Merging lists: reciprocal rank fusion, places for a second channel, and a first page that is not all one thing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.retrieval.quota_pool import slots

RRF = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""


@dataclass(frozen=True)
class Fused:
    """Lists fused into one.

    items: [n] places, best first. score: [n] sum of 1 / (RRF + rank) over the lists. source: [n] the list in which it stands highest.
    """

    items: Ints
    score: NDArray[np.float64]
    source: Ints


def fuse(lists: Sequence[Ints], weights: Sequence[float] | None = None, *, constant: int = RRF) -> Fused:
    """Reciprocal rank fusion; of equals the one that an earlier list holds higher goes first.

    >>> fuse([np.array([5, 7]), np.array([7, 9])]).items.tolist()
    [7, 5, 9]
    """
    lengths = [len(one) for one in lists]
    flat = np.concatenate([*lists, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    rank = np.concatenate([*(np.arange(1, length + 1) for length in lengths), np.zeros(0)])
    source = np.repeat(np.arange(len(lists)), lengths)
    weight = np.repeat(np.asarray(weights if weights is not None else np.ones(len(lists))), lengths)
    items, inverse = np.unique(flat, return_inverse=True)
    score = np.bincount(inverse, weights=weight / (constant + rank), minlength=len(items)).astype(np.float64)
    highest = np.lexsort((source, rank, inverse))
    first = highest[np.unique(inverse[highest], return_index=True)[1]]
    order = np.lexsort((source[first], rank[first], -score))
    return Fused(items[order], score[order], source[first][order])


def interleave(usual: int, second: int, quota: float) -> tuple[Ints, NDArray[np.bool_]]:
    """How two lists share the places of one: the second gets the places of `retrieval.pool.slots` as long as it lasts.

    Args:
        usual, second: how long the lists are.

    Returns:
        [usual + second] for each place the position in its list, and whether that is the second one.
    """
    count = usual + second
    marked = slots(count, quota).numpy()
    turn = np.cumsum(marked)
    from_second = marked & (turn <= second)
    short = np.cumsum(~from_second) > usual  # the first list has run dry
    from_second |= short
    position = np.where(from_second, np.cumsum(from_second), np.cumsum(~from_second)) - 1
    return position, from_second


def likeness(owner: Ints, word: Ints, count: int) -> NDArray[np.float32]:
    """[n, n] cosine between the sets of words of n items, 0 for one without words.

    Args:
        owner, word: [e] pairs of an item, from 0, and a word it holds; a pair may come twice.
        count: n.
    """
    used, column = np.unique(word, return_inverse=True)
    rows = np.zeros((count, max(1, len(used))), dtype=np.float32)
    rows[owner, column] = 1
    rows /= np.sqrt(np.maximum(rows.sum(axis=1, keepdims=True), 1))
    together: NDArray[np.float32] = rows @ rows.T
    return together


def spread(
    alike: NDArray[np.float32], group: NDArray[np.bool_], diversity: float, *, first: int, near: float = 0.5
) -> Ints:
    """An order of n items in the first places of which near-identical ones stand apart.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    The next item is the one with the highest (1 - diversity) x worth - diversity x likeness to any item before it, where worth falls evenly
    from 1 for the first to 0 and likeness counts from `near` on. Places of `group` stay with items of the group.

    Args:
        alike: [n, n] in [0, 1].
        group: [n] which of two kinds each place, and the item now at it, is of.
        first: places that are filled so; all others keep their order.
    """
    count = len(alike)
    worth = 1 - np.arange(count) / max(1, count)
    penalty = np.zeros(count)
    left = np.ones(count, dtype=bool)
    excess = np.clip((alike - near) / (1 - near), 0, 1)
    order = np.empty(min(first, count), dtype=np.int64)
    for place in range(len(order)):
        gain = np.where(left & (group == group[place]), (1 - diversity) * worth - diversity * penalty, -np.inf)
        chosen = order[place] = int(gain.argmax())
        left[chosen] = False
        np.maximum(penalty, excess[chosen], out=penalty)
    rest = np.empty(count - len(order), dtype=np.int64)
    for kind in (False, True):
        rest[group[len(order) :] == kind] = np.flatnonzero(left & (group == kind))
    return np.concatenate((order, rest))
