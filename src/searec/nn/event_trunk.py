"""The event trunk: a user's clicks and searches as one timeline, read by a causal Transformer."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.data.batch import Batch
from searec.data.split import NEVER
from searec.nn.attention import EncoderLayer, causal
from searec.nn.dropout import Dropout

FEED_CLICK, SEARCH, SEARCH_CLICK = 1, 2, 3
"""Kinds of events; 0 is padding."""
_GAPS = 24
"""Classes of time gaps: one for each doubling from a second on, so the last one begins at 97 days."""


@dataclass(frozen=True)
class Timeline:
    """The events of B users by time, from old to new, padded at the end.

    Attributes:
        item: [B, E] the item of a click, 0 elsewhere.
        query: [B, E] the query of a search as a row of `Batch.words`, 0 elsewhere.
        kind: [B, E] one of the kinds of events.
        time: [B, E] int64, microseconds since 1970.
        weight: [B, E] of a feed click by its event; 1 elsewhere.
        session: [B, E] the column of its session in the batch, from 1, for searches and their clicks; 0 elsewhere.
    """

    item: Tensor
    query: Tensor
    kind: Tensor
    time: Tensor
    weight: Tensor
    session: Tensor

    @property
    def present(self) -> Tensor:
        """[B, E] where there is an event."""
        return self.kind > 0

    @classmethod
    def of(cls, batch: Batch, length: int) -> "Timeline":
        """Return the newest events of a batch; of equal times a search first, then its clicks, then feed clicks.

        Args:
            batch: with feed clicks and searches.
            length: events of each user at most.
        """
        sessions = torch.cat((torch.zeros_like(batch.search_query)[..., None], batch.search_click), dim=2)
        has_click = (sessions > 0) & (batch.search_query > 0)[..., None]
        session_kind = torch.where(has_click, SEARCH_CLICK, 0)
        session_kind[..., 0] = torch.where(batch.search_query > 0, SEARCH, 0)
        session_query = torch.zeros_like(sessions)
        session_query[..., 0] = batch.search_query
        session_time = batch.search_time[..., None].expand_as(sessions)
        place_of = torch.arange(1, sessions.shape[1] + 1, device=sessions.device)[:, None].expand_as(sessions)
        item = torch.cat((sessions.flatten(1), batch.feed_item), dim=1)
        kind = torch.cat((session_kind.flatten(1), torch.where(batch.feed_item > 0, FEED_CLICK, 0)), dim=1)
        query = torch.cat((session_query.flatten(1), torch.zeros_like(batch.feed_item)), dim=1)
        time = torch.cat((session_time.flatten(1), batch.feed_time), dim=1)
        weight = torch.cat((torch.ones_like(session_time.flatten(1), dtype=torch.float32), batch.feed_weight), dim=1)
        session = torch.cat((place_of.flatten(1), torch.zeros_like(batch.feed_item)), dim=1)
        order = torch.where(kind > 0, time, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
        count = (kind > 0).sum(1, keepdim=True)
        place = (count - length).clamp(min=0) + torch.arange(min(length, max(1, int(count.max()))), device=item.device)
        is_event = place < count
        order = order.gather(1, place.clamp(max=order.shape[1] - 1))
        parts = (part.gather(1, order) * is_event for part in (item, query, kind, time, weight, session))
        return cls(*parts)

    def with_query(self, query: Tensor, time: Tensor) -> "Timeline":
        """Return the timelines with a search after the last event.

        Args:
            query: [B] rows of `Batch.words`.
            time: [B] of the search; one that lies beyond all clocks counts as that of the last event.
        """
        count = self.present.sum(1, keepdim=True)
        newest = self.time.gather(1, (count - 1).clamp(min=0)).squeeze(1)
        values = {
            "item": torch.zeros_like(query),
            "query": query,
            "kind": torch.full_like(query, SEARCH),
            "time": torch.where(time == NEVER, newest, time),
            "weight": torch.ones_like(query, dtype=torch.float32),
            "session": self.session.amax(1) + 1,
        }
        parts = {}
        for name, value in values.items():
            part = getattr(self, name)
            wider = torch.cat((part, torch.zeros_like(part[:, :1])), dim=1)
            parts[name] = wider.scatter(1, count, value.to(part.dtype)[:, None])
        return Timeline(**parts)

    def next_clicks(self) -> tuple[Tensor, Tensor]:
        """Return the next clicked item [B, E] from the state before each event on, and where it is strictly newer.

        Place e is of the state after event e - 1, or of the start.
        """
        places = torch.arange(self.item.shape[1], device=self.item.device).expand_as(self.item)
        last = self.item.shape[1] - 1
        following = torch.where(self.item > 0, places, last + 1).flip(1).cummin(1).values.flip(1)
        place = following.clamp(max=last)
        before = torch.cat((torch.full_like(self.time[:, :1], torch.iinfo(torch.int64).min), self.time[:, :-1]), dim=1)
        is_known = (following <= last) & (self.time.gather(1, place) > before)
        return self.item.gather(1, place), is_known

    def found_clicks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return every click after a search [N]: its user's row, the place of the search, and the item."""
        places = torch.arange(self.kind.shape[1], device=self.kind.device).expand_as(self.kind)
        newest = torch.where(self.kind == SEARCH, places, -1).cummax(1).values
        row, place = torch.nonzero((self.kind == SEARCH_CLICK) & (newest >= 0), as_tuple=True)
        return row, newest[row, place], self.item[row, place]


class EventTrunk(nn.Module):
    """Causal pre-norm Transformer over event vectors, after a learned start event.

    Args:
        width: D.
        layers: how many.
        heads: of each layer.
        inner: feed-forward width.
        dropout: of inputs and residual branches.
        length: events read, E.
    """

    def __init__(self, width: int, layers: int, heads: int, inner: int, dropout: float, length: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        self.kind = nn.Embedding(4, width)
        self.gap = nn.Embedding(_GAPS, width)
        self.weight = nn.Parameter(torch.zeros(width))
        self.position = nn.Embedding(length + 1, width)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, inner, dropout, norm_first=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for table in (self.kind, self.gap, self.position):
            nn.init.normal_(table.weight, std=0.02)
        nn.init.normal_(self.start, std=0.02)

    def forward(self, content: Tensor, timeline: Timeline) -> Tensor:
        """Return the state before any event and after each one, [B, E + 1, D]; without meaning at padding.

        Args:
            content: [B, E, D] what each event is of: the item or the query.
            timeline: the events.
        """
        x = content * content.shape[-1] ** 0.5 + self.kind(timeline.kind) + self.gap(gaps(timeline.time))
        x = x + torch.log(timeline.weight.clamp(min=1e-3))[..., None] * self.weight
        x = torch.cat((self.start.expand(len(x), 1, -1), x), dim=1)
        present = torch.cat((torch.ones_like(timeline.present[:, :1]), timeline.present), dim=1)
        x = self.dropout(x + self.position.weight[: x.shape[1]])
        allowed = causal(present)
        for layer in self.layers:
            x = layer(x, allowed)
        return self.norm(x)  # type: ignore[no-any-return]


def gaps(time: Tensor) -> Tensor:
    """Return the class of the time since the event before, [B, E]: 0 for the first and for less than a second.

    Args:
        time: [B, E] microseconds since 1970, from old to new.
    """
    seconds = F.pad(time[:, 1:] - time[:, :-1], (1, 0)).clamp(min=0).float() / 1e6
    return torch.log2(seconds.clamp(min=1)).ceil().long().clamp(max=_GAPS - 1)
