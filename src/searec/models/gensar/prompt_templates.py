"""Prompts of a generative model: phrasings of each task, and the laying out of what stands in a prompt, token by token."""

from dataclasses import dataclass

import torch
from torch import Tensor

PHRASES: dict[str, tuple[tuple[str, str], ...]] = {
    "recommend": (("next item after", ""), ("recommend for", ""), ("what follows", "")),
    "search": (("user did", "finds for"), ("after", "search result of"), ("history", "item asked for by")),
    "query": (("next query after", ""), ("what is searched after", ""), ("user will ask after", "")),
    "query_item": (("item for query", ""), ("search result of", ""), ("what is found for", "")),
    "identify_search": (("item for text", ""), ("search identifier of", ""), ("which item is", "")),
    "identify_recommend": (("feed item for text", ""), ("feed identifier of", ""), ("which feed item is", "")),
    "describe_search": (("text of item", ""), ("describe", ""), ("what is", "")),
    "describe_recommend": (("text of feed item", ""), ("describe feed", ""), ("what in the feed is", "")),
}
"""Phrasings of each task: what stands first, and what stands between history and query. One is drawn in training, the first serves."""
ALL_PHRASES = tuple(part for several in PHRASES.values() for both in several for part in both if part)


@dataclass(frozen=True)
class Shelf:
    """Stretches of tokens to lay prompts out of: those that stay, and those of this batch, whose places follow on.

    fixed: [F] tokens. fresh: [f] tokens.
    """

    fixed: Tensor
    fresh: Tensor

    def lay(self, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Stretches one after the other.

        Args:
            start: [B, S] where each stretch begins; from F on among the fresh ones. length: [B, S] tokens of each, 0 for none.

        Returns:
            tokens [B, L], 0 at the end; where there are any [B, L]. L is the longest, at least 1.
        """
        ends = length.cumsum(1)
        place = torch.arange(max(1, int(ends[:, -1].max())) if len(ends) else 1, device=start.device).expand(
            len(start), -1
        )
        stretch = torch.searchsorted(ends, place.contiguous(), right=True).clamp_(max=start.shape[1] - 1)
        inside = place < ends[:, -1:]
        where = (start - ends + length).gather(1, stretch) + place
        known = self.fixed[where.clamp(0, len(self.fixed) - 1)]
        if len(self.fresh):
            new = self.fresh[(where - len(self.fixed)).clamp(0, len(self.fresh) - 1)]
            known = torch.where(where < len(self.fixed), known, new)
        return torch.where(inside, known, 0), inside
