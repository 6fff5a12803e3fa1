"""The conditional logit: weights by which the softmax over a request's candidates finds its target."""

import functools

import numpy as np
import scipy.optimize
import threadpoolctl
from numpy.typing import NDArray

from searec.data.ragged import Ints


def conditional_logit(
    columns: NDArray[np.float32],
    is_target: NDArray[np.bool_],
    owner: Ints,
    start: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the weights [F] by which the softmax over each request's scores gives its target most.

    Args:
        columns: [F, E] scaled.
        is_target: [E] one in each request.
        owner: [E] request of each row, ascending.
        start: [F] weights that the search starts from.
        weight: [E] of each row's request, 1 on average; all 1 by default.
    """
    is_first = np.diff(owner, prepend=-1) > 0
    first, request = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    count = len(first)
    times = np.ones(count, dtype=np.float32) if weight is None else weight[is_first].astype(np.float32)
    targets = (columns[:, is_target] * times).sum(axis=1, dtype=np.float64)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = weights.astype(np.float32) @ columns
        highest = np.maximum.reduceat(scores, first)
        share = np.exp(scores - highest[request])
        total = np.add.reduceat(share, first)
        reached = (times * (np.log(total) + highest)).sum() - (times * scores[is_target]).sum()
        value = float(reached + 0.5 * weights @ weights)
        gradient = columns @ (share / total[request] * times[request]) - targets + weights
        return value / count, gradient / count

    with _blas().limit(
        limits=1, user_api="blas"
    ):  # two threads of BLAS take seven times as long for such short vectors
        best = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return np.asarray(best.x)


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    """The thread pools of the libraries that are loaded; looking them up takes milliseconds."""
    return threadpoolctl.ThreadpoolController()
