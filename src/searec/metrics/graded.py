"""Graded accuracy: figures of ranked lists against judgments of many items per query, each with a grade.

A list is given as the gains of its items, best first. The figures agree with ir-measures (trec_eval); see
docs/metrics.md.
"""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np

from searec.errors import SettingsError
from searec.metrics.accuracy import MRR, NDCG, Hit, Recall
from searec.metrics.base import Floats, Metric

Gain = Literal["linear", "exponential"]
GAINS: tuple[Gain, ...] = get_args(Gain)


def gain_of(grades: Floats, gain: Gain) -> Floats:
    """Return what an item of each grade adds to DCG: the grade, or 2^grade - 1; nothing for grades below 0.

    Args:
        grades: of any shape.
        gain: "linear", as trec_eval, or "exponential".
    """
    positive = np.maximum(np.asarray(grades, dtype=np.float64), 0.0)
    return positive if gain == "linear" else np.exp2(positive) - 1.0


def ndcg(gains: Floats, ideal: Floats, k: int) -> float:
    """Return DCG@k of a list over that of the best list: gains weighed by 1 / log2(1 + rank); 0 if nothing has a gain.

    Args:
        gains: [n] of the list's items, best first.
        ideal: [m] of all judged items, in any order.
        k: the depth.

    >>> round(ndcg(np.array([0.0, 3.0]), np.array([3.0, 1.0]), 10), 4)
    0.5213
    """
    best = _dcg(np.sort(ideal)[::-1][:k])
    return _dcg(gains[:k]) / best if best > 0 else 0.0


def _dcg(gains: Floats) -> float:
    return float(gains @ (1.0 / np.log2(np.arange(2, len(gains) + 2)))) if len(gains) else 0.0


def recall(relevant: Floats, count: int, k: int) -> float:
    """Return the share of the relevant items among the first k.

    Args:
        relevant: [n] 1 for each relevant item of the list, else 0.
        count: relevant items of the query.
        k: the depth.
    """
    return float(relevant[:k].sum()) / count if count else 0.0


def reciprocal_rank(relevant: Floats, k: int | None) -> float:
    """Return 1 / rank of the first relevant item, 0 without one.

    Args:
        relevant: [n] 1 for each relevant item of the list, else 0.
        k: the depth; None for the whole list.
    """
    places = np.flatnonzero(relevant[:k])
    return 1.0 / (int(places[0]) + 1) if len(places) else 0.0


def graded(metric: Metric, gains: Floats, ideal: Floats, relevant: Floats, count: int) -> float:
    """Return the value of an accuracy metric for one list with graded judgments.

    Args:
        metric: NDCG, Recall, Hit or MRR.
        gains: [n] of the list's items, best first.
        ideal: [m] gains of all judged items.
        relevant: [n] 1 for each relevant item of the list, else 0.
        count: relevant items of the query.
    """
    depth = metric.depth
    values: Mapping[str, Callable[[], float]] = {
        NDCG.key: lambda: ndcg(gains, ideal, int(depth or 0)),
        Recall.key: lambda: recall(relevant, count, int(depth or 0)),
        Hit.key: lambda: float(relevant[:depth].any()),
        MRR.key: lambda: reciprocal_rank(relevant, depth),
    }
    if metric.key not in values:
        raise SettingsError(
            f"the metric {metric.name!r} is not defined for graded labels", expected=", ".join(f"{n}" for n in values)
        )
    return values[metric.key]()
