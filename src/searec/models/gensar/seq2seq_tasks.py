"""Exercises of a generative model: prompts with the answers they should bring, learned from in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from searec.data.schema import Task


@dataclass(frozen=True)
class Exercise:
    """Prompts of one kind with their answers, an identifier of a task or a text.

    ids, mask: [B, L] the prompts. given: [B, T] what the decoder reads. answer: [B, T] codes of each place, or tokens.
    task, items: whose identifiers are asked for, and of which items [B]. known: [B, T] where a text has a token; None for identifiers.
    """

    name: str
    weight: float
    ids: Tensor
    mask: Tensor
    given: Tensor
    answer: Tensor
    task: Task | None = None
    items: Tensor | None = None
    known: Tensor | None = None


def together(exercises: Sequence[Exercise]) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts, where there are any, and what the decoder reads, of all exercises one below the other."""

    def stacked(parts: Sequence[Tensor]) -> Tensor:
        width = max(part.shape[1] for part in parts)
        return torch.cat([F.pad(part, (0, width - part.shape[1])) for part in parts])

    return (
        stacked([one.ids for one in exercises]),
        stacked([one.mask for one in exercises]),
        stacked([one.given for one in exercises]),
    )
