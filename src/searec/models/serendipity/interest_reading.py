"""Reading of interests: attention of a state over the interests that were inferred before it."""

import torch
from torch import Tensor, nn


class InterestReading(nn.Module):
    """state + W sum_k a_k v_k, where a is a softmax of q(state) . k(v_k) + c log confidence_k, and of reading nothing.

    It begins as no change of the state.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.out = nn.Linear(width, width, bias=False)
        self.sureness = nn.Parameter(torch.ones(()))
        self.nothing = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.out.weight)

    def forward(self, states: Tensor, vectors: Tensor, confidence: Tensor, allowed: Tensor) -> Tensor:
        """Return the states [B, Q, D] with what they read.

        Args:
            states: [B, Q, D].
            vectors: [B, M, D] of interests.
            confidence: [B, M] of each, 0 where there is none.
            allowed: [B, Q, M] interests that a state may read.
        """
        score = self.query(states) @ self.key(vectors).transpose(1, 2) / states.shape[-1] ** 0.5
        score = score + self.sureness * confidence.clamp(min=1e-9).log()[:, None]
        score = score.masked_fill(~allowed | (confidence <= 0)[:, None], -torch.inf)
        share = torch.cat((score, self.nothing.expand(*score.shape[:2], 1)), dim=2).softmax(2)[..., :-1]
        return states + self.out(share @ vectors)  # type: ignore[no-any-return]
