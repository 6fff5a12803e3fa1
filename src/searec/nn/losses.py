"""Losses: the named parts of an objective and their weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

TargetLoss = Literal["bce", "softmax"]


@dataclass(frozen=True)
class Losses:
    """Named loss parts and their weights; the total is derived from them, so a logged part cannot be forgotten.

    Attributes:
        parts: scalars that are minimised.
        weights: of the parts.
        figures: scalars that are logged beside them.

    >>> losses = Losses({"bce": torch.tensor(2.0), "align": torch.tensor(3.0)}, {"bce": 1.0, "align": 0.1})
    >>> round(losses.total.item(), 3)
    2.3
    """

    parts: Mapping[str, Tensor]
    weights: Mapping[str, float]
    figures: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.parts.keys() != self.weights.keys():
            raise ValueError(f"loss parts {sorted(self.parts)} and weights {sorted(self.weights)} differ")

    @property
    def total(self) -> Tensor:
        """Scalar: the sum over parts of weight x part."""
        return torch.stack([self.weights[name] * part for name, part in self.parts.items()]).sum()


def target_loss(logits: Tensor, kind: TargetLoss) -> Tensor:
    """Return "bce" of the target and each negative, or cross-entropy of the "softmax" over them.

    Args:
        logits: [B, N] the target first.
        kind: which loss.
    """
    if kind == "bce":
        labels = torch.zeros_like(logits)
        labels[:, 0] = 1
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
