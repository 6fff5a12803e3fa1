"""Dropout whose mask is cheap to draw on a CPU."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEPS = 1 << 16


class Dropout(nn.Module):
    """Inverted dropout (arXiv 1207.0580); on the CPU its mask is drawn sixteen bits a number.

    PyTorch draws one Bernoulli number at a time on one CPU thread, a cost that shows in small models. The seed comes from
    PyTorch's generator, so that a step's mask still follows from `torch.manual_seed`.

    Args:
        p: share of values set to 0, rounded to 1/65536 on the CPU.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape: values dropped with probability p, the others divided by 1 - p; unchanged in evaluation mode."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        limit = round(self.p * _STEPS)
        seed = int(torch.randint(2**62, ()).item())
        words = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=-(-x.numel() // 4), dtype=np.uint64)
        drawn = torch.from_numpy(words.view(np.uint16)[: x.numel()].reshape(x.shape))
        kept = (drawn.to(torch.int32) >= limit).to(x.dtype).mul_(_STEPS / (_STEPS - limit))
        return x * kept

    def extra_repr(self) -> str:
        """Shown when the model is printed."""
        return f"p={self.p}"
