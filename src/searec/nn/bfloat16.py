"""Linear layers in bfloat16, in half of float32's time on processors that multiply it (AVX512-BF16, AMX).

Layers in int8 take a sixth less time still, and change too many of the best items (docs/results.md).
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class BFloat16Linear(nn.Module):
    """x W' by factors rounded to bfloat16, without bias and without gradients.

    Args:
        weight: W, [n, D].
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., n] of x [..., D], in the type of x."""
        return F.linear(x.to(torch.bfloat16), self.weight).to(x.dtype)


def in_bfloat16(module: Module) -> Module:
    """Return a copy whose linear layers are in bfloat16; it shares all other weights.

    Args:
        module: without biases in its linear layers.
    """
    result = copy.copy(module)
    result._modules = {
        name: BFloat16Linear(child.weight) if isinstance(child, nn.Linear) else child and in_bfloat16(child)
        for name, child in module._modules.items()
    }
    return result
