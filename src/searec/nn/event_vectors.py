"""Vectors of a user's events: clicks and search sessions."""

from torch import Tensor, nn

from searec.data.batch import Batch
from searec.nn.pooling import mean_embedding


def embed_events(batch: Batch, item: nn.Embedding, queries: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return feed clicks [B, L, D] and search sessions [B, S, D], and where there are any [B, L], [B, S].

    A session is its query plus the mean of its clicked items.

    Args:
        batch: the requests.
        item: table of item vectors, row 0 pads.
        queries: [Q, D] one vector for each row of `batch.words`.
    """
    sessions = queries[batch.search_query.long()] + mean_embedding(item, batch.search_click)
    return [item(batch.feed_item), sessions], [batch.feed_item != 0, batch.search_query != 0]
