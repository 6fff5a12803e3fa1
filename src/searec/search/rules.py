"""Rules of search: synonyms and redirects that people maintain, in one JSON file.

    {"synonyms": [["sofa", "couch"], ["tv", "television"]],
     "one_way": {"trainers": ["running shoes"]},
     "redirects": {"gift card": "/gift-cards"}}

A search for one word of a group also finds items with the others; one for the key of `one_way` also those with its
values, and not the reverse. A rule is applied to the typed words once: no rule applies to what it adds, so chains
and circles do no harm. `proposed` holds what `searec synonyms` suggests; it takes effect once moved to `synonyms`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from searec.config import nearest
from searec.errors import SettingsError
from searec.files import fingerprint, write_json
from searec.search.query import QueryWord, query_words
from searec.text.analyser import Analyser

_KEYS = ("synonyms", "one_way", "redirects", "proposed")
Terms = tuple[str, ...]


@dataclass(frozen=True)
class Proposal:
    """Two queries or words whose searches lead to the same items.

    Attributes:
        words: the two.
        users: who have clicked items after each of them.
        items: that were clicked after both.
        confidence: cosine of the clicked items, 0 to 1.
    """

    words: tuple[str, str]
    users: tuple[int, int]
    items: int
    confidence: float


@dataclass(frozen=True)
class SearchRules:
    """What a rules file holds.

    Attributes:
        synonyms: groups of words and phrases that mean the same.
        one_way: phrase -> phrases that are searched too.
        redirects: query -> the URL that answers it.
        proposed: for review; without effect.
    """

    synonyms: Sequence[Sequence[str]] = ()
    one_way: Mapping[str, Sequence[str]] = field(default_factory=dict)
    redirects: Mapping[str, str] = field(default_factory=dict)
    proposed: Sequence[Any] = ()


class CompiledRules:
    """Rules in the terms of a catalogue.

    Args:
        rules: what a file holds.
        analyser: of the catalogue.

    Raises:
        SettingsError: a phrase has no word.
    """

    def __init__(self, rules: SearchRules, analyser: Analyser) -> None:
        self._analyser = analyser
        targets: dict[Terms, dict[Terms, None]] = {}
        for group in rules.synonyms:
            phrases = [self._phrase(phrase) for phrase in group]
            for phrase in phrases:
                targets.setdefault(phrase, {}).update(dict.fromkeys(one for one in phrases if one != phrase))
        for text, others in rules.one_way.items():
            key = self._phrase(text)
            targets.setdefault(key, {}).update(dict.fromkeys(one for one in map(self._phrase, others) if one != key))
        self._targets = {phrase: list(others) for phrase, others in targets.items()}
        self._longest = max(map(len, self._targets), default=0)
        self._redirects = {self._phrase(query): url for query, url in rules.redirects.items()}

    def redirect(self, terms: Sequence[str]) -> str | None:
        """Return the URL that a query is answered with; None without a rule."""
        return self._redirects.get(tuple(terms))

    def has_pair(self, first: str, second: str) -> bool:
        """Return whether one of two phrases is searched for the other.

        Args:
            first: a phrase.
            second: another.
        """
        one, other = self._phrase(first), self._phrase(second)
        return other in self._targets.get(one, ()) or one in self._targets.get(other, ())

    def synonyms(self, words: Sequence[QueryWord]) -> list[tuple[slice, Terms]]:
        """Return the synonyms of the longest phrases of a query: the words of each phrase, and the terms of a synonym.

        Args:
            words: in order.
        """
        synonyms: list[tuple[slice, Terms]] = []
        start = 0
        while start < len(words) and self._targets:
            step = 1
            for count in range(min(self._longest, len(words) - start), 0, -1):
                phrase = tuple(term for word in words[start : start + count] for term in word.terms)
                if phrase in self._targets:
                    synonyms += [(slice(start, start + count), terms) for terms in self._targets[phrase]]
                    step = count
                    break
            start += step
        return synonyms

    def _phrase(self, text: str) -> Terms:
        terms = tuple(term for word in query_words(text, self._analyser) for term in word.terms)
        if not terms:
            raise SettingsError("a search rule has a phrase without words", got=repr(text))
        return terms


def read_rules(path: Path, digest: str | None = None) -> SearchRules:
    """Read and check a rules file.

    Args:
        path: of the file.
        digest: that it must have; None for any.

    Raises:
        SettingsError: the file is missing, no JSON, another one than deployed, or an entry is wrong.
    """
    try:
        content = path.read_bytes()
        values = json.loads(content)
    except OSError as error:
        raise SettingsError("the search rules cannot be read", where=path, got=error.strerror) from None
    except ValueError as error:
        raise SettingsError("the search rules are no JSON", where=path, got=error) from None
    if digest is not None and fingerprint(path) != digest:
        raise SettingsError(
            "the search rules are not those that were deployed",
            where=path,
            got=f"digest {fingerprint(path)}",
            expected=digest,
            remedy="'searec deploy --rules FILE' deploys them",
        )
    return _checked(values, path)


def write_rules(rules: SearchRules, path: Path) -> str:
    """Write rules to a file and return its digest.

    Args:
        rules: what to write.
        path: of the file.
    """
    proposed = [vars(one) if isinstance(one, Proposal) else one for one in rules.proposed]
    values = {
        "synonyms": [list(group) for group in rules.synonyms],
        "one_way": {phrase: list(others) for phrase, others in rules.one_way.items()},
        "redirects": dict(rules.redirects),
        **({"proposed": proposed} if proposed else {}),
    }
    write_json(path, values)
    return fingerprint(path)


def _checked(values: Any, path: Path) -> SearchRules:
    def refuse(what: str, got: Any, expected: str) -> SettingsError:
        return SettingsError(what, where=path, got=repr(got)[:200], expected=expected)

    if not isinstance(values, dict):
        raise refuse("the search rules are no JSON object", values, f"an object with {', '.join(_KEYS)}")
    if unknown := [key for key in values if key not in _KEYS]:
        raise SettingsError(
            f"the search rules have an unknown key {unknown[0]!r}", where=path, remedy=nearest(unknown[0], list(_KEYS))
        )
    synonyms, one_way = values.get("synonyms", []), values.get("one_way", {})
    redirects, proposed = values.get("redirects", {}), values.get("proposed", [])
    if not isinstance(synonyms, list):
        raise refuse("'synonyms' is no list", synonyms, "a list of groups of words")
    for group in synonyms:
        if not _is_texts(group) or len(group) < 2:
            raise refuse("a group of synonyms is wrong", group, "a list of two or more words or phrases")
    if not isinstance(one_way, dict):
        raise refuse("'one_way' is no object", one_way, "an object: phrase -> list of phrases")
    for phrase, others in one_way.items():
        if not _is_texts([phrase]) or not _is_texts(others) or not others:
            raise refuse(f"the one-way synonyms of {phrase!r} are wrong", others, "a list of words or phrases")
    if not isinstance(redirects, dict):
        raise refuse("'redirects' is no object", redirects, "an object: query -> URL")
    for query, url in redirects.items():
        if not _is_texts([query]) or not _is_url(url):
            raise refuse(f"the redirect of {query!r} is wrong", url, "a path like /gift-cards, or an http(s) URL")
    if not isinstance(proposed, list):
        raise refuse("'proposed' is no list", proposed, "a list, as 'searec synonyms' writes it")
    return SearchRules(synonyms, one_way, redirects, proposed)


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, str) and one.strip() for one in values)


def _is_url(url: Any) -> bool:
    """Whether a text is a path of this host or a URL that a browser may be sent to."""
    if not isinstance(url, str) or any(map(str.isspace, url)) or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.scheme:
        return url.startswith("/") and not url.startswith("//")
    return parts.scheme in ("http", "https") and bool(parts.hostname)
