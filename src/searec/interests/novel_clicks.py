"""Which untouched category a user clicks next: a model that is learned from training history."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from searec.data.ragged import Ints
from searec.nn.conditional_logit import conditional_logit

FEATURES = ("popularity", "taste", "share", "recent", "siblings", "demand", "below demand", "meaning", "queried")
"""Of a category b, logarithms of: the share of users who clicked b; the mean P(b | a) over the touched categories a,
the same by shares of clicks, and of the last click. Share of clicks beside b. Logarithm of P(b | demand) over the
demands of queries; share of these right above b; cosine of their names to that of b; share of queries that mean b."""
FALLBACK = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 1.0)
"""Weights where there are too few examples to fit them."""
FEWEST = 100
_FLOOR = 1e-3
_DRAWN = 150
"""Categories of an example that are learned from beside the clicked one."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class CategoryStatistics:
    """Who clicked which categories 1..C.

    Attributes:
        users: [C + 1] who clicked each.
        total: users who clicked any.
        after: [C + 1, C + 1] P(b | a): users who clicked both over those who clicked a and `shrink` more.
        both: [C + 1, C + 1] users who clicked something of demand d and b.
        demand_users: [C + 1] users who clicked something of each demand.
        shrink: users by which shares are held back.
    """

    users: Floats
    total: int
    after: csr_array
    both: csr_array
    demand_users: Floats
    shrink: float

    @classmethod
    def of(cls, clicked: csr_array, demand: Ints, shrink: float) -> "CategoryStatistics":
        """Count users.

        Args:
            clicked: [U, C + 1] 1 where a user clicked a category.
            demand: [C + 1] the demand that each category belongs to.
            shrink: users by which shares are held back.
        """
        count = len(demand)
        users = np.asarray(clicked.sum(axis=0)).ravel()
        together = csr_array(clicked.T @ clicked)
        together.setdiag(0)
        together.eliminate_zeros()
        belongs = csr_array((np.ones(count), (np.arange(count), demand)), shape=(count, count))
        wide = csr_array(clicked @ belongs)
        wide.data[:] = 1
        return cls(
            users,
            int((np.asarray(clicked.sum(axis=1)) > 0).sum()),
            _rows_over(together, users + shrink),
            csr_array(wide.T @ clicked),
            np.asarray(wide.sum(axis=0)).ravel(),
            shrink,
        )

    def given_demand(self) -> csr_array:
        """Return [C + 1, C + 1] P(b | d): users of both over those of demand d and `shrink` more."""
        return _rows_over(self.both, self.demand_users + self.shrink)


def _rows_over(table: csr_array, by: Floats) -> csr_array:
    """Each row over its own number."""
    rows = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    return csr_array((table.data / by[rows], table.indices, table.indptr), shape=table.shape)


@dataclass(frozen=True)
class CategorySignals:
    """What B users did, by category, each [B, C + 1].

    Attributes:
        clicks: newest clicks of each narrow category.
        last: 1 for the categories of the last click.
        queried: weight of each category that the queries mean; rows add up to at most the meanings of a query.
        demands: weight of each demand of these.
        barred: touched categories, demands, what stands above them, and what is no category.
    """

    clicks: Floats
    last: Floats
    queried: Floats
    demands: Floats
    barred: NDArray[np.bool_]

    def at(self, rows: NDArray[np.bool_]) -> "CategorySignals":
        """Return those of some users."""
        return CategorySignals(
            self.clicks[rows], self.last[rows], self.queried[rows], self.demands[rows], self.barred[rows]
        )


class NovelClickModel:
    """The chance of each untouched category to be the next novel one.

    Args:
        statistics: of the training clicks.
        parent: [C + 1] of each category, 0 for roots.
        vectors: [C + 1, E] unit vectors of the names.
        weights: of `FEATURES`.
    """

    def __init__(
        self, statistics: CategoryStatistics, parent: Ints, vectors: Floats, weights: Sequence[float] = FALLBACK
    ) -> None:
        self.statistics, self.weights = statistics, np.asarray(weights, dtype=np.float64)
        self._parent, self._vectors = parent, vectors
        self._given_demand = statistics.given_demand()
        popularity = np.log((statistics.users + 0.5) / (statistics.total + 1))
        self._popularity = popularity.astype(np.float32)

    def features(self, signals: CategorySignals) -> NDArray[np.float32]:
        """Return the features [F, B, C + 1] of each category for each user."""
        after, parent = self.statistics.after, self._parent
        touched = (signals.clicks > 0).astype(np.float64)
        share = _shares(signals.clicks)
        has_click = touched.any(axis=1, keepdims=True)
        has_demand = signals.demands.any(axis=1, keepdims=True)
        toward = csr_array(signals.demands) @ self._vectors
        columns = (
            np.broadcast_to(self._popularity, touched.shape),
            np.log(_times(_shares(touched), after) + _FLOOR) * has_click,
            np.log(_times(share, after) + _FLOOR) * has_click,
            np.log(_times(_shares(signals.last), after) + _FLOOR) * has_click,
            _by_parent(share, parent)[:, parent] * (parent > 0),
            np.log(_times(signals.demands, self._given_demand) + _FLOOR) * has_demand,
            signals.demands[:, parent] * (parent > 0),
            toward @ self._vectors.T,
            signals.queried,
        )
        return np.stack(columns).astype(np.float32)

    def chances(self, signals: CategorySignals) -> NDArray[np.float64]:
        """Return [B, C + 1] the chance that a category is the next novel one; 0 where it is barred."""
        scores = np.tensordot(self.weights, self.features(signals), axes=1)
        scores[signals.barred] = -np.inf
        highest = scores.max(axis=1, keepdims=True)
        share = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
        return np.asarray(share / np.maximum(share.sum(axis=1, keepdims=True), 1e-300))

    def fitted(
        self, examples: Sequence[tuple["NovelClickModel", CategorySignals, Ints]], seed: int = 0
    ) -> "NovelClickModel":
        """Return this model with weights fitted to clicks, or as it is if there are too few.

        Args:
            examples: a model whose statistics have not seen the users, B of their signals, and the category [B] that
                each of them clicked next, which they had not touched.
            seed: of the categories that are learned from.
        """
        generator = np.random.default_rng(seed)
        columns, is_target, owner, first = [], [], [], 0
        for model, signals, target in examples:
            if not len(target):
                continue
            rows = np.arange(len(target))
            possible = ~signals.barred
            possible[rows, target] = True
            share = _DRAWN / np.maximum(possible.sum(axis=1, keepdims=True), 1)
            possible &= generator.random(possible.shape) < share
            possible[rows, target] = True
            user, category = np.nonzero(possible)
            columns.append(model.features(signals)[:, user, category])
            is_target.append(category == target[user])
            owner.append(first + user)
            first += len(target)
        if first < FEWEST:
            return self
        matrix = np.concatenate(columns, axis=1)
        scale = np.maximum(matrix.std(axis=1), 1e-6)
        weights = conditional_logit(
            (matrix - matrix.mean(axis=1, keepdims=True)) / scale[:, None],
            np.concatenate(is_target),
            np.concatenate(owner),
            np.zeros(len(matrix)),
        )
        return NovelClickModel(self.statistics, self._parent, self._vectors, (weights / scale).tolist())


def _shares(counts: Floats) -> Floats:
    """Rows that add up to 1, or to 0 where there is nothing."""
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9))


def _by_parent(share: Floats, parent: Ints) -> Floats:
    """[B, C + 1] the share of what stands right below each category."""
    count = len(parent)
    below = csr_array((np.ones(count), (np.arange(count), parent)), shape=(count, count))
    return _times(share, below)


def _times(left: Floats, right: csr_array) -> Floats:
    """The product of a table with few numbers that are not 0."""
    return np.asarray((csr_array(left) @ right).toarray())
