"""What models of the binary user-item matrix share: the matrix of training clicks, and the history they score from."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from torch import Tensor
from typing_extensions import override

from searec.data.batch import Batch, Needs
from searec.data.dataset import FEED
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

    def click_matrix(self, split: Split) -> scipy.sparse.csr_matrix:
        """Return [U + 1, I + 1] float32, 1 where a user clicked an item in training."""
        user, item, source = split.train_clicks(("recommend",))
        if self.config.feed_only:
            user, item = user[source == FEED], item[source == FEED]
        shape = (self.sizes.users + 1, self.sizes.items + 1)
        clicks = scipy.sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=shape)
        clicks.data[:] = 1
        return clicks
