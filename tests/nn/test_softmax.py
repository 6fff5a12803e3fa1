"""The sliced softmax loss equals PyTorch's, value and both gradients."""

import pytest
import torch
import torch.nn.functional as F

from searec.nn import softmax
from searec.nn.softmax import SampledSoftmax, linear_cross_entropy


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


def test_a_sample_stands_for_the_catalogue() -> None:
    """The mean loss over many samples is near that of the full softmax; without the correction it is not."""
    generator = torch.Generator().manual_seed(0)
    items = 400
    states = torch.randn(64, 4, generator=generator)
    table = torch.randn(items + 1, 4, generator=generator)
    popular = torch.randint(1, 20, (64,), generator=generator)  # in-batch items are drawn by popularity
    full = F.cross_entropy((states @ table.T)[:, 1:], popular - 1)
    sampler = SampledSoftmax(items, 100)
    torch.manual_seed(0)
    losses, plain = [], []
    for _ in range(300):
        listed, log_q = sampler(popular, torch.tensor([0]))
        logits = states @ table[listed].T
        place = torch.searchsorted(listed, popular)
        losses.append(F.cross_entropy(logits - log_q, place).item())
        plain.append(F.cross_entropy(logits, place).item())
    found, raw = sum(losses[100:]) / 200, sum(plain[100:]) / 200
    assert abs(found - full.item()) < 0.25
    assert abs(raw - full.item()) > 1


def test_what_is_listed_without_being_drawn_takes_no_part() -> None:
    sampler = SampledSoftmax(1_000, 1)
    torch.manual_seed(0)
    listed, log_q = sampler(torch.tensor([5, 5, 9]), torch.tensor([[0, 700], [5, 701]]))
    drawn = listed[log_q < 100].tolist()
    assert {5, 9} <= set(drawn) and len(drawn) <= 3
    assert {700, 701} <= set(listed.tolist()) and 0 not in listed
    assert sampler.counts[[5, 9]].tolist() == [2, 1]
