"""A query as the index reads it: words, alternatives of each, and what was changed in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from searec.data.ragged import Ints
from searec.text.analyser import Analyser
from searec.text.analysis import word_groups

Source = Literal["spelling", "synonym", "compound", "prefix"]
Relaxation = Literal["most words", "any word", "no word"]


class Alternative(NamedTuple):
    """Terms that can replace a word of a query.

    Attributes:
        terms: all must be in the item.
        weight: of their score beside that of the word, above 0.
        source: why they may.
    """

    terms: tuple[str, ...]
    weight: float
    source: Source


@dataclass(frozen=True)
class QueryWord:
    """A word of a query, or several that have one meaning.

    Attributes:
        text: as typed.
        terms: of the analyser; several for a model number, a word without spaces, or words with a common synonym.
        alternatives: the best one counts where its score is higher than that of the terms.
        is_stop: whether it is a function word, which an item need not have.
        items: ascending, that have it in a value of another column, as their colour; None where texts have the word.
    """

    text: str
    terms: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()
    is_stop: bool = False
    items: Ints | None = field(default=None, compare=False)


@dataclass(frozen=True)
class SearchQuery:
    """A query as it is searched.

    Attributes:
        text: as searched, after corrections.
        typed: as the user typed it.
        words: in order.
        suggestion: another spelling that is offered ("did you mean"); None where there is none.
        redirect: a URL that a rule answers the query with.
        categories: internal category id -> how sure the query names it, 0 to 1.
        attributes: column -> values of it that the query names, as "color" -> ("red",).
    """

    text: str
    typed: str
    words: tuple[QueryWord, ...]
    suggestion: str | None = None
    redirect: str | None = None
    categories: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """Every term of the words and of their alternatives, once."""
        by_word = [(*word.terms, *(term for one in word.alternatives for term in one.terms)) for word in self.words]
        return tuple(dict.fromkeys(term for terms in by_word for term in terms))

    @property
    def is_corrected(self) -> bool:
        """Whether another text than the typed one is searched."""
        return self.text != self.typed


def parse(text: str, analyser: Analyser) -> SearchQuery:
    """Return a query whose words are searched as they are typed.

    Args:
        text: as typed.
        analyser: of the catalogue.
    """
    return SearchQuery(text, text, tuple(query_words(text, analyser)))


def query_words(text: str, analyser: Analyser) -> Sequence[QueryWord]:
    """Return the words of a query in order, each with its terms; all terms together are `analyser.terms(text)`.

    Args:
        text: of the query.
        analyser: of the catalogue.
    """
    words = []
    for group in word_groups(text):
        terms = tuple(map(analyser.term, group))
        words.append(QueryWord(group[0], terms, is_stop=terms[0] in analyser.stop_terms))
    return words
