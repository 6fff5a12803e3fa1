"""Index of a catalogue's categories by name, by the words of a name, and by meaning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.taxonomy import Taxonomy
from searec.interests.interest_graph import LONGEST
from searec.interests.novelty import stems

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts [n] to unit vectors [n, E]."""

NEAR = 0.6
"""Cosine from which a text is taken to mean a category."""


def is_usable(label: str) -> bool:
    """Return whether a category label can be an interest: it has a word, and is not too long."""
    return bool(stems(label)) and len(label) <= LONGEST


def unusable_labels(data: Dataset) -> list[str]:
    """Return the category labels of a dataset that cannot be interests."""
    labels = data.category_names.to_external(np.arange(1, data.sizes.categories + 1))
    return [label for label in labels if not is_usable(label)]


@dataclass(frozen=True)
class CategoryMatch:
    """A category that a text means."""

    category: int  # its id
    sureness: float  # in (0, 1]
    matched_by: str  # "name", "word" or "meaning"


class CategoryIndex:
    """The categories of a dataset's items.

    Args:
        data: the dataset.
        encode: the sentence encoder; it encodes the names once, when a text names no category.

    Attributes:
        usable: [C + 1] whether the name can be an interest.
    """

    def __init__(self, data: Dataset, encode: Encode) -> None:
        self.taxonomy = Taxonomy.of(data)
        self.encode = encode
        self.usable = np.array([False, *map(is_usable, self.taxonomy.names)])
        self._by_name: dict[frozenset[str], int] = {}
        for category in range(len(self.taxonomy.names), 0, -1):  # the first of equal names counts
            self._by_name[stems(self.taxonomy.name(category))] = category
        self._by_name.pop(frozenset(), None)

    def __len__(self) -> int:
        return len(self.taxonomy.names)

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """[C + 1, E] unit vectors of the names; row 0 is zero."""
        if not len(self):
            return np.zeros((1, 1), dtype=np.float32)
        vectors = self.encode(list(self.taxonomy.names))
        return np.concatenate((np.zeros_like(vectors[:1]), vectors))

    def named(self, text: str) -> int:
        """Return the category of that name, ignoring plural endings and word order; 0 if there is none."""
        return self._by_name.get(stems(text), 0)

    def find(self, texts: Sequence[str], *, near: float = NEAR, most: int = 3) -> list[list[CategoryMatch]]:
        """Return the categories that each text means, by name, else by a name among its words, else by meaning.

        Args:
            texts: in any number.
            near: least cosine, for meaning.
            most: categories a text, surest first.
        """
        matches = [self._by_words(text)[:most] for text in texts]
        open_ = [place for place, meanings in enumerate(matches) if not meanings and stems(texts[place])]
        if open_ and len(self):
            cosine = self.encode([texts[place] for place in open_]) @ self.vectors.T
            best = np.argsort(-cosine, axis=1, kind="stable")[:, :most]
            for place, row, order in zip(open_, cosine, best, strict=True):
                matches[place] = [
                    CategoryMatch(int(c), min(1.0, float(row[c])), "meaning") for c in order if row[c] >= near and c > 0
                ]
        return matches

    def _by_words(self, text: str) -> list[CategoryMatch]:
        """Match the whole name, or else the longest names whose words are all in the text."""
        words = stems(text)
        if (exact := self._by_name.get(words, 0)) or not words:
            return [CategoryMatch(exact, 1.0, "name")] if exact else []
        inside = [(name, category) for name, category in self._by_word(words) if name < words]
        widest = [(name, category) for name, category in inside if not any(name < other for other, _ in inside)]
        order = sorted(widest, key=lambda one: (-len(one[0]), one[1]))
        return [CategoryMatch(category, (1 + len(name)) / (1 + len(words)), "word") for name, category in order]

    def _by_word(self, words: frozenset[str]) -> list[tuple[frozenset[str], int]]:
        """Return names with at least one of these words."""
        matches: dict[int, frozenset[str]] = {}
        for word in words:
            matches.update((category, name) for name, category in self._of_word.get(word, ()))
        return [(name, category) for category, name in matches.items()]

    @cached_property
    def _of_word(self) -> dict[str, list[tuple[frozenset[str], int]]]:
        index: dict[str, list[tuple[frozenset[str], int]]] = {}
        for name, category in self._by_name.items():
            for word in name:
                index.setdefault(word, []).append((name, category))
        return index
