"""The known item that a new item goes by: the nearest one in words, of a shared narrow category if there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from searec.data.lexical import Lexicon
from searec.data.taxonomy import Taxonomy


@dataclass(frozen=True)
class NearestItems:
    """Finds the proxy of a new item among the items of a dataset.

    Attributes:
        lexicon: the words of the dataset's items.
        taxonomy: of its categories.
        known: [I + 1] items that may be a proxy; all if None.
    """

    lexicon: Lexicon
    taxonomy: Taxonomy
    known: NDArray[np.bool_] | None = None

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
        scores = self.lexicon.scores(self.lexicon.words(text))
        if self.known is not None:
            scores = scores * self.known
        if item := self.narrow_of(categories):
            rows = self.taxonomy.narrow
            alike = np.zeros(len(scores), dtype=bool)
            alike[rows.owners[np.isin(rows.values, list(item))]] = True
            if (scores * alike).any():
                scores = scores * alike
        best = int(scores.argmax())
        return best if scores[best] > 0 else 0
