"""A model outside of searec's repository: item factors, a user is the mean of what was clicked (as in FISM)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from searec.config import Count, Positive, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.models.base import ItemEmbeddings, Model
from searec.models.search_space import LEARNING_RATE, Choice
from searec.nn.losses import Losses, target_loss


class Factors(ItemEmbeddings, Model):
    """score(u, v) = inner product of v's factors with the mean of those of u's newest clicks."""

    name = "factors"
    tasks = ("recommend",)
    learns = "loss"
    search_space: ClassVar = {"lr": LEARNING_RATE, "width": Choice((8, 16, 32))}
    train_presets: ClassVar = {"default": {"epochs": 2, "batch": 32, "lr": 5e-3}, "paper": {}}

    @settings
    class Config:
        """width: of the factors. negatives: for each click. init: standard deviation of the first factors."""

        width: Count = 16
        negatives: Count = 4
        init: Positive = 0.1

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.item = nn.Embedding(sizes.items + 1, config.width, padding_idx=0)
        nn.init.normal_(self.item.weight, std=config.init)
        with torch.no_grad():
            self.item.weight[0] = 0

    @property
    def needs(self) -> Needs:
        return Needs(clicks=50)

    @property
    def negatives(self) -> int:
        return int(self.config.negatives)

    def score(self, batch: Batch) -> Tensor:
        clicks = self.item(batch.click_item)
        user = clicks.sum(1) / (batch.click_item > 0).sum(1, keepdim=True).clamp(min=1)
        if batch.candidates is None:
            return user @ self.item.weight.T
        return torch.einsum("bd,bnd->bn", user, self.item(batch.candidates))

    def loss(self, batch: Batch) -> Losses:
        return Losses({"softmax": target_loss(self.score(batch), "softmax")}, {"softmax": 1.0})
