"""Progressive layered extraction (PLE): shared and task experts, a gate for each task."""

import itertools

import torch
from torch import Tensor, nn


class TaskExperts(nn.Module):
    """One PLE layer (doi 10.1145/3383313.3412236) whose input comes in parts that are summed after a linear map.

    Every expert is linear + ReLU and every gate linear + softmax, so the first map of all of them is one matrix. It is
    split by input part: a part that many candidates share is mapped once, not once a candidate. The bias goes
    with the last part, which every sum must hold.

    Args:
        parts: parts of the input.
        width: of each part.
        tasks: how many have a gate and experts.
        shared: experts of all tasks.
        specific: experts of each task.
        out: width of the output.
    """

    def __init__(self, parts: int, width: int, *, tasks: int, shared: int, specific: int, out: int) -> None:
        super().__init__()
        self.experts = shared + specific
        self.out = out
        gate = self.experts
        self.shared = nn.ModuleList(nn.Linear(width, shared * out, bias=part == parts - 1) for part in range(parts))
        self.own = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, specific * out + gate, bias=part == parts - 1) for part in range(parts))
            for _ in range(tasks)
        )

    def project(self, task: int, part: int, x: Tensor) -> Tensor:
        """Return one part's share of the first map of every expert and gate, [..., E x out + E].

        Args:
            task: whose experts and gate.
            part: number of the input part.
            x: [..., width].
        """
        shared: nn.Linear = self.shared[part]  # type: ignore[assignment]
        specific: nn.Linear = self.own[task][part]  # type: ignore[index]
        bias = None if shared.bias is None else torch.cat((shared.bias, specific.bias))
        return nn.functional.linear(x, torch.cat((shared.weight, specific.weight)), bias)

    def mix(self, summed: Tensor) -> Tensor:
        """Return the gated sum of the experts [..., out] from the sum of all parts' projections."""
        experts, gate = torch.split(summed, [self.experts * self.out, self.experts], dim=-1)
        experts = torch.unflatten(torch.relu(experts), -1, (self.experts, self.out))
        return torch.einsum("...eo,...e->...o", experts, torch.softmax(gate, dim=-1))


def mlp(*widths: int, dropout: float = 0.0, last_activation: bool = False) -> nn.Sequential:
    """Return linear layers with ReLU (and dropout) between.

    Args:
        *widths: of the input and of each layer's output.
        dropout: after each activation.
        last_activation: whether the last layer has one too.
    """
    layers: list[nn.Module] = []
    for place, (inside, outside) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(inside, outside))
        if last_activation or place < len(widths) - 2:
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
