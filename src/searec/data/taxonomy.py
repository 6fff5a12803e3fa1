"""Taxonomy: the parent of each category, derived from the catalogue itself, and the categories at a level."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from searec.data.dataset import Dataset
from searec.data.ragged import Ints, Ragged, group

SHARE = 0.8
"""A category is above another if this share of the other's items have it as well (Sanderson, Croft, SIGIR 1999)."""

Level = Literal["narrow"] | int
"""Which categories of an item count: its narrow ones, or those at a depth of the tree (1 is the broadest)."""


@dataclass(frozen=True)
class Taxonomy:
    """A forest of categories 1..C; 0 means none.

    Made by subsumption, so that lists in any order are read alike: the parent of a category is the
    smallest one above it.

    Attributes:
        names: [C].
        parent: [C + 1] 0 for a root.
        depth: [C + 1] 1 for a root.
        items: [C + 1] items that have the category.
        given: [I + 1] categories of each item, as given.
        narrow: [I + 1] those of them that stand above no other of the item's own.
    """

    names: Sequence[str]
    parent: Ints
    depth: Ints
    items: Ints
    given: Ragged
    narrow: Ragged

    @classmethod
    def of(cls, data: Dataset, *, share: float = SHARE) -> "Taxonomy":
        """Return the taxonomy of a dataset's catalogue; without categories an empty one.

        Args:
            data: the dataset.
            share: of a category's items that its parent must have too.
        """
        given, count = data.item_categories, data.sizes.categories
        member = csr_array(
            (np.ones(len(given.values), dtype=np.float64), (given.owners, given.values)), shape=(len(given), count + 1)
        )
        member.sum_duplicates()
        member.data[:] = 1
        items = np.asarray(member.sum(axis=0)).astype(np.int64)
        parent = _parents(member, items, share)
        depth = np.zeros(count + 1, dtype=np.int64)
        above, level = np.arange(count + 1), 0
        while (above > 0).any():  # parents are strictly larger, or as large and named before: no circle
            level += 1
            depth[above > 0] = level
            above = np.where(above > 0, parent[above], 0)
        return cls(
            data.category_names.to_external(np.arange(1, count + 1)),
            parent,
            depth,
            items,
            given,
            _narrow(given, parent),
        )

    def name(self, category: int) -> str:
        """Of a category 1..C."""
        return self.names[category - 1]

    @property
    def children(self) -> Ragged:
        """[C + 1] the categories right below each; row 0 holds the roots."""
        order = np.argsort(self.parent[1:], kind="stable")
        return group(self.parent[1:][order], order + 1, len(self.parent))

    def above(self, categories: Ints, depth: int) -> Ints:
        """Return the ancestor at a depth of each category [n], or itself where it is no deeper.

        Args:
            categories: [n] categories.
            depth: 0 for roots.
        """
        above_rows = np.array(categories, dtype=np.int64)
        while (deeper := self.depth[above_rows] > depth).any():
            above_rows[deeper] = self.parent[above_rows[deeper]]
        return above_rows

    def at(self, level: Level) -> Ragged:
        """Return [I + 1] the categories of each item at a level, each once, ascending; rows may be empty."""
        if level == "narrow":
            return self.narrow
        return _distinct(self.narrow.owners, self.above(self.narrow.values, level), len(self.narrow), len(self.parent))


def _parents(member: csr_array, items: Ints, share: float) -> Ints:
    """[C + 1] the smallest category that stands above each, 0 where none does."""
    together = (member.T @ member).tocoo()
    over, under = together.coords
    below = together.data >= share * items[under]
    below &= (items[over] > items[under]) | ((items[over] == items[under]) & (over < under))
    over, under = over[below], under[below]
    order = np.lexsort((-over, items[over], under))  # of those as small, the one named last: it stands deeper in a list
    first = np.unique(under[order], return_index=True)[1]
    parent = np.zeros(len(items), dtype=np.int64)
    parent[under[order][first]] = over[order][first]
    return parent


def _narrow(given: Ragged, parent: Ints) -> Ragged:
    """Rows less what stands above another of the same row."""
    owners, values = given.owners, np.asarray(given.values, dtype=np.int64)
    width = len(parent)
    category_rows = np.unique(owners * width + values)
    covered = [np.empty(0, dtype=np.int64)]
    above, rows = parent[values], owners
    while len(above):
        rows, above = rows[above > 0], above[above > 0]
        covered.append(rows * width + above)
        above = parent[above]
    left: NDArray[np.int64] = np.setdiff1d(category_rows, np.concatenate(covered))
    return group(left // width, left % width, len(given))


def _distinct(owners: Ints, values: Ints, rows: int, width: int) -> Ragged:
    keys = np.unique(owners * width + values)
    return group(keys // width, keys % width, rows)
