"""Novelty: how little known the listed items are."""

from dataclasses import dataclass

import numpy as np

from searec.metrics.base import Floats, RequestMetric, Results, check_ids


@dataclass(frozen=True)
class Novelty(RequestMetric):
    """Novelty@k = mean self-information of a list's items in bits.

    -log2 p(i) with p(i) = (clicks_i + 1) / (clicks + N).

    Lists of popular items are low, of rare ones high; an empty list is 0.

    >>> results = Results(np.ones(2), lists=np.array([[1, 0], [1, 2]]), clicks=np.array([0, 3, 0]))
    >>> Novelty(k=10).values(results).round(4).tolist()
    [0.3219, 1.3219]
    """

    k: int
    key, title, reads, higher_is_better = "novelty", "Novelty", "lists", None
    description = "The mean of −log2 of an item's share of training clicks, over the items of a list of k."

    def values(self, results: Results) -> Floats:
        """Return bits per request, [R]."""
        top, clicks = self.top(results), self.required(results, "clicks")
        check_ids(top, len(clicks) - 1)
        smoothed = np.asarray(clicks[1:], dtype=np.float64) + 1.0
        bits = np.concatenate(([0.0], np.log2(smoothed.sum()) - np.log2(smoothed)))
        length = np.count_nonzero(top, axis=1)
        return np.asarray(bits[top].sum(axis=1) / np.maximum(length, 1), dtype=np.float64)
