"""The known item that a new item goes by: the nearest one in words, of a shared narrow category if there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from searec.data.taxonomy import Taxonomy
from searec.search.lexical_index import LexicalIndex
from searec.search.postings import Mask
from searec.search.query import parse

_NEAR = 100
"""Items nearest in words among which one of the same category is looked for before all others are."""


@dataclass(frozen=True)
class NearestItems:
    """Finds the proxy of a new item among the items of a dataset.

    Attributes:
        lexical: of the dataset's items.
        taxonomy: of its categories.
        known: [I + 1] items that may be a proxy; all if None.
    """

    lexical: LexicalIndex
    taxonomy: Taxonomy
    known: Mask | None = None

    @cached_property
    def _categories(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.taxonomy.names, start=1)}

    def narrow_of(self, categories: Sequence[str]) -> frozenset[int]:
        """Return the numbers of the known ones of these categories, less their ancestors."""
        given = [self._categories[name] for name in categories if name in self._categories]
        above = set()
        for category in given:
            parent = int(self.taxonomy.parent[category])
            while parent:
                above.add(parent)
                parent = int(self.taxonomy.parent[parent])
        return frozenset(given) - above

    def find(self, text: str, categories: Sequence[str]) -> int:
        """Return the internal id of the nearest known item, 0 if none shares a word.

        Args:
            text: title, brand, categories and description of the new item.
            categories: of the new item.
        """
        query = parse(text, self.lexical.analyser)
        items, _ = self.lexical.best(query, _NEAR, self.known)
        if not len(items):
            return 0
        if narrow := self.narrow_of(categories):
            rows = self.taxonomy.narrow
            is_alike = np.array([not narrow.isdisjoint(rows.row(item).tolist()) for item in items.tolist()])
            if is_alike.any():
                return int(items[is_alike.argmax()])
            allowed = np.zeros(self.taxonomy.narrow.offsets.size - 1, dtype=bool)
            allowed[rows.owners[np.isin(rows.values, list(narrow))]] = True
            if self.known is not None:
                allowed &= self.known
            alike, _ = self.lexical.best(query, 1, allowed)
            items = alike if len(alike) else items
        return int(items[0])
