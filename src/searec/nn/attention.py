"""Attention blocks that give zeros, never NaN, where there is nothing to attend to."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.errors import SettingsError
from searec.nn.dropout import Dropout

_SHORT = 32
"""Pairs of query and key up to which products element by element beat small matrix products."""


class MultiHead(nn.Module):
    """Multi-head scaled dot-product attention (arXiv 1706.03762, Section 3.2).

    Args:
        width: D.
        heads: how many; they divide the width.
        dropout: of the attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise SettingsError("width is no multiple of heads", where="attention", got=f"width {width}, heads {heads}")
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, memory: Tensor, allowed: Tensor) -> Tensor:
        """Return what each query position reads from the memory, [B, Lq, D].

        Args:
            query: [B, Lq, D].
            memory: [B, Lk, D].
            allowed: [B, 1 or Lq, Lk] bool, True where a query position may look.
        """
        has_any = allowed.any(dim=-1, keepdim=True)  # (B, 1 or Lq, 1)
        mask = allowed | ~has_any  # a row with nothing allowed looks anywhere, and is zeroed below
        if query.device.type == "cpu":
            read = self._read_on_cpu(query, memory, mask)
        else:
            q, k, v = (
                torch.unflatten(part, -1, (self.heads, -1)).transpose(1, 2) for part in self._parts(query, memory)
            )
            read = F.scaled_dot_product_attention(
                q, k, v, mask.unsqueeze(1), dropout_p=self.dropout.p if self.training else 0.0
            )
            read = read.transpose(1, 2).flatten(-2)
        out: Tensor = self.out(read)
        return out if query.device.type == "cpu" and bool(has_any.all()) else out * has_any

    def _read_on_cpu(self, query: Tensor, memory: Tensor, allowed: Tensor) -> Tensor:
        """Return what is read before the last map, [B, Lq, D].

        For short histories on a CPU the way of the library is mostly copies.

        Weights are [B, Lk, Lq]: softmax over a short last axis is many times slower than over one before it.
        """
        if not torch.is_grad_enabled() and not self.training and query.shape[1] * memory.shape[1] <= _SHORT:
            q, k, v = (torch.unflatten(part, -1, (self.heads, -1)) for part in self._parts(query, memory))
            logits = (q[:, None] * k[:, :, None]).sum(-1) * q.shape[-1] ** -0.5  # (B, Lk, Lq, h)
            logits = logits.masked_fill(~allowed.mT[..., None], torch.finfo(logits.dtype).min)
            weights = torch.softmax(logits, dim=1)
            read: Tensor = (weights[..., None] * v[:, :, None]).sum(1).flatten(-2)
            return read
        width = query.shape[-1] // self.heads
        parts = [head for part in self._maps(query, memory) for head in torch.split(part, width, dim=-1)]
        hidden = torch.zeros(allowed.mT.shape, dtype=parts[0].dtype).masked_fill_(
            ~allowed.mT, torch.finfo(parts[0].dtype).min
        )
        hidden = hidden.expand(-1, -1, query.shape[1])
        heads = []
        for q, k, v in zip(
            parts[: self.heads], parts[self.heads : 2 * self.heads], parts[2 * self.heads :], strict=True
        ):
            weights = torch.softmax(torch.baddbmm(hidden, k, q.mT, alpha=width**-0.5), dim=1)
            heads.append(torch.bmm(self.dropout(weights).mT, v))
        return torch.cat(heads, dim=-1)

    def _parts(self, query: Tensor, memory: Tensor) -> list[Tensor]:
        """Return queries, keys and values, [B, L, D] each."""
        return [part for tensor in self._maps(query, memory) for part in torch.split(tensor, query.shape[-1], dim=-1)]

    def _maps(self, query: Tensor, memory: Tensor) -> Sequence[Tensor]:
        """Return queries, keys and values [B, L, D], in this order, in one tensor or two.

        Splitting a tensor once needs one copy for a gradient.
        """
        if memory is not query:
            return (self.query(query), self.key_value(memory))
        weight, bias = (
            torch.cat((getattr(self.query, name), getattr(self.key_value, name))) for name in ("weight", "bias")
        )
        return (F.linear(query, weight, bias),)


class FeedForward(nn.Sequential):
    """Two linear layers with ReLU between, position by position; the caller applies dropout to the output."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, inner), nn.ReLU(), Dropout(dropout), nn.Linear(inner, width))


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each with residual and LayerNorm after it (before it if `norm_first`).

    With another sequence as `memory` it is the same layer reading across: x + MHA(x, memory).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        dropout: float,
        *,
        attention_dropout: float = 0.0,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = MultiHead(width, heads, attention_dropout)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, allowed: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return the layer's output, [B, L, D].

        Args:
            x: [B, L, D].
            allowed: as in `MultiHead`.
            memory: [B, Lk, D] the sequence to read; `x` itself by default.
        """
        if self.norm_first:
            read = self.norm_attention(x)
            x = self.dropout.added(self.attention(read, read if memory is None else memory, allowed), x)
            return self.dropout.added(self.feed_forward(self.norm_feed_forward(x)), x)
        read_from = x if memory is None else memory
        return self.without_reading(self.dropout.added(self.attention(x, read_from, allowed), x))

    def without_reading(self, x: Tensor) -> Tensor:
        """Return the output of the post-norm layer where attention adds nothing, [B, L, D]."""
        x = self.norm_attention(x)
        out: Tensor = self.norm_feed_forward(self.dropout.added(self.feed_forward(x), x))
        return out


class DecoderLayer(nn.Module):
    """Self-attention over the target, attention from it to a memory, feed-forward (post-norm)."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float, *, attention_dropout: float = 0.0) -> None:
        super().__init__()
        self.own = MultiHead(width, heads, attention_dropout)
        self.norm_own = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.across = EncoderLayer(width, heads, inner, dropout, attention_dropout=attention_dropout)

    def forward(self, x: Tensor, own_allowed: Tensor, memory: Tensor, memory_allowed: Tensor) -> Tensor:
        """Return the layer's output, [B, L, D].

        Args:
            x: [B, L, D] the target.
            own_allowed: mask of the self-attention, as in `MultiHead`.
            memory: [B, Lk, D].
            memory_allowed: mask of the attention to the memory.
        """
        return self.across(self.read_own(x, own_allowed), memory_allowed, memory)  # type: ignore[no-any-return]

    def read_own(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Return the output of self-attention alone, [B, L, D].

        Args:
            x: [B, L, D].
            allowed: as in `MultiHead`.
        """
        out: Tensor = self.norm_own(self.dropout.added(self.own(x, x, allowed), x))
        return out


class TargetAttention(nn.Module):
    """Candidate v over history H: softmax(H W v), the weights of softmax(H W v) H (gserec.md, Stage 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bridge = nn.Linear(width, width, bias=False)

    def forward(self, history: Tensor, present: Tensor, candidates: Tensor) -> Tensor:
        """Return the weights [B, N, L]: each row sums to 1, or to 0 for an empty history.

        Args:
            history: [B, L, D].
            present: [B, L] bool.
            candidates: [B, N, D], or [N, D] shared by all.
        """
        return (attention_weights(self.bridge(history) @ candidates.mT, present) * present[..., None]).mT


def attention_weights(logits: Tensor, present: Tensor) -> Tensor:
    """Return the softmax over the L present, [B, L, N]; without meaning where nothing is present.

    Softmax over a short last axis is many times slower on a CPU than over one before it.

    Args:
        logits: [B, L, N].
        present: [B, L] bool.
    """
    return torch.softmax(logits.masked_fill(~present[..., None], torch.finfo(logits.dtype).min), dim=1)


def causal(present: Tensor) -> Tensor:
    """Return the mask [B, L, L] of positions that may be read: the position and older present ones of [B, L]."""
    length = present.shape[1]
    older = torch.ones(length, length, dtype=torch.bool, device=present.device).tril()
    return older & present[:, None, :]
