"""Averages of weights: their values, what they are swapped with, and a checkpoint's."""

import pytest
import torch

from searec.training.averages import WeightAverages


def test_averages_follow_the_weights_by_the_decay_of_each_step() -> None:
    weight = torch.tensor([1.0, -2.0])
    averages, expected = WeightAverages([weight], 0.5), None
    for step, value in enumerate((3.0, 7.0, 4.0), start=1):
        weight.fill_(value)
        averages.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    with averages.in_place():
        assert weight.tolist() == pytest.approx([expected] * 2)
    assert weight.tolist() == [4.0, 4.0]


def test_without_a_decay_the_weights_stay() -> None:
    weight = torch.ones(1)
    averages = WeightAverages([weight], 0.0)
    averages.update(1)
    weight.fill_(5)
    with averages.in_place():
        assert weight.tolist() == [5.0]
    assert averages.tensors(["weight"]) == {}


def test_a_checkpoint_holds_them_beside_what_the_optimizer_has() -> None:
    weight = torch.zeros(1)
    averages = WeightAverages([weight], 0.9)
    averages.update(1)
    weight.fill_(8)
    later = WeightAverages([weight], 0.9)
    left = later.restore(["weight"], {**averages.tensors(["weight"]), "weight.step": torch.ones(())})
    assert list(left) == ["weight.step"]
    with later.in_place():
        assert weight.tolist() == [0.0]
