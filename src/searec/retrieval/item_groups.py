"""Groups of items with equal categories: one vector stands for all of a group, and an item is looked up by category."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints, Ragged, group


@dataclass(frozen=True)
class ItemGroups:
    """N items in groups 1..G.

    Attributes:
        members: [G + 1] the items of each group, the best first.
        of_item: [N + 1] the group of each item, 0 of no item.
        carriers: [C + 1] the groups that carry each category, ascending.
    """

    members: Ragged
    of_item: Ints
    carriers: Ragged

    @classmethod
    def of(cls, labels: Ints, worth: NDArray[np.number], categories: int) -> "ItemGroups":
        """Return the groups of items 1..N with equal sets of categories.

        Args:
            labels: [N + 1, L] categories of each item, each once, 0 pads; row 0 is no item.
            worth: [N + 1] the larger the better; of equals the smaller id goes first.
            categories: C.

        >>> groups = ItemGroups.of(np.array([[0, 0], [7, 2], [5, 0], [2, 7], [7, 2]]), np.array([0, 1, 1, 3, 1]), 7)
        >>> groups.members.values.tolist(), groups.members.offsets.tolist(), groups.carriers.row(7).tolist()
        ([2, 3, 1, 4], [0, 0, 1, 4], [2])
        """
        rows = np.ascontiguousarray(np.sort(labels[1:], axis=1).astype(np.int32))
        whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
        _, first, number = np.unique(whole, return_index=True, return_inverse=True)
        order = np.lexsort((np.arange(len(rows)), -worth[1:].astype(np.float64), number))
        members = group(number[order] + 1, order + 1, len(first) + 1)
        carrier, column = np.nonzero(rows[first])
        category = rows[first][carrier, column]
        by_category = np.argsort(category, kind="stable")
        carriers = group(category[by_category], carrier[by_category] + 1, categories + 1)
        return cls(members, np.concatenate(([0], number + 1)), carriers)

    def __len__(self) -> int:
        return len(self.members) - 1

    @property
    def first(self) -> Ints:
        """[G + 1] the best item of each group; 0 for group 0."""
        return np.concatenate(([0], self.members.values[self.members.offsets[1:-1]]))

    def lay_out(self, groups: Ints, owner: Ints, count: int) -> tuple[Ints, Ints]:
        """Return the first `count` items of the groups of each owner.

        Args:
            groups: [n] those of an owner in a row.
            owner: [n] ascending.
            count: of items an owner.

        Returns:
            items [m]; the place [m] in `groups` of the group that each belongs to.
        """
        begins = self.members.offsets[groups]
        length = self.members.offsets[groups + 1] - begins
        before = np.cumsum(length) - length
        length = np.clip(count - before + before[np.searchsorted(owner, owner)], 0, length)
        place = np.repeat(np.arange(len(groups)), length)
        within = np.arange(len(place)) - np.repeat(np.cumsum(length) - length, length)
        return self.members.values[begins[place] + within], place
