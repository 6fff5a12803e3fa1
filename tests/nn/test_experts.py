"""PLE as one matrix against PLE expert by expert."""

import pytest
import torch
from torch.nn.functional import linear

from searec.nn.experts import TaskExperts, mlp

PARTS, WIDTH, TASKS, SHARED, OWN, OUT = 3, 5, 2, 2, 3, 4


@pytest.fixture
def layer() -> TaskExperts:
    torch.manual_seed(0)
    return TaskExperts(PARTS, WIDTH, tasks=TASKS, shared=SHARED, specific=OWN, out=OUT)


def plain(layer: TaskExperts, task: int, parts: list[torch.Tensor]) -> torch.Tensor:
    """One expert after another on the concatenated input, mixed by the softmax of the task's gate."""
    whole = torch.cat(parts, dim=-1)
    shared = torch.cat([part.weight for part in layer.shared], dim=1)
    own = torch.cat([part.weight for part in layer.own[task]], dim=1)
    shared_bias, own_bias = layer.shared[-1].bias, layer.own[task][-1].bias
    experts = []
    for number in range(SHARED):
        rows = slice(number * OUT, (number + 1) * OUT)
        experts.append(torch.relu(linear(whole, shared[rows], shared_bias[rows])))
    for number in range(OWN):
        rows = slice(number * OUT, (number + 1) * OUT)
        experts.append(torch.relu(linear(whole, own[rows], own_bias[rows])))
    gate = torch.softmax(linear(whole, own[OWN * OUT :], own_bias[OWN * OUT :]), dim=-1)
    mixed = torch.zeros(*whole.shape[:-1], OUT)
    for number, expert in enumerate(experts):
        mixed = mixed + gate[..., number, None] * expert
    return mixed


@pytest.mark.parametrize("task", range(TASKS))
@pytest.mark.parametrize("lead", [(), (7,), (2, 3)])
def test_equals_plain_ple(layer: TaskExperts, task: int, lead: tuple[int, ...]) -> None:
    parts = [torch.randn(*lead, WIDTH) for _ in range(PARTS)]
    summed = sum(layer.project(task, place, part) for place, part in enumerate(parts))
    torch.testing.assert_close(layer.mix(summed), plain(layer, task, parts), atol=1e-6, rtol=1e-5)


def test_tasks_share_some_experts_and_own_the_rest(layer: TaskExperts) -> None:
    parts = [torch.randn(7, WIDTH) for _ in range(PARTS)]

    def out(task: int) -> torch.Tensor:
        return layer.mix(sum(layer.project(task, place, part) for place, part in enumerate(parts)))

    assert not torch.allclose(out(0), out(1))
    out(0).sum().backward()
    assert all(part.weight.grad is not None for part in layer.shared)
    assert all(part.weight.grad is None for part in layer.own[1]), "the other task's experts are not touched"
    moved = [layer.own[0][place].weight.grad.abs().sum() > 0 for place in range(PARTS)]
    assert all(moved)


def test_mlp_has_relu_between_and_only_between() -> None:
    assert [type(part).__name__ for part in mlp(3, 4, 5, 1)] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert [type(part).__name__ for part in mlp(3, 4, dropout=0.1, last_activation=True)] == [
        "Linear",
        "ReLU",
        "Dropout",
    ]
    assert [(part.in_features, part.out_features) for part in mlp(3, 4, 1) if isinstance(part, torch.nn.Linear)] == [
        (3, 4),
        (4, 1),
    ]
