"""Candidates: the items a target is ranked among, and the negatives a model learns from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.lexical import bm25_index, neighbours
from searec.data.ragged import Ints
from searec.data.schema import Part, Task
from searec.data.split import Requests, Split
from searec.errors import DataError
from searec.files import replacing

OTHERS = 99
"""Items a target is ranked among in the sampled protocol."""
_QUERY_CHUNK = 256
_REDRAWS = 100
_MOST_MARKS = 27


@dataclass(frozen=True)
class Seen:
    """Which user has clicked which item, as a sorted array of pair keys.

    `marks` tells most pairs apart that were not clicked, in one look instead of a search: a hashed table of at least 32
    places a key.
    """

    keys: Ints
    items: int
    marks: NDArray[np.bool_]

    @classmethod
    def of(cls, user: Ints, item: Ints, items: int) -> "Seen":
        """Collect clicks from parallel arrays of pairs, in any order, repeats allowed.

        Args:
            user: [E] internal user ids.
            item: [E] internal item ids.
            items: how many items there are.
        """
        keys = np.unique(user.astype(np.int64) * (items + 1) + item)
        marks = np.zeros(1 << min(_MOST_MARKS, max(10, int(32 * len(keys)).bit_length())), dtype=bool)
        marks[_place(keys, len(marks))] = True
        return cls(keys, items, marks)

    @classmethod
    def ever(cls, data: Dataset) -> "Seen":
        """Every click of the whole dataset, in the feed or after a search."""
        user = np.repeat(np.arange(len(data.click_history.offsets) - 1), np.diff(data.click_history.offsets))
        return cls.of(user, data.click_history.item, data.sizes.items)

    def contains(self, user: Ints, item: Ints) -> NDArray[np.bool_]:
        """Return whether each pair was clicked; shapes broadcast.

        Args:
            user: internal user ids.
            item: internal item ids.
        """
        if len(self.keys) == 0:
            return np.zeros(np.broadcast(user, item).shape, dtype=bool)
        key = np.asarray(user, dtype=np.int64) * (self.items + 1) + item
        matches: NDArray[np.bool_] = self.marks.take(_place(key, len(self.marks)))
        likely = key[matches]
        matches[matches] = self.keys[np.minimum(np.searchsorted(self.keys, likely), len(self.keys) - 1)] == likely
        return matches

    def of_user(self, user: int) -> Ints:
        """The items one user clicked."""
        low, high = np.searchsorted(self.keys, (user * (self.items + 1), (user + 1) * (self.items + 1)))
        return self.keys[low:high] - user * (self.items + 1)


def _place(key: Ints, places: int) -> Ints:
    """Multiplicative hash of keys into a table of 2^k places."""
    mixed = key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(65 - places.bit_length())).astype(np.int64)


def draw_unseen(
    rng: np.random.Generator, seen: Seen, user: Ints, n: int, *, excluded: Ints | None = None, distinct: bool = False
) -> NDArray[np.int32]:
    """[R, n] items drawn uniformly from those the user has not clicked.

    Args:
        rng: all draws come from it.
        seen: the clicks.
        n: items a row.
        user: [R] internal user ids.
        excluded: [R, M] items that must not be drawn either; 0 pads.
        distinct: no item twice in a row.

    Raises:
        DataError: a user has clicked so much that too few items are left.
    """
    excluded = np.zeros((len(user), 0), dtype=np.int32) if excluded is None else excluded
    out = rng.integers(1, seen.items + 1, size=(len(user), n), dtype=np.int32)
    rows = np.arange(len(user))
    for _ in range(_REDRAWS):
        bad = _unfit(seen, user[rows], out[rows], excluded[rows], distinct)
        again = bad.any(axis=1)
        if not again.any():
            return out
        rows, bad = rows[again], bad[again]
        fresh = out[rows]
        fresh[bad] = rng.integers(1, seen.items + 1, size=int(bad.sum()), dtype=np.int32)
        out[rows] = fresh
    for row in rows:  # users who have clicked nearly everything: draw from what is left
        left = np.setdiff1d(np.arange(1, seen.items + 1), np.concatenate((seen.of_user(int(user[row])), excluded[row])))
        if len(left) < (n if distinct else 1):
            raise DataError(
                "too few items are left to draw candidates from",
                where=f"user {int(user[row])}",
                got=f"{len(left)} items the user never clicked",
                expected=f"at least {n}",
                remedy="ask for fewer candidates",
            )
        out[row] = rng.choice(left, size=n, replace=not distinct)
    return out


def _unfit(seen: Seen, user: Ints, drawn: Ints, excluded: Ints, distinct: bool) -> NDArray[np.bool_]:
    bad = seen.contains(user[:, None], drawn)
    if excluded.shape[1]:
        bad |= (drawn[:, :, None] == excluded[:, None, :]).any(axis=2)
    if distinct:
        order = np.argsort(drawn, axis=1, kind="stable")
        ordered = np.take_along_axis(drawn, order, axis=1)
        again = np.zeros_like(bad)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        twice = np.zeros_like(bad)
        np.put_along_axis(twice, order, again, axis=1)
        bad |= twice
    return bad


def candidate_lists(split: Split, task: Task, part: Part, *, n: int | None = None, seed: int = 0) -> NDArray[np.int32]:
    """Return [R, 1 + n]: each held-out request's target, then `n` other items; drawn once and stored with the dataset.

    Recommendation: items the user never clicked, uniformly. Search: the best BM25 matches of the query among
    those (hard negatives); where fewer match, filled up uniformly.

    Args:
        split: the split.
        task: the task.
        part: "val" or "test".
        n: other items a list; 99 by default, less in a catalogue so small that some user has fewer unclicked items.
        seed: of the draws.

    Raises:
        DataError: too few items are left for `n`.
    """
    data = split.data
    n = most_others(split, task, part) if n is None else n
    path = data.folder / f"candidates-{task}-{part}-{split.requests_key}-{n}-{seed}.npy"
    if not path.is_file():
        requests = split.held_out(task, part)
        rng = np.random.default_rng([seed, ("recommend", "search").index(task), ("train", "val", "test").index(part)])
        target = requests.target[:, None]
        seen = Seen.ever(data)
        if task == "recommend":
            others: Ints = draw_unseen(rng, seen, requests.user, n, excluded=target, distinct=True)
        else:
            others = _hard_negatives(rng, data, seen, requests, n)
        with replacing(path) as beside, beside.open("wb") as file:
            np.save(file, np.concatenate((target, others), axis=1).astype(np.int32))
    stored: NDArray[np.int32] = np.load(path, mmap_mode="r")
    return stored


def most_others(split: Split, task: Task, part: Part) -> int:
    """Return `OTHERS`, or the fewest unclicked items that a held-out user has, if that is less.

    Args:
        split: the split.
        task: the task.
        part: "val" or "test".
    """
    clicked = split.items_clicked[split.held_out(task, part).user]
    return max(1, min(OTHERS, split.data.sizes.items - int(clicked.max(initial=0))))


def _hard_negatives(rng: np.random.Generator, data: Dataset, seen: Seen, requests: Requests, n: int) -> Ints:
    index = bm25_index(data)
    queries, row = np.unique(requests.query, return_inverse=True)
    depth = 2 * n + 64
    near = np.zeros((len(queries), min(depth, data.sizes.items)), dtype=np.int32)
    for start in range(0, len(queries), _QUERY_CHUNK):
        words = data.queries.words.pad(queries[start : start + _QUERY_CHUNK])
        near[start : start + len(words)] = neighbours(index, words, near.shape[1])
    others = np.zeros((len(requests), n), dtype=np.int32)
    for start in range(0, len(requests), _QUERY_CHUNK):
        rows = slice(start, start + _QUERY_CHUNK)
        matches, user, target = near[row[rows]], requests.user[rows, None], requests.target[rows, None]
        good = (matches > 0) & (matches != target) & ~seen.contains(user, matches)
        first = np.argsort(~good, axis=1, kind="stable")[:, :n]
        picked = np.where(np.take_along_axis(good, first, axis=1), np.take_along_axis(matches, first, axis=1), 0)
        others[rows, : picked.shape[1]] = picked
    missing = (others == 0).sum(axis=1)
    for count in np.unique(missing[missing > 0]):
        short = np.flatnonzero(missing == count)
        excluded = np.concatenate((requests.target[short, None], others[short]), axis=1)
        others[short, n - count :] = draw_unseen(
            rng, seen, requests.user[short], int(count), excluded=excluded, distinct=True
        )
    return others
