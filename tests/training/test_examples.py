"""Training batches: every example once an epoch, a pure function of seed, epoch and step.

Negatives never clicked in training.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from searec.config import configure
from searec.data.batch import Batch
from searec.data.candidates import Seen
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import DataError
from searec.models.base import Model
from searec.models.sasrec import SASRec
from searec.models.unisar import UniSAR
from searec.training.examples import TrainingExamples

UNISAR = {"width": 8, "inner": 8, "negatives": 3}
SASREC = {"width": 8, "inner": 8, "loss": "bce", "negatives": 2}


def learner(data: Dataset, kind: type[Model], settings: dict[str, Any]) -> Model:
    return kind(configure(kind.Config, settings), data.sizes)


def every(examples: TrainingExamples, epoch: int = 0, process: int = 0, processes: int = 1) -> list[Batch]:
    return [examples.batch(epoch, step, process, processes) for step in range(examples.steps(epoch))]


def key(batch: Batch) -> list[tuple[str, int, int, int]]:
    return [
        (batch.task, *row) for row in zip(batch.user.tolist(), batch.time.tolist(), batch.target.tolist(), strict=True)
    ]


def same(one: Batch, other: Batch) -> bool:
    names = (
        "user",
        "time",
        "feed_item",
        "search_query",
        "search_click",
        "click_item",
        "words",
        "target",
        "candidates",
        "negatives",
    )
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return one.task == other.task and all(
        (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs
    )


@pytest.fixture(
    scope="module",
    params=[(UniSAR, UNISAR), (SASRec, SASREC), (SASRec, {**SASREC, "feed_only": True})],
    ids=["unisar", "sasrec", "feed only"],
)
def model(request: pytest.FixtureRequest, small_world: Dataset) -> Model:
    return learner(small_world, *request.param)


@pytest.fixture(scope="module")
def split(small_world: Dataset) -> Split:
    return Split(small_world)


def test_every_example_comes_once_an_epoch(split: Split, model: Model) -> None:
    examples = TrainingExamples(split, model, batch=32, seed=0)
    if model.examples == "last":
        expected = [split.sequences(("recommend",), feed_only=model.needs.clicks == 0)]
    else:
        expected = [split.train(task) for task in ("recommend", "search")]
    wanted = Counter(
        (r.task, *row)
        for r in expected
        for row in zip(r.user.tolist(), r.time.tolist(), r.target.tolist(), strict=True)
    )
    for epoch in (0, 1):
        batches = every(examples, epoch)
        assert Counter(row for batch in batches for row in key(batch)) == wanted
        assert max(len(batch) for batch in batches) <= 32
        assert min(len(batch) for batch in batches) >= 16, "batches of like size"


def test_batches_depend_on_seed_epoch_and_step_alone(split: Split, model: Model) -> None:
    one, twin = (TrainingExamples(split, model, batch=32, seed=0) for _ in range(2))
    forward = every(one)
    assert all(same(forward[step], twin.batch(0, step)) for step in reversed(range(len(forward))))
    assert any(not same(a, b) for a, b in zip(forward, every(one, epoch=1), strict=True))
    assert any(
        not same(a, b) for a, b in zip(forward, every(TrainingExamples(split, model, batch=32, seed=1)), strict=True)
    )
    assert all(same(a, b) for a, b in zip(forward, every(one), strict=True)), "another epoch in between changes nothing"


def test_processes_share_each_batch(split: Split, model: Model) -> None:
    examples = TrainingExamples(split, model, batch=32, seed=0)
    for whole, first, second in zip(every(examples), every(examples, 0, 0, 2), every(examples, 0, 1, 2), strict=True):
        assert Counter(key(whole)) == Counter(key(first) + key(second))
        assert 0 <= len(first) - len(second) <= 1


def test_negatives_are_items_the_user_has_not_clicked_in_training(
    small_world: Dataset, split: Split, model: Model
) -> None:
    tasks = model.train_tasks
    seen = Seen.of(*split.train_clicks(tasks)[:2], small_world.sizes.items)
    held_out = 0
    ever = Seen.ever(small_world)
    for batch in every(TrainingExamples(split, model, batch=32, seed=0)):
        user = batch.user.numpy()
        if batch.negatives is not None:
            assert batch.negatives.shape == (
                len(batch),
                max(batch.feed_item.shape[1], batch.click_item.shape[1]),
                model.negatives,
            )
            drawn = batch.negatives.flatten(1).numpy()
        else:
            assert batch.candidates is not None
            assert torch.equal(batch.candidates[:, 0], batch.target)
            drawn = batch.candidates[:, 1:].numpy()
            assert drawn.shape[1] == model.negatives
            assert (drawn != batch.target.numpy()[:, None]).all()
        assert drawn.min() >= 1
        assert drawn.max() <= small_world.sizes.items
        assert not seen.contains(user[:, None], drawn).any()
        held_out += int(ever.contains(user[:, None], drawn).sum())
    assert held_out > 0, "what is held out is not known, so it is drawn now and then"


def test_like_lengths_stand_together(small_world: Dataset, split: Split) -> None:
    examples = TrainingExamples(split, learner(small_world, UniSAR, UNISAR), batch=16, seed=0)
    lengths = [
        (torch.maximum((b.feed_item != 0).sum(1), (b.search_query != 0).sum(1)).tolist()) for b in every(examples)
    ]
    padding = sum(max(line) * len(line) - sum(line) for line in lengths)
    flat = np.random.default_rng(0).permutation([value for line in lengths for value in line])
    mixed = sum(int(part.max()) * len(part) - int(part.sum()) for part in np.array_split(flat, len(lengths)))
    assert padding < mixed / 3


def test_a_softmax_model_draws_nothing(small_world: Dataset, split: Split) -> None:
    batches = every(TrainingExamples(split, learner(small_world, SASRec, {"width": 8, "inner": 8}), batch=32, seed=0))
    assert all(batch.negatives is None and batch.candidates is None for batch in batches)


def test_nothing_to_learn_from_is_an_error(make_data: Callable[..., Dataset]) -> None:
    data = make_data(items={"a": "a", "b": "b"}, users=["u", "v"], feed=[("u", "a", 1), ("v", "b", 1)])
    for kind in (SASRec, UniSAR):
        with pytest.raises(DataError, match="no training example"):
            TrainingExamples(Split(data), learner(data, kind, {"width": 8}), batch=4, seed=0)


def test_a_model_of_one_task_is_given_its_examples_alone(small_world: Dataset, split: Split) -> None:
    model = learner(small_world, UniSAR, {**UNISAR, "tasks": ["search"]})
    batches = every(TrainingExamples(split, model, batch=64, seed=0))
    assert {batch.task for batch in batches} == {"search"}
    assert Counter(row for batch in batches for row in key(batch)).total() == len(split.train("search", ("search",)))
