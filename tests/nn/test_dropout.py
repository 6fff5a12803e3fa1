"""Dropout keeps the mean, follows from the seed, and is off in evaluation."""

import pytest
import torch

from searec.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_share_and_mean(p: float) -> None:
    x = torch.ones(200_001)  # no multiple of the four numbers in a word
    torch.manual_seed(0)
    y = Dropout(p)(x)
    kept = y != 0
    assert (~kept).float().mean().item() == pytest.approx(p, abs=0.005)
    assert y[kept].unique().numel() == 1
    assert y.mean().item() == pytest.approx(1, abs=0.01)


def test_the_seed_decides() -> None:
    x = torch.ones(64, 33)
    layer = Dropout(0.5)
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append((layer(x), layer(x)))
    assert torch.equal(masks[0][0], masks[1][0]) and torch.equal(masks[0][1], masks[1][1])
    assert not torch.equal(masks[0][0], masks[2][0])
    assert not torch.equal(masks[0][0], masks[0][1])


def test_positions_are_independent() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(100_000)) != 0).float() - 0.5
    for lag in (1, 2, 4, 64):
        assert abs((kept[:-lag] * kept[lag:]).mean().item()) < 0.005


def test_off_in_evaluation_and_at_zero() -> None:
    x = torch.randn(5, 7)
    assert Dropout(0.9).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_gradient_has_the_same_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.25)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
