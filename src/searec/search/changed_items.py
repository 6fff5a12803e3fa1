"""The words of items that were added or edited after the dataset was made, in memory and in each process.

What is durable is the event store, which every process follows (`pipeline.catalog_snapshot.LiveCatalog`).
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints, Ragged
from searec.search.postings import Floats, Lengths
from searec.text.analyser import Analyser
from searec.text.analysis import FIELDS, words_of


class GrowingArray:
    """A one-dimensional array that rows are appended to."""

    def __init__(self, dtype: Any) -> None:
        self._values, self._count = np.zeros(8, dtype=dtype), 0

    def extend(self, values: Any) -> None:
        """Append values."""
        end = self._count + len(values)
        if end > len(self._values):
            wider = np.zeros(max(end, 2 * len(self._values)), dtype=self._values.dtype)
            wider[: self._count] = self._values[: self._count]
            self._values = wider
        self._values[self._count : end] = values
        self._count = end

    @property
    def values(self) -> NDArray[Any]:
        """All of them; later appends do not change this view."""
        return self._values[: self._count]


class ChangedItems:
    """Rows of words, one for each state of an item, appended by all states of a catalogue; a row never changes.

    Args:
        analyser: of the catalogue.
        lengths: of the dataset's items.
        word_index: of the dataset.
    """

    def __init__(self, analyser: Analyser, lengths: Lengths, word_index: Mapping[str, int]) -> None:
        self.analyser, self.lengths = analyser, lengths
        self._known = word_index
        self._first_new = len(word_index) + 1
        self.new_terms: dict[str, int] = {}
        self.new_words: dict[str, str] = {}
        self._words, self._offsets = GrowingArray(np.int64), GrowingArray(np.int64)
        self._offsets.extend([0])
        self._ends = GrowingArray(np.int32)
        self._frequency = GrowingArray(np.float32)
        self._postings: dict[int, tuple[GrowingArray, GrowingArray]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._offsets.values) - 1

    def number_of(self, term: str) -> int:
        """Return the id of a term, 0 if no item and no query of the dataset has it."""
        return self._known.get(term) or self.new_terms.get(term, 0)

    def add(self, items: Sequence[Mapping[str, Any]]) -> Ints:
        """Append the words of items and return their rows.

        Args:
            items: the columns of each.
        """
        with self._lock:
            first = len(self)
            for row, about in enumerate(items, start=first):
                self._add(row, about)
            return np.arange(first, len(self))

    def _add(self, row: int, about: Mapping[str, Any]) -> None:
        by_field = [words_of(field_text(about.get(name))) for name in FIELDS]
        words = np.array([self._number(word) for field in by_field for word in field], dtype=np.int64)
        counts = np.array(list(map(len, by_field)))
        weights = np.array(self.lengths.weights.fields)
        [frequency] = self.lengths.frequency(np.array([counts @ weights]))
        distinct, place = np.unique(words, return_inverse=True)
        parts = self.lengths.part(np.bincount(place, weights.repeat(counts), len(distinct)) * frequency)
        for word, part in zip(distinct.tolist(), parts.tolist(), strict=True):
            rows, parts_of_word = self._postings.setdefault(word, (GrowingArray(np.int64), GrowingArray(np.float32)))
            rows.extend([row])
            parts_of_word.extend([part])
        self._words.extend(words)
        self._ends.extend(np.cumsum(counts))
        self._frequency.extend([frequency])
        self._offsets.extend([len(self._words.values)])

    def _number(self, word: str) -> int:
        term = self.analyser.term(word)
        number = self.number_of(term)
        if not number:
            number = self.new_terms[term] = self._first_new + len(self.new_terms)
            self.new_words[term] = word
        return number

    @property
    def words(self) -> Ragged:
        """The words of each row."""
        return Ragged(self._offsets.values, self._words.values)

    @property
    def field_ends(self) -> Ints:
        """[rows, 4] where the words of each field end, as `Dataset.item_fields`."""
        return self._ends.values.reshape(-1, len(FIELDS))

    @property
    def frequency(self) -> NDArray[np.float32]:
        """[rows] what an occurrence counts."""
        return self._frequency.values

    def postings(self, term: int) -> tuple[Ints, Floats]:
        """Return the rows that have a term, ascending, and the parts of `search.postings`."""
        if term not in self._postings:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        rows, parts = self._postings[term]
        values = rows.values  # before the parts, of which there may be one more by then
        return values[: len(parts.values)], parts.values[: len(values)]


def field_text(value: Any) -> str:
    """Return the text of a field: of a list its members, of nothing an empty one."""
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
