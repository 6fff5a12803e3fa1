"""Coverage, Gini and long tail: how much of the catalogue the lists show, and how evenly."""

from dataclasses import dataclass

import numpy as np

from searec.data.ragged import Ints
from searec.metrics.base import Results, TotalMetric, check_ids


@dataclass(frozen=True)
class Coverage(TotalMetric):
    """Coverage@k = items in at least one list / items of the catalogue, in [0, 1].

    >>> results = Results(np.ones(2), lists=np.array([[1, 2], [2, 0]]), clicks=np.zeros(5))  # 4 items
    >>> Coverage(k=10).total(results)
    0.5
    """

    k: int
    key, title, reads = "coverage", "Coverage", "lists"
    description = "The share of the catalogue that is in at least one list of k."

    def total(self, results: Results) -> float:
        """Return the share of the catalogue's items."""
        exposures = _exposures(self, results)
        return float(np.count_nonzero(exposures)) / len(exposures)


@dataclass(frozen=True)
class Gini(TotalMetric):
    """Gini@k = sum_i (2i - N - 1) x_i / (N sum_i x_i), with x the ascending exposures of the N items, i = 1..N.

    0 where every item is shown equally often or nothing is shown, towards 1 where a few items get all.

    >>> even, one = np.array([[1, 2], [3, 4]]), np.array([[1, 1], [1, 1]])
    >>> [Gini(k=2).total(Results(np.ones(2), lists=lists, clicks=np.zeros(5))) for lists in (even, one)]
    [0.0, 0.75]
    """

    k: int
    key, title, reads, higher_is_better = "gini", "Gini", "lists", False
    description = (
        "How unequally items are shown in lists of k: 0 if all alike, towards 1 if a few items get all places."
    )

    def total(self, results: Results) -> float:
        """Return the Gini coefficient of the items' exposures."""
        exposures = np.sort(_exposures(self, results))
        total, items = int(exposures.sum()), len(exposures)
        if total == 0:
            return 0.0
        return float((2 * np.arange(1, items + 1) - items - 1) @ exposures) / (items * total)


@dataclass(frozen=True)
class LongTail(TotalMetric):
    """Tail@k = places in lists that show an item of the less clicked half of the catalogue / all places, in [0, 1].

    >>> results = Results(np.ones(2), lists=np.array([[1, 2], [2, 4]]), clicks=np.array([0, 9, 3, 5, 1]))
    >>> LongTail(k=2).total(results)  # items 2 and 4 are the less clicked half
    0.75
    """

    k: int
    key, title, reads = "tail", "Long tail", "lists"
    description = "The share of places in lists of k that show an item of the less clicked half of the catalogue."

    def total(self, results: Results) -> float:
        """Return the share of places."""
        exposures = _exposures(self, results)
        order = np.argsort(self.required(results, "clicks")[1:], kind="stable")
        return float(exposures[order[: len(order) // 2]].sum()) / max(1, int(exposures.sum()))


def _exposures(metric: TotalMetric, results: Results) -> Ints:
    """[N] in how many places each item is shown."""
    top, items = metric.top(results), len(metric.required(results, "clicks")) - 1
    check_ids(top, items)
    return np.bincount(top.ravel(), minlength=items + 1)[1:]
