"""Candidates: the items a target is ranked among, and the negatives a model learns from."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.lexical import bm25_index, neighbours
from searec.data.ragged import Ints
from searec.data.schema import OTHERS, Part, Task
from searec.data.split import Requests, Split
from searec.errors import DataError
from searec.files import replacing

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


def refuse_single_item(data: Dataset, model: str) -> None:
    """Refuse a catalogue of one item for what learns to prefer one item to another.

    Args:
        data: the dataset.
        model: its name, for the error.

    Raises:
        DataError: there is one item.
    """
    if data.sizes.items == 1:
        raise DataError(
            "a catalogue of one item cannot be learned from", where=model, got="1 item", expected="at least 2 items"
        )


def _place(key: Ints, places: int) -> Ints:
    """Multiplicative hash of keys into a table of 2^k places."""
    mixed = key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(65 - places.bit_length())).astype(np.int64)


def draw_unseen(
    rng: np.random.Generator,
    seen: Seen,
    user: Ints,
    n: int,
    *,
    excluded: Ints | None = None,
    distinct: bool = False,
    else_any: bool = False,
    events: Ints | None = None,
) -> NDArray[np.int32]:
    """[R, n] items drawn from those the user has not clicked, uniformly or as often as they occur in `events`.

    Args:
        rng: all draws come from it.
        seen: the clicks.
        n: items a row.
        user: [R] internal user ids.
        excluded: [R, M] items that must not be drawn either; 0 pads.
        distinct: no item twice in a row.
        else_any: for a user who has clicked everything, draw from all items but the excluded ones.
        events: [E] items of a list of events to draw from. A user who has clicked nearly all of them gets others.

    Raises:
        DataError: a user has clicked so much that too few items are left.
    """
    excluded = np.zeros((len(user), 0), dtype=np.int32) if excluded is None else excluded

    def drawn(*size: int) -> NDArray[np.int32]:
        if events is None:
            return rng.integers(1, seen.items + 1, size=size, dtype=np.int32)
        return events[rng.integers(len(events), size=size)].astype(np.int32, copy=False)

    out = drawn(len(user), n)
    rows = np.arange(len(user))
    for _ in range(_REDRAWS):
        bad = _unfit(seen, user[rows], out[rows], excluded[rows], distinct)
        again = bad.any(axis=1)
        if not again.any():
            return out
        rows, bad = rows[again], bad[again]
        fresh = out[rows]
        fresh[bad] = drawn(int(bad.sum()))
        out[rows] = fresh
    for row in rows:  # users who have clicked nearly everything: draw from what is left
        permitted = np.setdiff1d(np.arange(1, seen.items + 1), excluded[row])
        left = np.setdiff1d(permitted, seen.of_user(int(user[row])))
        if else_any and not len(left):
            left = permitted
        if len(left) < (n if distinct else 1):
            raise DataError(
                "too few items are left to draw candidates from",
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


@dataclass(frozen=True)
class SampledRequests:
    """The held-out requests of the sampled protocol.

    Attributes:
        requests: R requests.
        candidates: [R, 1 + n] the target of each, then other items.
        left_out: external ids of the users who have clicked so much that their requests cannot be ranked.
    """

    requests: Requests
    candidates: Ints
    left_out: tuple[str, ...]


def sampled_requests(split: Split, task: Task, part: Part, *, seed: int = 0) -> SampledRequests:
    """Return the held-out requests with their candidates, without users who have clicked nearly everything.

    Args:
        split: the split.
        task: the task.
        part: "val" or "test".
        seed: of the draws.
    """
    requests = split.held_out(task, part)
    if not len(requests):
        return SampledRequests(requests, np.zeros((0, 1), dtype=np.int32), ())
    candidates, enough = candidate_lists(split, task, part, seed=seed), has_enough_left(split, requests)
    if enough.all():
        return SampledRequests(requests, candidates, ())
    rows = np.flatnonzero(enough)
    return SampledRequests(requests[rows], candidates[rows], users_left_out(split, task, part))


def users_left_out(split: Split, task: Task, part: Part) -> tuple[str, ...]:
    """Return the external ids of held-out users who have clicked so much that the sampled protocol cannot rank them.

    Args:
        split: the split.
        task: the task.
        part: "val" or "test".
    """
    requests = split.held_out(task, part)
    users = np.unique(requests.user[~has_enough_left(split, requests)])
    return tuple(split.data.users.to_external(users))


def has_enough_left(split: Split, requests: Requests) -> NDArray[np.bool_]:
    """Return [R] whether a tenth of the catalogue, or `OTHERS` items, are left that the user has never clicked.

    Args:
        split: the split.
        requests: R held-out requests.
    """
    items = split.data.sizes.items
    return (items - split.items_clicked[requests.user]) >= max(1, min(OTHERS, items // 10))


def candidate_lists(split: Split, task: Task, part: Part, *, n: int | None = None, seed: int = 0) -> NDArray[np.int32]:
    """Return [R, 1 + n]: each held-out request's target, then `n` other items; drawn once and stored with the dataset.

    Recommendation: items the user never clicked, uniformly. Search: the best BM25 matches of the query among
    those (hard negatives); where fewer match, filled up uniformly.

    Args:
        split: the split.
        task: the task.
        part: "val" or "test".
        n: other items a list. By default 99, less in a catalogue so small that some user has fewer unclicked items;
            the row of a user who has clicked nearly everything (see `sampled_requests`) then holds the target alone.
        seed: of the draws.

    Raises:
        DataError: too few items are left for `n`.
    """
    if split.final or split.read_before is not None:  # the requests that are left keep their candidates
        whole = replace(split, final=False, read_before=None)
        return candidate_lists(whole, task, part, n=n, seed=seed)[split.is_unread(task, part)]
    data, given = split.data, n
    n = most_others(split, task, part) if n is None else n
    path = data.folder / f"candidates-{task}-{part}-{split.requests_key}-{n}-{seed}.npy"
    if not path.is_file():
        requests = split.held_out(task, part)
        left = data.sizes.items - split.items_clicked[requests.user]
        if given is not None and len(left) and left.min() < given:
            raise DataError(
                "too few items are left to draw candidates from",
                where=f"user {data.users.to_external(requests.user[[left.argmin()]])[0]!r}",
                got=f"{left.min()} items the user never clicked",
                expected=f"at least {given}",
                remedy="ask for fewer candidates",
            )
        rows = np.flatnonzero(left >= n)
        rng = np.random.default_rng([seed, ("recommend", "search").index(task), ("train", "val", "test").index(part)])
        target, requests = requests.target[:, None], requests[rows]
        seen = Seen.ever(data)
        others = np.zeros((len(target), n), dtype=np.int32)
        if task == "recommend":
            others[rows] = draw_unseen(rng, seen, requests.user, n, excluded=requests.target[:, None], distinct=True)
        else:
            others[rows] = _hard_negatives(rng, data, seen, requests, n)
        with replacing(path) as beside, beside.open("wb") as file:
            np.save(file, np.concatenate((target, others), axis=1).astype(np.int32))
    stored: NDArray[np.int32] = np.load(path, mmap_mode="r")
    return stored


def most_others(split: Split, task: Task, part: Part) -> int:
    """Return `OTHERS`, or the fewest unclicked items of a held-out user, if that is less; see `sampled_requests`.

    Args:
        split: the split.
        task: the task.
        part: "val" or "test".
    """
    requests = split.held_out(task, part)
    users = requests.user[has_enough_left(split, requests)]
    if not len(users):
        return 1
    return min(OTHERS, split.data.sizes.items - int(split.items_clicked[users].max()))


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
