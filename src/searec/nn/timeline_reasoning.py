"""Latent cross reasoning over a timeline: feed and searches question each other's events (arXiv 2508.04152)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.nn.attention import FeedForward
from searec.nn.dropout import Dropout
from searec.nn.event_trunk import FEED_CLICK, Timeline

FEED = 0
"""The feed's side; 1 is that of the searches."""


@dataclass(frozen=True)
class Memory:
    """The events that are read, and how.

    Attributes:
        events: [B, E, D] what queries are compared with, and what is read.
        content: [B, E, D] what each event is of.
        allowed: [B, Q, 2, E] bool, where the feed's state may read a search event, and the searches' a feed event: only
            what is before the state.
    """

    events: Tensor
    content: Tensor
    allowed: Tensor


@dataclass(frozen=True)
class Step:
    """What a step left.

    Attributes:
        states: [B, Q, 2, D] of each side.
        weights: [B, 2Q, E] of attention, the mean over heads.
        content: [B, E, D] what each event is of.
        belief: [B, Q, E] logits that the session of an event is the user's own; of meaning at search events only.
    """

    states: Tensor
    weights: Tensor
    content: Tensor
    belief: Tensor

    @property
    def read(self) -> Tensor:
        """[B, Q, 2, D] the mean content of the events that each side has read; of the null event it is zero."""
        return (self.weights @ self.content).view_as(self.states)


class TimelineReasoning(nn.Module):
    """One step, to be taken K times with the same weights, from any places of a timeline at once.

    Each side's state reads the events of the other side that are older than it. Beside them stands a zero event, so
    that nothing has to be read (arXiv 1908.11322). The feed's state also says how far it believes that a search is the
    user's own; disbelief lowers the weight of the search.

    Args:
        width: D.
        heads: of attention, each over all D: keys and values are the events themselves, so that a query costs little.
        inner: feed-forward width.
        dropout: of what is added to a state.
        steps: K at most; each adds its own embedding.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float, steps: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_memory = nn.LayerNorm(width)
        self.side = nn.Embedding(2, width)
        self.step = nn.Embedding(steps, width)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(2 * width, (heads + 1) * width)  # of each head, and of belief
        self.first_belief = nn.Parameter(torch.ones(()))
        self.out = nn.Linear(heads * width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.dropout = Dropout(dropout)
        for table in (self.side, self.step):
            nn.init.normal_(table.weight, std=0.02)

    def remember(self, content: Tensor, states: Tensor, timeline: Timeline, places: Tensor) -> Memory:
        """Return the events as they are read.

        Args:
            content: [B, E, D] what each event is of.
            states: [B, E + 1, D] of the trunk.
            timeline: the events.
            places: [B, Q] of the states that reason: place e is before event e.
        """
        events = self.norm_memory(content * content.shape[-1] ** 0.5 + states[:, 1:])
        older = torch.arange(content.shape[1], device=places.device) < places[..., None]
        sides = torch.stack((timeline.session > 0, timeline.kind == FEED_CLICK), dim=1)
        return Memory(events, content, older[:, :, None] & sides[:, None])

    def forward(self, states: Tensor, memory: Memory, number: int) -> Step:
        """Take a step.

        Args:
            states: [B, Q, 2, D] of each side.
            memory: what `remember` returned.
            number: of the step, from 0.
        """
        x = self.norm(states + self.side.weight + self.step.weight[number])
        both = torch.cat((x, x.flip(2)), dim=-1)  # a side knows where the other stands
        width = x.shape[-1]
        *queries, gate = self.query(both).split(width, dim=-1)
        belief = gate[:, :, FEED] @ memory.events.mT * width**-0.5 + self.first_belief
        bias = torch.stack((F.logsigmoid(belief), torch.zeros_like(belief)), dim=2)
        bias = bias.masked_fill(~memory.allowed, torch.finfo(bias.dtype).min).flatten(1, 2)  # (B, 2Q, E)
        weights, read = torch.zeros_like(bias), []
        for query in queries:
            logits = torch.baddbmm(bias, query.flatten(1, 2), memory.events.mT, alpha=width**-0.5)
            head = torch.softmax(F.pad(logits, (1, 0)), dim=-1)[..., 1:]
            read.append(head @ memory.events)
            weights = weights + head / self.heads
        states = self.dropout.added(self.out(torch.cat(read, dim=-1)).view_as(states), states)
        states = self.dropout.added(self.feed_forward(self.norm_feed_forward(states)), states)
        return Step(states, weights, memory.content, belief)


def belief_loss(
    steps: Sequence[Step], memory: Memory, session: Tensor, own_sessions: int, is_learned: Tensor
) -> Tensor:
    """Return the mean cross-entropy of "the session is the user's own", in timelines that hold foreign sessions.

    Args:
        steps: taken at Q places.
        memory: that they read.
        session: [B, E] number of each event's session, 0 for the feed.
        own_sessions: the largest number of an own session.
        is_learned: [B, Q] the places that count.
    """
    is_foreign = session > own_sessions
    counts = memory.allowed[:, :, FEED] & is_learned[..., None] & is_foreign.any(1)[:, None, None]
    label = (~is_foreign).float()[:, None].expand(counts.shape)[counts]
    if not len(label):
        return steps[-1].belief.sum() * 0
    return torch.stack([F.binary_cross_entropy_with_logits(step.belief[counts], label) for step in steps]).mean()


def target_contrast(
    crossed: Sequence[Tensor], base: Tensor, table: Tensor, target: Tensor, hard: int, temperature: float
) -> Tensor:
    """Return InfoNCE of the state after each step, between its target and hard items: L_TCL as a contrast.

    Args:
        crossed: [P, D] after each step; what the base adds to them gets no gradient.
        base: [P, D] without reasoning; an item is hard if its inner product with it is high.
        table: [M, D] item vectors.
        target: [P] rows of the table.
        hard: items besides the target.
        temperature: of the cosine.
    """
    with torch.no_grad():
        scores = base @ table.T
        scores[:, 0] = -torch.inf  # padding, or an item among many
        scores.scatter_(1, target[:, None], torch.inf)
        listed = scores.topk(min(hard + 1, len(table)), dim=1).indices
        items = F.normalize(table[listed], dim=-1)
    losses = []
    for states in crossed:
        logits = torch.einsum("pd,pnd->pn", F.normalize(states, dim=-1), items) / temperature
        losses.append(F.cross_entropy(logits, torch.zeros_like(target)))
    return torch.stack(losses).mean()
