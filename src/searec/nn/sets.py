"""Rows of ids as sets."""

import torch
from torch import Tensor


def is_in(values: Tensor, known: Tensor) -> Tensor:
    """[B, N] whether each value [B, N] stands in its row of `known` [B, E], E at least 1."""
    known = known.sort(dim=1).values.contiguous()
    place = torch.searchsorted(known, values.to(known.dtype).contiguous()).clamp_(max=known.shape[1] - 1)
    return known.gather(1, place) == values


def is_first(values: Tensor) -> Tensor:
    """[B, N] whether a value stands nowhere further left in its row [B, N]."""
    order = values.argsort(dim=1, stable=True)
    ranked = values.gather(1, order)
    fresh = torch.ones_like(ranked, dtype=torch.bool)
    fresh[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    return torch.empty_like(fresh).scatter_(1, order, fresh)
