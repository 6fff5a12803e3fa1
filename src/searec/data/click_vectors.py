"""Vectors of items by who clicked them: a truncated singular value decomposition of the training clicks."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from searec.data.schema import TASKS, Task
from searec.data.split import Split

_DENSE = 1_000
_NOISE = 1e-3
"""What is smaller than this, as a share of the largest, is rounding."""


def click_vectors(split: Split, width: int, tasks: Sequence[Task] = TASKS) -> NDArray[np.float32]:
    """Return right singular vectors [I, width] of the matrix of clicks, scaled by the roots of their singular values.

    Rows and columns are divided by the root of their sums first, so that busy users and popular items do not dominate.

    Args:
        split: whose training clicks are read.
        width: of the vectors; zeros fill up.
        tasks: those that a model learns; they set the cut-off.
    """
    user, item, _ = split.train_clicks(tasks)
    sizes = split.data.sizes
    clicks = sp.csr_matrix((np.ones(len(user)), (user, item - 1)), shape=(sizes.users + 1, sizes.items))
    clicks.data[:] = 1
    rows, columns = (np.asarray(clicks.sum(axis=axis)).ravel() for axis in (1, 0))
    clicks = sp.diags(1 / np.sqrt(np.maximum(rows, 1))) @ clicks @ sp.diags(1 / np.sqrt(np.maximum(columns, 1)))
    rank = min(width, min(clicks.shape) - 1)
    # Few users or items may have so little to tell that the sparse method draws at random.
    if min(clicks.shape) <= _DENSE:
        _, values, right = np.linalg.svd(clicks.toarray(), full_matrices=False)
        values, right = values[:rank], right[:rank]
    else:
        _, values, right = svds(clicks, k=rank, v0=np.ones(min(clicks.shape)))
    sign = np.sign(right[np.arange(rank), np.abs(right).argmax(axis=1)])  # a singular vector's sign is free
    right = right * sign[:, None]
    right *= (values > _NOISE * values.max())[:, None]
    vectors = (right * np.sqrt(np.maximum(values, 0))[:, None]).T
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(length > _NOISE * length.max(), vectors / np.maximum(length, 1e-12), 0)
    return np.pad(vectors, ((0, 0), (0, width - rank))).astype(np.float32)
