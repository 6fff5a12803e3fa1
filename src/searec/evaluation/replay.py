"""Replay: held-out choices against what two configurations would have shown, with intervals.

The same requests go to both, so that differences are paired; users are what is drawn again (bootstrap).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.errors import DataError
from searec.evaluation.significance import bootstrap_means, interval
from searec.metrics import NDCG, Hit, Results
from searec.metrics.exposure import ExposureNovelty, Serendipity

Floats = NDArray[np.float64]
RESAMPLES = 10_000
FIGURES = ("hit", "ndcg", "enr", "cnr", "serendipity")
"""Hit rate and NDCG; shares of novel items among the shown (ENR) and the shown and chosen (CNR); novel and chosen."""


@dataclass(frozen=True)
class Shown:
    """What one configuration shows to R requests.

    Attributes:
        label: its name in tables.
        top: [R, K] internal ids, best first, 0 where absent.
        novel: [R, K] which of them are novel to their request.
        target: [R] what was then chosen.
    """

    label: str
    top: Ints
    novel: NDArray[np.bool_]
    target: Ints

    def values(self) -> dict[str, Floats]:
        """Return each figure but CNR, [R] by name; CNR is the ratio of the sums of serendipity and hit."""
        hit = self.top == np.asarray(self.target)[:, None]
        rank = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, np.inf)
        results = Results(rank, np.asarray(self.target), self.top, novel=self.novel)
        metrics = (Hit, NDCG, ExposureNovelty, Serendipity)
        return {metric.key: metric(self.top.shape[1]).values(results) for metric in metrics}

    def figures(self) -> dict[str, float]:
        """The mean of each of `FIGURES`; CNR is 0 where nothing shown was chosen."""
        means = {name: np.array([value.mean()]) for name, value in self.values().items()}
        return {name: float(value[0]) for name, value in _with_cnr(means).items()}


@dataclass(frozen=True)
class Difference:
    """The difference b - a of one figure, its interval, and p: the share of resamples beyond 0, doubled."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float


def replay(
    a: Shown, b: Shown, users: Ints, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Mapping[str, Difference]:
    """Return how b differs from a, by figure.

    Args:
        a: what the one configuration shows.
        b: what the other shows.
        users: [R] the user of each request; a user is drawn with all requests.
        level: of the intervals.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: not the same requests.
    """
    if not np.array_equal(a.target, b.target) or len(users) != len(a.target):
        raise DataError(
            "configurations were replayed on different requests", got=f"{len(a.target)} and {len(b.target)} requests"
        )
    number, owner = np.unique(users, return_inverse=True)
    columns = [np.ones(len(users)), *(value for shown in (a, b) for value in shown.values().values())]
    table: Floats = np.stack([np.bincount(owner, weights=column, minlength=len(number)) for column in columns], axis=1)
    drawn = bootstrap_means(table, np.random.default_rng(seed), resamples)
    drawn = drawn[:, 1:] / drawn[:, :1]  # a draw of users may hold more requests than another
    names = list(a.values())
    halves = [_with_cnr(dict(zip(names, half.T, strict=True))) for half in np.split(drawn, 2, axis=1)]
    figures_of = [a.figures(), b.figures()]
    differences = {}
    for name in FIGURES:
        difference = halves[1][name] - halves[0][name]
        low, high = interval(difference[:, None], level)
        below, above = float((difference <= 0).mean()), float((difference >= 0).mean())
        p = min(1.0, 2 * max(min(below, above), 1 / (resamples + 1)))
        differences[name] = Difference(
            figures_of[0][name],
            figures_of[1][name],
            figures_of[1][name] - figures_of[0][name],
            float(low[0]),
            float(high[0]),
            p,
        )
    return differences


def _with_cnr(values: Mapping[str, Floats]) -> dict[str, Floats]:
    return {**values, "cnr": values["serendipity"] / np.where(values["hit"] > 0, values["hit"], 1.0)}
