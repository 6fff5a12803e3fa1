"""Suggestions: the next queries, by what the user did (a model), by their interests, and by what many users search.

While a query is typed: the user's own queries, then these, then titles of items; last those with one letter mistyped.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.user_history import UserHistory, batch_of
from searec.interests.user_interests import UserInterests
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.fusion import fuse
from searec.pipeline.histories import UserContext
from searec.pipeline.title_completions import TitleCompletions
from searec.pipeline.types import SuggestedQuery
from searec.search.completions import CompletionIndex, Match, Typed, words_to_begin

if TYPE_CHECKING:
    from searec.pipeline.run import Run

MIN_USERS = 2
"""A query is shown to others if at least this many users have searched it."""
OWN, TITLE = "own", "title"
"""Channels of the user's own queries and of titles."""
_RECENT = 50
"""The user's newest queries that are suggested again."""
_BY_MODEL = 100
"""Queries of the model that may have what was typed."""
_WEIGHTS = (1.0, 0.9, 0.5)
"""Of the model, interests and frequent queries."""


class Suggester:
    """Suggests known queries and titles of items.

    Args:
        data: the dataset.
        run: of a model that suggests queries and has learned to search, or None.
    """

    def __init__(self, data: Dataset, run: "Run | None" = None) -> None:
        self.run = run
        self._data = data
        texts, counts = queries_of_several(data, MIN_USERS)
        self._texts: list[str] = texts.to_list()
        self._queries = CompletionIndex(texts, counts)
        self._most_frequent: list[str] = texts.gather(np.argsort(-counts, kind="stable")).to_list()
        self._titles = TitleCompletions(data)
        self._model = cast("Any", run.model) if run is not None else None
        self._known = None
        if self._model is not None and self._texts:
            self._known = self._model.index_queries(dict(zip(self._texts, counts.tolist(), strict=True)))

    def by_model(self, user: UserContext, prefix: str, k: int) -> list[str]:
        """Return the model's suggestions for one user; none without history.

        Args:
            user: with the history.
            prefix: what was typed; of more queries those that have it are taken.
            k: how many.
        """
        if self._model is None or self._known is None or not user:
            return []
        count = max(k, _BY_MODEL) if prefix else k
        numbers, _ = model_suggestions(self._model, self._data, [user.history], self._known, count)
        return [self._texts[number - 1] for number in numbers[0].tolist() if number]

    def suggest(
        self,
        user: UserContext,
        by_model: Sequence[str],
        interests: UserInterests,
        catalog: CatalogSnapshot,
        prefix: str,
        k: int,
    ) -> list[SuggestedQuery]:
        """Return what the user may be typing, best first; of texts of the same terms the first one.

        Args:
            user: whose own queries come first.
            by_model: the model's suggestions.
            interests: of the user.
            catalog: the items, whose titles are suggested.
            prefix: what was typed: the last word is a beginning; empty for the next query, without titles.
            k: how many.
        """
        typed = Typed.of(prefix)
        texts = (list(_own_queries(user, self._data)), by_model, [one.text for one in interests.interests])
        reasons = {one.text: one.reason for one in interests.interests}
        taken = _Taken(self._data, k)
        if not typed.words:
            if not prefix.strip():
                taken.add(self._as_own(texts[0][: (k + 1) // 2]))
                taken.add(self._fused((*texts[1:], self._most_frequent[: k + len(taken.suggestions)]), reasons))
            return taken.suggestions
        with_words = [_with_words(list_of_one) for list_of_one in texts]
        matches: tuple[Match, ...] = ("exact", "near")
        for match in matches:
            lists = [[text for text, words in one if typed.matches(words, match)] for one in with_words]
            frequent = [self._texts[row] for row in self._frequent(typed, match, 2 * k)]
            taken.add(self._as_own(lists[0]))
            taken.add(self._fused((*lists[1:], frequent), reasons))
            if match == "exact":
                titles = self._as_titles(catalog, typed, match, 2 * k)
                late = taken.add(titles, at_most=max(1, k // 2))
            if len(taken.suggestions) >= k:
                return taken.suggestions
        taken.add(late)
        if len(taken.suggestions) < k:
            taken.add(self._as_titles(catalog, typed, "near", 2 * k))
        return taken.suggestions

    def _frequent(self, typed: Typed, match: Match, k: int) -> list[int]:
        return [int(self._queries.rows.row(entry)[0]) for entry in self._queries.complete(typed, match, k).tolist()]

    @staticmethod
    def _as_own(texts: Iterable[str]) -> list[SuggestedQuery]:
        return [SuggestedQuery(text, 1.0, OWN, "you searched for it") for text in texts]

    def _as_titles(self, catalog: CatalogSnapshot, typed: Typed, match: Match, k: int) -> list[SuggestedQuery]:
        items = np.array(self._titles.complete(catalog, typed, match, k), dtype=np.int64)
        pairs = zip(catalog.titles(items), catalog.items(items), strict=True) if len(items) else ()
        return [SuggestedQuery(title, 0.0, TITLE, "an item", "title", item) for title, item in pairs]

    def _fused(self, lists: Sequence[Sequence[str]], reasons: dict[str, str]) -> list[SuggestedQuery]:
        """The model's, the interests' and the frequent queries as one list by rank."""
        numbers = {text: number for number, text in enumerate(dict.fromkeys(text for one in lists for text in one))}
        texts = list(numbers)
        ranked = fuse(
            [np.array([numbers[text] for text in dict.fromkeys(one)], dtype=np.int64) for one in lists], _WEIGHTS
        )
        label = self.run.label if self.run is not None else ""
        suggestions = []
        for number, score, source in zip(
            ranked.items.tolist(), ranked.score.tolist(), ranked.source.tolist(), strict=True
        ):
            text = texts[number]
            reason = ("follows from what you did lately", reasons.get(text, ""), "searched by many")[source]
            suggestions.append(SuggestedQuery(text, score, (label, "interest", "popular")[source], reason))
        return suggestions


class _Taken:
    """Up to k suggestions, of other terms each."""

    def __init__(self, data: Dataset, k: int) -> None:
        self._analyser, self._k = data.analyser, k
        self._terms: set[frozenset[str]] = set()
        self.suggestions: list[SuggestedQuery] = []

    def add(self, suggestions: Sequence[SuggestedQuery], at_most: int | None = None) -> list[SuggestedQuery]:
        """Add those of new terms, as long as there is room; return those that `at_most` left out."""
        count = 0
        for place, one in enumerate(suggestions):
            if len(self.suggestions) >= self._k:
                break
            if count == at_most:
                return list(suggestions[place:])
            terms = frozenset(self._analyser.terms(one.query)) or frozenset([one.query])
            if terms not in self._terms:
                self._terms.add(terms)
                self.suggestions.append(one)
                count += 1
        return []


def _own_queries(user: UserContext, data: Dataset) -> Iterator[str]:
    """The user's newest queries, newest first, each once; those reported since the dataset included."""
    history = user.history
    known, new = history.search_query, list(history.search_text)
    seen: set[str] = set()
    for query in known[::-1].tolist():
        if not query and not new:
            continue
        text = data.queries.texts[query - 1] if query else new.pop()
        if text not in seen:
            seen.add(text)
            yield text
        if len(seen) == _RECENT:
            return


def _with_words(texts: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [(text, words_to_begin(text)) for text in texts]


def model_suggestions(
    model: Any, data: Dataset, histories: Sequence[UserHistory], known: Any, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k likeliest next queries by a model: positions in them from 1, 0 pads, and scores [B, k].

    Args:
        model: one that suggests queries.
        data: the dataset.
        histories: [B] of the users.
        known: the queries, as `index_queries` of the model returns them.
        k: queries of each.
    """
    batch = batch_of(data, histories, model.needs, "recommend").to(model.device)
    numbers, scores = model.suggest(batch, known, k)
    return numbers.cpu().numpy(), scores.cpu().numpy()


def queries_of_several(data: Dataset, min_users: int) -> tuple[pl.Series, NDArray[np.int64]]:
    """Return the queries that at least `min_users` users have searched, and how many users have searched each.

    Args:
        data: the dataset.
        min_users: from 1.
    """
    searches = data.searches
    user = np.repeat(np.arange(len(searches.offsets) - 1), np.diff(searches.offsets))
    queries, counts = np.unique(np.unique(np.stack((searches.query, user)), axis=1)[0], return_counts=True)
    is_frequent = counts >= min_users
    return data.queries.texts.gather(queries[is_frequent].astype(np.int64) - 1), counts[is_frequent].astype(np.int64)
