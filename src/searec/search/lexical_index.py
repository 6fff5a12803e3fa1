"""The lexical index: BM25F over title, brand, categories and description, for a catalogue that changes."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints, Ragged
from searec.search.changed_items import ChangedItems
from searec.search.postings import FieldWeights, Floats, Lengths, Mask, Postings
from searec.search.query import QueryWord, Relaxation, SearchQuery
from searec.search.scoring import Evidence, Tokens, evidence, share_of_each
from searec.text.analyser import Analyser

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

_RESCORED = 100
"""Candidates that are scored exactly beyond those that are requested."""
_FEW = 2_000
"""Items that are looked at one by one to see which have all words."""
_VALUE = 0.5
"""What a value of a column counts beside its bonus as an attribute; a word counts 3 to 8, so that what is named is
before what only has the colour."""
_NO_ITEM = np.zeros(0, dtype=np.int64)


class _Base:
    """What all states of a catalogue share: the dataset's items."""

    def __init__(self, data: "Dataset", weights: FieldWeights) -> None:
        self.size = data.sizes.items
        self.words, self.field_ends = data.item_words, data.item_fields
        self.lengths, self.frequency = Lengths.of(data, weights)
        self.postings = Postings.of(data, weights)
        self.word_index = data.word_index
        self.analyser = data.analyser


@dataclass(frozen=True)
class LexicalIndex:
    """One state of a catalogue; a change makes another one, and searches under way keep theirs.

    Item indexes are internal ids 1..I of the dataset, then I + 1.. for new items. An edited item is found by its new
    words only. What is hidden or removed is left out by `allowed`.
    """

    _base: _Base
    _changed: ChangedItems
    _row_of: Mapping[int, int]
    _is_current: Mask

    @classmethod
    def of(cls, data: "Dataset", weights: FieldWeights | None = None) -> "LexicalIndex":
        """Return the index of a dataset's items.

        Args:
            data: the dataset.
            weights: of its fields.
        """
        base = _Base(data, weights or FieldWeights())
        return cls(base, ChangedItems(base.analyser, base.lengths, base.word_index), {}, np.zeros(0, dtype=bool))

    def with_items(self, items: Mapping[int, Mapping[str, Any]]) -> "LexicalIndex":
        """Return the index after items were added or edited.

        Args:
            items: item index -> columns.
        """
        if not items:
            return self
        rows = self._changed.add(list(items.values()))
        row_of = {**self._row_of, **dict(zip(items, rows.tolist(), strict=True))}
        is_current = np.zeros(len(self._changed), dtype=bool)
        is_current[list(row_of.values())] = True
        return LexicalIndex(self._base, self._changed, row_of, is_current)

    # --- terms ---

    @property
    def analyser(self) -> Analyser:
        """Of items and queries."""
        return self._base.analyser

    @property
    def known_terms(self) -> Mapping[str, int]:
        """Terms of the dataset's items and logged queries, with their ids."""
        return self._base.word_index

    @property
    def new_terms(self) -> Mapping[str, int]:
        """Terms that only new and edited items have; grows with later states too."""
        return self._changed.new_terms

    @property
    def new_words(self) -> Mapping[str, str]:
        """The new terms, each with a word of it as an item has it."""
        return self._changed.new_words

    def number_of(self, term: str) -> int:
        """Return the id of a term, 0 if no item has ever had it."""
        return self._changed.number_of(term)

    def document_frequency(self, term: str) -> int:
        """Return how many items have a term; what edited items had in the dataset counts too, up to all items."""
        number = self.number_of(term)
        known = self._base.postings.count(number) if 0 < number <= len(self._base.word_index) else 0
        if not number or not self._row_of:
            return known
        return min(known + len(self._current(self._changed.postings(number)[0])), self._size)

    def rarity(self, term: str) -> float:
        """Return the logarithm of the rarity of a term (Lucene's variant), less for function words."""
        count = self.document_frequency(term)
        return self.analyser.weight(term) * math.log(1 + (self._size - count + 0.5) / (count + 0.5))

    # --- searching ---

    def best(
        self, query: SearchQuery, k: int, allowed: Mask | None = None, prior: Floats | None = None
    ) -> tuple[Ints, NDArray[np.float32]]:
        """Return up to k items that have a word of the query, best first, ties by the smaller index; and their scores.

        Args:
            query: the query.
            k: most items.
            allowed: [at least N + 1] items to choose from; None for all.
            prior: [I + 1] added to the scores of the dataset's items.
        """
        items = self._candidates(query, k + _RESCORED, allowed, prior)
        if any(word.items is not None for word in query.words):
            items = np.union1d(items, self._by_attribute(query, k + _RESCORED, allowed, prior))
        scores = self.scores(query, items)
        if prior is not None:
            is_known = items <= self._base.size
            scores[is_known] += prior[items[is_known]]
        order = np.lexsort((items, -scores))[:k]
        order = order[scores[order] > 0]
        return items[order], scores[order]

    def scores(self, query: SearchQuery, items: Ints) -> NDArray[np.float32]:
        """Return the scores [n] of items, 0 where an item has no word of the query.

        Args:
            query: the query.
            items: [n] item indexes.
        """
        return self.evidence(query, items).score

    def evidence(self, query: SearchQuery, items: Ints) -> Evidence:
        """Return what the words of a query say of items.

        Args:
            query: the query.
            items: [n] item indexes.
        """
        tokens, frequency = self._tokens(query, items)
        rarity = {term: self.rarity(term) for term in query.terms}
        of_values = [None if word.items is None else _VALUE * np.isin(items, word.items) for word in query.words]
        return evidence(query, tokens, frequency, rarity, self._base.lengths.part, of_values)

    def terms_in(self, query: SearchQuery, items: Ints) -> list[list[str]]:
        """Return the terms of a query, in its order, that each item [n] has.

        Args:
            query: the query.
            items: [n] item indexes.
        """
        tokens, _ = self._tokens(query, items)
        has_term = np.zeros((len(items), len(query.terms)), dtype=bool)
        has_term[tokens.item, tokens.term] = True
        return [[query.terms[place] for place in np.flatnonzero(row).tolist()] for row in has_term]

    def matching(self, query: SearchQuery, allowed: Mask | None = None) -> tuple[Ints, Relaxation | None]:
        """Return the items that have every word, ascending; if there are none, those with the most words.

        Function words count only where there are no others. A word of several terms is there with half of them, or with
        one where no item has more.

        Args:
            query: the query.
            allowed: [at least N + 1] items to choose from; None for all.

        Returns:
            items [n]; what was given up, None if nothing.
        """
        words = [word for word in query.words if not word.is_stop] or list(query.words)
        if not words:
            return _NO_ITEM, "no word"
        by_word = [self._items_with(word) for word in words]
        items = fewest = min(by_word, key=len)
        if allowed is not None:
            items = items[allowed[items]]
        if len(items) <= _FEW:  # their words are read
            items = items[self.evidence(query, items).coverage >= 1] if len(words) > 1 else items
        else:
            for others in by_word:
                items = items if others is fewest else self._in_both(items, others)
        if len(items):
            return self._ascending(items), None
        counts = np.zeros(self._width, dtype=np.uint16)
        for others in by_word:
            counts[others] += 1
        if allowed is not None:
            counts[~allowed[: len(counts)]] = 0
        most = int(counts.max(initial=0))
        if not most:
            items = self._items_with_terms(dict.fromkeys(term for word in words for term in word.terms), 1)
            items = items if allowed is None else items[allowed[items]]
            return self._ascending(items), "any word" if len(items) else "no word"
        return np.flatnonzero(counts == most), "most words" if most > 1 else "any word"

    def items_of(self, term: str, most: int) -> Ints:
        """Return items that have a term, ascending.

        Args:
            term: of the analyser.
            most: items at most; of more, those in which the term counts most.
        """
        return np.sort(self._items_with_terms((term,), 1)[:most]).astype(np.int64)

    @property
    def _width(self) -> int:
        return max(self._base.size, max(self._row_of, default=0)) + 1

    def _ascending(self, items: Ints) -> Ints:
        if len(items) * 16 < self._width:
            return np.sort(items).astype(np.int64)
        is_item = np.zeros(self._width, dtype=bool)  # of many, faster than sorting
        is_item[items] = True
        return np.flatnonzero(is_item)

    def _in_both(self, items: Ints, others: Ints) -> Ints:
        """The items that are among the others."""
        is_other = np.zeros(self._width, dtype=bool)
        is_other[others] = True
        return items[is_other[items]]

    def _items_with(self, word: QueryWord) -> Ints:
        """The items, each once, that have half of the terms of a word or all of an alternative."""
        ways = [(word.terms, -(-len(word.terms) // 2)), *((one.terms, len(one.terms)) for one in word.alternatives)]
        lists = [self._items_with_terms(dict.fromkeys(terms), least) for terms, least in ways]
        if word.items is not None:
            lists.append(word.items)
        return lists[0] if len(lists) == 1 else self._in_several(lists, 1)

    def _items_with_terms(self, terms: Collection[str], least: int) -> Ints:
        """The items, each once, that have at least `least` of the terms."""
        lists: list[Ints] = []
        for term in terms:
            number = self.number_of(term)
            if 0 < number <= len(self._base.word_index):
                items = self._base.postings.items_of(number)
                lists.append(items[self._is_indexed[items]] if len(self._superseded) else items)
            if self._row_of:
                lists.append(self._item_of_row[self._current(self._changed.postings(number)[0])])
        if len(terms) == 1:
            return lists[0] if len(lists) == 1 else np.concatenate([_NO_ITEM, *lists])
        return self._in_several(lists, least)

    def _in_several(self, lists: Sequence[Ints], least: int) -> Ints:
        """The items that are in at least `least` of the lists."""
        if sum(map(len, lists)) <= _FEW:
            items, count = np.unique(np.concatenate([_NO_ITEM, *lists]), return_counts=True)
            return items[count >= least]
        counts = np.zeros(self._width, dtype=np.uint16)
        for items in lists:
            counts[items] += 1
        return np.flatnonzero(counts >= least)

    @cached_property
    def _size(self) -> int:
        """Number of items, hidden and removed ones included."""
        return self._base.size + len(self._row_of) - len(self._superseded)

    @cached_property
    def _item_of_row(self) -> Ints:
        items = np.zeros(len(self._is_current), dtype=np.int64)
        items[list(self._row_of.values())] = list(self._row_of)
        return items

    @cached_property
    def _superseded(self) -> Ints:
        """The dataset's items that were edited."""
        return np.array([item for item in self._row_of if item <= self._base.size], dtype=np.int64)

    @cached_property
    def _is_indexed(self) -> Mask:
        """[I + 1] the dataset's items that were not edited."""
        mask = np.ones(self._base.size + 1, dtype=bool)
        mask[self._superseded] = False
        return mask

    def _current(self, rows: Ints) -> Ints:
        rows = rows[: np.searchsorted(rows, len(self._is_current))]
        return rows[self._is_current[rows]]

    def _candidates(self, query: SearchQuery, k: int, allowed: Mask | None, prior: Floats | None) -> Ints:
        terms = [term for term in query.terms if self.number_of(term)]
        numbers = [self.number_of(term) for term in terms]
        weights = self._weights(query)
        known = [place for place, number in enumerate(numbers) if number <= len(self._base.word_index)]
        base_allowed = allowed
        if len(self._superseded):
            base_allowed = self._is_indexed if allowed is None else allowed[: self._base.size + 1] & self._is_indexed
        items = self._base.postings.candidates(
            [numbers[place] for place in known], [weights[terms[place]] for place in known], k, base_allowed, prior
        )
        if not self._row_of:
            return items
        sums = np.zeros(len(self._is_current), dtype=np.float32)
        for term, number in zip(terms, numbers, strict=True):
            rows, parts = self._changed.postings(number)
            end = int(np.searchsorted(rows, len(sums)))
            sums[rows[:end]] += parts[:end] * np.float32(weights[term])
        rows = np.flatnonzero(self._is_current & (sums > 0))
        changed = self._item_of_row[rows]
        if allowed is not None:
            rows, changed = rows[allowed[changed]], changed[allowed[changed]]
        if len(rows) > k:
            changed = changed[np.argpartition(sums[rows], len(rows) - k)[len(rows) - k :]]
        return np.concatenate((items, np.sort(changed)))

    def _by_attribute(self, query: SearchQuery, k: int, allowed: Mask | None, prior: Floats | None) -> Ints:
        """Up to k items that match a query, those with the highest prior, of which some words are not indexed."""
        items, _ = self.matching(query, allowed)
        if prior is not None and len(items) > k:
            known = np.minimum(items, self._base.size)
            items = items[np.argsort(-np.where(items == known, prior[known], 0.0), kind="stable")]
        return items[:k]

    def _weights(self, query: SearchQuery) -> dict[str, float]:
        """The rarity of each term, less for those that are alternatives."""
        weights: dict[str, float] = {}
        for word in query.words:
            rarity = {term: self.rarity(term) for term in word.terms}
            share = share_of_each(word, rarity)
            for term in word.terms:
                weights[term] = weights.get(term, 0.0) + share * rarity[term]
            for one in word.alternatives:
                for term in one.terms:
                    weights.setdefault(term, one.weight * self.rarity(term))
        return weights

    def _tokens(self, query: SearchQuery, items: Ints) -> tuple[Tokens, Floats]:
        """The occurrences of a query's terms in items, and the weighted frequency of each."""
        base, changed = self._base, self._changed
        if self._row_of:
            row = np.array([self._row_of.get(item, -1) for item in items.tolist()], dtype=np.int64)
        else:
            row = np.full(len(items), -1)
        of_base, of_changed = np.flatnonzero(row < 0), np.flatnonzero(row >= 0)
        numbers = np.array([self.number_of(term) for term in query.terms], dtype=np.int64)
        parts = [
            _found(base.words, base.field_ends, base.frequency, items[of_base], of_base, numbers),
            _found(changed.words, changed.field_ends, changed.frequency, row[of_changed], of_changed, numbers),
        ]
        item, term, place, field, frequency = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        weights = np.array(base.lengths.weights.fields)
        return Tokens(item, term, place, field, len(items)), frequency * weights[field]


def _found(
    words: Ragged, field_ends: Ints, frequency: Floats, rows: Ints, owners: Ints, numbers: Ints
) -> tuple[Ints, Ints, Ints, Ints, Floats]:
    """Owner, term, place, field and frequency of the occurrences of terms in rows."""
    values, origin = words.take(rows)
    order = np.argsort(numbers)
    at = np.minimum(np.searchsorted(numbers[order], values), max(0, len(numbers) - 1))
    is_match = np.flatnonzero(numbers[order][at] == values) if len(numbers) else _NO_ITEM
    origin = origin[is_match]
    length = words.offsets[rows + 1] - words.offsets[rows]
    place = is_match - (np.cumsum(length) - length)[origin]
    field = (place[:, None] >= field_ends[rows[origin]]).sum(axis=1)
    return owners[origin], order[at[is_match]], place, field, frequency[rows[origin]]
