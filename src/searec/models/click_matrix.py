"""What models of the user-item matrix share: the matrix of training clicks, and the history they score from."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from searec.data.batch import Batch, Needs
from searec.data.dataset import FEED
from searec.data.feedback import train_weights
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.split import Split
from searec.models.base import FittedModel


class ClickMatrixModel(FittedModel):
    """A model made from who clicked what. Its Config has `history`, newest clicks read, and `feed_only`."""

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
