"""Items that meet a user's interests, drawn by how often they were clicked: the positives of the contrast."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from searec.models.serendipity.batch_interests import BatchInterests


@dataclass(frozen=True)
class MeetingItems:
    """The items of each category, and their clicks.

    Attributes:
        offsets: [C + 2] into the items of each category.
        until: [n + 1] running sums of the items' clicks, one added to each.
        items: [n] in the order of their categories.
    """

    offsets: Tensor
    until: Tensor
    items: Tensor

    @classmethod
    def of(cls, item_categories: Tensor, clicks: Tensor, categories: int) -> "MeetingItems":
        """Sort items by category.

        Args:
            item_categories: [I + 1, G] of each item, 0 pads.
            clicks: [I + 1] in training.
            categories: C.
        """
        rows = item_categories.cpu().long()
        category = rows.flatten()
        order = torch.argsort(category, stable=True)
        item = torch.arange(len(rows)).repeat_interleave(rows.shape[1])[order]
        category = category[order]
        item, category = item[category > 0], category[category > 0]
        counts = torch.bincount(category, minlength=categories + 1)
        offsets = F.pad(counts.cumsum(0), (1, 0))
        until = F.pad((clicks.cpu()[item] + 1).double().cumsum(0), (1, 0))
        device = item_categories.device
        return cls(offsets.to(device), until.to(device), item.to(device))

    def draw(self, interests: BatchInterests) -> Tensor:
        """Return [B] an item that meets one of each user's interests, 0 where no item does."""
        chance = interests.confidence[..., None] * (interests.categories > 0)
        chance = (chance * (self.offsets[1:] > self.offsets[:-1])[interests.categories.long()]).flatten(1)
        possible = chance.sum(1) > 0
        pick = torch.multinomial(torch.where(possible[:, None], chance, 1.0), 1)
        category = interests.categories.flatten(1).gather(1, pick)[:, 0].long()
        start, end = self.until[self.offsets[category]], self.until[self.offsets[category + 1]]
        at = start + torch.rand(len(pick), device=start.device, dtype=torch.float64) * (end - start)
        place = torch.searchsorted(self.until, at, right=True) - 1
        return torch.where(possible, self.items[place.clamp(0, len(self.items) - 1)], 0)


def interest_contrast(users: Tensor, items: Tensor, meets: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE over cosine / temperature: each user against the items drawn for all users.

    Args:
        users: [n, D] user vectors.
        items: [n, D] vectors of the item drawn for each user.
        meets: [n, n] whether an item meets an interest of a user; other users' items that do are no negatives.
        temperature: tau.
    """
    logits = F.normalize(users, dim=1) @ F.normalize(items, dim=1).T / temperature
    other = ~torch.eye(len(items), dtype=torch.bool, device=items.device)
    return F.cross_entropy(logits.masked_fill(meets & other, -torch.inf), torch.arange(len(items), device=items.device))
