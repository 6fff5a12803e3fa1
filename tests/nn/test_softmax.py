"""The sliced softmax loss equals PyTorch's, value and both gradients."""

import pytest
import torch
import torch.nn.functional as F

from searec.nn import softmax
from searec.nn.softmax import linear_cross_entropy


@pytest.mark.parametrize("logits", [1, 1 << 12, 1 << 21])
def test_equals_cross_entropy(logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "_CPU_LOGITS", logits)
    generator = torch.Generator().manual_seed(0)
    states = (torch.randn(70, 8, generator=generator, dtype=torch.float32) * 3).requires_grad_()
    table = torch.randn(301, 8, generator=generator).requires_grad_()
    target = torch.randint(301, (70,), generator=generator)
    plain = F.cross_entropy(states @ table.T, target)
    ours = linear_cross_entropy(states, table, target)
    assert ours.item() == pytest.approx(plain.item(), rel=1e-5)
    expected = torch.autograd.grad(plain * 2.5, (states, table))
    found = torch.autograd.grad(ours * 2.5, (states, table))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_large_logits_do_not_overflow() -> None:
    states = torch.full((2, 1), 1000.0, requires_grad=True)
    table = torch.tensor([[1.0], [2.0]])
    loss = linear_cross_entropy(states, table, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx(500.0)  # the first is certain, the second is 1000 below
    (grad,) = torch.autograd.grad(loss, states)
    assert torch.isfinite(grad).all()
