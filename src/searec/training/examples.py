"""Which training examples are in which batch: a pure function of seed, epoch and step."""

import dataclasses
import functools
import math

import numpy as np
import torch
from typing_extensions import override

from searec.data.batch import Batch, Batcher
from searec.data.candidates import Seen, draw_unseen, refuse_single_item
from searec.data.ragged import Ints
from searec.data.split import Requests, Split
from searec.data.timelines import timelines
from searec.errors import DataError
from searec.models.base import Model
from searec.training.loop import Batch as LearnedBatch
from searec.training.loop import Examples

_BLOCK = 50
"""Batches that are sorted by length together: larger wastes less padding, smaller mixes better."""


class TrainingExamples(Examples):
    """Training batches of a model: shuffled, bucketed by length, with negatives the user has not clicked in training.

    The negatives of a user who has clicked every item are drawn from all items.

    Args:
        split: whose training events are used, cut for all tasks the model learns.
        model: says which tasks, histories and negatives.
        batch: requests in a batch, over all processes.
        seed: of order and negatives.
        negatives: for each positive; as many as the model needs by default.
        learned: [U + 1] for each user, the time before which the model has learned from the events already,
            microseconds since 1970. An epoch then is the newer examples and `replay` times as many older ones, drawn
            anew each time.
        replay: older examples for each newer one.
        feed_requests: whatever the model's examples are: each feed click is a request, with negatives.

    Raises:
        DataError: there is nothing to learn from.
    """

    def __init__(
        self,
        split: Split,
        model: Model,
        *,
        batch: int,
        seed: int,
        negatives: int | None = None,
        learned: Ints | None = None,
        replay: float = 1.0,
        feed_requests: bool = False,
    ) -> None:
        tasks = model.train_tasks
        self.size = batch
        self.seed = seed
        self.model = model
        self.negatives = model.negatives if negatives is None else negatives
        self.batcher = Batcher(split.data, model.needs)
        self.has_candidates = feed_requests or model.examples == "each"
        if feed_requests:
            self.requests: list[Requests] = [split.train("recommend", tasks)]
        elif model.examples == "timeline":
            self.requests = [timelines(split, tasks, model.config.length)]
        elif model.examples == "last":
            self.requests = [split.sequences(tasks, feed_only=model.needs.clicks == 0)]
        else:
            self.requests = [split.train(task, tasks) for task in tasks]
        self.requests = [requests for requests in self.requests if len(requests)]
        if not self.requests:
            raise DataError(
                "no training example", got="no user with two events before what is held out", remedy="use a longer log"
            )
        is_new = [
            np.ones(len(one), dtype=bool) if learned is None else one.time >= learned[one.user] for one in self.requests
        ]
        self.newer = [np.flatnonzero(mask) for mask in is_new]
        self.older = [np.flatnonzero(~mask) for mask in is_new]
        self.replayed = [
            min(len(old), math.ceil(replay * len(new))) for new, old in zip(self.newer, self.older, strict=True)
        ]
        if not any(map(len, self.newer)):
            raise DataError(
                "nothing new to learn from",
                got="no training example after those of the run",
                remedy="name the dataset with the new events, or serve the run as it is",
            )
        if self.negatives:
            refuse_single_item(split.data, model.name)
        user, item, _ = split.train_clicks(tasks)
        self.seen = Seen.of(user, item, split.data.sizes.items)
        self.events = item if model.negatives_by == "events" else None
        self.lengths = [self.batcher.lengths(requests) for requests in self.requests]

    def portions(self, steps: int) -> "Portions":
        """Return the same batches in epochs of a given number of steps."""
        return Portions(self, steps)

    @override
    def steps(self, epoch: int) -> int:
        return sum(self._batches(len(new) + old) for new, old in zip(self.newer, self.replayed, strict=True))

    @override
    def batch(self, epoch: int, step: int, process: int = 0, processes: int = 1) -> Batch:
        part, rows = self._plan(epoch)[step]
        requests = self.requests[part][rows[process::processes]]
        rng = np.random.default_rng([self.seed, epoch, step, process])
        count = self.negatives
        if self.has_candidates:
            target = requests.target[:, None]
            others = draw_unseen(
                rng, self.seen, requests.user, count, excluded=target, else_any=True, events=self.events
            )
            return self.batcher.batch(requests, np.concatenate((target, others), axis=1))
        batch = self.batcher.batch(requests)
        if not count:
            return batch
        length = max(batch.feed_item.shape[1], batch.click_item.shape[1])
        drawn = draw_unseen(rng, self.seen, requests.user, length * count, else_any=True, events=self.events)
        return dataclasses.replace(batch, negatives=torch.from_numpy(drawn.reshape(len(requests), length, count)))

    def _batches(self, count: int) -> int:
        return -(-count // self.size)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - the examples live as long as the training
    def _plan(self, epoch: int) -> list[tuple[int, Ints]]:
        """The epoch's batches: which request list, and which rows of it."""
        rng = np.random.default_rng([self.seed, epoch])
        plan = []
        for part, lengths in enumerate(self.lengths):
            rows = self.newer[part]
            if self.replayed[part]:
                rows = np.concatenate((rows, rng.choice(self.older[part], self.replayed[part], replace=False)))
            if not len(rows):
                continue
            plan += [(part, batch) for batch in shuffled_batches(rng, rows, lengths, self.size)]
        return [plan[place] for place in rng.permutation(len(plan))]


def shuffled_batches(rng: np.random.Generator, rows: Ints, lengths: Ints, size: int) -> list[Ints]:
    """Return batches of rows in a random order, those of similar lengths together.

    Args:
        rng: of the order.
        rows: [n] into `lengths`.
        lengths: of each example.
        size: rows of a batch, at most.
    """
    order = rng.permutation(rows)
    blocks = np.array_split(order, -(-len(order) // (size * _BLOCK)))
    order = np.concatenate([block[np.argsort(lengths[block], kind="stable")] for block in blocks])
    return np.array_split(order, -(-len(order) // size))


class Portions(Examples):
    """The same batches in epochs of a given number of steps, for short trainings and validation within an epoch.

    Args:
        examples: whose batches.
        steps: batches in an epoch.
    """

    def __init__(self, examples: Examples, steps: int) -> None:
        self.examples, self.each = examples, steps

    def portions(self, steps: int) -> "Portions":
        """Return the same batches in epochs of another number of steps."""
        return Portions(self.examples, steps)

    @override
    def steps(self, epoch: int) -> int:
        return self.each

    @override
    def batch(self, epoch: int, step: int, process: int = 0, processes: int = 1) -> LearnedBatch:
        whole, place = divmod(epoch * self.each + step, self.examples.steps(0))
        return self.examples.batch(whole, place, process, processes)
