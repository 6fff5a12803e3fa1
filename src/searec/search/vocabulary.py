"""The words of a catalogue as people write them, with how often they occur: what spelling and prefixes are read from.

The lexical index holds stems. Here each word is folded (lower case, without accents) but not stemmed, so that it can be
compared with a typed one letter by letter and shown to people. Words that occur in descriptions alone are there as
their stems. Words with digits are left out.
"""

import bisect
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from searec.data.log import write_table
from searec.files import replacing
from searec.text.analyser import Analyser, fold
from searec.text.analysis import item_fields, split_words

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

VERSION = 1
"""Changes with every change to `_word_table`."""
MIN_USERS = 2
"""A word that only queries have is known if at least this many users have searched it."""
_CHARACTERS = 64


@dataclass(frozen=True)
class Neighbour:
    """A word of the vocabulary near a typed one.

    Attributes:
        word: folded.
        distance: edits between the two.
        count: items and users that have the word.
    """

    word: str
    distance: int
    count: int


class _Letter:
    """The words that begin with one letter, each with its length and the set of its characters in 64 bits."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.masks, self.lengths = _masks(self.words)

    def add(self, words: Sequence[str]) -> None:
        masks, lengths = _masks(words)
        self.words += words
        self.masks, self.lengths = np.concatenate((self.masks, masks)), np.concatenate((self.lengths, lengths))

    def near(self, word: str, most: int) -> list[str]:
        """Words that can be within `most` edits: an edit changes the length by 1 and two characters of the set."""
        masks, lengths = self.masks, self.lengths
        size = min(len(masks), len(lengths))  # another thread may be adding
        [mask], [length] = _masks([word])
        is_near = np.bitwise_count(masks[:size] ^ mask) <= 2 * most
        is_near &= np.abs(lengths[:size] - length) <= most
        return [self.words[place] for place in np.flatnonzero(is_near).tolist()]


class Vocabulary:
    """The folded words of a catalogue; new items add theirs. Threads share it.

    Args:
        words: as people write them, sorted by their folded form, each form once.
        counts: items and users that have each.
        searched: terms that at least `MIN_USERS` users have searched and no item has.
        analyser: of the catalogue.
    """

    def __init__(
        self, words: Sequence[str], counts: Sequence[int], searched: Iterable[str], analyser: Analyser
    ) -> None:
        self.analyser = analyser
        self.searched = frozenset(searched)
        folded = [fold(word) for word in words]
        self.counts: dict[str, int] = dict(zip(folded, counts, strict=True))
        self._written = {form: word for form, word in zip(folded, words, strict=True) if form != word}
        self._sorted = folded
        self._sorted_counts = np.array(counts, dtype=np.int64)
        self._new_sorted: list[str] = []
        by_letter: dict[str, list[str]] = {}
        for form in folded:
            by_letter.setdefault(form[0], []).append(form)
        self._letters = {letter: _Letter(forms) for letter, forms in by_letter.items()}
        self._read = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, data: "Dataset") -> "Vocabulary":
        """Return the vocabulary of a dataset; its words are collected once and stored beside the encoding."""
        path = data.folder / f"vocabulary-{VERSION}.parquet"
        if not path.exists():
            with replacing(path) as beside:
                write_table(_word_table(data), beside)
        table = pl.read_parquet(path)
        words = table.filter(pl.col("count") > 0)
        searched = table.filter(pl.col("count") == 0)["word"]
        return cls(words["word"].to_list(), words["count"].to_list(), searched, data.analyser)

    def add(self, new_words: Mapping[str, str]) -> list[str]:
        """Add the words of new items and return them, folded.

        Args:
            new_words: term -> word as written; grows, and what was read before is not read again.
        """
        if self._read == len(new_words):
            return []
        with self._lock:
            unread = list(new_words.values())[self._read :]
            self._read += len(unread)
            by_letter: dict[str, list[str]] = {}
            for word in unread:
                form = fold(word)
                if form in self.counts or not _is_word(form):
                    continue
                self.counts[form] = 1
                if form != word:
                    self._written[form] = word
                bisect.insort(self._new_sorted, form)
                by_letter.setdefault(form[0], []).append(form)
            for letter, forms in by_letter.items():
                if letter in self._letters:
                    self._letters[letter].add(forms)
                else:
                    self._letters[letter] = _Letter(forms)
        return [form for forms in by_letter.values() for form in forms]

    def __contains__(self, word: str) -> bool:
        return word in self.counts

    def written(self, word: str) -> str:
        """Return a folded word as people write it, with its accents."""
        return self._written.get(word, word)

    def neighbours(self, word: str, most: int) -> list[Neighbour]:
        """Return the words within `most` edits (insert, delete, replace, swap neighbours), nearest and frequent first.

        Args:
            word: folded; the first letter is the same in all.
            most: edits, from 1.
        """
        letter = self._letters.get(word[0])
        near = letter.near(word, most) if letter is not None else []
        if not near:
            return []
        distances = process.cdist([word], near, scorer=OSA.distance, score_cutoff=most, dtype=np.uint8)[0]
        places = np.flatnonzero(distances <= most).tolist()
        neighbours = [Neighbour(near[place], int(distances[place]), self.counts[near[place]]) for place in places]
        return sorted(neighbours, key=lambda one: (one.distance, -one.count, one.word))

    def beginning_with(self, prefix: str, count: int) -> list[str]:
        """Return the most frequent words that begin with a text.

        Args:
            prefix: folded.
            count: how many at most.
        """
        end = prefix + "\U0010ffff"
        first, last = bisect.bisect_left(self._sorted, prefix), bisect.bisect_left(self._sorted, end)
        counts = self._sorted_counts[first:last]
        best = np.argpartition(-counts, count)[:count] if len(counts) > count else np.arange(len(counts))
        words = [self._sorted[first + place] for place in best.tolist()]
        new = self._new_sorted
        words += new[bisect.bisect_left(new, prefix) : bisect.bisect_left(new, end)][:count]
        return sorted(words, key=lambda word: (-self.counts[word], word))[:count]


def _masks(words: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int16]]:
    """The characters of each word as bits, and the lengths."""
    lengths = np.fromiter(map(len, words), dtype=np.int16, count=len(words))
    characters = np.frombuffer("".join(words).encode("utf-32-le"), dtype="<u4")
    bits = np.uint64(1) << (characters % _CHARACTERS).astype(np.uint64)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return np.bitwise_or.reduceat(bits, starts), lengths


def _is_word(form: str) -> bool:
    return len(form) > 1 and not any(map(str.isdigit, form))


def _word_table(data: "Dataset") -> pl.DataFrame:
    """The words that items have and their counts, sorted by folded form, the most frequent one of each form.

    Last the terms that are searched and no item has, with a count of 0.
    """
    fields = [text for name, text in item_fields(data.item_table.columns).items() if name != "description"]
    text = pl.concat_str(fields, separator=" ", ignore_nulls=True)
    of_items = data.item_table.select(word=split_words(text).list.unique(), count=1)
    searcher = np.repeat(np.arange(data.sizes.users + 1), np.diff(data.searches.offsets))
    query, user = np.unique(np.stack((data.searches.query, searcher)), axis=1)
    users = np.bincount(query, minlength=data.sizes.queries + 1)[1:]
    of_queries = pl.DataFrame({"word": data.queries.texts, "count": users})
    of_queries = of_queries.with_columns(split_words(pl.col("word")))
    written = pl.concat([one.explode("word").cast({"count": pl.Int64}) for one in (of_items, of_queries)])
    written = written.drop_nulls().group_by("word").agg(pl.col("count").sum())
    terms = [data.analyser.term(word) for word in written["word"].to_list()]

    occurrences = np.bincount(data.item_words.values, minlength=data.sizes.words + 1)
    stems = pl.DataFrame({"word": list(data.word_index), "count": occurrences[1:].astype(np.int64)})
    of_items = stems.filter(pl.col("count") > 0)
    written = written.filter(pl.Series(terms, dtype=pl.String).is_in(of_items["word"].implode()))
    rest = of_items.filter(~pl.col("word").is_in(pl.Series(terms, dtype=pl.String).implode()))
    forms = pl.concat([written, rest])
    forms = forms.with_columns(form=pl.Series(map(fold, forms["word"].to_list()), dtype=pl.String))
    forms = forms.filter(pl.Series(map(_is_word, forms["form"].to_list()), dtype=pl.Boolean))
    by_form = forms.sort("count", "word", descending=[True, False]).group_by("form", maintain_order=True)
    forms = by_form.agg(pl.col("word").first(), pl.col("count").sum()).sort("form")
    searched = stems.filter(pl.col("count") == 0, pl.col("word").is_in(_searched(data, query, user)))
    return pl.concat([forms.select("word", "count"), searched])


def _searched(data: "Dataset", query: NDArray[np.integer], user: NDArray[np.integer]) -> list[str]:
    """Terms that at least `MIN_USERS` users have searched."""
    words, at = data.queries.words.take(query)
    number, users = np.unique(np.unique(np.stack((words, user[at])), axis=1)[0], return_counts=True)
    terms = list(data.word_index)
    return [terms[one - 1] for one in number[users >= MIN_USERS].tolist()]
