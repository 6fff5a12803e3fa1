"""What models of the user-item matrix share: the matrix of training clicks, and the history they score from."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from searec.data.batch import Batch, Needs
from searec.data.counts import Counts
from searec.data.dataset import FEED
from searec.data.feedback import train_weights
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.split import Split
from searec.models.base import FittedModel


class ClickMatrixModel(FittedModel):
    """A model made from who clicked what.

    Its Config has `history`, newest clicks read, `recency`, by which older ones count less, and `feed_only`.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    single_task: ClassVar[dict[Task, dict[str, Any]]] = {"recommend": {"feed_only": True}}
    single_task_note = "clicks after searches are not counted and not read"

    @property
    @override
    def needs(self) -> Needs:
        return Needs(feed=self.config.history) if self.config.feed_only else Needs(clicks=self.config.history)

    def clicked(self, batch: Batch) -> Tensor:
        """Return the clicks [B, L] that the model reads, old to new, 0 pads."""
        return batch.feed_item if self.config.feed_only else batch.click_item

    @classmethod
    @override
    def sized(cls, counts: Counts) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the recency, which grows with the length of histories: 0.45 for 8 clicks a user, 1.1 for 160."""
        return {"recency": round(min(1.5, 0.5 * math.log10(max(1.0, counts.clicks / max(1, counts.users)))), 2)}, {}

    def recency_weights(self, history: Tensor, *, repeats: bool = False) -> Tensor:
        """Return the weight [B, T] of each click: a^-recency of the a-th newest, 0 at padding.

        Args:
            history: [B, T] clicks, old to new, 0 pads.
            repeats: count every click on an item; the newest alone by default.
        """
        counts = history != 0
        if not repeats:
            ordered, place = history.sort(dim=1, stable=True)
            is_last = torch.ones_like(counts)
            is_last[:, :-1] = ordered[:, :-1] != ordered[:, 1:]
            counts = counts & torch.zeros_like(counts).scatter(1, place, is_last)
        newer = counts.flip(1).cumsum(1).flip(1) - 1
        weights: Tensor = torch.where(counts, (newer.clamp(min=0) + 1.0) ** -self.config.recency, 0.0)
        return weights

    def click_matrix(self, split: Split, *, weighted: bool = False) -> scipy.sparse.csr_matrix:
        """Return [U + 1, I + 1] float32, 1 where a user clicked an item in training, or the weight of that.

        Args:
            split: the split.
            weighted: give each pair the largest weight of its clicks (`feedback.train_weights`).
        """
        user, item, source = split.train_clicks(("recommend",))
        weight = train_weights(split, ("recommend",)) if weighted else np.ones(len(user), np.float32)
        if self.config.feed_only:
            user, item, weight = (column[source == FEED] for column in (user, item, weight))
        return matrix_of(user, item, weight, (self.sizes.users + 1, self.sizes.items + 1))


def matrix_of(user: Ints, item: Ints, weight: NDArray[np.float32], shape: tuple[int, int]) -> scipy.sparse.csr_matrix:
    """Return a matrix with the largest weight of each pair.

    Args:
        user: [E] rows.
        item: [E] columns.
        weight: [E] above 0.
        shape: of the matrix.
    """
    if len(weight) and weight.min() != weight.max():  # scipy adds up what it meets twice
        key = user.astype(np.int64) * shape[1] + item
        order = np.lexsort((-weight, key))
        first = order[np.unique(key[order], return_index=True)[1]]
        user, item, weight = user[first], item[first], weight[first]
        return scipy.sparse.csr_matrix((weight, (user, item)), shape=shape)
    clicks = scipy.sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=shape)
    clicks.data[:] = weight[0] if len(weight) else 1
    return clicks
