"""Understanding of queries: from a typed text to the words that are searched, and the categories that they name."""

import dataclasses
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from searec.data.ragged import Ints
from searec.search.compounds import Compounds, word_pairs
from searec.search.intent import Intent
from searec.search.item_columns import ItemColumns
from searec.search.lexical_index import LexicalIndex
from searec.search.query import Alternative, QueryWord, SearchQuery, query_words
from searec.search.rules import CompiledRules, SearchRules
from searec.search.spelling import Speller
from searec.search.vocabulary import Vocabulary
from searec.text.analyser import Analyser, fold

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

SYNONYM_WEIGHT = 0.95
"""What a synonym counts: items with the typed word are before items with the synonym."""
PREFIX_WEIGHT = 0.7
"""What a word counts that begins with the letters typed last."""
JOINED_WEIGHT = 0.8
"""What "laptop" counts for "lap top"."""
APART_WEIGHT = 1.5
"""The same where no item has the two words."""
_PREFIXES = 8
_FREQUENT = 5
_MOST_OTHERS = 3
_MOST_ITEMS = 20_000
_CACHED = 10_000


@dataclass(frozen=True)
class _Parts:
    """What queries are read with."""

    analyser: Analyser
    vocabulary: Vocabulary
    speller: Speller
    compounds: Compounds
    rules: CompiledRules
    intent: Intent


class Understanding:
    """Reads queries to a dataset; threads share it.

    Args:
        data: the dataset.
        rules: synonyms and redirects; none by default.
    """

    def __init__(self, data: "Dataset", rules: SearchRules | None = None) -> None:
        analyser, vocabulary = data.analyser, Vocabulary.of(data)
        self.intent = Intent.of(data)
        compounds = Compounds(vocabulary, word_pairs(data, vocabulary))
        compiled = CompiledRules(rules or SearchRules(), analyser)
        self._parts = _Parts(analyser, vocabulary, Speller(vocabulary), compounds, compiled, self.intent)
        self._index: LexicalIndex | None = None
        self._columns: ItemColumns | None = None
        self._parsed: OrderedDict[tuple[str, bool, bool], SearchQuery] = OrderedDict()
        self._items_of_value: dict[str, Ints] = {}
        self._lock = threading.Lock()

    def parse(
        self,
        index: LexicalIndex,
        text: str,
        columns: ItemColumns | None = None,
        *,
        spelling: bool = True,
        prefix: bool = False,
    ) -> SearchQuery:
        """Return a query as it is searched.

        Args:
            index: of the items now; what was parsed is cached until items change.
            text: as typed.
            columns: of the items now, to find words that no text has among their values; None for words alone.
            spelling: correct words that no item has.
            prefix: the last word may be the beginning of a longer one.
        """
        key = (text, spelling, prefix)
        with self._lock:
            if self._index is not index or self._columns is not columns:
                self._index, self._columns = index, columns
                self._parsed, self._items_of_value = OrderedDict(), {}
                self._parts.compounds.add(self._parts.vocabulary.add(index.new_words))
            parsed, items_of_value = self._parsed, self._items_of_value
            if query := parsed.get(key):
                parsed.move_to_end(key)
                return query
        query = _Reading(self._parts, index, text).query(spelling=spelling, prefix=prefix)
        if columns is not None:
            query = dataclasses.replace(query, words=self._with_values(index, query.words, columns, items_of_value))
        with self._lock:
            parsed[key] = query
            if len(parsed) > _CACHED:
                parsed.popitem(last=False)
        return query

    def _with_values(
        self, index: LexicalIndex, words: Sequence[QueryWord], columns: ItemColumns, items_of: dict[str, Ints]
    ) -> tuple[QueryWord, ...]:
        """The words; those that no text has with the items that have them in a value, as of their colour."""
        out = list(words)
        for place, word in enumerate(words):
            term = word.terms[0]
            if (filters := self.intent.named_by.get(term)) and not any(map(index.document_frequency, word.terms)):
                if term not in items_of:  # once, since queries are kept
                    items_of[term] = np.flatnonzero(columns.passing_any(filters))
                if len(items_of[term]):
                    out[place] = dataclasses.replace(word, items=items_of[term])
        return tuple(out)


class _Piece(NamedTuple):
    """Words of a query as typed, and what they are corrected to; the same where nothing is."""

    typed: tuple[str, ...]
    new: str
    is_sure: bool = True


class _Reading:
    """One query being read."""

    def __init__(self, parts: _Parts, index: LexicalIndex, text: str) -> None:
        self._parts, self._index, self._text = parts, index, text
        self._items: dict[str, Ints] = {}

    def query(self, *, spelling: bool, prefix: bool) -> SearchQuery:
        words = list(query_words(self._text, self._parts.analyser))
        redirect = self._parts.rules.redirect([term for word in words for term in word.terms])
        text, suggestion = self._text, None
        last = self._unfinished(words[-1]) if prefix and words and self._text[-1:].strip() else None
        if spelling:
            pieces, words = self._spelled(words, last is not None)
            text = _rewritten(self._text, [one if one.is_sure else _Piece(one.typed, one.typed[0]) for one in pieces])
            offered = _rewritten(self._text, pieces)
            suggestion = offered if offered != text else None
        words = self._with_alternatives(words)
        if last is not None:
            words[-1] = last
        categories, attributes = self._parts.intent.of_words(words)
        return SearchQuery(text, self._text, tuple(words), suggestion, redirect, categories, attributes)

    # --- counting ---

    def _count(self, terms: Sequence[str]) -> int:
        """Number of items that have all of the terms."""
        if len(terms) == 1:
            return self._index.document_frequency(terms[0])
        for term in terms:
            if term not in self._items:
                self._items[term] = self._index.items_of(term, _MOST_ITEMS)
        items = self._items[terms[0]]
        for term in terms[1:]:
            items = np.intersect1d(items, self._items[term], assume_unique=True)
        return len(items)

    def _is_known(self, word: QueryWord) -> bool:
        return any(map(self._index.document_frequency, word.terms))

    def _is_attribute(self, word: QueryWord) -> bool:
        return word.terms[0] in self._parts.intent.named_by and not self._is_known(word)

    def _rarity(self, terms: Sequence[str]) -> float:
        return sum(map(self._index.rarity, terms))

    def _capped(self, alternatives: Sequence[Alternative]) -> tuple[Alternative, ...]:
        """The alternatives of an unknown word, none of which counts more for its rarity than the first."""
        most = self._rarity(alternatives[0].terms) if alternatives else 0.0
        return tuple(
            one._replace(weight=one.weight * most / max(most, self._rarity(one.terms))) for one in alternatives
        )

    def _add(self, words: list[QueryWord], phrase: slice, one: Alternative) -> None:
        """Add an alternative of a phrase to its words: to each its share, so that an item with it has all of them.

        It counts no more for its rarity than the phrase.
        """
        most = max(self._rarity(one.terms), self._rarity([term for word in words[phrase] for term in word.terms]))
        for place, word in enumerate(words[phrase], start=phrase.start):
            share = one._replace(weight=one.weight * self._rarity(word.terms) / most)
            words[place] = dataclasses.replace(word, alternatives=(*word.alternatives, share))

    # --- words ---

    def _unfinished(self, word: QueryWord) -> QueryWord | None:
        """The last word with the words that begin with it; None if there are none."""
        if len(word.terms) > 1:
            return None
        begun = self._parts.vocabulary.beginning_with(fold(word.text), _PREFIXES)
        terms = dict.fromkeys(self._parts.analyser.term(one) for one in begun)
        alternatives = [Alternative((term,), PREFIX_WEIGHT, "prefix") for term in terms if term not in word.terms]
        return dataclasses.replace(word, alternatives=self._capped(alternatives)) if terms else None

    def _spelled(self, words: Sequence[QueryWord], is_last_open: bool) -> tuple[list[_Piece], list[QueryWord]]:
        """What the words are corrected to, and the words after that."""
        speller, terms = self._parts.speller, self._parts.analyser
        known = [one.terms[0] for one in words if not one.is_stop and self._is_known(one)]
        pieces, out, at = [], [], 0
        while at < len(words):
            word = words[at]
            others = [term for term in known if term != word.terms[0]][:_MOST_OTHERS]
            pair = words[at : at + 2]
            piece = _Piece((word.text,), word.text)
            at += 1
            if (is_last_open and at == len(words)) or not _is_plain(word) or self._is_attribute(word):
                out.append(word)
            elif joined := self._as_one(pair):
                piece = _Piece(tuple(one.text for one in pair), joined)
                out += query_words(joined, terms)
                at += 1
            elif self._is_known(word):
                likelier = None if word.is_stop else speller.likelier(fold(word.text), others, self._count)
                piece = piece._replace(new=likelier or word.text, is_sure=likelier is None)
                out.append(word)
            elif self._parts.compounds.is_part(word.terms[0]):
                out.append(word)
            elif correction := speller.correct(fold(word.text), others, self._count):
                piece = _Piece((word.text,), " ".join(correction.words), correction.is_sure)
                if correction.is_sure:
                    word, *more = query_words(piece.new, terms)
                    out += [word, *more]
                else:
                    out.append(dataclasses.replace(word, alternatives=self._capped(correction.alternatives)))
            else:
                out.append(word)
            pieces.append(piece)
        return pieces, out

    def _as_one(self, pair: Sequence[QueryWord]) -> str | None:
        """Two words as the one that items have: where no item has one of them, or has both and many have the one."""
        if len(pair) < 2 or not all(map(_is_plain, pair)) or any(word.is_stop for word in pair):
            return None
        vocabulary, joined = self._parts.vocabulary, "".join(fold(word.text) for word in pair)
        if joined not in vocabulary:
            return None
        is_rare = vocabulary.counts[joined] < _FREQUENT
        if all(map(self._is_known, pair)) and (is_rare or self._count([word.terms[0] for word in pair])):
            return None
        return vocabulary.written(joined)

    def _with_alternatives(self, words: Sequence[QueryWord]) -> list[QueryWord]:
        """The words with synonyms, compounds, and the joined form of neighbours."""
        out = list(words)
        for phrase, terms in self._parts.rules.synonyms(words):
            self._add(out, phrase, Alternative(terms, SYNONYM_WEIGHT, "synonym"))
        for place, word in enumerate(words):
            if not _is_plain(word) or word.is_stop:
                continue
            compounds = self._parts.compounds.of_word(word.terms[0], is_known=self._is_known(word))
            if not (compounds or word.alternatives or self._is_known(word) or self._is_attribute(word)):
                compounds = self._parts.compounds.of_unknown(fold(word.text))
            for one in compounds:
                self._add(out, slice(place, place + 1), one)
            pair = words[place : place + 2]
            if len(pair) == 2 and _is_plain(pair[1]) and (joined := self._joined(*pair)):
                self._add(out, slice(place, place + 2), joined)
        return out

    def _joined(self, first: QueryWord, second: QueryWord) -> Alternative | None:
        """Two words written as one: where titles and queries write them both ways, or no item has the two."""
        word = fold(first.text) + fold(second.text)
        if word not in self._parts.vocabulary:
            return None
        is_apart = not self._count((first.terms[0], second.terms[0]))
        if not is_apart and not self._parts.compounds.is_pair(word, fold(first.text), fold(second.text)):
            return None
        return Alternative((self._parts.analyser.term(word),), APART_WEIGHT if is_apart else JOINED_WEIGHT, "compound")


def _is_plain(word: QueryWord) -> bool:
    """Whether a word has one term and no digit."""
    return len(word.terms) == 1 and not any(map(str.isdigit, word.text))


def _rewritten(text: str, pieces: Sequence[_Piece]) -> str:
    """A text with its words in their new form; where they are not as typed in it, all words with spaces between."""
    for piece in pieces:
        if piece.typed == (piece.new,):
            continue
        pattern = r"[\W_]+".join(map(re.escape, piece.typed))
        text, count = re.subn(rf"(?<!\w){pattern}(?!\w)", piece.new.replace("\\", r"\\"), text, count=1, flags=re.I)
        if not count:
            return " ".join(one.new for one in pieces)
    return text
