"""Laying out sequences of token pieces for a whole batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenPieces:
    """Pieces of tokens that sequences are put together from: fixed ones, and those of a batch, numbered after them.

    Attributes:
        fixed: [F] tokens.
        batch: [f] tokens.
    """

    fixed: Tensor
    batch: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> "TokenPieces":
        """Return pieces of fixed tokens alone."""
        return cls(tokens, tokens[:0])

    def join(self, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return sequences of pieces, one after the other.

        Args:
            start: [B, S] where each piece begins; from F on among those of the batch.
            length: [B, S] tokens of each piece, 0 for none.

        Returns:
            Tokens [B, L], 0 at the end; where there is a token [B, L]. L is the longest, at least 1.
        """
        ends = length.cumsum(1)
        longest = max(1, int(ends[:, -1].max())) if len(ends) else 1
        position = torch.arange(longest, device=start.device).expand(len(start), -1)
        piece = torch.searchsorted(ends, position.contiguous(), right=True).clamp_(max=start.shape[1] - 1)
        inside = position < ends[:, -1:]
        source = (start - ends + length).gather(1, piece) + position
        tokens = self.fixed[source.clamp(0, len(self.fixed) - 1)]
        if len(self.batch):
            fresh = self.batch[(source - len(self.fixed)).clamp(0, len(self.batch) - 1)]
            tokens = torch.where(source < len(self.fixed), tokens, fresh)
        return torch.where(inside, tokens, 0), inside
