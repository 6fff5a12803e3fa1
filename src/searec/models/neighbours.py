"""Exact pairs of items beside learned vectors: the cosines of `itemknn`, added with weights chosen on validation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from searec.config import configure
from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.models.base import Model
from searec.models.growth import Growth
from searec.models.itemknn import ItemKNN
from searec.nn.event_trunk import Timeline

_SHARPNESS = 20.0
"""What the cosine of an item's nearest neighbour is multiplied by on average, before log(1 + x)."""
_NEAR = "near."


class WithNeighbours(Model):
    """A model that adds weight x log(1 + scale x cosine) of the items that the user clicked.

    Args:
        config: with `recency`, as in `itemknn`.
        sizes: of the dataset.
    """

    near_weight: Tensor  # [1 + tasks] the scale, and the weight of each task
    near: ItemKNN

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.near = ItemKNN(configure(ItemKNN.Config, {"recency": config.recency}), sizes)
        self.register_buffer("near_weight", torch.zeros(1 + len(TASKS)))

    @property
    def has_neighbours(self) -> bool:
        """Whether it adds the similarities of neighbours."""
        return self.near.values is not None

    def remember_neighbours(self, split: Split) -> None:
        """Compute the cosines of items from the training clicks, and the scale at which they are read.

        Args:
            split: that the model learns from.
        """
        self.near.fit(split.data, self.split_of_neighbours(split))
        nearest = self.near.mean_of_nearest()
        self.near_weight[0] = _SHARPNESS / nearest if nearest else 0.0
        self.near.to(self.device)

    def split_of_neighbours(self, split: Split) -> Split:
        """Return the split whose training events end before what any task of the model holds out."""
        return split if self.train_tasks == ("recommend",) else replace(split, joint=True)

    def weigh_neighbours(self, weights: Mapping[Task, float]) -> None:
        """Set how much the neighbours count.

        Args:
            weights: task -> weight; 0 for none.
        """
        for task, weight in weights.items():
            self.near_weight[1 + TASKS.index(task)] = weight

    def forget_neighbours(self) -> None:
        """Do without neighbours."""
        for name in self.near.arrays:
            setattr(self.near, name, None)
        self.near_weight.zero_()

    def neighbour_scores(self, batch: Batch, timeline: Timeline) -> Tensor | None:
        """Return [B, I + 1] what the neighbours of the user's clicks add to the scores; None without.

        Args:
            batch: B requests.
            timeline: their events.
        """
        weight = self.near_weight[1 + TASKS.index(batch.task)]
        if not self.has_neighbours or not weight:
            return None
        history = timeline.item
        cosines = self.near.similarities.sum(history, self.near.recency_weights(history))
        return weight * torch.log1p(self.near_weight[0] * cosines)

    def load_neighbours(self, state: Mapping[str, Tensor]) -> None:
        """Make room for the neighbours that a state holds, if any.

        Args:
            state: of the model.
        """
        near = inside(state, _NEAR)
        if near:
            self.near.set_arrays(**near)
        else:
            self.forget_neighbours()

    def grown_neighbours(self, growth: Growth) -> dict[str, Tensor]:
        """Return the state of the neighbours for data that has grown."""
        near = self.near.grown_state(growth) if self.has_neighbours else {}
        return {_NEAR + name: part for name, part in near.items()}


def inside(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a state, by their names in it.

    Args:
        state: name -> tensor.
        prefix: of the part's names.
    """
    return {name.removeprefix(prefix): part for name, part in state.items() if name.startswith(prefix)}
