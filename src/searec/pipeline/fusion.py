"""Fusion: several lists become one, a second channel gets its share, and similar items are set apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.pipeline.catalog_snapshot import CatalogSnapshot, item_words

RRF = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""


@dataclass(frozen=True)
class Fused:
    """Lists fused into one.

    Attributes:
        items: [n] item indexes, best first.
        score: [n] sum of weight / (RRF + rank) over the lists.
        source: [n] the list in which the item ranks highest.
    """

    items: Ints
    score: NDArray[np.float64]
    source: Ints


def fuse(lists: Sequence[Ints], weights: Sequence[float] | None = None, *, constant: int = RRF) -> Fused:
    """Fuse lists by reciprocal rank; of equal scores the item that an earlier list ranks higher goes first.

    Args:
        lists: item indexes, best first, no item twice in a list.
        weights: of each list; 1 by default.
        constant: of the reciprocal rank.

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


def likeness(owner: Ints, word: Ints, count: int) -> NDArray[np.float32]:
    """Return the cosine [n, n] between the sets of words of n items, 0 for an item without words.

    Args:
        owner: [e] an item, from 0.
        word: [e] a word of it; a pair may occur twice.
        count: n.
    """
    used, column = np.unique(word, return_inverse=True)
    rows = np.zeros((count, max(1, len(used))), dtype=np.float32)
    rows[owner, column] = 1
    rows /= np.sqrt(np.maximum(rows.sum(axis=1, keepdims=True), 1))
    cosines: NDArray[np.float32] = rows @ rows.T
    return cosines


def spread(
    alike: NDArray[np.float32], group: NDArray[np.bool_], diversity: float, *, first: int, near: float = 0.5
) -> Ints:
    """Return an order of n items in whose first positions near-identical ones are kept apart.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): the next item has the highest (1 - diversity) x
    relevance - diversity x likeness to any item before it. Relevance falls evenly from 1 for the first item to 0, and
    likeness counts from `near` on. Positions of a group stay with items of that group.

    Args:
        alike: [n, n] in [0, 1].
        group: [n] which of two groups each position, and the item now at it, belongs to.
        diversity: 0 to 1.
        first: positions that are filled so; all others keep their order.
        near: likeness from which items count as similar.
    """
    count = len(alike)
    relevance = 1 - np.arange(count) / max(1, count)
    penalty = np.zeros(count)
    left = np.ones(count, dtype=bool)
    excess = np.clip((alike - near) / (1 - near), 0, 1)
    order = np.empty(min(first, count), dtype=np.int64)
    for place in range(len(order)):
        gain = np.where(left & (group == group[place]), (1 - diversity) * relevance - diversity * penalty, -np.inf)
        chosen = order[place] = int(gain.argmax())
        left[chosen] = False
        np.maximum(penalty, excess[chosen], out=penalty)
    rest = np.empty(count - len(order), dtype=np.int64)
    for kind in (False, True):
        rest[group[len(order) :] == kind] = np.flatnonzero(left & (group == kind))
    return np.concatenate((order, rest))


def diversify(catalog: CatalogSnapshot, items: Ints, group: NDArray[np.bool_], diversity: float, *, first: int) -> Ints:
    """Return an order of items in whose first positions items of the same words stand apart.

    Args:
        catalog: of the items.
        items: [n] item indexes, best first.
        group: [n] as in `spread`.
        diversity: 0 to 1; 0 changes nothing.
        first: positions to fill so.
    """
    if diversity <= 0 or len(items) < 2:
        return np.arange(len(items))
    return spread(likeness(*_words(catalog, items), len(items)), group, diversity, first=first)


def _words(catalog: CatalogSnapshot, items: Ints) -> tuple[Ints, Ints]:
    """Pairs of an item's position and a word of it; words unknown to the dataset get numbers of their own."""
    data = catalog.base.data
    known = data.sizes.items
    words, owner = data.item_words.take(np.where(items <= known, items, 0))
    extra: dict[str, int] = {}
    index = data.word_index
    for row in np.flatnonzero(items > known).tolist():
        numbers = [
            index[word] if word in index else data.sizes.words + 1 + extra.setdefault(word, len(extra))
            for word in data.analyser.terms(item_words(catalog.attributes(int(items[row]))))
        ]
        words, owner = np.concatenate((words, numbers)), np.concatenate((owner, np.full(len(numbers), row)))
    return owner, words.astype(np.int64)


@dataclass(frozen=True)
class RankedList:
    """The list of one request before it is cut into pages; the arrays have one entry for each item.

    Attributes:
        items: item indexes.
        score: of the last stage.
        channel: names of channels.
        interest: positions among the user's interests, -1 for items of other channels.
        second: whether the item is of the interest channel.
    """

    items: Ints
    score: NDArray[np.float64]
    channel: list[str]
    interest: Ints
    second: NDArray[np.bool_]

    def at(self, order: Ints) -> "RankedList":
        """Return the list with the items at the given positions, in that order."""
        channel = [self.channel[position] for position in order.tolist()]
        return RankedList(self.items[order], self.score[order], channel, self.interest[order], self.second[order])


def join(
    names: Sequence[str], usual: Fused, room: int, fill: Ints, second: Ints, interest: Ints, *, window: int
) -> RankedList:
    """Join a fused list, what fills it up, and the interest channel's items, in this order.

    Of items that both have, the first `window` of the fused list stay there: the interest channel gets its share for
    items that would not be shown without it.

    Args:
        names: of the fused channels.
        usual: their fused list.
        room: how many of its items, filled up, are used at most.
        fill: item indexes to fill it up with.
        second: the interest channel's items.
        interest: the interest that each of them matches.
        window: first positions of the fused list that keep their items.
    """
    is_new = ~np.isin(second, usual.items[:window])
    second, interest = second[is_new], interest[is_new]
    is_usual = ~np.isin(usual.items, second)
    items = usual.items[is_usual][:room]
    fill = fill[~np.isin(fill, np.concatenate((items, second)))][: room - len(items)]
    source = usual.source[is_usual][:room].tolist()
    channel = [names[number] for number in source] + ["popular"] * len(fill) + ["interest"] * len(second)
    first = len(items) + len(fill)
    return RankedList(
        items=np.concatenate((items, fill, second)),
        score=np.concatenate((usual.score[is_usual][:room], np.zeros(len(fill) + len(second)))),
        channel=channel,
        interest=np.concatenate((np.full(first, -1), interest)),
        second=np.arange(first + len(second)) >= first,
    )
