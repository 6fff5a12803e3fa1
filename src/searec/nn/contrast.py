"""InfoNCE: two views of one thing are to be nearer than views of different things."""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(a: Tensor, b: Tensor, temperature: float, valid: Tensor | None = None, same: Tensor | None = None) -> Tensor:
    """Scalar: symmetric InfoNCE over cosine / temperature (arXiv 1807.03748), row i of `a` with row i of `b`.

    Args:
        a, b: [B, D].
        valid: [B] bool, rows that take part; the loss is 0 if fewer than two do.
        same: [B, B] bool, pairs off the diagonal that are no negatives (the same thing twice).
    """
    if valid is not None:
        a, b = a[valid], b[valid]
        same = None if same is None else same[valid][:, valid]
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0
    logits = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
    if same is not None:
        diagonal = torch.eye(len(a), dtype=torch.bool, device=a.device)
        logits = logits.masked_fill(same & ~diagonal, -torch.inf)
    truth = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
