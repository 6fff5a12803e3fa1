"""Progressive layered extraction (PLE): shared and task experts, a gate for each task."""

import itertools

import torch
from torch import Tensor, nn


class TaskExperts(nn.Module):
    """One PLE layer (doi 10.1145/3383313.3412236) whose input comes in parts that are summed after a linear map.

    Every expert is linear + ReLU and every gate linear + softmax, so the first map of all of them is one matrix. It is
    split by input part: a part that many candidates share is mapped once, not once a candidate. The bias goes
    with the last part, which every sum must hold.
    """

    def __init__(self, parts: int, width: int, *, tasks: int, shared: int, own: int, out: int) -> None:
        super().__init__()
        self.experts = shared + own
        self.out = out
        gate = self.experts
        self.shared = nn.ModuleList(nn.Linear(width, shared * out, bias=part == parts - 1) for part in range(parts))
        self.own = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, own * out + gate, bias=part == parts - 1) for part in range(parts))
            for _ in range(tasks)
        )

    def project(self, task: int, part: int, x: Tensor) -> Tensor:
        """[..., E x out + E] one input part's share of every expert's and the gate's first map."""
        shared: nn.Linear = self.shared[part]  # type: ignore[assignment]
        own: nn.Linear = self.own[task][part]  # type: ignore[index]
        bias = None if shared.bias is None else torch.cat((shared.bias, own.bias))
        return nn.functional.linear(x, torch.cat((shared.weight, own.weight)), bias)

    def mix(self, summed: Tensor) -> Tensor:
        """[..., out] the gated sum of the experts, from the sum of all parts' projections."""
        experts, gate = torch.split(summed, [self.experts * self.out, self.experts], dim=-1)
        experts = torch.unflatten(torch.relu(experts), -1, (self.experts, self.out))
        return torch.einsum("...eo,...e->...o", experts, torch.softmax(gate, dim=-1))


def mlp(*widths: int, dropout: float = 0.0, last_activation: bool = False) -> nn.Sequential:
    """Linear layers of the given widths with ReLU (and dropout) between."""
    layers: list[nn.Module] = []
    for place, (inside, outside) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(inside, outside))
        if last_activation or place < len(widths) - 2:
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
