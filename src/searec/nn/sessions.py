"""The searches of users as sessions, and which clicks of the feed answer each of them."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from searec.nn.event_trunk import FEED_CLICK, SEARCH, SEARCH_CLICK, Timeline

FEATURES = 8
"""Numbers known of a session: see `Sessions.features`."""


@dataclass(frozen=True)
class Sessions:
    """The R newest sessions before each of P places, the newest first.

    Attributes:
        present: [P, R] bool.
        query: [P, R] rows of the batch's queries, 0 pads.
        number: [P, R] of the session in its timeline, from 1.
        content: [P, R, D] what was searched for, as if it were an item, plus the mean of the clicked items.
        features: [P, R, 8] best word match of the query with a feed click before the session, and with one after it;
            the same for the cosine of the texts; whether a result was clicked; log(1 + feed clicks since); log age in
            seconds / 10; whether any item holds a word of the query.
    """

    present: Tensor
    query: Tensor
    number: Tensor
    content: Tensor
    features: Tensor

    def at(self, rows: Tensor) -> "Sessions":
        """Return those of some places.

        Args:
            rows: [n] places.
        """
        return Sessions(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True)
class QueryMatches:
    """How the Q queries of a batch match items.

    Attributes:
        words: [Q, I + 1] log(1 + BM25).
        texts: [Q, E] text vectors of the queries; None without text.
        item_texts: [I + 1, E] text vectors of the items; None without text.
        as_items: [Q, D] vector of an item that has the query as its text; zeros without text.
    """

    words: Tensor
    texts: Tensor | None
    item_texts: Tensor | None
    as_items: Tensor


def read_sessions(
    timeline: Timeline, content: Tensor, row: Tensor, place: Tensor, count: int, matches: QueryMatches
) -> Sessions:
    """Return the newest sessions before some places of timelines, each with all of its clicks.

    Args:
        timeline: B users.
        content: [B, E, D] vector of each event's item; of meaning at clicks.
        row: [P] of the user.
        place: [P] number of events before each place.
        count: R at most.
        matches: of the batch's queries.
    """
    # A session's clicks have its time: what is learned at a place between them is newer than all of them.
    kind, events = timeline.kind, torch.arange(timeline.kind.shape[1], device=row.device)
    is_search = kind == SEARCH
    columns = max(1, int(is_search.sum(1).max()))
    at = is_search.int().argsort(dim=1, descending=True, stable=True)[:, :columns]  # [B, S] from old to new
    there, query = is_search.gather(1, at), timeline.query.gather(1, at).long()
    is_feed, is_later = kind == FEED_CLICK, events > at[..., None]
    best = matches.words.amax(1).clamp(min=1e-6)
    item = timeline.item.long()[:, None].expand(-1, columns, -1)
    answers = [matches.words[query[..., None], item] / best[query][..., None]]
    if matches.texts is not None and matches.item_texts is not None:
        answers.append(
            torch.einsum("bsw,bew->bse", matches.texts[query], matches.item_texts[timeline.item.long()].float())
        )
    else:
        answers.append(torch.zeros_like(answers[0]))
    of_feed = [answer.clamp(min=0) * is_feed[:, None] for answer in answers]
    before = [(answer * ~is_later).amax(2) for answer in of_feed]
    after = [F.pad((answer * is_later).cummax(2).values, (1, 0)) for answer in of_feed]  # [B, S, E + 1] by place
    same = (timeline.session[:, None] == timeline.session.gather(1, at)[..., None]) & (kind == SEARCH_CLICK)[:, None]
    clicks_before = F.pad(is_feed.cumsum(1), (1, 0))
    clicked = same.to(content.dtype)
    vectors = matches.as_items[query] + (clicked @ content) / clicked.sum(2, keepdim=True).clamp(min=1)

    older = at[row] < place[:, None]
    older &= there[row]
    newest = torch.where(older, torch.arange(1, columns + 1, device=row.device), 0)
    rank = newest.topk(min(count, columns), dim=1).values  # [P, R]
    present, chosen, one = rank > 0, (rank - 1).clamp(min=0), row[:, None]
    since = clicks_before[row, place][:, None] - clicks_before[one, at[one, chosen]]
    now = timeline.time[row, (place - 1).clamp(min=0)]
    seconds = (now[:, None] - timeline.time[one, at[one, chosen]]).clamp(min=0).float() / 1e6
    features = [
        before[0][one, chosen],
        after[0][one, chosen, place[:, None]],
        before[1][one, chosen],
        after[1][one, chosen, place[:, None]],
        same.any(2)[one, chosen].float(),
        torch.log1p(since.clamp(min=0).float()),
        torch.log1p(seconds) / 10,
        (best > 1e-6)[query[one, chosen]].float(),
    ]
    return Sessions(
        present,
        query[one, chosen] * present,
        timeline.session[one, at[one, chosen]] * present,
        vectors[one, chosen],
        torch.stack(features, dim=-1) * present[..., None],
    )
