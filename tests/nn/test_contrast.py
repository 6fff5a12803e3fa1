"""InfoNCE against a loop over pairs."""

import math

import pytest
import torch

from searec.nn.contrast import BilinearContrast, info_nce


def naive(
    a: list[list[float]], b: list[list[float]], temperature: float, same: list[list[bool]] | None = None
) -> float:
    """Mean over rows of -log softmax of the own pair, both ways, halved."""

    def cosine(x: list[float], y: list[float]) -> float:
        return sum(p * q for p, q in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))

    def one_way(left: list[list[float]], right: list[list[float]], flip: bool) -> float:
        total = 0.0
        for i in range(len(left)):
            own, sum_ = 0.0, 0.0
            for j in range(len(right)):
                if i != j and same is not None and (same[j][i] if flip else same[i][j]):
                    continue
                value = math.exp(cosine(left[i], right[j]) / temperature)
                sum_ += value
                own = value if i == j else own
            total -= math.log(own / sum_)
        return total / len(left)

    return (one_way(a, b, False) + one_way(b, a, True)) / 2


@pytest.fixture
def views() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.randn(
        6, 4, generator=generator, dtype=torch.float64
    )


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equals_a_loop(views: tuple[torch.Tensor, torch.Tensor], temperature: float) -> None:
    a, b = views
    assert info_nce(a, b, temperature).item() == pytest.approx(naive(a.tolist(), b.tolist(), temperature))


def test_the_same_thing_twice_is_no_negative(views: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = views
    same = torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) < 0.4
    same = same | torch.eye(6, dtype=torch.bool)
    assert info_nce(a, b, 0.3, same=same).item() == pytest.approx(naive(a.tolist(), b.tolist(), 0.3, same.tolist()))
    assert info_nce(a, b, 0.3, same=same) < info_nce(a, b, 0.3)
    all_same = torch.ones(6, 6, dtype=torch.bool)
    assert info_nce(a, b, 0.3, same=all_same).item() == pytest.approx(0, abs=1e-6)


def test_only_valid_rows_take_part(views: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = (view.clone().requires_grad_() for view in views)
    valid = torch.tensor([True, False, True, True, False, True])
    same = torch.rand(6, 6, generator=torch.Generator().manual_seed(2)) < 0.3
    keep = valid.nonzero().squeeze(1)
    value = info_nce(a, b, 0.3, valid, same)
    assert value.item() == pytest.approx(naive(a[keep].tolist(), b[keep].tolist(), 0.3, same[keep][:, keep].tolist()))
    value.backward()
    assert (a.grad[~valid] == 0).all()
    assert (b.grad[keep] != 0).any(dim=1).all()


@pytest.mark.parametrize("rows", [0, 1])
def test_without_a_negative_the_loss_is_zero_and_can_be_learned_from(
    views: tuple[torch.Tensor, torch.Tensor], rows: int
) -> None:
    a, b = (view.clone().requires_grad_() for view in views)
    value = info_nce(a, b, 0.3, torch.arange(6) < rows)
    value.backward()
    assert value.item() == 0
    assert (a.grad == 0).all()


def test_aligned_views_lose_less(views: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = views
    assert 10 * info_nce(a, 3 * a, 0.1) < info_nce(a, b, 0.1)


def test_the_bilinear_contrast_is_a_loop_over_both_sides(views: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Each of the 2N vectors against the 2N - 2 of the other rows and its partner."""
    a, b = views
    contrast = BilinearContrast(4, 0.2).double()
    both, weight = [*a.tolist(), *b.tolist()], contrast.weight.tolist()

    def likeness(x: list[float], y: list[float]) -> float:
        product = sum(x[i] * weight[i][j] * y[j] for i in range(4) for j in range(4))
        return math.exp(math.tanh(product) / 0.2)

    total = 0.0
    for row, one in enumerate(both):
        others = {place: likeness(one, other) for place, other in enumerate(both) if place != row}
        total -= math.log(others[(row + 6) % 12] / sum(others.values()))
    assert contrast(a, b).item() == pytest.approx(total / 12)
    assert contrast(a[:1], b[:1]).item() == contrast(a[:0], b[:0]).item() == 0
    with torch.no_grad():
        contrast.temperature.fill_(0.0)
    assert contrast(a, b).isfinite(), "a temperature that is learned away stays above zero"
