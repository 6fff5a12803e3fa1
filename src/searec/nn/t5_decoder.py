"""T5's decoder for beam search: one step at a time, with each query's keys and values kept once for all of its beams.

Equal to the decoder of the transformers library on the same weights (tests/nn/test_t5_decoder.py).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecoderWeights(nn.Module):
    """The weights of a T5 decoder as `BeamDecoder` multiplies by them, shared with the library's where they can be.

    Args:
        stack: the library's `T5Stack` of a decoder.
    """

    heads: int
    eps: float
    relative: Any
    layers: Any
    final: Any

    def __init__(self, stack: Any) -> None:
        super().__init__()
        self.relative = stack.block[0].layer[0].SelfAttention
        self.heads, self.eps = self.relative.n_heads, stack.config.layer_norm_epsilon
        self.layers = nn.ModuleList(_Layer(block) for block in stack.block)
        self.final = stack.final_layer_norm


class _Layer(nn.Module):
    """A decoder layer's weights; `qkv` and `cross_kv` are what stands side by side in the library, in one matrix."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        attention, cross, feed = block.layer[0], block.layer[1], block.layer[2]
        itself, other = attention.SelfAttention, cross.EncDecAttention
        self.norms = nn.ModuleList((attention.layer_norm, cross.layer_norm, feed.layer_norm))
        self.qkv, self.out = _side_by_side(itself.q, itself.k, itself.v), itself.o
        self.cross_q, self.cross_kv, self.cross_out = other.q, _side_by_side(other.k, other.v), other.o
        self.feed = feed.DenseReluDense


class BeamDecoder:
    """Steps of a T5 decoder over B queries with any number of beams each.

    The codes of all beams form a tree whose keys and values are never copied: a beam attends to all M nodes of its
    query, and a mask leaves it its ancestors.

    Args:
        weights: of the decoder, in eval mode.
        states: [B, L, D] of the encoder.
        mask: [B, L] where there is a token.
        length: most steps.
    """

    def __init__(self, weights: DecoderWeights, states: Tensor, mask: Tensor, length: int) -> None:
        self.weights = weights
        self.heads = weights.heads
        self.bias = self.weights.relative.compute_bias(length, length)[0]  # (h, T, T)
        self.hidden = torch.zeros(mask.shape, dtype=states.dtype, device=states.device).masked_fill(
            ~mask, torch.finfo(states.dtype).min
        )
        self.memory = [self._keys_and_values(layer.cross_kv(states)) for layer in self.weights.layers]
        self.tree: list[tuple[Tensor, Tensor]] = []  # a layer: keys (B, h, d, M), values (B, h, M, d)
        self.line = torch.zeros(
            len(mask), 1, 0, dtype=torch.bool, device=states.device
        )  # (B, K, M) a beam's ancestors and itself
        self.steps = torch.zeros(0, dtype=torch.long, device=states.device)  # (M) when each node was written

    def step(self, x: Tensor, parent: Tensor | None = None) -> Tensor:
        """[B, K, D] the decoder's last states for the next token of each beam.

        Args:
            x: [B, K, D] embedded tokens.
            parent: [B, K] which beam of the step before each one goes on from; None in the first step.
        """
        batch, beams, _ = x.shape
        time = int(self.steps[-1]) + 1 if len(self.steps) else 0
        before = (
            self.line if parent is None else self.line.gather(1, parent[..., None].expand(-1, -1, self.line.shape[2]))
        )
        itself = torch.eye(beams, dtype=torch.bool, device=x.device).expand(batch, -1, -1)
        self.line = torch.cat((before.expand(-1, beams, -1), itself), dim=2)
        self.steps = torch.cat((self.steps, self.steps.new_full((beams,), time)))
        apart = torch.zeros(self.line.shape, dtype=x.dtype, device=x.device).masked_fill_(
            ~self.line, torch.finfo(x.dtype).min
        )
        bias = self.bias[:, time, self.steps][:, None] + apart[:, None]  # (B, h, K, M)
        tree: list[tuple[Tensor, Tensor]] = []
        for place, layer in enumerate(self.weights.layers):
            qkv = layer.qkv(self._norm(x, layer.norms[0]))
            q, kv = qkv.tensor_split((qkv.shape[2] // 3,), dim=2)
            new = self._keys_and_values(kv)
            if self.tree:
                new = torch.cat((self.tree[place][0], new[0]), dim=3), torch.cat((self.tree[place][1], new[1]), dim=2)
            tree.append(new)
            x = x + layer.out(self._attend(q, new, bias))
            q = layer.cross_q(self._norm(x, layer.norms[1]))
            x = x + layer.cross_out(self._attend(q, self.memory[place], self.hidden[:, None, None]))
            x = x + layer.feed(self._norm(x, layer.norms[2]))
        self.tree = tree
        return self._norm(x, self.weights.final)

    def _attend(self, q: Tensor, cache: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """[B, K, H] what queries [B, K, H] read of keys and values; T5 does not scale."""
        keys, values = cache
        weight = (q.view(*q.shape[:2], self.heads, -1).transpose(1, 2) @ keys).add_(bias).softmax(3)
        return (weight @ values).transpose(1, 2).flatten(2)

    def _keys_and_values(self, kv: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [B, h, d, n] and values [B, h, n, d] of what stands side by side in [B, n, 2 H]."""
        keys, values = kv.view(*kv.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return keys.transpose(2, 3).contiguous(), values.contiguous()

    def _norm(self, x: Tensor, norm: Any) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), norm.weight, self.weights.eps)


def _side_by_side(*parts: Any) -> nn.Linear:
    """One layer that does what these do, none of which has a bias."""
    weight = torch.cat([part.weight.detach() for part in parts])
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer
