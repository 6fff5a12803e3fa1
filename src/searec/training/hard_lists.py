"""Hard lists: a user's next clicks among the items that the model itself ranks highest and the user has not clicked."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from searec.data.batch import Batch, Batcher
from searec.data.ragged import Ints, Ragged
from searec.data.split import Split
from searec.errors import DataError
from searec.models.base import Model
from searec.training.examples import shuffled_batches
from searec.training.loop import Examples

_ABSENT = -1e4
"""Score of padding in a list; finite, so that no gradient is NaN."""


@dataclass(frozen=True)
class Targets:
    """Requests and what followed them.

    Attributes:
        requests: B requests over the whole catalogue.
        relevant: [B, H] the next clicks, each item once, the next one first; 0 pads.
        clicked: [B, C] all training clicks of the user, 0 pads.
    """

    requests: Batch
    relevant: Tensor
    clicked: Tensor

    def __len__(self) -> int:
        return len(self.requests)

    def to(self, device: torch.device) -> "Targets":
        """Return the same on another device."""
        return Targets(self.requests.to(device), self.relevant.to(device), self.clicked.to(device))


@dataclass(frozen=True)
class HardLists:
    """Lists of items that a model itself ranks high, of the requests for which a relevant item is among them.

    Attributes:
        requests: n of the requests, with their lists as candidates [n, H + M]: the relevant items, then others; 0 pads.
        relevant: [n, H + M] bool, the relevant ones.
        listed: share of the requests for which a relevant item is ranked high.
    """

    requests: Batch
    relevant: Tensor
    listed: Tensor

    @classmethod
    @torch.no_grad()
    def mined(cls, model: Model, targets: Targets, count: int, pool: int) -> "HardLists":
        """Return the relevant items in the pool of best items, and others of it that the user has not clicked.

        A relevant item outside of the pool stays out: a list with it would teach that the best items are worse than the
        rest of the catalogue. One request stays, without effect, where there is none to learn from.

        Args:
            model: whose ranking of the catalogue is read, without dropout.
            targets: B requests and what followed.
            count: other items of a list, M, drawn from the pool.
            pool: the best of the items that the user has not clicked before.
        """
        was_training = model.training
        model.eval()
        known = (targets.clicked[:, :, None] == targets.relevant[:, None]).any(2)
        items, _ = model.retrieve(targets.requests, pool, targets.clicked.masked_fill(known, 0))
        model.train(was_training)
        same = (items[:, :, None] == targets.relevant[:, None]) & (targets.relevant > 0)[:, None]
        relevant = targets.relevant * same.any(1)
        order = torch.rand(items.shape, device=items.device).argsort(1)[:, :count]
        others = items.masked_fill(same.any(2), 0).gather(1, order)
        candidates = torch.cat((relevant, others.to(relevant)), 1)
        has_any = relevant.any(1)
        rows = (has_any if has_any.any() else torch.ones_like(has_any)).nonzero().squeeze(1)
        if not has_any.any():
            rows = rows[:1]
        relevant = candidates > 0
        relevant[:, targets.relevant.shape[1] :] = False
        requests = targets.requests.with_candidates(candidates).at(rows)
        return cls(requests, relevant[rows], has_any.float().mean())

    @property
    def candidates(self) -> Tensor:
        """[n, H + M] the lists."""
        assert self.requests.candidates is not None
        return self.requests.candidates

    def masked(self, scores: Tensor) -> Tensor:
        """Return scores [B, ..., N] with padding last in every list."""
        return scores.masked_fill(_beside(self.candidates == 0, scores), _ABSENT)

    def cross_entropy(self, scores: Tensor) -> Tensor:
        """Return the mean cross-entropy of each relevant item against the negatives, a scalar.

        Args:
            scores: [B, ..., N] as of `masked`.
        """
        relevant = _beside(self.relevant, scores)
        negatives = scores.masked_fill(relevant, _ABSENT).logsumexp(-1, keepdim=True)
        each = F.softplus(negatives - scores) * relevant
        return (each.sum(-1) / relevant.sum(-1).clamp(min=1)).mean()


def _beside(mask: Tensor, scores: Tensor) -> Tensor:
    """A mask [B, N] in the shape of scores [B, ..., N], with axes of 1 between."""
    return mask.view(len(mask), *[1] * (scores.dim() - 2), -1)


class HardListExamples(Examples):
    """Batches of the newest training clicks of each user, with the clicks that followed.

    Args:
        split: whose training events are used.
        model: says which histories it reads, and which tasks set the cut-off.
        batch: requests in a batch, over all processes.
        seed: of the order.
        newest: share of each user's training clicks, at least one.
        horizon: next clicks that are relevant, H.

    Raises:
        DataError: there is nothing to learn from.
    """

    def __init__(self, split: Split, model: Model, *, batch: int, seed: int, newest: float, horizon: int) -> None:
        every = split.train("recommend", model.train_tasks)
        if not len(every):
            raise DataError(
                "no training example", got="no user with two events before what is held out", remedy="use a longer log"
            )
        self.size, self.seed = batch, seed
        self.batcher = Batcher(split.data, model.needs)
        rows = np.flatnonzero(_is_newest(every.user, newest))
        self.requests, self.relevant = every[rows], next_clicks(every.user, every.target, horizon)[rows]
        user, item, _ = split.train_clicks(model.train_tasks)
        offsets = np.searchsorted(user, np.arange(split.data.sizes.users + 2))
        self.clicked = Ragged(offsets, item)
        self.lengths = self.batcher.lengths(self.requests)

    @override
    def steps(self, epoch: int) -> int:
        return -(-len(self.requests) // self.size)

    @override
    def batch(self, epoch: int, step: int, process: int = 0, processes: int = 1) -> Targets:
        rows = self._plan(epoch)[step][process::processes]
        requests = self.requests[rows]
        clicked = self.clicked.pad(requests.user).astype(np.int64)
        relevant = torch.from_numpy(self.relevant[rows])
        return Targets(self.batcher.batch(requests), relevant, torch.from_numpy(clicked))

    @functools.lru_cache(maxsize=2)  # noqa: B019 - the examples live as long as the training
    def _plan(self, epoch: int) -> list[Ints]:
        rng = np.random.default_rng([self.seed, epoch])
        batches = shuffled_batches(rng, np.arange(len(self.requests)), self.lengths, self.size)
        return [batches[place] for place in rng.permutation(len(batches))]


def _is_newest(user: Ints, share: float) -> np.ndarray:
    """[R] whether a request is among the newest of its user, of requests by user and time."""
    count = np.bincount(user)
    from_end = np.cumsum(count)[user] - np.arange(len(user))  # 1 for the newest
    newest: np.ndarray = from_end <= np.maximum(1, np.ceil(share * count))[user]
    return newest


def next_clicks(user: Ints, target: Ints, horizon: int) -> Ints:
    """Return [R, H] the target of each request and of those after it, each item once; 0 pads.

    Args:
        user: [R] by user and time.
        target: [R] internal ids.
        horizon: H.
    """
    clicks = np.zeros((len(user), horizon), dtype=np.int64)
    for ahead in range(horizon):
        later = np.arange(ahead, len(user))
        same = user[later] == user[later - ahead]
        item = np.where(same, target[later], 0)
        is_repeated = (clicks[later - ahead] == item[:, None]).any(1)
        clicks[later - ahead, ahead] = np.where(is_repeated, 0, item)
    return clicks
