"""The state of a learner: loaded only if it fits."""

import pytest
import torch

from searec.errors import RunError
from searec.nn.learner import Learner
from searec.nn.losses import Losses


class Line(Learner):
    name = "line"

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([2.0]))

    def loss(self, batch: torch.Tensor) -> Losses:
        return Losses({"fit": (self.slope * batch).sum()}, {"fit": 0.5})


def test_calling_a_learner_gives_its_weighted_loss() -> None:
    assert Line()(torch.tensor([3.0])).total.item() == 3.0


def test_a_state_comes_back_and_one_that_does_not_fit_is_refused() -> None:
    one, other = Line(), Line()
    with torch.no_grad():
        one.slope.fill_(7.0)
    other.load_state(one.state())
    assert other.slope.item() == 7.0
    for state in ({}, {"slope": torch.zeros(2)}, {**one.state(), "bias": torch.zeros(1)}):
        with pytest.raises(RunError, match="weights do not fit the model"):
            other.load_state(state)
    assert other.slope.item() == 7.0
