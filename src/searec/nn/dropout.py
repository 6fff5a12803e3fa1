"""Dropout whose mask is cheap to draw on a CPU."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEPS = 1 << 16


class Dropout(nn.Module):
    """Inverted dropout (arXiv 1207.0580); on the CPU its mask is drawn sixteen bits a number.

    PyTorch draws one Bernoulli number at a time on one CPU thread, which is slow in small models. The seed comes from
    PyTorch's generator, so that `torch.manual_seed` determines the mask.

    Args:
        p: share of values set to 0, rounded to 1/65536 on the CPU.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop values with probability p and divide the others by 1 - p; unchanged in evaluation mode."""
        if not self.training or self.p == 0:
            return x
        dropped: Tensor = x * self._mask(x) if x.device.type == "cpu" else F.dropout(x, self.p)
        return dropped

    def added(self, x: Tensor, to: Tensor) -> Tensor:
        """Return `to` + dropout of `x`, in one pass on the CPU.

        Args:
            x: what is dropped.
            to: of the same shape.
        """
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return torch.add(to, self(x))
        return torch.addcmul(to, x, self._mask(x))

    def _mask(self, x: Tensor) -> Tensor:
        """Return 0 where a value is dropped, 1 / (1 - p) elsewhere."""
        limit = round(self.p * _STEPS)
        seed = int(torch.randint(2**62, ()).item())
        words = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=-(-x.numel() // 4), dtype=np.uint64)
        keep = words.view(np.uint16)[: x.numel()] >= limit
        return (
            torch.from_numpy(np.multiply(keep, np.float32(_STEPS / (_STEPS - limit)), dtype=np.float32))
            .view(x.shape)
            .to(x.dtype)
        )

    def extra_repr(self) -> str:
        """Return what is printed of the module."""
        return f"p={self.p}"
