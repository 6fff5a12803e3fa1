"""Latent cross reasoning: two histories question each other for a few steps (arXiv 2508.04152)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.nn.attention import DecoderLayer, EncoderLayer, FeedForward, MultiHead
from searec.nn.pooling import masked_mean

Distance = Literal["cosine", "euclidean"]
_FIRST_SCALE = 0.1


@dataclass(frozen=True)
class CrossStates:
    """What a step leaves on each side, [B, L, D] each.

    alone: the same step with its cross term left out, from the same state before it; None if it was not asked for.
    """

    crossed: list[Tensor]
    alone: list[Tensor] | None


class CrossReasoning(nn.Module):
    """One step, to be taken K times with the same weights.

    On each side X = LN(H + MSA(H)), then H' = FF(LN(X + MCA(X, X of the other side))), FF with residual and norm. With one history there
    is nothing to cross, and a step is a Transformer layer.

    Args:
        sides: 1 or 2 histories.
        steps: how many there may be; each adds its own embedding to what it starts from. 0 for none.
    """

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, attention_dropout: float, sides: int, steps: int
    ) -> None:
        super().__init__()
        kind = DecoderLayer if sides == 2 else EncoderLayer
        self.layers = nn.ModuleList(
            kind(width, heads, inner, dropout, attention_dropout=attention_dropout) for _ in range(sides)
        )
        self.step = nn.Embedding(steps, width) if steps else None
        # A step starts near the identity, so that K steps begin no worse than none: what each part adds is small at first.
        if self.step is not None:
            nn.init.zeros_(self.step.weight)
        for module in self.layers.modules():
            if isinstance(module, (MultiHead, FeedForward)):
                last: nn.Linear = module.out if isinstance(module, MultiHead) else module[-1]  # type: ignore[assignment]
                nn.init.zeros_(last.bias)
                with torch.no_grad():
                    last.weight.mul_(_FIRST_SCALE)

    def forward(
        self, states: Sequence[Tensor], here: Sequence[Tensor], number: int, *, alone: bool = False
    ) -> CrossStates:
        """Step `number` (from 0).

        Args:
            states: [B, L, D] a side.
            here: [B, L] bool, where a history has an event.
            alone: also give the states without the cross term.
        """
        if self.step is not None:
            states = [side + self.step.weight[number] for side in states]
        masks = [side[:, None] for side in here]
        if len(states) == 1:
            return CrossStates([self.layers[0](states[0], masks[0])], None)
        own = [layer.read_own(side, mask) for layer, side, mask in zip(self.layers, states, masks, strict=True)]  # type: ignore[operator]
        across = [layer.across for layer in self.layers]
        crossed = [across[side](own[side], masks[1 - side], own[1 - side]) for side in (0, 1)]  # type: ignore[operator]
        return CrossStates(crossed, [across[side].without_reading(own[side]) for side in (0, 1)] if alone else None)  # type: ignore[operator, union-attr]


def distance(target: Tensor, states: Tensor, present: Tensor, kind: Distance) -> Tensor:
    """[B] from the target [B, D] to the mean of a side's states [B, L, D] that are present: 1 - cosine, or Euclidean."""
    mean = masked_mean(states, present)
    if kind == "cosine":
        return 1 - F.cosine_similarity(target, mean, dim=-1)
    apart: Tensor = torch.linalg.vector_norm(target - mean, dim=-1)
    return apart


def triplet(crossed: Tensor, alone: Tensor, margin: float) -> Tensor:
    """Scalar: the mean of max(0, crossed - alone + margin) (arXiv 2508.04152, Eq. 9).

    Args:
        crossed, alone: [n] distances from the target to the cross-attentive state and to the other; at least one row.
    """
    return torch.relu(crossed - alone + margin).mean()
