"""Spelling: words that no item has are corrected by the catalogue's own words, also where a space is missing.

A correction is sure where one word is clearly the likeliest: the nearest, the most frequent, or the one that items have
together with the other words of the query. What is not sure is offered, and its words count less than the typed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from searec.search.query import Alternative
from searec.search.vocabulary import Neighbour, Vocabulary

FUZZY_WEIGHT = 0.5
"""What a word one edit away counts beside the typed one; two edits away its square."""
_FROM_ONE, _FROM_TWO = 4, 8
"""Letters of a word in which one edit, and two, are allowed."""
_EXAMINED = 5
_CLEARLY = 5
"""How often the likeliest word must be there for each time that the next one is."""
_RARE = 5
_FAR_MORE = 50
"""How often a word must be there beside a rare one, or one that may well be another word."""
_SHORTEST_PART = 3
Count = Callable[[Sequence[str]], int]
"""Number of items that have all of some terms."""


@dataclass(frozen=True)
class Correction:
    """What an unknown word may be.

    Attributes:
        words: as people write them; two where a space was missing.
        is_sure: whether they are searched in place of the typed word.
        alternatives: other words that it may be.
    """

    words: tuple[str, ...]
    is_sure: bool
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """A word that a typed one may be; `together`: items that have it with other words of the query."""

    word: str
    term: str
    distance: int
    count: int
    together: int

    @property
    def cost(self) -> int:
        """Edits; that items have it with the other words is worth one."""
        return self.distance - (self.together > 0)

    def is_clearly_before(self, other: "_Candidate") -> bool:
        if other.cost > self.cost:
            return True
        if self.together or other.together:
            return self.together >= _CLEARLY * max(1, other.together)
        return self.count >= _CLEARLY * other.count


class Speller:
    """Corrects words by a vocabulary.

    Args:
        vocabulary: of the catalogue.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._term = vocabulary.analyser.term

    def correct(self, word: str, others: Sequence[str], count: Count) -> Correction | None:
        """Return what a word that no item has may be; None where nothing is near.

        Args:
            word: folded, without digits.
            others: terms of the other words of the query that items have.
            count: items that have all of some terms.
        """
        near = self._vocabulary.neighbours(word, _edits(word)) if _edits(word) else ()
        if not near or near[0].distance > 1:
            parts = self._split(word, count)
            if parts:
                return Correction(parts, is_sure=True)
        stem = self._term(word)
        if not near and stem != word and _edits(stem):  # a slip in an inflected word, of which items have other forms
            near = self._vocabulary.neighbours(stem, 1)
        if not near:
            return None
        candidates = self._candidates(near, others, count)
        best, *rest = candidates
        alternatives = tuple(Alternative((one.term,), FUZZY_WEIGHT**one.distance, "spelling") for one in rest)
        is_sure = (
            self._term(word) not in self._vocabulary.searched
            and (best.together > 0 or best.count >= best.distance)
            and (not _is_another(word, best.word) or best.count >= _FAR_MORE)
            and all(map(best.is_clearly_before, rest))
        )
        if not is_sure:
            first = Alternative((best.term,), FUZZY_WEIGHT**best.distance, "spelling")
            alternatives = (first, *alternatives)
        return Correction((self._vocabulary.written(best.word),), is_sure, alternatives)

    def likelier(self, word: str, others: Sequence[str], count: Count) -> str | None:
        """Return a far more frequent neighbour of a rare word; None where items have the word with the others.

        Args:
            word: folded, without digits; items have it.
            others: terms of the other words of the query that items have.
            count: items that have all of some terms.
        """
        term = self._term(word)
        often = count([term])
        if often > _RARE or not _edits(word) or (others and count([term, *others])):
            return None
        near = [one for one in self._vocabulary.neighbours(word, 1) if one.count >= _FAR_MORE * often]
        likelier = [one for one in self._candidates(near, others, count) if one.term != term]
        likelier = [one for one in likelier if one.together or not others]
        return self._vocabulary.written(likelier[0].word) if likelier else None

    def _candidates(self, near: Sequence[Neighbour], others: Sequence[str], count: Count) -> list[_Candidate]:
        """The first neighbours, one for each term, the likeliest first."""
        by_term: dict[str, Neighbour] = {}
        for one in near:
            by_term.setdefault(self._term(one.word), one)
            if len(by_term) == _EXAMINED:
                break
        candidates = [
            _Candidate(one.word, term, one.distance, one.count, sum(count([term, other]) for other in others))
            for term, one in by_term.items()
        ]
        return sorted(candidates, key=lambda one: (one.cost, -one.together, -one.count, one.word))

    def _split(self, word: str, count: Count) -> tuple[str, str] | None:
        """Two known words that a word consists of and that items have together, in most items."""
        best, most = None, 0
        for place in range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1):
            parts = word[:place], word[place:]
            if all(part in self._vocabulary for part in parts):
                together = count([self._term(part) for part in parts])
                if together > most:
                    best, most = parts, together
        return (self._vocabulary.written(best[0]), self._vocabulary.written(best[1])) if best else None


def _edits(word: str) -> int:
    return 0 if len(word) < _FROM_ONE else 1 if len(word) < _FROM_TWO else 2


def _is_another(word: str, near: str) -> bool:
    """Whether one letter in four is another: "cell" is no slip of "call", while "piza" and "ipzza" are of "pizza"."""
    return len(word) == len(near) == _FROM_ONE and sorted(word) != sorted(near)
