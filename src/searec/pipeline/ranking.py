"""Ranking: runs score the items of a pool."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.data.user_history import batch_of, padded
from searec.pipeline.channels import RequestBatch
from searec.pipeline.fusion import RRF

if TYPE_CHECKING:
    from searec.pipeline.run import Run

Scores = NDArray[np.float32]


class Ranker:
    """Scores by a run; a new item gets the score of its proxy."""

    def __init__(self, run: "Run") -> None:
        self.name = run.label
        self._run = run

    def score(self, requests: RequestBatch, pools: Sequence[Ints]) -> list[Scores]:
        """Score each request's pool.

        Args:
            requests: B requests.
            pools: [B] of [n] item indexes.

        Returns:
            [B] of [n] scores, -inf for new items without a proxy.
        """
        model = self._run.model
        items = [requests.catalog.proxy[pool] for pool in pools]
        batch = batch_of(
            self._run.data, requests.histories, model.needs, requests.task, requests.queries, padded(items)
        )
        scores = model.score(batch.to(model.device)).float().cpu().numpy()
        return [
            np.where(ids > 0, row[: len(ids)], -np.inf).astype(np.float32)
            for ids, row in zip(items, scores, strict=True)
        ]


def fuse_scores(scores: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Fuse several rankers' scores of the same items [n]: the sum of 1 / (RRF + rank), -inf where none scores."""
    total = np.zeros(len(scores[0]))
    for values in scores:
        rank = np.empty(len(values))
        rank[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
        total += np.where(np.isfinite(values), 1 / (RRF + rank), 0)
    return np.where(total > 0, total, -np.inf)
