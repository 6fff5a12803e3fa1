"""Which items are new to a user, for the metrics ENR, CNR and serendipity (`metrics.exposure`, arXiv 2508.04032).

An item is novel to a request if it has categories (at a level of the taxonomy) and the user has touched none of them,
within a window of days or ever.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.ragged import Ints, Ragged
from searec.data.schema import DAY
from searec.data.split import Requests
from searec.data.taxonomy import Level, Taxonomy
from searec.evaluation.slices import history

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
        """Return what was touched by every click strictly before each request, in the feed or after a search.

        Args:
            data: the dataset.
            requests: R requests.
            level: whose categories count.
            days: only clicks of this many days before the request; None for all.
            taxonomy: of the dataset, if it is at hand.
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
        """Return whether each item [n] is novel to its request; never for 0 and for items without categories.

        Args:
            rows: [n] of the requests.
            items: [n] internal ids.
        """
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


def _times(data: Dataset, requests: Requests) -> Ints:
    """[E] when each click of `slices.history` happened."""
    first = np.asarray(data.click_history.offsets[requests.user])
    length = requests.click_end - first
    within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    return np.asarray(data.click_history.time[np.repeat(first, length) + within])
