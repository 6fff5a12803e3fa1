"""What a learned fusion is fitted by: a conditional logit over scaled features, and LightGBM trees on top of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.nn.conditional_logit import conditional_logit
from searec.pipeline.fusion_features import Matrix
from searec.pipeline.learned_fusion import FusionModel, Linear

Bools = NDArray[np.bool_]
Weights = NDArray[np.float64] | None
Learner = Callable[[Matrix, Bools, Ints, Weights], FusionModel]
"""Fits rows [E, F] of which one in each request is the target [E], with the request [E] of each, ascending, and the
weight [E] of that request or None."""
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


def scaling(matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of each column [F], 0 and 1 of one that is constant or empty.

    Args:
        matrix: [E, F] rows, NaN where a value is missing.
    """
    mean, scale = np.zeros(matrix.shape[1]), np.ones(matrix.shape[1])
    for column in range(matrix.shape[1]):
        values = matrix[:, column][np.isfinite(matrix[:, column])].astype(np.float64)
        if len(values) and values.std() > 0:
            mean[column], scale[column] = values.mean(), values.std()
    return mean, scale


def scaled_columns(matrix: Matrix, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> Matrix:
    """Return scaled columns [F, E], 0 where a value is missing; so laid out, they are multiplied fastest.

    Args:
        matrix: [E, F] rows, NaN where a value is missing.
        mean: [F] subtracted.
        scale: [F] divided by.
    """
    columns = np.ascontiguousarray(matrix.T)
    columns -= mean.astype(np.float32)[:, None]
    columns /= scale.astype(np.float32)[:, None]
    return np.nan_to_num(columns, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def fit_linear(matrix: Matrix, is_target: Bools, owner: Ints, weight: Weights = None) -> Linear:
    """Return the conditional logit of scaled columns.

    Args:
        matrix: [E, F] rows, NaN where a value is missing.
        is_target: [E] one in each request.
        owner: [E] request of each row, ascending.
        weight: [E] of its request; all 1 by default.
    """
    mean, scale = scaling(matrix)
    columns = scaled_columns(matrix, mean, scale)
    return Linear(mean, scale, conditional_logit(columns, is_target, owner, np.zeros(len(columns)), weight))


def learn_linear(matrix: Matrix, is_target: Bools, owner: Ints, weight: Weights = None) -> FusionModel:
    """As `Learner`: the conditional logit.

    Args:
        matrix: [E, F] rows.
        is_target: [E].
        owner: [E].
        weight: [E].
    """
    return FusionModel(fit_linear(matrix, is_target, owner, weight), None, matrix.shape[1])


def fit_trees(linear: Linear, matrix: Matrix, is_target: Bools, owner: Ints, weight: Weights = None) -> Any:
    """Return a LightGBM model of LambdaMART trees that correct a conditional logit.

    Args:
        linear: fitted to the same rows.
        matrix: [E, F] rows.
        is_target: [E] one in each request.
        owner: [E] request of each row, ascending.
        weight: [E] of its request; all 1 by default.
    """
    import lightgbm

    group = np.unique(owner, return_counts=True)[1]
    label, start = is_target.astype(np.float32), linear.scores(matrix)
    data = lightgbm.Dataset(matrix, label, group=group, weight=weight, init_score=start)
    return lightgbm.train(_TREES, data, num_boost_round=ROUNDS)


def learn_trees(matrix: Matrix, is_target: Bools, owner: Ints, weight: Weights = None) -> FusionModel:
    """As `Learner`: the conditional logit and trees.

    Args:
        matrix: [E, F] rows.
        is_target: [E].
        owner: [E].
        weight: [E].
    """
    linear = fit_linear(matrix, is_target, owner, weight)
    return FusionModel(linear, fit_trees(linear, matrix, is_target, owner, weight), matrix.shape[1])
