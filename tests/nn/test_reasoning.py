"""Cross reasoning against its equations written out, and the contrast of its two states."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.nn.reasoning import CrossReasoning, distance, triplet

WIDTH, HEADS = 8, 2


def built(*, sides: int = 2, steps: int = 3) -> CrossReasoning:
    torch.manual_seed(0)
    one = CrossReasoning(WIDTH, HEADS, 12, 0.0, attention_dropout=0.0, sides=sides, steps=steps).eval()
    for weight in one.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return one


def histories(seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    noise = torch.Generator().manual_seed(seed)
    states = [torch.randn(4, length, WIDTH, generator=noise) for length in (5, 3)]
    here = [
        torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0] * 5, [1, 0, 0, 0, 0]]).bool(),
        torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0] * 3]).bool(),
    ]
    return states, here


def attend(block: Any, query: Tensor, memory: Tensor) -> Tensor:
    """PyTorch's own multi-head attention with our weights, for one row without padding."""
    weight = torch.cat((block.query.weight, block.key_value.weight))
    bias = torch.cat((block.query.bias, block.key_value.bias))
    q, k, v = query[:, None], memory[:, None], memory[:, None]
    out, _ = F.multi_head_attention_forward(
        q, k, v, WIDTH, HEADS, weight, bias, None, None, False, 0.0, block.out.weight, block.out.bias, training=False
    )
    return out[:, 0]


def by_the_book(one: CrossReasoning, rows: list[Tensor], number: int, *, cross: bool) -> list[Tensor]:
    """Equations of the paper for one user: X = LN(H + MSA(H)), H' = LN(X + MCA(X, X other)), then feed-forward."""
    assert one.step is not None
    started = [row + one.step.weight[number] for row in rows]
    own = [layer.norm_own(row + attend(layer.own, row, row)) for layer, row in zip(one.layers, started, strict=True)]
    found = []
    for side, layer in enumerate(one.layers):
        block = layer.across
        x, other = own[side], own[1 - side]
        read = attend(block.attention, x, other) if cross and len(other) else 0
        x = block.norm_attention(x + read)
        found.append(block.norm_feed_forward(x + block.feed_forward(x)))
    return found


@pytest.mark.parametrize("number", [0, 2])
def test_a_step_follows_the_equations(number: int) -> None:
    one = built()
    states, here = histories()
    with torch.no_grad():
        thoughts = one(states, here, number, alone=True)
        assert thoughts.alone is not None
        for row in range(2):  # rows with both histories
            rows = [side[row, present[row]] for side, present in zip(states, here, strict=True)]
            for found, cross in ((thoughts.crossed, True), (thoughts.alone, False)):
                for side, expected in enumerate(by_the_book(one, rows, number, cross=cross)):
                    torch.testing.assert_close(found[side][row, here[side][row]], expected, atol=1e-5, rtol=1e-5)


def test_steps_share_their_weights_but_for_the_step_s_embedding() -> None:
    one = built()
    states, here = histories()
    with torch.no_grad():
        first, third = one(states, here, 0).crossed, one(states, here, 2).crossed
        assert not torch.allclose(first[0], third[0])
        assert one.step is not None
        one.step.weight.zero_()
        for a, b in zip(one(states, here, 0).crossed, one(states, here, 2).crossed, strict=True):
            assert torch.equal(a, b)


def test_each_side_reads_the_other_and_nothing_under_padding() -> None:
    one = built()
    states, here = histories()
    other = [states[0], torch.where(here[1][..., None], states[1], 99.0)]
    louder = [states[0], states[1] * 3]
    with torch.no_grad():
        before = one(states, here, 0).crossed
        same, moved = one(other, here, 0).crossed, one(louder, here, 0).crossed
    for side in (0, 1):
        torch.testing.assert_close(same[side][here[side]], before[side][here[side]])
    assert not torch.allclose(moved[0][0], before[0][0])
    assert torch.equal(moved[0][3], before[0][3]), "this user has no search to read"


def test_without_another_history_the_cross_term_adds_nothing() -> None:
    one = built()
    states, here = histories()
    with torch.no_grad():
        thoughts = one(states, here, 1, alone=True)
    assert thoughts.alone is not None
    torch.testing.assert_close(thoughts.crossed[0][3], thoughts.alone[0][3])
    torch.testing.assert_close(thoughts.crossed[1][2], thoughts.alone[1][2])
    assert not torch.allclose(thoughts.crossed[0][0], thoughts.alone[0][0])


def test_one_history_is_reasoned_about_alone() -> None:
    one = built(sides=1)
    states, here = histories()
    with torch.no_grad():
        thoughts = one(states[:1], here[:1], 0, alone=True)
    assert len(thoughts.crossed) == 1
    assert thoughts.alone is None


def test_it_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    one = CrossReasoning(WIDTH, HEADS, 12, 0.0, attention_dropout=0.0, sides=2, steps=3).eval()
    states, here = histories()
    normal = [F.layer_norm(side, (WIDTH,)) for side in states]
    with torch.no_grad():
        for side, before in zip(one(normal, here, 0).crossed, normal, strict=True):
            assert F.cosine_similarity(side, before, dim=-1).min() > 0.97


def test_distances_by_hand() -> None:
    target = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    states = torch.tensor([[[2.0, 0.0], [4.0, 0.0]], [[1.0, 0.0], [9.0, 9.0]], [[0.0, 0.0], [7.0, 7.0]]])
    present = torch.tensor([[1, 1], [1, 0], [1, 0]]).bool()
    torch.testing.assert_close(distance(target, states, present, "cosine"), torch.tensor([0.0, 1.0, 1.0]))
    torch.testing.assert_close(distance(target, states, present, "euclidean"), torch.tensor([2.0, 5**0.5, 5.0]))


def test_the_triplet_by_hand() -> None:
    crossed, alone = torch.tensor([0.5, 0.2]).requires_grad_(), torch.tensor([0.6, 0.9])
    value = triplet(crossed, alone, 0.2)
    torch.testing.assert_close(value, torch.tensor((0.1 + 0.0) / 2))
    (gradient,) = torch.autograd.grad(value, crossed)
    assert gradient.tolist() == [0.5, 0.0], "past the margin nothing is pushed"
