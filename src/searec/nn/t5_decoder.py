"""T5's decoder for beam search: one step at a time, with each query's keys and values kept once for all of its beams.

Equal to the decoder of the transformers library on the same weights (tests/nn/test_t5.py).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class _Layer:
    """A decoder layer's weights; `qkv` and `cross_kv` are what stands side by side in the library, in one matrix."""

    norms: tuple[Tensor, Tensor, Tensor]
    qkv: Tensor  # [3 H, D]
    out: Tensor
    cross_q: Tensor
    cross_kv: Tensor  # [2 H, D]
    cross_out: Tensor
    feed: Any  # the library's T5LayerFF.DenseReluDense


class BeamDecoder:
    """Steps of a T5 decoder over B queries with any number of beams each.

    The codes of all beams form a tree whose keys and values are never copied: a beam attends to all M nodes of its
    query, and a mask leaves it its ancestors.

    Args:
        decoder: a `T5Stack` in eval mode.
        states: [B, L, D] of the encoder.
        mask: [B, L] where there is a token.
        length: most steps.
    """

    def __init__(self, decoder: Any, states: Tensor, mask: Tensor, length: int) -> None:
        self.stack = decoder
        first = decoder.block[0].layer[0].SelfAttention
        self.heads, self.eps = first.n_heads, decoder.config.layer_norm_epsilon
        self.layers = [_layer(block) for block in decoder.block]
        self.bias = first.compute_bias(length, length)[0]  # (h, T, T)
        self.hidden = torch.zeros(mask.shape, dtype=states.dtype, device=states.device).masked_fill(
            ~mask, torch.finfo(states.dtype).min
        )
        self.memory = [self._keys_and_values(F.linear(states, layer.cross_kv)) for layer in self.layers]
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
        for place, layer in enumerate(self.layers):
            qkv = F.linear(self._norm(x, layer.norms[0]), layer.qkv)
            q, kv = qkv.tensor_split((qkv.shape[2] // 3,), dim=2)
            new = self._keys_and_values(kv)
            if self.tree:
                new = torch.cat((self.tree[place][0], new[0]), dim=3), torch.cat((self.tree[place][1], new[1]), dim=2)
            tree.append(new)
            x = x + F.linear(self._attend(q, new, bias), layer.out)
            q = F.linear(self._norm(x, layer.norms[1]), layer.cross_q)
            x = x + F.linear(self._attend(q, self.memory[place], self.hidden[:, None, None]), layer.cross_out)
            x = x + layer.feed(self._norm(x, layer.norms[2]))
        self.tree = tree
        return self._norm(x, self.stack.final_layer_norm.weight)

    def _attend(self, q: Tensor, cache: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """[B, K, H] what queries [B, K, H] read of keys and values; T5 does not scale."""
        keys, values = cache
        weight = (q.view(*q.shape[:2], self.heads, -1).transpose(1, 2) @ keys).add_(bias).softmax(3)
        return (weight @ values).transpose(1, 2).flatten(2)

    def _keys_and_values(self, kv: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [B, h, d, n] and values [B, h, n, d] of what stands side by side in [B, n, 2 H]."""
        keys, values = kv.view(*kv.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return keys.transpose(2, 3).contiguous(), values.contiguous()

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.eps)


def _layer(block: nn.Module) -> _Layer:
    parts: Any = block.layer
    self_attention, cross = parts[0].SelfAttention, parts[1].EncDecAttention
    return _Layer(
        norms=(parts[0].layer_norm.weight, parts[1].layer_norm.weight, parts[2].layer_norm.weight),
        qkv=torch.cat((self_attention.q.weight, self_attention.k.weight, self_attention.v.weight)),
        out=self_attention.o.weight,
        cross_q=cross.q.weight,
        cross_kv=torch.cat((cross.k.weight, cross.v.weight)),
        cross_out=cross.o.weight,
        feed=parts[2].DenseReluDense,
    )
