"""A world small enough to be learned in a second: each user always wants the same item."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.models.base import Losses, Model

USERS, ITEMS = 48, 12


@dataclass(frozen=True)
class ToyConfig:
    width: int = 16
    dropout: float = 0.3


class Toy(Model):
    """Users and items as vectors; tied weights, a frozen buffer, and a part that only search batches move."""

    name, tasks, learns, Config = "toy", ("recommend", "search"), "loss", ToyConfig

    def __init__(self, config: ToyConfig, seed: int = 0) -> None:
        super().__init__(config, Sizes(users=USERS, items=ITEMS, queries=0, words=0, categories=0))
        rng = torch.Generator().manual_seed(seed)
        self.users, self.items = nn.Embedding(USERS + 1, config.width), nn.Embedding(ITEMS + 1, config.width)
        self.output = nn.Linear(config.width, ITEMS + 1, bias=False)
        self.output.weight = self.items.weight
        self.searching = nn.Linear(config.width, config.width)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.1, generator=rng)
        self.drop = nn.Dropout(config.dropout)
        self.register_buffer("frozen", torch.arange(5.0))

    @property
    def needs(self) -> Needs:
        return Needs()

    def score(self, batch: Batch) -> Tensor:
        vector = self.drop(self.users(batch.user))
        return self.output(vector if batch.task == "recommend" else vector + self.searching(vector))

    def loss(self, batch: Batch) -> Losses:
        scores = nn.functional.cross_entropy(self.score(batch), batch.target)
        if batch.task == "recommend":
            return Losses({"ce": scores}, {"ce": 1.0})
        return Losses({"ce": scores, "size": self.users.weight.square().mean()}, {"ce": 1.0, "size": 0.1})


def toy_batch(users: np.ndarray, task: str = "recommend") -> Batch:
    user = torch.from_numpy(users).long()
    none, empty = torch.zeros(len(user), 1, dtype=torch.long), torch.zeros(len(user), dtype=torch.long)
    return Batch(
        task=task,
        user=user,
        time=empty,
        feed_item=none,
        feed_time=none,
        feed_weight=none.float(),
        search_query=none,
        search_click=none[:, :, None],
        search_time=none,
        click_item=none,
        click_time=none,
        query=empty,
        words=none[:1],
        query_id=empty[:1],
        target=(user * 5) % ITEMS + 1,
    )


class ToyExamples:
    """All users in random order, `size` in a batch, the tasks in turn."""

    def __init__(self, size: int = 12, seed: int = 0) -> None:
        self.size, self.seed = size, seed

    def steps(self, epoch: int) -> int:
        return -(-USERS // self.size)

    def batch(self, epoch: int, step: int, process: int, processes: int) -> Batch:
        order = np.random.default_rng([self.seed, epoch]).permutation(np.arange(1, USERS + 1))
        users = order[step * self.size : (step + 1) * self.size]
        return toy_batch(users[process::processes], "search" if step % 2 else "recommend")


def accuracy(model: Model) -> dict[str, float]:
    """The share of users whose item is scored best, under the name that the loop looks at."""
    batch = toy_batch(np.arange(1, USERS + 1))
    return {"ndcg@5": (model.score(batch).argmax(1) == batch.target).float().mean().item()}
