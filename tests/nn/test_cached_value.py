"""What is kept is as new: any change of what it was made from is seen."""

import copy

import pytest
import torch
from torch import nn

from searec.nn.cached_value import CachedValue


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def doubled(kept: CachedValue[torch.Tensor], layer: nn.Linear) -> torch.Tensor:
    return kept(lambda: 2 * layer.weight, layer.weight)


def test_made_once_without_gradients_and_each_time_with_them(layer: nn.Linear) -> None:
    kept: CachedValue[torch.Tensor] = CachedValue()
    with torch.no_grad():
        first = doubled(kept, layer)
        assert doubled(kept, layer) is first
    learned = doubled(kept, layer)
    assert learned is not first
    assert learned.requires_grad


class Shop(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.kept: CachedValue[torch.Tensor] = CachedValue()

    def fresh(self) -> bool:
        with torch.no_grad():
            return torch.equal(doubled(self.kept, self.layer), 2 * self.layer.weight)


def test_changes_are_seen(layer: nn.Linear) -> None:
    shop = Shop(layer)
    assert shop.fresh()
    with torch.no_grad():
        layer.weight.add_(1)
    assert shop.fresh()
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})
    assert shop.fresh()
    layer.weight = nn.Parameter(torch.ones(3, 3))
    assert shop.fresh()
    shop.double()
    assert shop.fresh()
    other = copy.deepcopy(shop)
    with torch.no_grad():
        other.layer.weight.zero_()
    assert other.fresh()
    assert shop.fresh()
    assert not shop.state_dict().keys() - {"layer.weight", "layer.bias"}


@pytest.mark.parametrize("fused", [False, True])
def test_training_is_seen_though_fused_steps_leave_no_mark(layer: nn.Linear, fused: bool) -> None:
    shop = Shop(layer).eval()
    assert shop.fresh()
    optimizer = torch.optim.Adam(shop.train().parameters(), lr=0.1, fused=fused)
    assert shop.fresh()
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    shop.eval()
    assert shop.fresh()


def test_autocast_is_another_value(layer: nn.Linear) -> None:
    kept: CachedValue[torch.Tensor] = CachedValue()
    rows = torch.ones(2, 3)
    with torch.no_grad():
        plain = kept(lambda: layer(rows), rows)
        with torch.autocast("cpu", torch.bfloat16):
            half = kept(lambda: layer(rows), rows)
    assert (plain.dtype, half.dtype) == (torch.float32, torch.bfloat16)
