"""Score candidates from a user's histories: target attention over each side, then an MLP (gserec.md, lcr_ser.md)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.nn.attention import TargetAttention, attention_weights
from searec.nn.dropout import Dropout

_PAIRS_AT_ONCE, _ITEMS_AT_ONCE = 2048, 2048
"""Pairs of request and candidate scored together: as many as the cache holds the hidden layer of."""


class CandidateScorer(nn.Module):
    """score(v) = MLP(interest of each side as v reads it, user vectors, e_v).

    Args:
        sides: how many histories there are.
        users: how many vectors a user has.
        dropout: of the MLP's hidden layers.
    """

    def __init__(self, width: int, *, sides: int, users: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.pool = nn.ModuleList(TargetAttention(width) for _ in range(sides))
        # The first layer's input is (interests, user vectors, e_v), in this order.
        self.first = nn.Linear((sides + users + 1) * width, 200)
        self.rest = nn.Sequential(
            nn.ReLU(inplace=True), Dropout(dropout), nn.Linear(200, 80), nn.ReLU(), Dropout(dropout), nn.Linear(80, 1)
        )

    def forward(
        self, item: Tensor, candidates: Tensor | None, states: Sequence[Tensor], here: Sequence[Tensor], users: Tensor
    ) -> Tensor:
        """Return scores [B, N] of the candidates, or [B, I + 1] of the catalogue, a block of pairs at a time.

        Args:
            item: [I + 1, D] the item table.
            candidates: [B, N] rows of it; None for all of it.
            states: [B, L, D] a side.
            here: [B, L] bool, where a state is present; no state at all gives a zero interest.
            users: [B, E, D].
        """
        of_sides, of_users, of_item = torch.split(
            self.first.weight, [len(states) * self.width, users.shape[1] * self.width, self.width], dim=1
        )
        # The user vectors are one more state, of weight 1.
        of_user = F.linear(users.flatten(1), of_users, self.first.bias)[:, None]
        # An empty history adds nothing.
        states = [side * present[..., None] for side, present in zip(states, here, strict=True)]
        keys = torch.cat([pool.bridge(side) for pool, side in zip(self.pool, states, strict=True)], dim=1)  # type: ignore[operator]
        maps = [side @ one.T for side, one in zip(states, torch.split(of_sides, self.width, dim=1), strict=True)]
        mapped = torch.cat((*maps, of_user), dim=1)  # (B, P + 1, 200)
        lengths = [side.shape[1] for side in states]

        def block(rows: slice, vectors: Tensor, projected: Tensor) -> Tensor:
            products = keys[rows] @ vectors.mT  # (b, P, N)
            logits = torch.split(products, lengths, dim=1)
            weights = [attention_weights(logits_of, mask[rows]) for logits_of, mask in zip(logits, here, strict=True)]
            every = torch.cat((*weights, torch.ones_like(products[:, :1])), dim=1)
            # Only the projection of the catalogue is needed again.
            hidden = (
                projected.baddbmm_(every.mT, mapped[rows])
                if projected.dim() == 3
                else torch.baddbmm(projected, every.mT, mapped[rows])
            )
            score: Tensor = self.rest(hidden).squeeze(-1)
            return score

        if candidates is not None:
            step = max(1, _PAIRS_AT_ONCE // candidates.shape[1])
            blocks = []
            for start in range(0, len(candidates), step):
                rows = slice(start, start + step)
                vectors = F.embedding(candidates[rows], item)
                blocks.append(block(rows, vectors, vectors @ of_item.T))
            return torch.cat(blocks)
        parts = [(vectors, vectors @ of_item.T) for vectors in torch.split(item, _ITEMS_AT_ONCE)]
        step = _PAIRS_AT_ONCE // _ITEMS_AT_ONCE
        rows_of = [slice(start, start + step) for start in range(0, len(users), step)]
        return torch.cat([torch.cat([block(rows, *part) for part in parts], dim=1) for rows in rows_of])
