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
    """The states of each side after a step, [B, L, D] each.

    Attributes:
        crossed: with the cross term.
        alone: the same step from the same state without it; None if `CrossReasoning` was called without `alone`.
    """

    crossed: list[Tensor]
    alone: list[Tensor] | None


class CrossReasoning(nn.Module):
    """One step, to be taken K times with the same weights.

    On each side X = LN(H + MSA(H)), then H' = FF(LN(X + MCA(X, X of the other side))), FF with residual and norm. With
    one history a step is a Transformer layer.

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
        # A step starts near the identity, so that K steps begin no worse than none.
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
        """Take a step.

        Args:
            states: [B, L, D] a side.
            here: [B, L] bool, where a history has an event.
            number: of the step, from 0.
            alone: also return the states without the cross term.
        """
        if self.step is not None:
            states = [side + self.step.weight[number] for side in states]
        masks = [side[:, None] for side in here]
        if len(states) == 1:
            return CrossStates([self.layers[0](states[0], masks[0])], None)
        attended = [layer.read_own(side, mask) for layer, side, mask in zip(self.layers, states, masks, strict=True)]  # type: ignore[operator]
        across = [layer.across for layer in self.layers]
        crossed = [across[side](attended[side], masks[1 - side], attended[1 - side]) for side in (0, 1)]  # type: ignore[operator]
        if not alone:
            return CrossStates(crossed, None)
        return CrossStates(crossed, [across[side].without_reading(attended[side]) for side in (0, 1)])  # type: ignore[operator, union-attr]


def distance(target: Tensor, states: Tensor, present: Tensor, kind: Distance) -> Tensor:
    """Return the distance [B] from the target to the mean of a side's present states.

    Args:
        target: [B, D].
        states: [B, L, D].
        present: [B, L] bool.
        kind: "cosine", 1 - cosine; or "euclidean".
    """
    mean = masked_mean(states, present)
    if kind == "cosine":
        return 1 - F.cosine_similarity(target, mean, dim=-1)
    apart: Tensor = torch.linalg.vector_norm(target - mean, dim=-1)
    return apart


def triplet(crossed: Tensor, alone: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, crossed - alone + margin) (arXiv 2508.04152, Eq. 9).

    Args:
        crossed: [n] distances from the target to the cross-attentive state; at least one row.
        alone: [n] distances to the state without the cross term.
        margin: by which the former should be smaller.
    """
    return torch.relu(crossed - alone + margin).mean()
