"""popular: how often an item was clicked before anything held out."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from searec.config import settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset
from searec.data.growth import Rows
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.models.base import FittedModel


class Popular(FittedModel):
    """Training clicks per item, feed and search together; each task's counts end at its own cut-off."""

    name = "popular"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    channel = "popular"
    arrays: ClassVar[tuple[str, ...]] = ("counts",)
    rows: ClassVar[Mapping[str, Rows]] = {"counts": Rows("items", dim=1, new="zero")}
    counts: Tensor  # [tasks, I + 1]

    @settings
    class Config:
        """No settings."""

    @property
    @override
    def needs(self) -> Needs:
        return Needs()

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        counts = [np.bincount(split.train_clicks((task,))[1], minlength=data.sizes.items + 1) for task in TASKS]
        self.set_arrays(counts=torch.from_numpy(np.stack(counts)).float())

    @override
    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        return {(task,): self.counts[place] for place, task in enumerate(TASKS)}

    @override
    def score(self, batch: Batch) -> Tensor:
        counts = self.counts[TASKS.index(batch.task)]
        if batch.candidates is None:
            return counts.expand(len(batch), -1)
        return counts[batch.candidates.long()]
