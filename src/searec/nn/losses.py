"""Losses: the named parts of an objective and their weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """Named loss parts and their weights; the total is derived from them, so a logged part cannot be forgotten.

    >>> round(Losses({"bce": torch.tensor(2.0), "align": torch.tensor(3.0)}, {"bce": 1.0, "align": 0.1}).total.item(), 3)
    2.3
    """

    parts: Mapping[str, Tensor]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.parts.keys() != self.weights.keys():
            raise ValueError(f"loss parts {sorted(self.parts)} and weights {sorted(self.weights)} differ")

    @property
    def total(self) -> Tensor:
        """Scalar: the sum over parts of weight x part."""
        return torch.stack([self.weights[name] * part for name, part in self.parts.items()]).sum()
