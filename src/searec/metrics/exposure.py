"""Exposure of the new: exposure and click novelty rate (arXiv 2508.04032) and serendipity.

An item is novel to a user who never clicked any of its categories before the request (`Results.novel`).
"""

from dataclasses import dataclass

import numpy as np

from searec.metrics.base import Floats, RequestMetric, Results, TotalMetric


@dataclass(frozen=True)
class ExposureNovelty(RequestMetric):
    """ENR@k (exposure novelty rate) = novel items / items of a list, in [0, 1]; 0 for an empty list.

    >>> lists, novel = np.array([[4, 5], [6, 0], [0, 0]]), np.array([[True, False], [True, False], [False, False]])
    >>> ExposureNovelty(k=10).values(Results(np.ones(3), lists=lists, novel=novel)).tolist()
    [0.5, 1.0, 0.0]
    """

    k: int
    key, title, reads, tasks, higher_is_better = "enr", "ENR", "novel", ("recommend",), None
    description = (
        "Exposure novelty rate: the share of a list's first k items in categories that the user had never clicked."
    )

    def values(self, results: Results) -> Floats:
        """Return one share per request, [R]."""
        top, novel = self.top(results), self.required(results, "novel")[:, : self.k]
        length = np.count_nonzero(top, axis=1)
        return np.asarray((novel & (top > 0)).sum(axis=1) / np.maximum(length, 1), dtype=np.float64)


@dataclass(frozen=True)
class Serendipity(RequestMetric):
    """Serendipity@k = 1 where the target is among the first k and novel, else 0.

    >>> lists, novel = np.array([[4, 5], [6, 7]]), np.array([[True, False], [True, False]])
    >>> Serendipity(k=10).values(Results(np.ones(2), np.array([4, 7]), lists, novel=novel)).tolist()
    [1.0, 0.0]
    """

    k: int
    key, title, reads, tasks = "serendipity", "Serendipity", "novel", ("recommend",)
    description = (
        "The share of requests whose target is among the first k and in categories the user had never clicked."
    )

    def values(self, results: Results) -> Floats:
        """Return 0 or 1 per request, [R]."""
        top, novel = self.top(results), self.required(results, "novel")[:, : self.k]
        targets = np.asarray(self.required(results, "targets"))[:, None]
        return np.asarray(((top == targets) & novel).any(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class ClickNovelty(TotalMetric):
    """CNR@k (click novelty rate) = targets found that are novel / targets found, over all requests, in [0, 1].

    >>> lists, novel = np.array([[4, 5], [6, 7], [8, 9]]), np.array([[True, False]] * 3)
    >>> ClickNovelty(k=10).total(Results(np.ones(3), np.array([4, 7, 1]), lists, novel=novel))
    0.5
    """

    k: int
    key, title, reads, tasks, higher_is_better = "cnr", "CNR", "novel", ("recommend",), None
    description = "Click novelty rate: among the targets found in the first k, the share that is novel."

    def total(self, results: Results) -> float:
        """Return the share; 0 where no target was found."""
        is_hit = (self.top(results) == np.asarray(self.required(results, "targets"))[:, None]).any(axis=1)
        return float(Serendipity(self.k).values(results).sum() / max(is_hit.sum(), 1.0))
