"""The full-catalogue softmax loss without the full matrix of logits."""

from typing import Any

import torch
from torch import Tensor, nn

_NOT_DRAWN = 1e4
_CPU_LOGITS, _GPU_LOGITS = 1 << 21, 1 << 26
"""Logits held at once: few enough for the CPU's cache, enough to keep a GPU busy."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Both passes over a slice of logits while it is hot; the gradients are kept instead of the logits."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, target: Tensor) -> Tensor:
        states, table = states.float(), table.float()
        grad_states, grad_table = torch.empty_like(states), torch.zeros_like(table)
        total = states.new_zeros(())
        rows = max(16, (_CPU_LOGITS if states.device.type == "cpu" else _GPU_LOGITS) // len(table))
        for start in range(0, len(states), rows):
            part, truth = states[start : start + rows], target[start : start + rows, None]
            logits = part @ table.T
            normaliser = logits.logsumexp(dim=1, keepdim=True)
            total += (normaliser - logits.gather(1, truth)).sum()
            share = logits.sub_(normaliser).exp_()
            share.scatter_add_(1, truth, share.new_full(truth.shape, -1.0))
            grad_states[start : start + rows] = share @ table
            grad_table.addmm_(share.T, part)
        ctx.save_for_backward(grad_states, grad_table)
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_states, grad_table = ctx.saved_tensors
        scale = grads[0] / len(grad_states)
        return grad_states * scale, grad_table * scale, None


def linear_cross_entropy(states: Tensor, table: Tensor, target: Tensor) -> Tensor:
    """Scalar: mean cross-entropy of softmax(states @ table.T) against the target rows, in float32.

    Equal to `F.cross_entropy(states @ table.T, target)`, without ever holding its [P, I] logits.

    Args:
        states: [P, D], at least one row.
        table: [I, D] one row an item.
        target: [P] rows of `table`.
    """
    with torch.autocast(states.device.type, enabled=False):
        return _LinearCrossEntropy.apply(states, table, target.long())  # type: ignore[no-any-return, no-untyped-call]


def _distinct(first: Tensor, second: Tensor) -> Tensor:
    distinct: Tensor = torch.unique(torch.cat((first, second)))
    return distinct


class SampledSoftmax(nn.Module):
    """Which items a softmax compares with where the catalogue is too large, and how often each is drawn.

    The sample of a step is the step's own targets and items drawn uniformly. An item's logit is lowered by the
    logarithm of its expected count in the sample (logQ correction, Bengio and Senecal 2008; Yi et al., RecSys 2019), so
    that the loss tends to the full softmax. How often an item is a target is counted while learning.

    Args:
        items: I.
        size: items drawn uniformly.
    """

    counts: Tensor

    def __init__(self, items: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("counts", torch.zeros(items + 1))

    def forward(self, targets: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distinct items [M] of a sample, ascending, and their logQ [M], very large where not drawn.

        Args:
            targets: [P] internal ids.
            others: internal ids, 0 pads, that are listed with the sample without being compared with.
        """
        items = len(self.counts) - 1
        with torch.no_grad():
            self.counts += torch.bincount(targets, minlength=items + 1).to(self.counts.dtype)
        drawn = torch.randint(1, items + 1, (self.size,), device=targets.device)
        sample = _distinct(targets, drawn)
        listed = _distinct(sample, others[others > 0].to(sample.dtype))
        share = (self.counts[listed] + 1) / (self.counts.sum() + items)
        expected = 1 - torch.exp(-(len(targets) * share + self.size / items))
        is_drawn = torch.isin(listed, sample)
        return listed, torch.where(is_drawn, torch.log(expected), _NOT_DRAWN)
