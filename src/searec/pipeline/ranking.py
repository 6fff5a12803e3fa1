"""Ranking: runs and indexes score the items of a pool, also those of another channel."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.user_history import batch_of, padded
from searec.pipeline.channels import RequestBatch
from searec.pipeline.dense_channel import DenseChannel
from searec.pipeline.fusion import RRF
from searec.pipeline.new_items import NewItemScorer

if TYPE_CHECKING:
    from searec.pipeline.run import Run

Scores = NDArray[np.float32]
_CLICKS = 10
"""The newest clicks whose texts `HistoryTextScorer` reads."""


class Scorer(Protocol):
    """Scores the items of pools."""

    @property
    def name(self) -> str:
        """Of the part of a fusion."""
        ...

    @property
    def run(self) -> str:
        """The label of the run that it reads."""
        ...

    def score(self, requests: RequestBatch, pools: Sequence[Ints]) -> list[Scores | None]:
        """Score each request's pool.

        Args:
            requests: B requests.
            pools: [B] of [n] item indexes.

        Returns:
            [B] of [n] scores, -inf for items that it cannot score; None for requests that it cannot.
        """
        ...


class RunScorer:
    """Scores by a run; a new item gets the score of its proxy if the model cannot score it by its text.

    Args:
        run: of a model.
        task: of the model; for a search "recommend" means by the user's history alone.
    """

    def __init__(self, run: "Run", task: Task) -> None:
        self.name = self.run = run.label
        self._run, self._task, self._new = run, task, NewItemScorer(run)

    def score(self, requests: RequestBatch, pools: Sequence[Ints]) -> list[Scores | None]:
        """As `Scorer.score`; None for users without history if there is no query to go by.

        Args:
            requests: B requests.
            pools: [B] of [n] item indexes.
        """
        scores: list[Scores | None] = [None] * len(pools)
        rows = [row for row, pool in enumerate(pools) if len(pool) and (self._task == "search" or requests.users[row])]
        if not rows:
            return scores
        model = self._run.model
        queries = [requests.queries[row] for row in rows] if self._task == "search" else ()
        histories = [requests.histories[row] for row in rows]
        items = [requests.catalog.proxy[pools[row]] for row in rows]
        batch = batch_of(self._run.data, histories, model.needs, self._task, queries, padded(items))
        batch = batch.to(model.device)
        values = model.score(batch).float().cpu().numpy()
        for row, ids, line in zip(rows, items, values, strict=True):
            scores[row] = np.where(ids > 0, line[: len(ids)], -np.inf).astype(np.float32)
        known = requests.catalog.base.data.sizes.items
        if self._new.applies(requests.catalog) and any((pools[row] > known).any() for row in rows):
            for row, line in zip(rows, self._new.scores(batch, requests.catalog), strict=True):
                place, score = pools[row] - known - 1, scores[row]
                assert score is not None
                scores[row] = np.where(place >= 0, line[np.maximum(place, 0)], score).astype(np.float32)
        return scores


class LexicalScorer:
    """The lexical score of every item of a pool, by its words as they are now."""

    name = run = "bm25"

    def score(self, requests: RequestBatch, pools: Sequence[Ints]) -> list[Scores | None]:
        """As `Scorer.score`.

        Args:
            requests: B requests.
            pools: [B] of [n] item indexes.
        """
        lexical = requests.catalog.lexical
        rows = enumerate(zip(requests.parsed, pools, strict=True))
        return [lexical.scores(query, pool) + requests.bonus(row, pool) for row, (query, pool) in rows]


class DenseScorer:
    """Products of the query's vector with those of the items of a pool.

    Args:
        run: label of the run.
        channel: of that run.
    """

    def __init__(self, run: str, channel: DenseChannel) -> None:
        self.name = self.run = run
        self._channel = channel

    def score(self, requests: RequestBatch, pools: Sequence[Ints]) -> list[Scores | None]:
        """As `Scorer.score`.

        Args:
            requests: B requests.
            pools: [B] of [n] item indexes.
        """
        queries = self._channel.encoded(requests.queries)
        return [
            _scored(self._channel.vectors_of(requests.catalog, pool) @ query)
            for query, pool in zip(queries, pools, strict=True)
        ]


class HistoryTextScorer:
    """Mean product of the vectors of what the user clicked last with those of the items of a pool.

    Args:
        run: label of the run.
        channel: of that run.
    """

    def __init__(self, run: str, channel: DenseChannel) -> None:
        self.run, self.name = run, f"{run} of history"
        self._channel = channel

    def score(self, requests: RequestBatch, pools: Sequence[Ints]) -> list[Scores | None]:
        """As `Scorer.score`; None for users without clicks.

        Args:
            requests: B requests.
            pools: [B] of [n] item indexes.
        """
        scores: list[Scores | None] = []
        for user, pool in zip(requests.users, pools, strict=True):
            clicked = user.recent[:_CLICKS]
            vectors = self._channel.vectors_of(requests.catalog, np.concatenate((clicked, pool)))
            mean = np.nan_to_num(vectors[: len(clicked)]).sum(axis=0) / max(1, len(clicked))
            scores.append(_scored(vectors[len(clicked) :] @ mean) if len(clicked) else None)
        return scores


def _scored(products: Scores) -> Scores:
    """Products, -inf for items that have no vector yet."""
    return np.where(np.isnan(products), np.float32(-np.inf), products)


def fuse_scores(scores: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Fuse several rankers' scores of the same items [n]: the sum of 1 / (RRF + rank), -inf where none scores."""
    total = np.zeros(len(scores[0]))
    for values in scores:
        rank = np.empty(len(values))
        rank[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
        total += np.where(np.isfinite(values), 1 / (RRF + rank), 0)
    return np.where(total > 0, total, -np.inf)
