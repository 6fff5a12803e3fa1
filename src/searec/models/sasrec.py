"""sasrec: self-attentive sequential recommendation (arXiv 1808.09781), with sampled BCE or the full softmax."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, DropoutRate, Positive, settings
from searec.data.batch import Batch, Needs
from searec.data.counts import Counts
from searec.data.dataset import Sizes
from searec.data.schema import Task
from searec.models.base import ItemEmbeddings, Model, Preset
from searec.models.growth import Rows
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice
from searec.nn.attention import EncoderLayer, causal
from searec.nn.dropout import Dropout
from searec.nn.losses import Losses
from searec.nn.pooling import age
from searec.nn.softmax import linear_cross_entropy

_LONG = 50
"""Clicks a user from which histories are long."""
_MANY_USERS = 10_000


class SASRec(ItemEmbeddings, Model):
    """Causal Transformer over the user's clicks; the state at a click scores the next item by inner product.

    Departures from the authors' code: positions are counted from the newest event, so that batches can be trimmed; with
    `feed_only` off, clicks after searches are in the sequence as well.
    """

    name = "sasrec"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    learns = "loss"
    examples = "last"
    ranks_candidates = True
    rows: ClassVar[Mapping[str, Rows]] = {"item.weight": Rows("items")}
    search_space: ClassVar = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "width": Choice((32, 50, 64, 96, 128)),
        "layers": Choice((1, 2, 3)),
    }
    single_task: ClassVar = {"recommend": {"feed_only": True}}
    single_task_note = "clicks after searches are not in the sequence"

    @settings
    class Config:
        """width D; layers; heads; inner: feed-forward width; length L: newest clicks read; negatives a position (bce).

        init: standard deviation of the first embeddings. feed_only: leave search clicks out of the sequence.
        """

        width: Count = 64
        layers: Count = 2
        heads: Count = 2
        inner: Count = 64
        dropout: DropoutRate = 0.5
        attention_dropout: DropoutRate = 0.0
        init: Positive = 0.02
        length: Annotated[int, Field(ge=2)] = 50
        loss: Literal["bce", "softmax"] = "softmax"
        negatives: Count = 1
        feed_only: bool = False

    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "default": {},
        "paper": {
            "width": 50,
            "heads": 1,
            "inner": 50,
            "dropout": 0.5,
            "attention_dropout": 0.5,
            "loss": "bce",
            "feed_only": True,
        },
    }
    train_presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "default": {
            "epochs": 40,
            "epoch_steps": 50,
            "min_steps": 300,
            "patience": 5,
            "batch": 128,
            "lr": 1e-3,
            "judge": "full-ndcg@10",
            "validation_requests": 2_000,
        },
        "paper": {"epochs": 200, "batch": 128, "patience": 20},
    }

    @classmethod
    @override
    def sized(cls, counts: Counts) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return settings for long histories, which are read further back in smaller batches, and for many users."""
        of_model: dict[str, Any] = {}
        of_training: dict[str, Any] = {}
        if counts.clicks >= _LONG * counts.users:
            of_model |= {"length": 200, "dropout": 0.3}
            of_training |= {"batch": 16, "lr": 2e-3}
        if counts.users >= _MANY_USERS:
            of_model["dropout"] = 0.3
            of_training = {"batch": 256, "lr": 3e-3, **of_training, "epoch_steps": 100, "epochs": 12}
        return of_model, of_training

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.item = nn.Embedding(sizes.items + 1, config.width, padding_idx=0)
        self.position = nn.Embedding(config.length, config.width)
        self.layers = nn.ModuleList(
            EncoderLayer(
                config.width,
                config.heads,
                config.inner,
                config.dropout,
                attention_dropout=config.attention_dropout,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = Dropout(config.dropout)
        for table in (self.item, self.position):
            nn.init.normal_(table.weight, std=config.init)
        with torch.no_grad():
            self.item.weight[0] = 0

    @property
    @override
    def needs(self) -> Needs:
        length = self.config.length
        return Needs(feed=length) if self.config.feed_only else Needs(clicks=length)

    @property
    @override
    def negatives(self) -> int:
        return self.config.negatives if self.config.loss == "bce" else 0

    def history(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Items and times [B, L] of the clicks this model reads, old to new."""
        if self.config.feed_only:
            return batch.feed_item, batch.feed_time
        return batch.click_item, batch.click_time

    def encode(self, items: Tensor) -> Tensor:
        """[B, L, D] the state after each click of `items` [B, L]; zeros at padding."""
        present = items != 0
        x = self.item(items) * self.config.width**0.5 + self.position(age(present, self.config.length))
        x = self.dropout(x)
        allowed = causal(present)
        for layer in self.layers:
            x = layer(x, allowed)
        return self.norm(x) * present.unsqueeze(-1)  # type: ignore[no-any-return]

    @override
    def loss(self, batch: Batch) -> Losses:
        """Return the next-click loss at every position: BCE against negatives (Eq. 8), or the full softmax."""
        items, times = self.history(batch)
        following, known = next_click(items, times, batch)
        state = self.encode(items)[known]  # (P, D)
        target = following[known]
        if self.config.loss == "softmax":
            value = linear_cross_entropy(state, self.item.weight[1:], target - 1)
            return Losses({"softmax": value}, {"softmax": 1.0})
        assert batch.negatives is not None, "the training examples of a bce model carry negatives"
        negative = self.item(batch.negatives[known])  # (P, M, D)
        positive = F.logsigmoid((state * self.item(target)).sum(-1))
        others = F.logsigmoid(-torch.einsum("pd,pmd->pm", state, negative)).sum(-1)
        return Losses({"bce": -(positive + others).mean()}, {"bce": 1.0})

    @override
    def score(self, batch: Batch) -> Tensor:
        items, _ = self.history(batch)
        newest = (items != 0).sum(1).clamp(min=1) - 1
        state = self.encode(items)[torch.arange(len(items), device=items.device), newest]
        if batch.candidates is None:
            return state @ self.item.weight.T
        return torch.einsum("bd,bnd->bn", state, self.item(batch.candidates))


def next_click(items: Tensor, times: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the item after each position [B, L], and where it is known: present, and strictly newer than the position.

    Args:
        items: [B, L] clicks, old to new, 0 pads.
        times: [B, L] of the clicks.
        batch: with the target, which follows the newest click.
    """
    present = items != 0
    newest = (present.sum(1) - 1).clamp(min=0)
    row = torch.arange(len(items), device=items.device)
    following, when = torch.zeros_like(items), torch.zeros_like(times)
    following[:, :-1], when[:, :-1] = items[:, 1:], times[:, 1:]
    following[row, newest], when[row, newest] = batch.target.to(items.dtype), batch.time
    return following, present & (following != 0) & (when > times)
