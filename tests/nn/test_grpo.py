"""Group relative policy optimisation against groups worked out by hand, and attacks on its reward."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from searec.nn.grpo import (
    advantages,
    clipped_objective,
    divergence,
    list_rewards,
    log_probability,
    rewards,
    sample_lists,
)

NAMES = ("hit@1", "hit@5", "ndcg@5", "mrr")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hit@1", [1.0, 0.0, 0.0, 0.0]),
        ("hit@5", [1.0, 1.0, 1.0, 0.0]),
        ("ndcg@5", [1.0, 1 / math.log2(3), 1 / math.log2(6), 0.0]),
        ("mrr", [1.0, 0.5, 0.2, 1 / 6]),
    ],
)
def test_rewards_are_metrics_of_the_target_s_rank(name: str, expected: list[float]) -> None:
    scores = torch.zeros(4, 7)
    scores[:, 0] = 1.0
    for row, better in enumerate((0, 1, 4, 5)):
        scores[row, 1 : 1 + better] = 2.0
    torch.testing.assert_close(rewards(scores, name), torch.tensor(expected))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_attacks_earn_nothing(name: str) -> None:
    """Constant scores, ties with the target, and copies of the target in the list."""
    honest = torch.tensor([0.5, 0.9, 0.8, 0.7, 0.6, 0.55, 0.4])  # rank 6 of 7
    earned = rewards(honest, name)  # type: ignore[arg-type]
    constant = rewards(torch.full((7,), 3.0), name)  # type: ignore[arg-type]
    tied = rewards(honest.clamp(min=0.9), name)  # type: ignore[arg-type]
    copied = rewards(torch.cat((honest, honest[:1].expand(5))), name)  # type: ignore[arg-type]
    worst = rewards(torch.cat((honest[:1] - 9, honest[1:])), name)  # type: ignore[arg-type]
    assert constant == worst
    assert tied <= earned
    assert copied <= earned
    best = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    assert rewards(best, name) == 1  # type: ignore[arg-type]
    for copies in (1, 5):
        assert rewards(torch.cat((best, best[:1].expand(copies))), name) < 1 or (name == "hit@5" and copies == 1)  # type: ignore[arg-type]
    assert (advantages(rewards(torch.full((3, 8, 7), 3.0), name)) == 0).all()  # type: ignore[arg-type]


def test_advantages_are_of_the_group() -> None:
    reward = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.2, 0.4, 1.0]])
    found = advantages(reward)
    first = math.sqrt(3) / 4  # population deviation of one in four
    torch.testing.assert_close(
        found[0], torch.tensor([0.75 / first, -0.25 / first, -0.25 / first, -0.25 / first]), atol=1e-4, rtol=1e-4
    )
    assert (found[1] == 0).all(), "equal rewards say nothing"
    torch.testing.assert_close(found[2].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[2].std(correction=0), torch.tensor(1.0), atol=1e-4, rtol=1e-4)
    assert torch.allclose(found[2], advantages(10 * reward + 3)[2], atol=1e-4), (
        "neither level nor scale of the reward counts"
    )
    odd = torch.full((1, 8), 0.1)  # whose mean is not exactly 0.1 in float32
    assert (advantages(odd) == 0).all()


def test_the_chance_of_a_list_by_hand() -> None:
    scores = torch.tensor([1.0, 2.0, 4.0]).log()
    order = torch.tensor([2, 0, 1])
    for depth, expected in ((1, 4 / 7), (2, 4 / 7 * 1 / 3), (None, 4 / 7 * 1 / 3)):
        torch.testing.assert_close(log_probability(scores, order, depth).exp(), torch.tensor(expected))
    every = torch.tensor(list(itertools.permutations(range(3))))
    torch.testing.assert_close(log_probability(scores.expand(6, 3), every, None).exp().sum(), torch.tensor(1.0))


def test_lists_are_drawn_as_often_as_their_chance_says() -> None:
    scores = torch.tensor([0.5, -0.3, 1.0])
    torch.manual_seed(0)
    drawn = sample_lists(scores.expand(20_000, 3))
    for order in itertools.permutations(range(3)):
        listed = torch.tensor(order)
        share = (drawn == listed).all(1).float().mean()
        assert share == pytest.approx(float(log_probability(scores, listed, None).exp()), abs=0.015)


def test_the_policy_gradient_of_two_items_is_the_analytic_one() -> None:
    """J = P(first item on top) = p has the gradient p (1 - p) for the first score and its negative for the second."""
    scores = torch.tensor([0.4, -0.2], requires_grad=True)
    torch.manual_seed(0)
    many = scores.expand(1, 40_000, 2)
    order = sample_lists(many.detach())
    reward = list_rewards(order == 0, "hit@1")
    chance = log_probability(many, order, 1)
    loss = clipped_objective(chance, chance.detach(), advantages(reward, scaled=False), 0.2)
    (gradient,) = torch.autograd.grad(loss, scores)
    p = float(torch.sigmoid(torch.tensor(0.6)))
    torch.testing.assert_close(-gradient, torch.tensor([p * (1 - p), -p * (1 - p)]), atol=0.01, rtol=0)


def test_rewards_of_lists_with_several_relevant_items_by_hand() -> None:
    relevant = torch.tensor([[0, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]).bool()
    ideal = 1 + 1 / math.log2(3)
    expected = {
        "hit@1": [0.0, 1.0, 0.0],
        "hit@5": [1.0, 1.0, 0.0],
        "ndcg@5": [(1 / math.log2(3) + 1 / math.log2(5)) / ideal, 1.0, 0.0],
        "mrr": [0.5, 1.0, 1 / 6],
    }
    for name, values in expected.items():
        torch.testing.assert_close(list_rewards(relevant, name), torch.tensor(values))  # type: ignore[arg-type]


def test_the_clipped_objective_by_hand() -> None:
    old = torch.log(torch.tensor([[0.2, 0.2, 0.2, 0.2]]))
    now = torch.log(torch.tensor([[0.3, 0.1, 0.3, 0.1]])).requires_grad_()
    advantage = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    value = clipped_objective(now, old, advantage, 0.2)
    # ratios 1.5, 0.5, 1.5, 0.5: min(1.5, 1.2), min(0.5, 0.8), min(-1.5, -1.2), min(-0.5, -0.8)
    torch.testing.assert_close(value, torch.tensor(-(1.2 + 0.5 - 1.5 - 0.8) / 4))
    (gradient,) = torch.autograd.grad(value, now)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, -0.5 / 4, 1.5 / 4, 0.0]]))


def test_without_a_step_the_gradient_is_the_policy_gradient() -> None:
    now = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    advantage = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(clipped_objective(now, now.detach(), advantage, 0.2), now)
    torch.testing.assert_close(gradient, -advantage / 12)


def test_divergence_is_kl_of_the_policy_from_the_reference() -> None:
    logits, other = (torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    expected = F.kl_div(other.log_softmax(-1), logits.log_softmax(-1), log_target=True, reduction="none").sum(-1).mean()
    torch.testing.assert_close(divergence(logits, other), expected)
    assert divergence(logits, logits) == 0
    assert divergence(logits, logits + 7).abs() < 1e-6, "only the softmax counts"
