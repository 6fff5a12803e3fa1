"""popular: how often an item was clicked before anything held out, each event by its weight."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from searec.config import NonNegative, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset
from searec.data.feedback import train_times, train_weights
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.models.base import FittedModel
from searec.models.growth import Rows
from searec.models.search_space import Choice

_DAY = 24 * 3600 * 1_000_000
"""Microseconds."""


class Popular(FittedModel):
    """Weighted training clicks per item, feed and search together; each task's counts end at its own cut-off.

    With a half-life, a click that is one half-life older than the newest of its task counts half.
    """

    name = "popular"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    channel = "popular"
    search_space: ClassVar = {"half_life": Choice((0.0, 7.0, 30.0, 90.0, 365.0, 1000.0))}
    arrays: ClassVar[tuple[str, ...]] = ("counts", "weighted")
    rows: ClassVar[Mapping[str, Rows]] = {name: Rows("items", dim=1, new="zero") for name in ("counts", "weighted")}
    counts: Tensor  # [tasks, I + 1] clicks
    weighted: Tensor  # [tasks, I + 1] their weights added up, faded

    @settings
    class Config:
        """half_life: days after which a click counts half; 0 counts all alike."""

        half_life: NonNegative = 0.0

    @property
    @override
    def needs(self) -> Needs:
        return Needs()

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        size = data.sizes.items + 1
        clicked = [(split.train_clicks((task,))[1], self._weights(split, task)) for task in TASKS]
        counts = np.stack([np.bincount(item, minlength=size) for item, _ in clicked])
        weighted = np.stack([np.bincount(item, weight, minlength=size) for item, weight in clicked])
        self.set_arrays(counts=torch.from_numpy(counts).float(), weighted=torch.from_numpy(weighted).float())

    def _weights(self, split: Split, task: Task) -> NDArray[np.float32]:
        """[E] the weight of each training click of a task."""
        weight, time = train_weights(split, (task,)), train_times(split, (task,))
        if not self.config.half_life or not len(time):
            return weight
        days = (time.max() - time) / _DAY
        fading: NDArray[np.float32] = (weight * 0.5 ** (days / self.config.half_life)).astype(np.float32)
        return fading

    @override
    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        return {(task,): self.counts[place] for place, task in enumerate(TASKS)}

    @override
    def score(self, batch: Batch) -> Tensor:
        weighted = self.weighted[TASKS.index(batch.task)]
        if batch.candidates is None:
            return weighted.expand(len(batch), -1)
        return weighted[batch.candidates.long()]
