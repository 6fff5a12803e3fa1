"""Means over what is present, and positions counted from the newest event."""

import torch
from torch import Tensor, nn


def masked_mean(x: Tensor, present: Tensor) -> Tensor:
    """Return the mean [..., D] over the second-last axis where present; zeros if nothing is.

    Args:
        x: [..., L, D].
        present: [..., L] bool.
    """
    weight = present.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(dim=-2) / weight.sum(dim=-2).clamp(min=1)


def mean_embedding(table: nn.Embedding, ids: Tensor) -> Tensor:
    """Return the mean embedding [..., D] of the ids that are not 0.

    Args:
        table: of the embeddings.
        ids: [..., W].
    """
    return masked_mean(table(ids), ids != 0)


def age(present: Tensor, limit: int) -> Tensor:
    """Return how many events are newer, [B, L], at most limit - 1; 0 where nothing is present.

    Counting from the newest makes positions independent of padding and of the batch.

    Args:
        present: [B, L] bool.
        limit: number of distinct values.
    """
    newer = present.flip(1).cumsum(1).flip(1) - 1
    return torch.where(present, newer, 0).clamp(max=limit - 1)


def newest(x: Tensor, present: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the last `count` events [B, M, D] of each history and where there are any [B, M].

    Args:
        x: [B, L, D] from old to new, padded at the end.
        present: [B, L] bool.
        count: M; all of them if 0.
    """
    if not 0 < count < x.shape[1]:
        return x, present
    length = present.sum(1, keepdim=True)
    place = (length - count).clamp(min=0) + torch.arange(count, device=x.device)
    return x.gather(1, place[..., None].expand(-1, -1, x.shape[-1])), place < length
