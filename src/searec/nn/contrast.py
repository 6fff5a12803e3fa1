"""InfoNCE: two views of one thing are trained to be nearer than views of different things."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NO_UNDERFLOW = 40.0
"""exp(-2 x this) is well above the smallest float."""
_COLDEST = 0.01


def info_nce(
    a: Tensor,
    b: Tensor,
    temperature: float,
    valid: Tensor | None = None,
    same: Tensor | None = None,
    *,
    both_sides: bool = False,
) -> Tensor:
    """Return symmetric InfoNCE over cosine / temperature (arXiv 1807.03748), row i of `a` with row i of `b`.

    Args:
        a: [B, D].
        b: [B, D].
        temperature: of the softmax.
        valid: [B] bool, rows that take part; the loss is 0 if fewer than two do.
        same: [B, B] bool, pairs off the diagonal that are no negatives (the same thing twice).
        both_sides: negatives are the others of both sides, 2B - 2 (arXiv 2002.05709), not the B - 1 of the other side.
    """
    pairs = None if same is None else _places(same)
    if valid is not None:
        a, b = a[valid], b[valid]
        if pairs is not None:
            pairs = (valid.cumsum(0) - 1)[pairs[valid[pairs].all(1)]]
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    if both_sides:
        views = torch.cat((a, b))
        return own_pair_loss(views @ views.T / temperature)
    logits = (a / temperature) @ b.T
    if pairs is not None:
        row, column = pairs[pairs[:, 0] != pairs[:, 1]].T
        logits[row, column] = -torch.inf
    return symmetric_cross_entropy(logits, 1 / temperature)


def _places(marks: Tensor) -> Tensor:
    """Return where a matrix is true, [n, 2]; on the CPU by NumPy, several times as fast."""
    if marks.device.type != "cpu":
        return marks.nonzero()
    return torch.from_numpy(np.stack(np.divmod(np.flatnonzero(marks.numpy()), marks.shape[1]), axis=1))


def symmetric_cross_entropy(logits: Tensor, bound: float) -> Tensor:
    """Return the mean over rows and over columns of -log softmax of the diagonal, a scalar.

    Args:
        logits: [B, B].
        bound: no logit is greater, and none less than -bound but those at -inf.
    """
    kind = _OneExponential if bound < _NO_UNDERFLOW else _SymmetricCrossEntropy
    value: Tensor = kind.apply(logits, bound)  # type: ignore[no-untyped-call]
    return value


class _OneExponential(torch.autograd.Function):
    """As below where exp(logit - bound) cannot underflow: rows and columns share one matrix of exponentials."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, bound: float) -> Tensor:
        logits = logits.float()
        powers = torch.sub(logits, bound).exp_()
        rows, columns = powers.sum(1), powers.sum(0)
        ctx.save_for_backward(powers, rows, columns)
        return ((rows.log() + columns.log()) / 2 + bound - logits.diagonal()).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        powers, rows, columns = ctx.saved_tensors
        share = gradients[0] / (2 * len(rows))
        slope = torch.add((share / rows)[:, None], share / columns).mul_(powers)
        slope.diagonal().sub_(2 * share)
        return slope, None


class _SymmetricCrossEntropy(torch.autograd.Function):
    """Both directions from one matrix.

    The gradient is softmax by row plus softmax by column less twice the identity.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, bound: float) -> Tensor:
        logits = logits.float()
        rows, columns = logits.logsumexp(1), logits.logsumexp(0)
        ctx.save_for_backward(logits, rows, columns)
        return ((rows + columns) / 2 - logits.diagonal()).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, rows, columns = ctx.saved_tensors
        slope = torch.sub(logits, rows[:, None]).exp_().add_(torch.sub(logits, columns).exp_())
        slope.diagonal().sub_(2)
        return slope.mul_(gradients[0] / (2 * len(rows))), None


class BilinearContrast(nn.Module):
    """InfoNCE of pairs over tanh(z W z') / tau, W and tau learned (arXiv 2508.04145, L_U-CL and L_His-CL).

    Each of the 2B vectors is an anchor against the 2B - 2 of other rows. tau is at least `_COLDEST`, which keeps the
    logits finite.

    Args:
        width: D.
        temperature: tau at first.
    """

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(width, width)))
        self.temperature = nn.Parameter(torch.tensor(temperature))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss, a scalar; 0 for fewer than two rows.

        Args:
            a: [B, D].
            b: [B, D]; row i belongs to row i of `a`.
        """
        if len(a) < 2:
            return (a.sum() + b.sum()) * 0
        views = torch.cat((a, b))
        logits = torch.tanh(views @ self.weight @ views.T) / self.temperature.clamp(min=_COLDEST)
        return own_pair_loss(logits)


def own_pair_loss(logits: Tensor) -> Tensor:
    """Return the mean of -log softmax of each vector's own partner among all others, a scalar.

    Args:
        logits: [2B, 2B] of all pairs; row i belongs to row i + B.
    """
    others = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool, device=logits.device), -torch.inf)
    return F.cross_entropy(others, torch.arange(len(logits), device=logits.device).roll(len(logits) // 2))
