"""Examples of a learned fusion: held-out requests with the pools that the pipeline makes of them, and folds by user."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.data.split import Requests
from searec.nn.conditional_logit import conditional_logit
from searec.pipeline.fusion_features import Features, Matrix, novel_items
from searec.pipeline.fusion_learners import Bools, Learner, Weights, scaled_columns, scaling
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.ranking import Scorer
from searec.pipeline.types import Request
from searec.progress import progress
from searec.retrieval.novelty import chances, novelty_order

DEPTH = 10
"""Of the NDCG that a fusion is chosen by."""
FOLDS = 4
_AT_ONCE = 64
_DRAWN = 100
"""Candidates of a request that are learned from beside the target, drawn uniformly: to prefer the first of the pool
would teach that the target is further down than it is."""


@dataclass(frozen=True)
class Examples:
    """Pools of R requests, end to end.

    Attributes:
        features: that made the matrix.
        matrix: [E, F].
        owner: [E] request of each candidate, ascending.
        is_target: [E].
        place: [E] in its pool, from 0: the order of rank fusion.
        novel: [E] whether it is novel to the user.
        retrieved_by: channel -> [E] whether it has retrieved it.
        user: [R] internal ids.
        is_named: [R] False for a copy of a request without its user.
        weight: [R] of the requests, 1 on average (inverse chance that a click's position is examined); None for all 1.
    """

    features: Features
    matrix: Matrix
    owner: Ints
    is_target: Bools
    place: Ints
    novel: Bools
    retrieved_by: dict[str, Bools]
    user: Ints
    is_named: Bools
    weight: Weights = None

    @cached_property
    def has_target(self) -> Bools:
        """[R] whether the pool holds the target."""
        return np.bincount(self.owner, self.is_target, minlength=len(self.user)) > 0

    @cached_property
    def fold(self) -> Ints:
        """[R] the fold of the request's user, drawn with a fixed seed."""
        users, place = np.unique(self.user, return_inverse=True)
        return (np.random.default_rng([1, len(users)]).permutation(len(users)) % FOLDS)[place]

    @cached_property
    def learned_from(self) -> Bools:
        """[E] the candidates that a learner is given: of each request with its target, that and drawn ones."""
        drawn = np.random.default_rng([2, len(self.owner)]).random(len(self.owner))
        length = np.bincount(self.owner, minlength=len(self.user))[self.owner]
        return self.has_target[self.owner] & (self.is_target | (drawn * length < _DRAWN))

    def with_target(self, rows: Bools) -> Bools:
        """Return [E] those of the rows whose request has its target among them."""
        return rows & (np.bincount(self.owner[rows], self.is_target[rows], minlength=len(self.user)) > 0)[self.owner]

    def row_weight(self, rows: Bools | Ints) -> Weights:
        """Return the weight of the request of each of the candidates, None for all 1."""
        return None if self.weight is None else self.weight[self.owner[rows]]

    def columns(self, parts: Sequence[str]) -> Ints:
        """Return the positions of the columns of some parts."""
        names = {name for part in parts for name in self.features.by_part[part]}
        return np.array([place for place, name in enumerate(self.features.names) if name in names], dtype=np.int64)

    def in_pool(self, parts: Sequence[str]) -> Bools:
        """Return [E] whether a candidate is retrieved by any of the parts, or by none of the channels (by popularity).

        Without a channel among the parts all channels retrieve, as in the pipeline.
        """
        if not set(parts) & self.retrieved_by.keys():
            return np.ones(len(self.owner), dtype=bool)
        anyhow = np.ones(len(self.owner), dtype=bool)
        for is_listed in self.retrieved_by.values():
            anyhow &= ~is_listed
        for name, is_listed in self.retrieved_by.items():
            if name in parts:
                anyhow |= is_listed
        return anyhow

    def ndcg(self, scores: NDArray[np.floating], rows: Bools | None = None) -> NDArray[np.float64]:
        """Return NDCG@10 [R] of each request, times its weight; 0 without the target, and a tie never helps.

        Args:
            scores: [E].
            rows: [E] the candidates that count; all by default.
        """
        count = len(self.user)
        rows = np.ones(len(scores), dtype=bool) if rows is None else rows
        owner, value, is_target = self.owner[rows], scores[rows], self.is_target[rows]
        best = np.full(count, np.nan)
        best[owner[is_target]] = value[is_target]
        better = np.bincount(owner, value > best[owner], minlength=count)
        ties = np.bincount(owner, value == best[owner], minlength=count)
        rank = 1 + better + (ties - 1) / 2
        values = np.where(~np.isnan(best) & (rank <= DEPTH), 1 / np.log2(1 + np.maximum(rank, 1)), 0.0)
        return values if self.weight is None else values * self.weight

    def with_premium(self, scores: NDArray[np.floating], sharpness: float, premium: float) -> NDArray[np.float64]:
        """Return [R, 2] NDCG@10 and the share of novel items of lists with a premium on novelty.

        Args:
            scores: [E].
            sharpness: of the softmax of a request's scores.
            premium: on novel items, in chances of a click.
        """
        figures = np.zeros((len(self.user), 2))
        ends = np.cumsum(np.bincount(self.owner, minlength=len(self.user)))
        for row, end in enumerate(ends.tolist()):
            rows = slice(ends[row - 1] if row else 0, end)
            order = novelty_order(chances(scores[rows], sharpness), self.novel[rows], premium)[:DEPTH]
            figures[row, 0] = self.is_target[rows][order] @ (1 / np.log2(2 + np.arange(len(order))))
            figures[row, 1] = self.novel[rows][order].mean() if len(order) else 0.0
        return figures


def collect(
    pipeline: Pipeline,
    features: Features,
    scorers: Sequence[Scorer],
    requests: Requests,
    *,
    copies: bool,
    weight: Weights = None,
) -> Examples:
    """Return the examples of held-out requests.

    Args:
        pipeline: with `Inline` executors and without a learned fusion.
        features: of the task.
        scorers: that score the pools.
        requests: R of one task.
        copies: add a copy of each request without its user.
        weight: [R] of the requests, of any mean; all 1 by default.
    """
    data, task = pipeline.catalog.last.base.data, requests.task
    users = data.users.to_external(requests.user)
    queries: Sequence[str | None] = requests.texts(data) if task == "search" else [None] * len(requests)
    pairs = [
        (row, Request(user=user, query=query, time=int(time)))
        for row, (user, query, time) in enumerate(zip(users, queries, requests.time, strict=True))
    ]
    if copies:
        pairs += [(row, Request(query=request.query, time=request.time)) for row, request in pairs]
    parts: dict[str, list[Any]] = {"matrix": [], "length": [], "target": [], "place": [], "novel": []}
    retrieved: dict[str, list[Bools]] = {name: [] for name in pipeline.parts.channels[task]}
    with progress(f"pools of {task}", len(pairs)) as advance:
        for start in range(0, len(pairs), _AT_ONCE):
            rows, batch = zip(*pairs[start : start + _AT_ONCE], strict=True)
            pooled = pipeline.candidates(batch, task, scorers)
            pools = [pool.items for pool in pooled.pools]
            parts["matrix"].append(features.matrix(pooled.batch, pools, pooled.scores, pooled.lists))
            parts["length"].append([len(pool) for pool in pools])
            parts["target"] += [pool == requests.target[row] for row, pool in zip(rows, pools, strict=True)]
            parts["place"] += [np.arange(len(pool)) for pool in pools]
            contexts = pooled.batch.users
            parts["novel"] += [
                novel_items(pooled.batch.catalog, user.recent, pool) for user, pool in zip(contexts, pools, strict=True)
            ]
            for label, by in retrieved.items():
                names = [name for name in pipeline.parts.channels[task][label].names if name in pooled.lists]
                for row, pool in enumerate(pools):
                    lists = [np.zeros(0, dtype=np.int64), *(pooled.lists[name][row].items for name in names)]
                    by.append(np.isin(pool, np.concatenate(lists)))
            advance(len(batch), "")
    length = np.concatenate([np.zeros(0, dtype=np.int64), *parts["length"]]).astype(np.int64)
    source = np.array([row for row, _ in pairs], dtype=np.int64)
    return Examples(
        features=features,
        matrix=np.concatenate(parts["matrix"]),
        owner=np.repeat(np.arange(len(pairs)), length),
        is_target=np.concatenate(parts["target"]),
        place=np.concatenate(parts["place"]),
        novel=np.concatenate(parts["novel"]),
        retrieved_by={name: np.concatenate(by) for name, by in retrieved.items()},
        user=np.asarray(requests.user)[source],
        is_named=np.array([request.user is not None for _, request in pairs]),
        weight=None if weight is None else weight[source] / weight.mean(),
    )


def cross_fitted(examples: Examples, parts: Sequence[str], learner: Learner) -> NDArray[np.float64]:
    """Return the scores [E] of candidates, each by a model that has seen no request of its user.

    Args:
        examples: of a task.
        parts: whose columns and candidates are used; other candidates get -inf.
        learner: fits a model.
    """
    columns, in_pool = examples.columns(parts), examples.in_pool(parts)
    fold = examples.fold[examples.owner]
    scores = np.full(len(examples.owner), -np.inf)
    for number in range(FOLDS):
        model = learned(examples, columns, examples.learned_from & in_pool & (fold != number), learner)
        rows = in_pool & (fold == number)
        scores[rows] = model.scores(examples.matrix[rows][:, columns])
    return scores


class LinearFolds:
    """Cross-fitted conditional logits over any of the parts, fitted many times over.

    Columns are scaled once, over all requests, and a fit starts from the weights of the last one of its fold.

    Args:
        examples: of a task.
    """

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._columns = scaled_columns(examples.matrix, *scaling(examples.matrix))
        self._weights = np.zeros((FOLDS, len(self._columns)))

    def ndcg(self, parts: Sequence[str]) -> NDArray[np.float64]:
        """Return NDCG@10 [R] by the columns and candidates of some parts, each by weights that saw none of its user."""
        examples, columns, in_pool = self._examples, self._examples.columns(parts), self._examples.in_pool(parts)
        fold = examples.fold[examples.owner]
        scores = np.full(len(examples.owner), -np.inf)
        for number in range(FOLDS):
            rows = np.flatnonzero(examples.with_target(examples.learned_from & in_pool & (fold != number)))
            weights = conditional_logit(
                self._columns[np.ix_(columns, rows)],
                examples.is_target[rows],
                examples.owner[rows],
                self._weights[number, columns],
                examples.row_weight(rows),
            )
            self._weights[number, columns] = weights
            rows = np.flatnonzero(examples.with_target(in_pool & (fold == number)))
            scores[rows] = weights @ self._columns[np.ix_(columns, rows)]
        return examples.ndcg(scores, in_pool)


def learned(examples: Examples, columns: Ints, rows: Bools, learner: Learner) -> Any:
    """Return a model that is fitted to some candidates; requests whose target is not among them are left out.

    Args:
        examples: of a task.
        columns: to read.
        rows: [E] candidates.
        learner: fits a model.
    """
    rows = examples.with_target(rows)
    weight = examples.row_weight(rows)
    return learner(examples.matrix[rows][:, columns], examples.is_target[rows], examples.owner[rows], weight)
