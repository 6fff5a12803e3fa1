"""Rows of ids as sets."""

import torch
from torch import Tensor


def is_in(values: Tensor, known: Tensor) -> Tensor:
    """Return whether each value is in its row of `known`, [B, N] bool.

    Args:
        values: [B, N].
        known: [B, E], E at least 1.
    """
    known = known.sort(dim=1).values.contiguous()
    place = torch.searchsorted(known, values.to(known.dtype).contiguous()).clamp_(max=known.shape[1] - 1)
    return known.gather(1, place) == values


def is_first(values: Tensor) -> Tensor:
    """Return whether a value is the first of its kind in its row, [B, N] bool."""
    order = values.argsort(dim=1, stable=True)
    ranked = values.gather(1, order)
    fresh = torch.ones_like(ranked, dtype=torch.bool)
    fresh[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    return torch.empty_like(fresh).scatter_(1, order, fresh)
