"""popular: how often an item was clicked before anything held out, each event by its weight."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from searec.config import settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset
from searec.data.feedback import train_weights
from searec.data.growth import Rows
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.models.base import FittedModel


class Popular(FittedModel):
    """Weighted training clicks per item, feed and search together; each task's counts end at its own cut-off."""

    name = "popular"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    channel = "popular"
    arrays: ClassVar[tuple[str, ...]] = ("counts", "weighted")
    rows: ClassVar[Mapping[str, Rows]] = {name: Rows("items", dim=1, new="zero") for name in ("counts", "weighted")}
    counts: Tensor  # [tasks, I + 1] clicks
    weighted: Tensor  # [tasks, I + 1] their weights added up

    @settings
    class Config:
        """No settings."""

    @property
    @override
    def needs(self) -> Needs:
        return Needs()

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        size = data.sizes.items + 1
        clicked = [(split.train_clicks((task,))[1], train_weights(split, (task,))) for task in TASKS]
        counts = np.stack([np.bincount(item, minlength=size) for item, _ in clicked])
        weighted = np.stack([np.bincount(item, weight, minlength=size) for item, weight in clicked])
        self.set_arrays(counts=torch.from_numpy(counts).float(), weighted=torch.from_numpy(weighted).float())

    @override
    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        return {(task,): self.counts[place] for place, task in enumerate(TASKS)}

    @override
    def score(self, batch: Batch) -> Tensor:
        weighted = self.weighted[TASKS.index(batch.task)]
        if batch.candidates is None:
            return weighted.expand(len(batch), -1)
        return weighted[batch.candidates.long()]
