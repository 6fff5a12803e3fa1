"""Highlights: which parts of a text match the terms of a query, by the same analyser that found it."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from icu4py.breakers import WordBreaker

from searec.search.query import SearchQuery
from searec.text.analyser import Analyser

Spans = Sequence[tuple[int, int]]
SNIPPET = 160
"""Characters of a snippet, beside its ellipses."""
_ELLIPSIS = "…"
_JOINING = "-‐'’"
_INCHES = r"[0-9](?:\"|''|[″”])"


class Snippet(NamedTuple):
    """A part of a longer text, and the spans (start, end) in it that match."""

    text: str
    spans: Spans


def match_terms(query: SearchQuery, analyser: Analyser) -> frozenset[str]:
    """Return the terms of a query that are worth marking: those of function words only if there are no others.

    Args:
        query: the query.
        analyser: of the catalogue.
    """
    terms = frozenset(query.terms)
    return terms - analyser.stop_terms or terms


def highlight(text: str, terms: Collection[str], analyser: Analyser) -> Spans:
    """Return the spans (start, end) of a text that match, in characters, ascending, none within another.

    Args:
        text: a title or the like, as it is.
        terms: of the query.
        analyser: of the catalogue.

    >>> from searec.text.analyser import Analyser
    >>> english = Analyser("en")
    >>> highlight("Café table, 32in", english.terms("cafés 32 inches"), english)
    [(0, 4), (12, 16)]
    """
    spans: list[tuple[int, int]] = []
    for start, end in _matches(text, terms, analyser):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def snippet(text: str, terms: Collection[str], analyser: Analyser, length: int = SNIPPET) -> Snippet:
    """Return the part of a text that holds the most matches, cut between words.

    Args:
        text: as a description.
        terms: of the query.
        analyser: of the catalogue.
        length: characters at most.
    """
    spans = highlight(text, terms, analyser)
    if len(text) <= length:
        return Snippet(text, spans)
    best = max(
        spans,
        key=lambda span: sum(span[0] <= start and end <= span[0] + length for start, end in spans),
        default=(0, 0),
    )
    last = max((end for start, end in spans if start >= best[0] and end <= best[0] + length), default=0)
    start = min(max(0, (best[0] + last - length) // 2), best[0], len(text) - length)
    end = start + length
    if start > 0 and (blank := text.find(" ", start - 1, best[0])) >= 0:
        start = blank + 1
    if end < len(text) and (blank := text.rfind(" ", max(last, start + 1), end + 1)) > 0:
        end = blank
    head, tail = (_ELLIPSIS if start > 0 else ""), (_ELLIPSIS if end < len(text) else "")
    inside = [(first, after) for first, after in spans if start <= first and after <= end]
    shift = len(head) - start
    return Snippet(head + text[start:end] + tail, [(first + shift, after + shift) for first, after in inside])


def _matches(text: str, terms: Collection[str], analyser: Analyser) -> Iterator[tuple[int, int]]:
    """The matching parts in the order of their starts."""
    patterns = _patterns()
    for match in patterns.chunk.finditer(text):
        chunk, start = match[0], match.start()
        if patterns.unspaced.search(chunk):
            yield from _of_unspaced(chunk, start, terms, analyser)
            continue
        runs = list(patterns.run.finditer(chunk))
        if len(runs) > 1 and _is_model(chunk) and (joined := _word(chunk, analyser)) and joined in terms:
            yield start, match.end()
            continue
        for run in runs:
            if any(term in terms for term in analyser.terms(run[0])):
                yield start + run.start(), start + run.end()


def _of_unspaced(chunk: str, start: int, terms: Collection[str], analyser: Analyser) -> Iterator[tuple[int, int]]:
    """Of scripts without spaces between words: matching words of ICU, pairs of characters, and words beside them."""
    units = chunk.encode("utf-16-le")  # ICU counts in them
    word_ends = [len(units[: 2 * end].decode("utf-16-le")) for _, end in WordBreaker(chunk, "root").segments()]
    words = zip([0, *word_ends[:-1]], word_ends, strict=True)
    clusters = [match.span() for match in _patterns().cluster.finditer(chunk)]
    pairs = ((first, after) for (first, _), (_, after) in pairwise(clusters))
    for first, after in sorted({*words, *pairs}):
        if not set(terms).isdisjoint((_word(chunk[first:after], analyser), *_words(chunk[first:after], analyser))):
            yield start + first, start + after


def _words(text: str, analyser: Analyser) -> Sequence[str]:
    """The terms of a part, unless it mixes scripts with and without spaces."""
    return analyser.terms(text) if not _patterns().unspaced.search(text) else ()


def _word(text: str, analyser: Analyser) -> str:
    """The term of a part taken as one word."""
    letters = (char for char in unicodedata.normalize("NFKC", text).lower() if char not in _JOINING)
    return analyser.term("".join(letters))


def _is_model(chunk: str) -> bool:
    return any(map(str.isdigit, chunk)) and any(map(str.isalpha, chunk))


class _Patterns:
    """Regular expressions over all scripts; those of Python have no class of marks."""

    def __init__(self) -> None:
        marks = "".join(char for char in map(chr, range(0x300, 0x1F000)) if unicodedata.category(char) in ("Mn", "Mc"))
        unspaced = "".join(
            rf"{chr(first)}-{chr(last)}"
            for first, last in (
                (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x3005, 0x3006),
                (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
                (0xF900, 0xFAFF), (0xFF66, 0xFFDC), (0x20000, 0x2FFFF),
            )
        )  # fmt: skip
        self.unspaced = re.compile(f"[{unspaced}]")
        self.cluster = re.compile(rf"\w[{marks}]*")
        word = rf"(?:{_INCHES}|[\w{marks}\u00ad\u200c\u200d])+"
        self.chunk = re.compile(rf"{word}(?:[{_JOINING}]{word})*")
        self.run = re.compile(rf"{word}(?:['’]{word})*")


@cache
def _patterns() -> _Patterns:
    return _Patterns()
