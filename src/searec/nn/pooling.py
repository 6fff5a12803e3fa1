"""Means over what is present, and positions counted from the newest event."""

import torch
from torch import Tensor, nn


def masked_mean(x: Tensor, present: Tensor) -> Tensor:
    """[..., D] mean over the second-last axis of `x` [..., L, D] where `present` [..., L]; zeros if nothing is."""
    weight = present.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(dim=-2) / weight.sum(dim=-2).clamp(min=1)


def mean_embedding(table: nn.Embedding, ids: Tensor) -> Tensor:
    """[..., D] mean embedding of the ids [..., W] that are not 0."""
    return masked_mean(table(ids), ids != 0)


def age(present: Tensor, limit: int) -> Tensor:
    """[B, L] how many events are newer (0 for the newest), at most limit - 1; 0 where nothing is present.

    Counting from the newest makes positions independent of padding and of the batch.
    """
    newer = present.flip(1).cumsum(1).flip(1) - 1
    return torch.where(present, newer, 0).clamp(max=limit - 1)


def newest(x: Tensor, present: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The last `count` events [B, M, D] of each history and where there are so many [B, M]; all of them if count is 0.

    Args:
        x: [B, L, D] from old to new, padded at the end.
        present: [B, L] bool.
    """
    if not 0 < count < x.shape[1]:
        return x, present
    length = present.sum(1, keepdim=True)
    place = (length - count).clamp(min=0) + torch.arange(count, device=x.device)
    return x.gather(1, place[..., None].expand(-1, -1, x.shape[-1])), place < length
