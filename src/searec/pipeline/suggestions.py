"""Suggestions: the next queries, by what the user did (a model), by their interests, and by what many users search."""

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.user_history import UserHistory, batch_of
from searec.interests.user_interests import UserInterests
from searec.pipeline.fusion import fuse
from searec.pipeline.histories import UserContext
from searec.pipeline.types import SuggestedQuery

if TYPE_CHECKING:
    from searec.pipeline.run import Run

MIN_USERS = 2
"""A query is shown to others if at least this many users have searched it."""
_EXAMINED = 5_000
_WEIGHTS = (1.0, 0.9, 0.5)
"""Of the model, interests and frequent queries."""


class Suggester:
    """Suggests known queries.

    Args:
        data: the dataset.
        run: of a model that suggests queries and has learned to search, or None.
    """

    def __init__(self, data: Dataset, run: "Run | None" = None) -> None:
        self.run = run
        self._data = data
        texts, self._counts = queries_of_several(data, MIN_USERS)
        self._texts: list[str] = texts.to_list()
        folded = [text.casefold() for text in self._texts]
        self._order = sorted(range(len(folded)), key=folded.__getitem__)
        self._sorted = [folded[number] for number in self._order]
        self._model = cast("Any", run.model) if run is not None else None
        self._known = None
        if self._model is not None and self._texts:
            self._known = self._model.index_queries(dict(zip(self._texts, self._counts.tolist(), strict=True)))

    def by_model(self, user: UserContext, k: int) -> list[str]:
        """Return the model's suggestions for one user; none without history.

        Args:
            user: with the history.
            k: how many.
        """
        if self._model is None or self._known is None or not user:
            return []
        numbers, _ = model_suggestions(self._model, self._data, [user.history], self._known, k)
        return [self._texts[number - 1] for number in numbers[0].tolist() if number]

    def frequent(self, prefix: str, k: int) -> list[str]:
        """Return the queries that most users search.

        Args:
            prefix: which they begin with.
            k: how many.
        """
        start = prefix.casefold()
        first = bisect.bisect_left(self._sorted, start)
        end = bisect.bisect_left(self._sorted, start + "\U0010ffff") if start else len(self._sorted)
        rows = np.array(self._order[first:end], dtype=np.int64)
        counts = self._counts[rows]
        if len(rows) > _EXAMINED:
            rows = rows[np.argpartition(-counts, k)[: k + 1]]
            counts = self._counts[rows]
        return [self._texts[row] for row in rows[np.argsort(-counts, kind="stable")][:k].tolist()]

    def suggest(self, by_model: Sequence[str], interests: UserInterests, prefix: str, k: int) -> list[SuggestedQuery]:
        """Fuse the three lists; the same words in another case are one query.

        Args:
            by_model: the model's suggestions.
            interests: of the user.
            prefix: which queries begin with.
            k: how many.
        """
        start = prefix.casefold()
        reason_of = {one.text.casefold(): one.reason for one in interests.interests}
        lists = [
            [text for text in texts if text.casefold().startswith(start)]
            for texts in (by_model, [one.text for one in interests.interests])
        ]
        lists.append(self.frequent(prefix, k))
        numbers: dict[str, int] = {}
        texts: list[str] = []
        for text in (text for texts_of_one in lists for text in texts_of_one):
            if text.casefold() not in numbers:
                numbers[text.casefold()] = len(texts)
                texts.append(text)
        fused = fuse(
            [np.array(list(dict.fromkeys(numbers[text.casefold()] for text in one)), dtype=np.int64) for one in lists],
            _WEIGHTS,
        )
        label = self.run.label if self.run is not None else ""
        suggestions = []
        for number, score, source in zip(
            fused.items[:k].tolist(), fused.score.tolist(), fused.source.tolist(), strict=False
        ):
            text = texts[number]
            channel = (label, "interest", "popular")[source]
            reason = ("follows from what you did lately", reason_of.get(text.casefold(), ""), "searched by many")[
                source
            ]
            suggestions.append(SuggestedQuery(text, score, channel, reason))
        return suggestions


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
