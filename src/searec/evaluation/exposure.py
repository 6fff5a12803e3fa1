"""Exposure: how much of what is shown, and of what is then clicked, is new to the user (arXiv 2508.04032, ENR and CNR).

An item is novel to a request if it has categories (at a level of the taxonomy) and none of them is one that the user has touched before,
within a window of days or ever.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.ragged import Ints, Ragged
from searec.data.split import Requests
from searec.data.taxonomy import Level, Taxonomy
from searec.evaluation.slices import history
from searec.interests.profile import DAY

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Touched:
    """Which categories the user of each of R requests had touched.

    groups: [I + 1] categories of each item at the level.
    """

    groups: Ragged
    keys: Ints  # sorted: row x (C + 1) + category
    width: int

    @classmethod
    def of(
        cls,
        data: Dataset,
        requests: Requests,
        *,
        level: Level = "narrow",
        days: float | None = None,
        taxonomy: Taxonomy | None = None,
    ) -> "Touched":
        """By every click strictly before each request, in the feed or after a search.

        Args:
            level: whose categories count. days: only clicks of so many days before the request; None for all.
        """
        groups = (taxonomy or Taxonomy.of(data)).at(level)
        width = data.sizes.categories + 1
        items, owner = history(data, requests)
        if days is not None:
            recent = _times(data, requests) >= requests.time[owner] - int(days * DAY)
            items, owner = items[recent], owner[recent]
        category, click = groups.take(items)
        return cls(groups, np.unique(owner[click].astype(np.int64) * width + category), width)

    def novel(self, rows: Ints, items: Ints) -> Mask:
        """[n] whether each item is novel to the request of its row [n]; never for 0 and for items without categories."""
        category, pair = self.groups.take(items)
        key = rows[pair].astype(np.int64) * self.width + category
        place = np.searchsorted(self.keys, key)
        known = np.zeros(len(key), dtype=bool)
        inside = place < len(self.keys)
        known[inside] = self.keys[place[inside]] == key[inside]
        touched = np.bincount(pair[known], minlength=len(items)) > 0
        return ~touched & (np.asarray(self.groups.lengths)[items] > 0)

    def novel_lists(self, top: Ints) -> Mask:
        """[R, K] whether each shown item [R, K] is novel to its request."""
        rows = np.repeat(np.arange(len(top)), top.shape[1])
        return self.novel(rows, np.asarray(top).ravel()).reshape(top.shape)


def exposure_novelty(top: Ints, novel: Mask) -> Floats:
    """[R] ENR: the share of each list's items that are novel, in [0, 1]; 0 for an empty list.

    Args:
        top: [R, K] internal ids, 0 where absent. novel: [R, K].

    >>> exposure_novelty(np.array([[4, 5], [6, 0], [0, 0]]), np.array([[True, False], [True, False], [False, False]])).tolist()
    [0.5, 1.0, 0.0]
    """
    shown = np.count_nonzero(top, axis=1)
    return np.asarray((novel & (top > 0)).sum(axis=1) / np.maximum(shown, 1), dtype=np.float64)


def serendipity(top: Ints, novel: Mask, target: Ints) -> Floats:
    """[R] 1 where a shown item is novel and is what the user went on to choose, else 0.

    >>> serendipity(np.array([[4, 5], [6, 7]]), np.array([[True, False], [True, False]]), np.array([4, 7])).tolist()
    [1.0, 0.0]
    """
    return np.asarray(((top == target[:, None]) & novel).any(axis=1), dtype=np.float64)


def click_novelty(hits: NDArray[np.generic], novel_hits: Floats) -> float:
    """CNR: the share of clicked items that are novel, over all requests, in [0, 1]; clicked is what is shown and was then chosen.

    Args:
        hits: [R] 1 where the target is shown. novel_hits: [R] as `serendipity`.

    >>> click_novelty(np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    0.5
    """
    return float(novel_hits.sum() / max(hits.sum(), 1.0))


def _times(data: Dataset, requests: Requests) -> Ints:
    """[E] when each click of `slices.history` happened."""
    first = np.asarray(data.click_history.offsets[requests.user])
    length = requests.click_end - first
    within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    return np.asarray(data.click_history.time[np.repeat(first, length) + within])
