"""The interests of the users of a batch at the time of their requests, and which items meet them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from searec.data.split import NEVER


@dataclass(frozen=True)
class BatchInterests:
    """Interests of B users, surest first, K each.

    Attributes:
        vectors: [B, K, E] zero where there is none.
        confidence: [B, K] in (0, 1], 0 where there is none.
        categories: [B, K, G] categories each one means, 0 pads.
    """

    vectors: Tensor
    confidence: Tensor
    categories: Tensor

    @property
    def present(self) -> Tensor:
        """[B, K] where there is an interest."""
        return self.confidence > 0

    def rows(self, which: Tensor) -> "BatchInterests":
        """Return the interests of some of the users, by mask or index."""
        return BatchInterests(self.vectors[which], self.confidence[which], self.categories[which])

    def meets(self, given: Tensor, categories: int) -> Tensor:
        """Return [B, N] whether an item has a category that one of the user's interests means.

        Args:
            given: [N, G'] categories of each item, 0 pads.
            categories: C.
        """
        meant = torch.zeros(len(self.vectors), categories + 1, dtype=torch.bool, device=self.vectors.device)
        meant.scatter_(1, self.categories.flatten(1).long(), True)
        meant[:, 0] = False
        return meant[:, given.long()].any(2)


def newest_snapshot(times: Tensor, user: Tensor, at: Tensor) -> Tensor:
    """Return [B] or [B, Q] the newest snapshot of each user that was made at or before a time, -1 where none was.

    Args:
        times: [U + 1, S] ascending, microseconds since 1970; a snapshot rests on what is strictly older.
        user: [B] internal ids.
        at: [B] or [B, Q] microseconds since 1970.
    """
    known = times[user.long()]
    known = known[:, None] if at.dim() == 2 else known
    return ((known <= at[..., None]) & (known != NEVER)).sum(-1) - 1


def untouched(given: Tensor, touched: Tensor, items: Tensor, categories: int) -> Tensor:
    """Return [B, N] whether an item has categories and none of them is one of an item that the user clicked.

    Args:
        given: [I + 1, G] categories of each item at the level that counts, 0 pads.
        touched: [B, T] items the user clicked, 0 pads.
        items: [B, N] internal ids.
        categories: C.
    """
    known = torch.zeros(len(touched), categories + 1, dtype=torch.bool, device=touched.device)
    known.scatter_(1, given[touched.long()].flatten(1).long(), True)
    item_categories = given[items.long()].long()  # (B, N, G)
    is_category = item_categories > 0
    hit = known.gather(1, item_categories.flatten(1)).view(item_categories.shape) & is_category
    return ~hit.any(2) & is_category.any(2)
