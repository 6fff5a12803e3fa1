"""Words that are written together: "Winterjacke" is a "Jacke", "laptop" is also written "lap top".

German, Dutch, Scandinavian, Finnish, Estonian and Hungarian form words from words. Which ones is read from the
catalogue: a term is a compound if it consists of two terms that stand alone elsewhere, with or without a letter or two
that link them (Koehn & Knight 2003, "Empirical methods for compound splitting"). In all languages two words that titles
or queries have side by side, and together as one word elsewhere, are alternatives of each other, and so are "t-shirt"
and "tshirt". A word that no item has is looked for within longer ones, as small catalogues have few parts that stand
alone.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from searec.search.query import Alternative
from searec.search.vocabulary import Vocabulary
from searec.text.analyser import fold
from searec.text.analysis import HYPHENS, split_words

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

LANGUAGES = frozenset(("da", "de", "et", "fi", "hu", "nl", "no", "sv"))
"""Languages that form compounds without a space."""
HEAD_WEIGHT = 0.6
"""What a compound counts for its head: "Winterjacke" for "jacke"."""
PARTS_WEIGHT = 0.8
"""What both parts count for the compound: "Jacke für den Winter" for "winterjacke"."""
LAST_WEIGHT = 0.4
"""What the head alone counts for a compound that no item has."""
_SHORTEST_WITHIN = 4
"""Letters of a word that is looked for within longer ones."""
_LINKS = ("", "s", "es", "n", "en", "er", "e")
_SHORTEST = 3
_MOST = 24
"""Compounds of one head that are searched, the most frequent."""
_MOST_SPLITS = 2


class Compounds:
    """The compounds among the terms of a catalogue.

    Args:
        vocabulary: of the catalogue.
        pairs: joined word -> its two words, of those that are written both ways; all folded.
    """

    def __init__(self, vocabulary: Vocabulary, pairs: Mapping[str, tuple[str, str]]) -> None:
        self._vocabulary, self._term = vocabulary, vocabulary.analyser.term
        self._counts: dict[str, int] = {}
        self._by_head: dict[str, list[str]] = {}
        self._parts = {self._term(word): (self._term(one), self._term(two)) for word, (one, two) in pairs.items()}
        self._pairs = pairs
        self._is_compounding = vocabulary.analyser.language in LANGUAGES
        if self._is_compounding:
            for word, count in vocabulary.counts.items():
                self._counts[self._term(word)] = self._counts.get(self._term(word), 0) + count
            self._link(self._counts)
        self._backwards = sorted(term[::-1] for term in self._counts)

    def add(self, words: Iterable[str]) -> None:
        """Add words of new items."""
        if self._is_compounding:
            new = [term for term in map(self._term, words) if term not in self._counts]
            self._counts.update(dict.fromkeys(new, 1))
            self._link(new)
            for term in new:
                bisect.insort(self._backwards, term[::-1])

    def of_word(self, term: str, *, is_known: bool) -> list[Alternative]:
        """Return the compounds that a term is the head of, and the parts of which it is a compound.

        Args:
            term: of a word.
            is_known: whether items have it.
        """
        alternatives: list[Alternative] = []
        if parts := self._parts.get(term):
            alternatives.append(Alternative(parts, PARTS_WEIGHT, "compound"))
        if not self._is_compounding:
            return alternatives
        for modifier, head in self.splits(term):
            alternatives.append(Alternative((head, modifier), PARTS_WEIGHT, "compound"))
            if not is_known:
                alternatives.append(Alternative((head,), LAST_WEIGHT, "compound"))
        heads = sorted(self._by_head.get(term, ()), key=lambda one: -self._counts[one])[:_MOST]
        return [*alternatives, *(Alternative((one,), HEAD_WEIGHT, "compound") for one in heads)]

    def of_unknown(self, word: str) -> list[Alternative]:
        """Return the words that end with one that no item has, or, without any, those that begin with it.

        Args:
            word: folded.
        """
        if ends := self._ending_with(self._term(word)):
            return [Alternative((term,), HEAD_WEIGHT, "compound") for term in ends]
        if not self._is_compounding or len(word) < _SHORTEST_WITHIN:
            return []
        begun = self._vocabulary.beginning_with(word, _MOST)
        terms = dict.fromkeys(self._term(one) for one in begun if len(one) >= len(word) + _SHORTEST)
        return [Alternative((term,), LAST_WEIGHT, "compound") for term in terms]

    def is_part(self, term: str) -> bool:
        """Return whether a term that no item has is written apart, or ends other words, and so is no slip."""
        return term in self._parts or bool(self._ending_with(term))

    def _ending_with(self, term: str) -> list[str]:
        """The most frequent terms that end with one and have another part before it."""
        if not self._is_compounding or len(term) < _SHORTEST_WITHIN:
            return []
        first = bisect.bisect_left(self._backwards, term[::-1])
        last = bisect.bisect_left(self._backwards, term[::-1] + "\U0010ffff")
        ends = [one[::-1] for one in self._backwards[first:last] if len(one) >= len(term) + _SHORTEST]
        return sorted(ends, key=lambda one: -self._counts[one])[:_MOST]

    def is_pair(self, joined: str, first: str, second: str) -> bool:
        """Return whether titles and queries write a word both ways.

        Args:
            joined: as one word, folded.
            first: the first of two words.
            second: the other.
        """
        return self._pairs.get(joined) == (first, second)

    def splits(self, term: str) -> Sequence[tuple[str, str]]:
        """Return the terms of modifier and head that a term may consist of, the most frequent first."""
        counts = self._counts
        by_head: dict[tuple[str, str], int] = {}
        for place in range(_SHORTEST, len(term) - _SHORTEST + 1):
            head, rest = term[place:], term[:place]
            if head not in counts or (len(head) == _SHORTEST == len(rest)):
                continue
            for link in _LINKS:
                if not rest.endswith(link) or len(rest) - len(link) < _SHORTEST:
                    continue
                modifier = self._term(rest.removesuffix(link))
                if modifier in counts and modifier != head:
                    by_head.setdefault((modifier, head), min(counts[modifier], counts[head]))
                    break
        return sorted(by_head, key=lambda pair: -by_head[pair])[:_MOST_SPLITS]

    def _link(self, terms: Iterable[str]) -> None:
        for term in terms:
            for _, head in self.splits(term):
                self._by_head.setdefault(head, []).append(term)


def word_pairs(data: "Dataset", vocabulary: Vocabulary) -> dict[str, tuple[str, str]]:
    """Return the words that titles or queries also have as two words side by side: joined word -> the two, folded.

    With a hyphen between the two, whether or not one has the joined word.

    Args:
        data: the dataset.
        vocabulary: of it.
    """
    texts = pl.concat([data.item_table["title"], data.queries.texts.rename("title")]).to_frame()
    words = texts.select(row=pl.int_range(pl.len()), first=split_words(pl.col("title"))).explode("first")
    pairs = words.with_columns(second=pl.col("first").shift(-1), is_row=pl.col("row") == pl.col("row").shift(-1))
    pairs = pairs.filter(pl.col("is_row"), pl.min_horizontal(pl.col("first", "second").str.len_chars()) >= _SHORTEST)
    joined = pairs.with_columns(joined=pl.col("first") + pl.col("second"))
    written = pl.Series(list(map(vocabulary.written, vocabulary.counts)), dtype=pl.String)
    both = joined.filter(pl.col("joined").is_in(written.implode())).group_by("joined", "first", "second").len()
    return _hyphenated(pl.concat([texts["title"], data.category_names.texts])) | {
        fold(word): (fold(first), fold(second))
        for word, first, second in both.sort("len").select("joined", "first", "second").iter_rows()
    }


def _hyphenated(texts: pl.Series) -> dict[str, tuple[str, str]]:
    """Joined word -> its two parts, of words of letters with one hyphen."""
    matches = texts.str.to_lowercase().str.extract_all(rf"[\p{{L}}\p{{M}}]+(?:[{HYPHENS}][\p{{L}}\p{{M}}]+)+").explode()
    parts = matches.drop_nulls().unique().sort().str.replace_all(f"[{HYPHENS}]", "-").str.split("-").to_list()
    pairs = [(fold(one[0]), fold(one[1])) for one in parts if len(one) == 2]
    return {first + second: (first, second) for first, second in pairs if len(first + second) >= _SHORTEST_WITHIN}
