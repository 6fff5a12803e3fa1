"""What a learned fusion is fitted by: a conditional logit over scaled features, and LightGBM trees on top of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.pipeline.fusion_features import Matrix
from searec.pipeline.learned_fusion import FusionModel, Linear

Bools = NDArray[np.bool_]
Learner = Callable[[Matrix, Bools, Ints], FusionModel]
"""Fits rows [E, F] of which one in each request is the target [E], with the request [E] of each, ascending."""
ROUNDS = 30
_TREES: dict[str, Any] = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 30,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.7,
    "lambda_l2": 5.0,
    "seed": 0,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def fit_linear(matrix: Matrix, is_target: Bools, owner: Ints) -> Linear:
    """Return the weights of the conditional logit: the softmax over each request's scores is to give the target 1.

    Args:
        matrix: [E, F] rows, NaN where a value is missing.
        is_target: [E] one in each request.
        owner: [E] request of each row, ascending.
    """
    mean, scale = np.zeros(matrix.shape[1]), np.ones(matrix.shape[1])
    for column in range(matrix.shape[1]):
        values = matrix[:, column][np.isfinite(matrix[:, column])].astype(np.float64)
        if len(values) and values.std() > 0:
            mean[column], scale[column] = values.mean(), values.std()
    scaled = ((matrix - mean) / scale).astype(np.float32)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    start = np.flatnonzero(np.diff(owner, prepend=-1))
    request = np.cumsum(np.diff(owner, prepend=-1) > 0) - 1
    count, targets = len(start), scaled[is_target].sum(axis=0, dtype=np.float64)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = scaled @ weights.astype(np.float32)
        highest = np.maximum.reduceat(scores, start)
        share = np.exp(scores - highest[request])
        total = np.add.reduceat(share, start)
        value = float((np.log(total) + highest).sum() - scores[is_target].sum() + 0.5 * weights @ weights)
        gradient = (share / total[request]) @ scaled - targets + weights
        return value / count, gradient / count

    result = scipy.optimize.minimize(
        loss, np.zeros(matrix.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 100}
    )
    return Linear(mean, scale, result.x)


def learn_linear(matrix: Matrix, is_target: Bools, owner: Ints) -> FusionModel:
    """As `Learner`: the conditional logit.

    Args:
        matrix: [E, F] rows.
        is_target: [E].
        owner: [E].
    """
    return FusionModel(fit_linear(matrix, is_target, owner), None, matrix.shape[1])


def fit_trees(linear: Linear, matrix: Matrix, is_target: Bools, owner: Ints) -> Any:
    """Return a LightGBM model of LambdaMART trees that correct a conditional logit.

    Args:
        linear: fitted to the same rows.
        matrix: [E, F] rows.
        is_target: [E] one in each request.
        owner: [E] request of each row, ascending.
    """
    import lightgbm

    group = np.unique(owner, return_counts=True)[1]
    data = lightgbm.Dataset(matrix, is_target.astype(np.float32), group=group, init_score=linear.scores(matrix))
    return lightgbm.train(_TREES, data, num_boost_round=ROUNDS)


def learn_trees(matrix: Matrix, is_target: Bools, owner: Ints) -> FusionModel:
    """As `Learner`: the conditional logit and trees.

    Args:
        matrix: [E, F] rows.
        is_target: [E].
        owner: [E].
    """
    linear = fit_linear(matrix, is_target, owner)
    return FusionModel(linear, fit_trees(linear, matrix, is_target, owner), matrix.shape[1])
