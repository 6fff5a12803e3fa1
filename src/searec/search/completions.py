"""Completions of what is being typed: texts with words that begin so, the most used ones first.

Every distinct word of the texts has a number in the order of the letters, so that the words that begin alike are a
range. Postings lead from a word to its texts, most used first; the best of every range with many postings are computed
when the index is made, so that a single letter costs as much as a long word.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rapidfuzz.distance import OSA
from scipy.sparse import csr_array

from searec.data.ragged import Ints, Ragged
from searec.text.analyser import fold
from searec.text.analysis import HYPHENS, apart, plain_words, split_words, unspaced

Match = Literal["exact", "near"]
Range = tuple[int, int]
"""Numbers of words, from and before."""
FUZZY_FROM = 4
"""Letters from which one of them may be wrong, missing, too many, or in the place of the next; never the first."""
BEST = 48
"""Texts of each range that are computed before."""
_SCANNED = 2_048
"""Postings of a range up to which it is sorted in the request."""
_CHECKED = 1_024
"""Texts with one of the words that are checked for the others at a time."""
_MOST_CHECKED = 8_192
_VARIANTS = 24
"""Ranges that may be meant by a misspelled word."""
_AT_START = 1.5
"""What a text that begins so is better than others, as the logarithm of how often it is used."""
_LAST_LETTER = 3.0
"""What a text is worse that has another letter than the one typed last, which may be a slip or the next letter."""
_LONGEST = 16
"""Letters of a word without spaces by which it is found from the middle."""
_RUN = r"[\p{L}\p{M}\p{N}]"
_COMPOUND = (  # letters next to digits, or a hyphen between letters
    rf"{_RUN}*(?:\p{{L}}[{HYPHENS}]?\p{{N}}|\p{{N}}[{HYPHENS}]?\p{{L}}|\p{{L}}[{HYPHENS}]\p{{L}})(?:{_RUN}|[{HYPHENS}])*"
)
_HYPHENATED = re.compile(rf"[^\W_]+(?:[{HYPHENS}][^\W_]+)*")
_PART = re.compile(r"\d+|[^\W\d_]+")
_Scored = tuple[Ints, NDArray[np.float64]]


@dataclass(frozen=True)
class Typed:
    """What was typed.

    Attributes:
        words: folded.
        is_open: whether the last word may go on.
    """

    words: tuple[str, ...]
    is_open: bool

    @classmethod
    def of(cls, text: str) -> "Typed":
        """Return what was typed as words."""
        return cls(tuple(map(fold, plain_words(text))), not text[-1:].isspace())

    def matches(self, words: Sequence[str], match: Match) -> bool:
        """Return whether a text has these words.

        Args:
            words: of the text, folded.
            match: "exact", or "near" for one edit in each word.
        """
        for place, part in enumerate(self.words):
            is_whole = match == "exact" and (place < len(self.words) - 1 or not self.is_open)
            if not any(word == part if is_whole else _begins(word, part, match) for word in words):
                return False
        return True


def words_to_begin(text: str) -> list[str]:
    """Return the folded words of one text, with those by which its model numbers and hyphens can be typed as well."""
    words = list(map(fold, plain_words(text)))
    for run in _HYPHENATED.findall(text.lower()):
        words += compound_forms(run) if len(_PART.findall(run)) > 1 else []
    return words


def typed_words(texts: pl.Series) -> pl.Series:
    """Return the lower-case words of texts without accents, runs of letters without spaces between words by themselves.

    Args:
        texts: n texts.
    """
    words = pl.DataFrame({"text": texts}).select(split_words(apart(pl.col("text")))).to_series()
    distinct = words.explode().drop_nulls().unique()
    strange = distinct.filter(distinct.str.len_bytes() != distinct.str.len_chars())
    if not len(strange):
        return words
    folded = pl.Series([fold(word) for word in strange.to_list()], dtype=pl.String)
    return words.list.eval(pl.element().replace(strange, folded))


class CompletionIndex:
    """Texts by the beginnings of their words; equal texts are one.

    Args:
        texts: [n].
        weights: [n] how often each is used.
    """

    def __init__(self, texts: pl.Series, weights: NDArray[np.floating] | NDArray[np.integer]) -> None:
        frame = pl.DataFrame({"text": texts, "words": typed_words(texts), "weight": weights}).with_row_index("row")
        frame = frame.with_columns(key=pl.col("words").list.join(" ")).filter(pl.col("key") != "")
        frame = frame.sort(-pl.col("weight").cast(pl.Float64), pl.col("key").str.len_bytes(), "row")
        entries = frame.group_by("key", maintain_order=True).agg("row", pl.col("weight", "words", "text").first())
        self.rows = Ragged.of([]) if entries.is_empty() else _ragged(entries["row"])
        """Of each entry, the most used text first."""
        self._score = np.log1p(entries["weight"].to_numpy().astype(np.float64))
        self._plain_length = entries["words"].list.len().to_numpy().astype(np.int32)
        words = _with_parts(entries["text"], _with_suffixes(entries["words"]))
        distinct = words.explode().drop_nulls().unique().sort()
        self._words: list[str] = distinct.to_list()
        numbers = words.explode().drop_nulls().cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32)
        lengths = words.list.len().to_numpy().astype(np.int64)
        self._of_entry = Ragged(np.concatenate(([0], np.cumsum(lengths))), numbers)
        self._length = lengths.astype(np.int32)
        self._anywhere = _Postings(numbers, self._of_entry.offsets, self._words)
        starts = np.arange(len(self._score) + 1)
        self._start = _Postings(numbers[self._of_entry.offsets[:-1]], starts, self._words)

    def __len__(self) -> int:
        return len(self._score)

    def complete(self, typed: Typed, match: Match, k: int) -> Ints:
        """Return the entries that have all words that were typed, best first.

        A text of these words alone is before all others; texts that begin so have an advantage.

        Args:
            typed: the last word is a beginning, if it is open.
            match: "exact": the others are whole words. "near": all are beginnings, with one edit from four letters.
            k: entries at most.
        """
        parts: list[list[tuple[Range, float]]] = []
        for place, word in enumerate(typed.words):
            is_whole = place < len(typed.words) - 1 or not typed.is_open
            if match == "exact":
                ranges = [(self._whole(word) if is_whole else self._beginning(word), 0.0)]
            else:
                ranges = [(self._beginning(word), 0.0), *self._near(word)]
            parts.append([(one, loss) for one, loss in ranges if one[1] > one[0]])
        if not parts or not all(parts):
            return np.zeros(0, dtype=np.int64)
        lists = self._of_one(parts[0], k) if len(parts) == 1 else self._of_several(parts, k)
        entries, scores = (np.concatenate(side) for side in zip(*lists, strict=True))
        if match == "exact" and len(whole := self._whole_text(typed.words)):
            entries, scores = np.append(entries, whole), np.append(scores, [np.inf] * len(whole))
        order = np.argsort(-scores, kind="stable")
        _, first = np.unique(entries[order], return_index=True)
        return entries[order][np.sort(first)][:k].astype(np.int64)

    def _of_one(self, ranges: Sequence[tuple[Range, float]], k: int) -> list[_Scored]:
        lists: list[_Scored] = []
        for words, loss in ranges:
            for postings, gain in ((self._start, _AT_START), (self._anywhere, 0.0)):
                entries = postings.best(words, k)
                lists.append((entries, self._score[entries] + gain - loss))
        return lists

    def _of_several(self, parts: Sequence[Sequence[tuple[Range, float]]], k: int) -> list[_Scored]:
        """Texts that begin with the words in their order, then texts that have them anywhere."""
        ranges = [[words for words, _ in part] for part in parts]
        is_part = [self._mask(part) for part in ranges]
        first = self._examined(self._start, ranges[0])
        offsets, lengths = self._of_entry.offsets[:-1], self._length
        for place, mask in enumerate(is_part):
            first = first[lengths[first] > place]
            first = first[mask[self._of_entry.values[offsets[first] + place]]]
        rarest = min(range(len(ranges)), key=lambda place: self._cost(ranges[place]))
        entries = self._examined(self._anywhere, ranges[rarest])
        complete: list[Ints] = []
        for start in range(0, len(entries), _CHECKED):
            chunk = entries[start : start + _CHECKED]
            words, owner = self._of_entry.take(chunk)
            has_all = np.ones(len(chunk), dtype=bool)
            for place, mask in enumerate(is_part):
                if place != rarest:
                    has_all &= np.bincount(owner[mask[words]], minlength=len(chunk)) > 0
            complete.append(chunk[has_all])
            if sum(map(len, complete)) >= max(k, BEST):
                break
        anywhere = np.concatenate((np.zeros(0, dtype=np.int64), *complete))
        return [(first, self._score[first] + _AT_START), (anywhere, self._score[anywhere])]

    def _whole_text(self, words: Sequence[str]) -> Ints:
        """The entry of these words and no others, if there is one."""
        entries = self._start.all(self._whole(words[0])).astype(np.int64)
        for place, word in enumerate(words):
            entries = entries[self._length[entries] > place]
            numbers = self._of_entry.values[self._of_entry.offsets[entries] + place]
            entries = entries[_within(numbers, self._whole(word))]
        whole: Ints = entries[self._plain_length[entries] == len(words)]
        return whole

    def _mask(self, ranges: Sequence[Range]) -> NDArray[np.bool_]:
        """Which words are in one of the ranges."""
        mask = np.zeros(len(self._words), dtype=bool)
        for first, end in ranges:
            mask[first:end] = True
        return mask

    def _cost(self, ranges: Sequence[Range]) -> int:
        """Postings to read: of a single word the first ones, which are sorted."""
        if len(ranges) == 1 and ranges[0][1] - ranges[0][0] == 1:
            return min(self._anywhere.count(ranges[0]), _MOST_CHECKED)
        return sum(map(self._anywhere.count, ranges))

    @staticmethod
    def _examined(postings: "_Postings", ranges: Sequence[Range]) -> Ints:
        """The most used entries of ranges, the most used first; of several words with many only their best."""
        if len(ranges) == 1 and ranges[0][1] - ranges[0][0] == 1:
            return postings.all(ranges[0])[:_MOST_CHECKED].astype(np.int64)
        is_short = sum(map(postings.count, ranges)) <= _MOST_CHECKED
        lists = [postings.all(words) if is_short else postings.best(words) for words in ranges]
        return np.unique(np.concatenate(lists)).astype(np.int64)

    def _whole(self, word: str) -> Range:
        at = bisect_left(self._words, word)
        return at, at + (at < len(self._words) and self._words[at] == word)

    def _beginning(self, letters: str, lo: int = 0, hi: int | None = None) -> Range:
        first = bisect_left(self._words, letters, lo, hi)
        return first, bisect_left(self._words, letters + "\U0010ffff", first, hi)

    def _near(self, word: str) -> list[tuple[Range, float]]:
        """The words that begin as one typed with one mistake, in the order of their use, and what they lose by it."""
        if len(word) < FUZZY_FROM:
            return []
        ranges: set[Range] = set()
        lo, hi = 0, len(self._words)
        for place in range(1, len(word) - 1):
            before, after = word[:place], word[place + 1 :]
            lo, hi = self._beginning(before, lo, hi)
            ranges.add(self._beginning(before + after, lo, hi))
            ranges.add(self._beginning(before + after[0] + word[place] + after[1:], lo, hi))
            at = lo
            while at < hi:
                if len(self._words[at]) == place:
                    at += 1
                    continue
                letter = self._words[at][place]
                ranges.add(self._beginning(before + letter + after, at, hi))
                ranges.add(self._beginning(before + letter + word[place:], at, hi))
                at = self._beginning(before + letter, at, hi)[1]
        many = sorted((one for one in ranges if one[1] > one[0]), key=self._anywhere.count, reverse=True)[:_VARIANTS]
        return [*((one, 0.0) for one in many), (self._beginning(word[:-1]), _LAST_LETTER)]


class _Postings:
    """The entries of each word, ascending: the most used first.

    Args:
        numbers: of the words of each entry.
        offsets: where those of each entry begin.
        words: in order.
    """

    def __init__(self, numbers: NDArray[np.int32], offsets: Ints, words: Sequence[str]) -> None:
        shape = (len(offsets) - 1, len(words))
        ones = np.ones(len(numbers), dtype=np.int8)
        matrix = csr_array((ones, numbers, offsets), shape=shape).tocsc()
        self._entries = matrix.indices.astype(np.int32)
        self._offsets = matrix.indptr.astype(np.int64)
        self._best: dict[Range, NDArray[np.int32]] = {}
        letters = pl.Series(words, dtype=pl.String)
        rest = np.arange(len(words))  # words in ranges that are still long
        for length in range(1, 100):
            starts = letters.gather(rest).str.slice(0, length)
            lengths = letters.gather(rest).str.len_chars().to_numpy()
            is_new = (starts != starts.shift(1)).fill_null(True).to_numpy()
            first = rest[is_new]
            end = rest[np.append(np.flatnonzero(is_new)[1:], len(rest)) - 1] + 1 if len(rest) else first
            is_long = (self._offsets[end] - self._offsets[first] > _SCANNED) & (lengths[is_new] >= length)
            for words_of_one in zip(first[is_long].tolist(), end[is_long].tolist(), strict=True):
                if words_of_one not in self._best and words_of_one[1] - words_of_one[0] > 1:
                    self._best[words_of_one] = _first(self.all(words_of_one))
            rest = rest[np.repeat(is_long, np.diff(np.append(np.flatnonzero(is_new), len(rest))))]
            if not len(rest):
                break

    def count(self, words: Range) -> int:
        """Return how many postings the words of a range have."""
        return int(self._offsets[words[1]] - self._offsets[words[0]])

    def all(self, words: Range) -> NDArray[np.int32]:
        """Return the entries of a range, word by word."""
        entries: NDArray[np.int32] = self._entries[self._offsets[words[0]] : self._offsets[words[1]]]
        return entries

    def best(self, words: Range, k: int = BEST) -> NDArray[np.int32]:
        """Return the most used entries of a range, the most used first.

        Args:
            words: the range.
            k: entries; up to `BEST` they are there already.
        """
        if words[1] - words[0] == 1:
            return self.all(words)[: max(k, BEST)]
        best = self._best.get(words) if k <= BEST else None
        return np.unique(self.all(words))[: max(k, BEST)] if best is None else best


def _within(words: Ints, one: Range) -> NDArray[np.bool_]:
    return (words >= one[0]) & (words < one[1])


def _first(entries: NDArray[np.int32]) -> NDArray[np.int32]:
    """The smallest numbers, ascending, each once."""
    few = 4 * BEST  # an entry may be there for several words
    smallest: NDArray[np.int32] = np.unique(np.partition(entries, few)[:few] if len(entries) > few else entries)
    return smallest[:BEST].copy()


def _ragged(lists: pl.Series) -> Ragged:
    offsets = np.concatenate(([0], np.cumsum(lists.list.len().to_numpy().astype(np.int64))))
    return Ragged(offsets, lists.explode().to_numpy().astype(np.int32))


def _with_suffixes(words: pl.Series) -> pl.Series:
    """The words of texts, and after them the ends of those without spaces between words."""
    places = np.arange(len(words))
    distinct = words.explode().drop_nulls().unique()
    runs = distinct.filter(unspaced(distinct))
    if not len(runs):
        return words
    ends = [[run[at : at + _LONGEST] for at in range(1, len(run)) if not _is_mark(run[at])] for run in runs.to_list()]
    table = pl.DataFrame({"word": runs, "end": pl.Series(ends, dtype=pl.List(pl.String))})
    exploded = pl.DataFrame({"text": places, "word": words}).explode("word")
    more = exploded.join(table, on="word").explode("end").drop_nulls("end")
    both = pl.concat([exploded, more.select("text", word="end")]).sort("text", maintain_order=True)
    return both.group_by("text", maintain_order=True).agg("word")["word"]


def _with_parts(texts: pl.Series, words: pl.Series) -> pl.Series:
    """The words of texts, and after them the other ways to type model numbers and words with a hyphen."""
    compounds = texts.str.to_lowercase().str.extract_all(_COMPOUND)
    distinct = compounds.explode().drop_nulls().unique()
    if not len(distinct):
        return words
    parts = pl.Series([compound_forms(one) for one in distinct.to_list()], dtype=pl.List(pl.String))
    exploded = pl.DataFrame({"compound": compounds}).with_row_index("text").explode("compound").drop_nulls()
    more = exploded.join(pl.DataFrame({"compound": distinct, "part": parts}), on="compound").explode("part")
    by_text = more.group_by("text").agg(pl.col("part").unique(maintain_order=True))
    frame = pl.DataFrame({"word": words}).with_row_index("text").join(by_text, on="text", how="left")
    other = pl.col("part").fill_null([]).list.set_difference("word")
    return frame.sort("text").select(pl.concat_list("word", other))["word"]


def compound_forms(compound: str) -> list[str]:
    """Return what begins within a model number or a word with a hyphen: its parts, and each joined with those after it.

    Args:
        compound: lower-case runs of letters and digits.

    >>> compound_forms("wf-1000xm5"), compound_forms("t-shirt")
    (['wf1000xm5', '1000xm5', 'xm5', '5', 'wf', '1000', 'xm'], ['tshirt', 'shirt', 't'])
    """
    parts = _PART.findall(compound)[:_LONGEST]
    joined = ["".join(parts[place:]) for place in range(len(parts))]
    return [fold(form) for form in dict.fromkeys((*joined, *parts))]


def _is_mark(letter: str) -> bool:
    return not letter.isalnum()


def _begins(word: str, part: str, match: Match) -> bool:
    if word.startswith(part):
        return True
    if match == "exact" or len(part) < FUZZY_FROM or word[:1] != part[0]:
        return False
    sizes = range(len(part) - 1, len(part) + 2)
    return any(OSA.distance(part, word[:size], score_cutoff=1) <= 1 for size in sizes)
