"""The items of each category, most clicked first: what meets a user's interests."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from searec.models.serendipity.batch_interests import BatchInterests


@dataclass(frozen=True)
class CategoryItems:
    """The items of each category, and their clicks.

    Attributes:
        offsets: [C + 2] into the items of each category.
        until: [n + 1] running sums of the items' clicks, one added to each.
        items: [n] in the order of their categories; of each, the most clicked first.
    """

    offsets: Tensor
    until: Tensor
    items: Tensor

    @classmethod
    def of(cls, item_categories: Tensor, clicks: Tensor, categories: int) -> "CategoryItems":
        """Sort items by category.

        Args:
            item_categories: [I + 1, G] of each item, 0 pads.
            clicks: [I + 1] in training.
            categories: C.
        """
        rows, clicks = item_categories.cpu().long(), clicks.cpu()
        category = rows.flatten()
        item = torch.arange(len(rows)).repeat_interleave(rows.shape[1])
        most_clicked = torch.argsort(clicks[item], descending=True, stable=True)
        order = most_clicked[torch.argsort(category[most_clicked], stable=True)]
        item, category = item[order], category[order]
        item, category = item[category > 0], category[category > 0]
        counts = torch.bincount(category, minlength=categories + 1)
        offsets = F.pad(counts.cumsum(0), (1, 0))
        until = F.pad((clicks[item] + 1).double().cumsum(0), (1, 0))
        device = item_categories.device
        return cls(offsets.to(device), until.to(device), item.to(device))

    def first(self, categories: Tensor, count: int) -> Tensor:
        """Return [B, M * count] the first items of categories, 0 where there are fewer.

        Args:
            categories: [B, M], 0 pads.
            count: items of each category.
        """
        start, end = self.offsets[categories.long()], self.offsets[categories.long() + 1]
        place = start[..., None] + torch.arange(count, device=start.device)
        is_item = (place < end[..., None]) & (categories > 0)[..., None]
        if not len(self.items):
            return torch.zeros_like(place).flatten(1)
        return torch.where(is_item, self.items[place.clamp(max=len(self.items) - 1)], 0).flatten(1)

    def draw(self, interests: BatchInterests) -> Tensor:
        """Return [B] an item that meets one of each user's interests, by clicks; 0 where no item does."""
        chance = interests.confidence[..., None] * (interests.categories > 0)
        chance = (chance * (self.offsets[1:] > self.offsets[:-1])[interests.categories.long()]).flatten(1)
        possible = chance.sum(1) > 0
        pick = torch.multinomial(torch.where(possible[:, None], chance, 1.0), 1)
        category = interests.categories.flatten(1).gather(1, pick)[:, 0].long()
        start, end = self.until[self.offsets[category]], self.until[self.offsets[category + 1]]
        at = start + torch.rand(len(pick), device=start.device, dtype=torch.float64) * (end - start)
        place = torch.searchsorted(self.until, at, right=True) - 1
        return torch.where(possible, self.items[place.clamp(0, len(self.items) - 1)], 0)
