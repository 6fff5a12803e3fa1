"""Accuracy: metrics of the rank that each request's target has."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from searec.metrics.base import Floats, RankMetric


@dataclass(frozen=True)
class Hit(RankMetric):
    """Hit@k = 1 if rank <= k else 0; also called Hit@k.

    >>> Hit(k=5).of_ranks([1.0, 1.5, 5.0, 5.5]).tolist()
    [1.0, 1.0, 1.0, 0.0]
    """

    k: int
    key, title = "hit", "Hit"
    description = "The share of requests whose target is among the first k (hit rate)."

    def of_ranks(self, ranks: ArrayLike) -> Floats:
        """Return 0 or 1 per request, [R]."""
        return (np.asarray(ranks) <= self.k).astype(np.float64)


@dataclass(frozen=True)
class Recall(Hit):
    """Recall@k = relevant items among the first k / relevant items; with one relevant item the same as Hit@k.

    >>> Recall(k=50).name, Recall(k=50).of_ranks([1.0, 50.5]).tolist()
    ('recall@50', [1.0, 0.0])
    """

    key, title = "recall", "Recall"
    description = "The share of the relevant items among the first k; with one target per request the same as Hit@k."


@dataclass(frozen=True)
class NDCG(RankMetric):
    """NDCG@k = 1 / log2(1 + rank) if rank <= k else 0, in [0, 1]; with one relevant item the ideal DCG is 1.

    >>> NDCG(k=5).of_ranks([1.0, 3.0, 7.0]).tolist()
    [1.0, 0.5, 0.0]
    """

    k: int
    key, title = "ndcg", "NDCG"
    description = "The mean of 1 / log2(1 + rank) where the rank is at most k, else 0."

    def of_ranks(self, ranks: ArrayLike) -> Floats:
        """Return one value in [0, 1] per request, [R]."""
        rank = np.asarray(ranks, dtype=np.float64)
        return np.where(rank <= self.k, 1.0 / np.log2(1.0 + rank), 0.0)


@dataclass(frozen=True)
class MRR(RankMetric):
    """MRR = mean of 1 / rank, in (0, 1]; MRR@k is 0 for ranks above k.

    >>> MRR().of_ranks([1.0, 2.0, 2.5]).tolist(), MRR(k=2).of_ranks([1.0, 2.0, 2.5]).tolist()
    ([1.0, 0.5, 0.4], [1.0, 0.5, 0.0])
    """

    k: int | None = None
    key, title = "mrr", "MRR"
    description = "The mean of 1 / rank; with a depth, 0 where the rank is above k."

    def of_ranks(self, ranks: ArrayLike) -> Floats:
        """Return one value in [0, 1] per request, [R]."""
        rank = np.asarray(ranks, dtype=np.float64)
        return np.where(rank <= (np.inf if self.k is None else self.k), 1.0 / rank, 0.0)
