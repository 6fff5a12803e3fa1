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

    Args:
        decoder: a `T5Stack` in eval mode.
        states: [B, L, D] of the encoder.
        mask: [B, L] where there is a token.
        length: at most so many steps.
    """

    def __init__(self, decoder: Any, states: Tensor, mask: Tensor, length: int) -> None:
        self.stack = decoder
        first = decoder.block[0].layer[0].SelfAttention
        self.heads, self.eps = first.n_heads, decoder.config.layer_norm_epsilon
        self.layers = [_layer(block) for block in decoder.block]
        self.bias = first.compute_bias(length, length)[0].permute(1, 2, 0)  # (T, T, h)
        self.hidden = torch.zeros(mask.shape, dtype=states.dtype, device=states.device).masked_fill(~mask, torch.finfo(states.dtype).min)
        self.memory: list[tuple[Tensor, Tensor]] = []
        for layer in self.layers:
            keys, values = F.linear(states, layer.cross_kv).view(*mask.shape, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
            self.memory.append((keys.transpose(2, 3).contiguous(), values.contiguous()))  # (B, h, d, L), (B, h, L, d)
        self.cache: list[Tensor] = []  # a layer: (B, K, t, 2, h, d)
        self.time = 0

    def step(self, x: Tensor, parent: Tensor | None = None) -> Tensor:
        """[B, K, D] the decoder's last states for the next token of each beam.

        Args:
            x: [B, K, D] embedded tokens.
            parent: [B, K] which beam of the step before each one goes on from; None in the first step.
        """
        batch, beams, _ = x.shape
        rows = None if parent is None else (torch.arange(batch, device=x.device)[:, None], parent)
        cache: list[Tensor] = []
        bias = self.bias[self.time, : self.time + 1]  # (t, h)
        for place, layer in enumerate(self.layers):
            q, kv = self._split(F.linear(self._norm(x, layer.norms[0]), layer.qkv))
            kept = kv if rows is None else torch.cat((self.cache[place][rows], kv), dim=2)
            cache.append(kept)
            # Few steps and many beams: sums of products beat small matrix products here.
            weight = ((q * kept[:, :, :, 0]).sum(-1) + bias).softmax(2)  # (B, K, t, h)
            x = x + F.linear((weight[..., None] * kept[:, :, :, 1]).sum(2).flatten(2), layer.out)
            q = F.linear(self._norm(x, layer.norms[1]), layer.cross_q).view(batch, beams, self.heads, -1).transpose(1, 2)
            keys, values = self.memory[place]
            weight = (q @ keys + self.hidden[:, None, None]).softmax(3)  # (B, h, K, L)
            x = x + F.linear((weight @ values).transpose(1, 2).flatten(2), layer.cross_out)
            x = x + layer.feed(self._norm(x, layer.norms[2]))
        self.cache = cache
        self.time += 1
        return self._norm(x, self.stack.final_layer_norm.weight).view(batch, beams, -1)

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """[B, K, 1, h, d] queries, [B, K, 1, 2, h, d] keys and values."""
        split = qkv.view(*qkv.shape[:2], 3, self.heads, -1)
        return split[:, :, :1], split[:, :, None, 1:]

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.eps)


def _layer(block: nn.Module) -> _Layer:
    parts: Any = block.layer
    own, cross = parts[0].SelfAttention, parts[1].EncDecAttention
    return _Layer(
        norms=(parts[0].layer_norm.weight, parts[1].layer_norm.weight, parts[2].layer_norm.weight),
        qkv=torch.cat((own.q.weight, own.k.weight, own.v.weight)),
        out=own.o.weight,
        cross_q=cross.q.weight,
        cross_kv=torch.cat((cross.k.weight, cross.v.weight)),
        cross_out=cross.o.weight,
        feed=parts[2].DenseReluDense,
    )
