"""Sessions of other users put into training stretches, so that a model learns which sessions are a user's own."""

from dataclasses import replace

import torch

from searec.data.batch import Batch

_NEVER = torch.iinfo(torch.int64).max


def with_foreign_sessions(batch: Batch, share: float) -> Batch:
    """Return the batch with sessions of other users of it, in columns after those of the users' own.

    Half of the users get none. The others get between 0 and 2 x `share` foreign sessions for each of their own, at
    times between their first and last event. All draws come from PyTorch's generator.

    Args:
        batch: of B users.
        share: foreign sessions for each own one, on average, of a user who gets any.
    """
    has = batch.search_query > 0
    rows, columns = has.shape
    present = has.flatten().nonzero().squeeze(1)
    copies = max(1, int(-(-2 * share // 1)))
    if len(torch.unique(present // columns)) < 2:
        return batch
    rate = (torch.rand(rows, 1, device=has.device) < 0.5) * torch.rand(rows, 1, device=has.device) * 2 * share / copies
    is_drawn = (torch.rand(rows, copies * columns, device=has.device) < rate) & has.repeat(1, copies)
    source = present[torch.randint(len(present), is_drawn.shape, device=has.device)]
    is_drawn &= source // columns != torch.arange(rows, device=has.device)[:, None]
    feed = batch.feed_item > 0
    times = torch.cat((batch.feed_time, batch.search_time), 1)
    there = torch.cat((feed, has), 1)
    first = torch.where(there, times, _NEVER).min(1, keepdim=True).values
    last = torch.where(there, times, 0).max(1, keepdim=True).values
    time = first + (torch.rand(is_drawn.shape, dtype=torch.float64, device=has.device) * (last - first)).long()
    query = batch.search_query.flatten()[source] * is_drawn
    click = batch.search_click.flatten(0, 1)[source] * is_drawn[..., None]
    return replace(
        batch,
        search_query=torch.cat((batch.search_query, query), 1),
        search_click=torch.cat((batch.search_click, click), 1),
        search_time=torch.cat((batch.search_time, time), 1),
    )
