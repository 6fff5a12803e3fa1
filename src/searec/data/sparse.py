"""SparseRows: sums of sparse rows, the arithmetic of inverted indices and item neighbours."""

from dataclasses import dataclass

import scipy.sparse
import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix [R, C] by rows (CSR) as tensors, on any device.

    >>> rows = SparseRows.of(scipy.sparse.csr_matrix([[0.0, 0.0], [0.0, 2.0], [1.0, 3.0]]))
    >>> rows.sum(torch.tensor([[1, 2], [1, 0]])).tolist()
    [[1.0, 5.0], [0.0, 2.0]]
    """

    offsets: Tensor  # [R + 1] int64
    columns: Tensor  # [nnz] int32
    values: Tensor  # [nnz] float32
    width: int

    @classmethod
    def of(cls, matrix: scipy.sparse.csr_matrix) -> "SparseRows":
        """The same matrix from SciPy, in float32."""
        matrix = matrix.tocsr()
        return cls(
            torch.from_numpy(matrix.indptr.astype("int64")),
            torch.from_numpy(matrix.indices.astype("int32")),
            torch.from_numpy(matrix.data.astype("float32")),
            matrix.shape[1],
        )

    def sum(self, rows: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum [B, C] of some rows for each line; make row 0 empty to use 0 as padding.

        Args:
            rows: [B, W] of this matrix.
            weights: [B, W] of each row in the sum; 1 by default. Rows of weight 0 cost nothing.
        """
        if weights is not None:
            rows = torch.where(weights != 0, rows, 0)
        flat = rows.flatten().long()
        start = self.offsets[flat]
        count = self.offsets[flat + 1] - start
        line = torch.arange(len(rows), device=rows.device).repeat_interleave(rows.shape[1])
        owner = line.repeat_interleave(count)
        shift = (start - (count.cumsum(0) - count)).repeat_interleave(count)
        entry = torch.arange(len(owner), device=rows.device) + shift
        values = self.values[entry]
        if weights is not None:
            values = values * weights.flatten().to(values.dtype).repeat_interleave(count)
        out = torch.zeros(len(rows) * self.width, device=rows.device)
        out.index_add_(0, owner * self.width + self.columns[entry], values)
        return out.view(len(rows), self.width)
