"""Attention against torch's own, and what a mask hides is hidden."""

import pytest
import torch

from searec.nn.attention import DecoderLayer, EncoderLayer, MultiHead, TargetAttention, causal

B, LQ, LK, D, HEADS = 3, 4, 5, 8, 2


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def torch_twin(own: MultiHead) -> torch.nn.MultiheadAttention:
    twin = torch.nn.MultiheadAttention(D, HEADS, batch_first=True)
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat((own.query.weight, own.key_value.weight)))
        twin.in_proj_bias.copy_(torch.cat((own.query.bias, own.key_value.bias)))
        twin.out_proj.load_state_dict(own.out.state_dict())
    return twin


@pytest.mark.parametrize("lines", [1, LQ], ids=["one mask for all", "a mask for each"])
def test_multi_head_equals_that_of_torch(lines: int) -> None:
    own = MultiHead(D, HEADS)
    query, memory = torch.randn(B, LQ, D), torch.randn(B, LK, D)
    allowed = torch.rand(B, lines, LK) < 0.6
    allowed[:, :, 0] = True
    mask = ~allowed.expand(B, LQ, LK).repeat_interleave(HEADS, dim=0)
    expected, _ = torch_twin(own)(query, memory, memory, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(own(query, memory, allowed), expected, atol=1e-6, rtol=1e-5)


def test_nothing_to_attend_to_gives_zeros_and_no_nan_gradient() -> None:
    own = MultiHead(D, HEADS)
    query, memory = torch.randn(B, LQ, D, requires_grad=True), torch.randn(B, LK, D, requires_grad=True)
    allowed = torch.zeros(B, LQ, LK, dtype=torch.bool)
    allowed[1, 2, 3] = True
    read = own(query, memory, allowed)
    assert (read[0] == 0).all()
    assert (read[1, 2] != 0).any()
    read.square().sum().backward()
    for tensor in (query, memory, *own.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    assert (memory.grad[0] == 0).all()
    assert (memory.grad[1, [0, 1, 2, 4]] == 0).all()


@pytest.mark.parametrize("norm_first", [False, True])
def test_masked_memory_is_not_read(norm_first: bool) -> None:
    layer = EncoderLayer(D, HEADS, 16, dropout=0.5, norm_first=norm_first).eval()
    x = torch.randn(B, LQ, D)
    present = torch.tensor([[True, True, False, False], [True] * 4, [False] * 4])
    changed = torch.where(present[..., None], x, torch.randn_like(x))
    before, after = layer(x, present[:, None, :]), layer(changed, present[:, None, :])
    torch.testing.assert_close(before[present], after[present])
    assert before.isfinite().all()


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_layer_is_residual_attention_then_residual_feed_forward(norm_first: bool) -> None:
    layer = EncoderLayer(D, HEADS, 16, dropout=0.5, norm_first=norm_first).eval()
    x, memory, allowed = torch.randn(B, LQ, D), torch.randn(B, LK, D), torch.ones(B, 1, LK, dtype=torch.bool)
    if norm_first:
        middle = x + layer.attention(layer.norm_attention(x), memory, allowed)
        expected = middle + layer.feed_forward(layer.norm_feed_forward(middle))
    else:
        middle = layer.norm_attention(x + layer.attention(x, memory, allowed))
        expected = layer.norm_feed_forward(middle + layer.feed_forward(middle))
    torch.testing.assert_close(layer(x, allowed, memory), expected)


def test_a_decoder_reads_itself_then_the_memory() -> None:
    layer = DecoderLayer(D, HEADS, 16, dropout=0.5).eval()
    x, memory = torch.randn(B, LQ, D), torch.randn(B, LK, D)
    own, other = torch.ones(B, 1, LQ, dtype=torch.bool), torch.ones(B, 1, LK, dtype=torch.bool)
    middle = layer.norm_own(x + layer.own(x, x, own))
    torch.testing.assert_close(layer(x, own, memory, other), layer.across(middle, other, memory))
    assert not torch.allclose(layer(x, own, memory, other), layer(x, own, memory.flip(2), other)), "the memory is read"
    assert layer(x, ~own, memory, ~other).isfinite().all()


@pytest.mark.parametrize("shared", [False, True], ids=["own candidates", "shared candidates"])
def test_target_attention_equals_a_loop(shared: bool) -> None:
    pool = TargetAttention(D)
    history, candidates = torch.randn(B, LK, D), torch.randn(6, D) if shared else torch.randn(B, 6, D)
    present = torch.tensor([[True] * 3 + [False] * 2, [True] * 5, [False] * 5])
    weights = pool(history, present, candidates)
    assert weights.shape == (B, 6, LK)
    for b in range(B):
        for n in range(6):
            vector = candidates[n] if shared else candidates[b, n]
            logits = torch.stack(
                [(pool.bridge.weight @ history[b, position]) @ vector for position in range(LK) if present[b, position]]
                or [torch.zeros(())]
            )
            expected = torch.zeros(LK)
            if present[b].any():
                expected[present[b]] = torch.softmax(logits, 0)
            torch.testing.assert_close(weights[b, n], expected, atol=1e-6, rtol=1e-4)


def test_causal_allows_itself_and_older_present_positions() -> None:
    assert causal(torch.tensor([[True, True, False]])).int().tolist() == [[[1, 0, 0], [1, 1, 0], [1, 1, 0]]]
