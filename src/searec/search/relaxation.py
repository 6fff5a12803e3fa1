"""Relaxation: what a search gives up where no item has all words of the query, so that people can be informed of it."""

import dataclasses
from typing import NamedTuple

from searec.data.ragged import Ints
from searec.search.lexical_index import LexicalIndex
from searec.search.query import QueryWord, Relaxation, SearchQuery

_EXAMINED = 50


class Relaxed(NamedTuple):
    """What was given up.

    Attributes:
        step: the results have most words of the query, any of them, or none ("no word": they are close in meaning).
        missing: words that none of the first results has, as they are searched.
    """

    step: Relaxation
    missing: tuple[str, ...]


def has_known_word(index: LexicalIndex, query: SearchQuery) -> bool:
    """Return whether items have any word of a query, or an alternative; function words only if there are no others.

    Args:
        index: of the items.
        query: the query.
    """
    words = _counted(query)
    terms = SearchQuery(query.text, query.typed, words).terms
    return any(word.items is not None for word in words) or any(map(index.document_frequency, terms))


def relaxation(index: LexicalIndex, query: SearchQuery, items: Ints, step: Relaxation | None) -> Relaxed | None:
    """Return what the results of a search gave up; None where an item has all words, or there are no results.

    Args:
        index: of the items.
        query: the query.
        items: [n] the results, best first.
        step: what was given up, of `LexicalIndex.matching`.
    """
    first = items[:_EXAMINED]
    if not len(first) or not query.words or step is None:
        return None
    by_word = [(word, dataclasses.replace(query, words=(word,))) for word in _counted(query)]
    missing = [word.text for word, one in by_word if not (index.evidence(one, first).coverage > 0).any()]
    return Relaxed(step, tuple(missing))


def _counted(query: SearchQuery) -> tuple[QueryWord, ...]:
    return tuple(word for word in query.words if not word.is_stop) or query.words
