"""Scores of candidates by the words of the query in their fields: the second phase, exact."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.search.postings import Floats
from searec.search.query import QueryWord, SearchQuery

PHRASE = 0.2
"""What two words of a query that stand together in a field of an item count, in rarities of the more frequent one."""


@dataclass(frozen=True)
class Tokens:
    """Occurrences of a query's terms in n items, item by item.

    Attributes:
        item: [t] position of the item among the n.
        term: [t] position of the term among the query's.
        place: [t] position within the item.
        field: [t] position of the field among `text.analysis.FIELDS`.
        count: n.
    """

    item: Ints
    term: Ints
    place: Ints
    field: Ints
    count: int


@dataclass(frozen=True)
class Evidence:
    """What the words of a query say of n items, [n] each.

    Attributes:
        words: sum of the scores of the words, BM25F.
        phrase: sum of the rarities of pairs of words that stand together in a field, in the order of the query.
        coverage: share of the words that the item has; function words count where there are no others.
        title: share of the words that the title has.
    """

    words: Floats
    phrase: Floats
    coverage: Floats
    title: Floats

    @property
    def score(self) -> NDArray[np.float32]:
        """[n] what the lexical channel orders by."""
        return (self.words + PHRASE * self.phrase).astype(np.float32)

    def at(self, places: Ints) -> "Evidence":
        """Return that of some of the items."""
        return Evidence(**{field.name: getattr(self, field.name)[places] for field in fields(self)})


def evidence(
    query: SearchQuery,
    tokens: Tokens,
    frequency: Floats,
    rarity: Mapping[str, float],
    part: Callable[[Any], Floats],
    of_values: Sequence[Floats | None],
) -> Evidence:
    """Return what a query's words say of items.

    Args:
        query: with T distinct terms.
        tokens: occurrences in n items; `term` is a position in `query.terms`.
        frequency: [t] weighted frequency of each occurrence.
        rarity: of each term.
        part: from the weighted frequency of a term in an item to the part of its rarity that counts.
        of_values: for each word, [n] what items gain that have it in a value of a column; None for none.
    """
    place = {term: position for position, term in enumerate(query.terms)}
    shape = (tokens.count, len(place))
    cell = tokens.item * shape[1] + tokens.term
    size = tokens.count * shape[1]
    by_term = part(np.bincount(cell, frequency, size)).reshape(shape) * np.array([rarity[term] for term in query.terms])
    in_title = np.bincount(cell[tokens.field == 0], minlength=size).reshape(shape) > 0
    total, coverage, title = (np.zeros(tokens.count) for _ in range(3))
    counted = [word for word in query.words if not word.is_stop] or list(query.words)
    for word, of_value in zip(query.words, of_values, strict=True):
        gain = np.zeros(tokens.count) if of_value is None else of_value
        total += _word_score(word, by_term, place, share_of_each(word, rarity)) + gain
        if word in counted:
            coverage += _has_word(word, by_term > 0, place) | (gain > 0)
            title += _has_word(word, in_title, place)
    number = max(1, len(counted))
    return Evidence(total, _phrase(query, tokens, place, rarity), coverage / number, title / number)


def share_of_each(word: QueryWord, rarity: Mapping[str, float]) -> float:
    """Return what each term of a word counts, so that a model number or size counts as its rarest term and not thrice.

    Args:
        word: of a query; the terms of letters alone (Chinese, Thai) are words of their own, and count 1.
        rarity: of each term.
    """
    if len(word.terms) == 1 or not any(map(str.isdigit, word.text)):
        return 1.0
    rarities = [rarity[term] for term in word.terms]
    return max(rarities) / sum(rarities)


def _word_score(word: QueryWord, by_term: Floats, place: Mapping[str, int], share: float) -> Floats:
    """[n] the score of a word: of its terms, or of the alternative that scores best."""
    value: Floats = share * by_term[:, [place[term] for term in word.terms]].sum(axis=1)
    for one in word.alternatives:
        parts = by_term[:, [place[term] for term in one.terms]]
        value = np.maximum(value, one.weight * np.where((parts > 0).all(axis=1), parts.sum(axis=1), 0))
    return value


def _has_word(word: QueryWord, has_term: NDArray[np.bool_], place: Mapping[str, int]) -> NDArray[np.bool_]:
    """[n] whether items have half of the terms of a word, or all of an alternative."""
    value = 2 * has_term[:, [place[term] for term in word.terms]].sum(axis=1) >= len(word.terms)
    for one in word.alternatives:
        value |= has_term[:, [place[term] for term in one.terms]].all(axis=1)
    return np.asarray(value)


def _phrase(query: SearchQuery, tokens: Tokens, place: Mapping[str, int], rarity: Mapping[str, float]) -> Floats:
    """[n] sum of the rarities of neighbouring words of the query that are neighbours in a field, each pair once."""
    firsts = [[place[word.terms[0]], *(place[one.terms[0]] for one in word.alternatives)] for word in query.words]
    pairs = list(itertools.pairwise(firsts))
    if not pairs:
        return np.zeros(tokens.count)
    rarities = np.array([rarity[term] for term in query.terms])
    number = np.full((len(rarities), len(rarities)), -1)
    value = np.zeros(len(pairs))
    for pair, (heads, tails) in enumerate(pairs):
        number[np.ix_(heads, tails)] = pair
        value[pair] = min(rarities[heads[0]], rarities[tails[0]])
    follows = (np.diff(tokens.item) == 0) & (np.diff(tokens.place) == 1) & (np.diff(tokens.field) == 0)
    head = np.flatnonzero(follows)
    of_pair = number[tokens.term[head], tokens.term[head + 1]]
    is_pair = of_pair >= 0
    matches = np.unique(tokens.item[head][is_pair] * len(pairs) + of_pair[is_pair])
    return np.asarray(np.bincount(matches // len(pairs), value[matches % len(pairs)], tokens.count))
