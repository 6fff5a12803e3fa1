"""Novelty by rule: whether an interest is already in a history, independent of the reasoner."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from searec.interests.profile import Profile
from searec.text.analysis import words_of

KNOWN, NEAR, NOVEL = 0, 1, 2
"""Grades, as the paper's raters gave them: in the history already; close to it; new."""
_IDLE = frozenset(("a", "an", "and", "for", "in", "of", "on", "or", "the", "to", "with"))


@functools.lru_cache(1 << 16)
def stems(text: str) -> frozenset[str]:
    """Return the words that carry meaning, plural endings cut.

    >>> sorted(stems("Boots for the winter")), stems("Dog beds") == stems("dog bed")
    (['boot', 'winter'], True)
    >>> stems("hoodies") == stems("hoodie")
    True
    """
    return frozenset(_stem(word) for word in words_of(text) if word not in _IDLE)


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("ie"):  # of "hoodies" one cannot see whether it is a hoodie or a hoody
        return word[:-2] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


@dataclass(frozen=True)
class History:
    """A user's queries and clicks, as sets of stems."""

    phrases: frozenset[frozenset[str]]  # each query, and each narrow category of a clicked item
    words: frozenset[str]  # all words of queries and of the titles and categories clicked

    @classmethod
    def of(cls, profile: Profile) -> "History":
        """Return the history of a profile, older queries included."""
        queries = [one.text for one in profile.queries] + list(profile.earlier)
        categories = [name for one in profile.clicks for name in one.categories]
        phrases = {stems(text) for text in (*queries, *categories)} - {frozenset()}
        titles = (stems(one.title) for one in profile.clicks)
        return cls(frozenset(phrases), frozenset().union(*phrases, *titles))

    def grade(self, interest: str) -> int:
        """Return KNOWN, NEAR or NOVEL.

        Known: a query or a clicked category has all its words, or it has no words. Near: the history has more
        than half of its words.

        >>> history = History(frozenset({frozenset({"trail", "shoe"})}), frozenset({"trail", "shoe"}))
        >>> [history.grade(text) for text in ("trail shoes", "shoes", "trail shoe laces", "camping stoves")]
        [0, 0, 1, 2]
        """
        words = stems(interest)
        if not words or any(words <= phrase for phrase in self.phrases):
            return KNOWN
        shared = len(words & self.words)
        return NEAR if 2 * shared > len(words) else NOVEL


def grades(profile: Profile, interests: Sequence[str]) -> list[int]:
    """Return the grade of each interest.

    Args:
        profile: whose history counts.
        interests: texts.
    """
    history = History.of(profile)
    return [history.grade(interest) for interest in interests]
