"""Groups of items with equal labels (the same categories, say): one vector represents all of a group."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_LEAST = 32


@dataclass(frozen=True)
class ItemGroups:
    """N items in groups 1..G.

    Attributes:
        offsets: [G + 2] into `members`; group g's are at offsets[g] to offsets[g + 1].
        members: [N] items by group, the best of each first.
    """

    offsets: Tensor
    members: Tensor

    @classmethod
    def of(cls, labels: Tensor, worth: Tensor) -> "ItemGroups":
        """Return the groups of items 1..N with equal rows of labels.

        Args:
            labels: [N + 1, L] integers; row 0 is no item.
            worth: [N + 1] the larger the better; of equals the smaller id goes first.

        >>> groups = ItemGroups.of(torch.tensor([[0], [7], [5], [7], [7]]), torch.tensor([0, 1, 1, 3, 1]))
        >>> groups.members.tolist(), groups.offsets.tolist()
        ([2, 3, 1, 4], [0, 0, 1, 4])
        """
        rows = np.ascontiguousarray(labels[1:].cpu().numpy().astype(np.int32))
        whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
        _, group = np.unique(whole, return_inverse=True)
        order = np.lexsort((np.arange(len(rows)), -worth[1:].cpu().numpy().astype(np.int64), group))
        offsets = np.concatenate(([0, 0], np.cumsum(np.bincount(group))))
        return cls(torch.from_numpy(offsets).to(labels.device), torch.from_numpy(order + 1).to(labels.device))

    @property
    def first(self) -> Tensor:
        """[G + 1] the best item of each group; 0 for group 0."""
        return torch.nn.functional.pad(self.members[self.offsets[1:-1]], (1, 0))

    def enough(self, count: int) -> int:
        """Return how many groups to search for `count` items: twice the average need, from 32 up to `count`."""
        return min(count, max(_LEAST, -(-2 * count * (len(self.offsets) - 2) // len(self.members))))

    def lay_out(self, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the first `count` items of groups in a row.

        Args:
            groups: [R, g] 0 for none.
            count: of items a row.

        Returns:
            items [R, count], 0 past the end; the place [R, count] in its row of the group that each belongs to.
        """
        length = torch.where(groups > 0, self.offsets[groups + 1] - self.offsets[groups], 0)
        until = length.cumsum(1)
        turn = torch.arange(count, device=groups.device).expand(len(groups), -1).contiguous()
        place = torch.searchsorted(until, turn, right=True).clamp_(max=groups.shape[1] - 1)
        within = turn - (until - length).gather(1, place)
        at = self.offsets[groups.gather(1, place)] + within
        return torch.where(turn < until[:, -1:], self.members[at.clamp(max=len(self.members) - 1)], 0), place
