"""Queries that mean nothing to a catalogue find nothing, whatever the channels retrieve."""

from collections.abc import Mapping, Sequence

import numpy as np

from searec.pipeline.channels import Candidates, RequestBatch
from searec.pipeline.dense_channel import DenseChannel
from searec.search.relaxation import has_known_word

_NOTHING = Candidates(np.zeros(0, dtype=np.int64))


def without_nonsense(
    batch: RequestBatch, lists: Mapping[str, Sequence[Candidates]], dense: Sequence[DenseChannel]
) -> dict[str, list[Candidates]]:
    """Return the lists, for queries of which no item has a word without what is not close to them in meaning.

    Args:
        batch: B searches.
        lists: channel -> [B] of its candidates.
        dense: the dense channels among them.
    """
    out = {name: list(rows) for name, rows in lists.items()}
    for row, query in enumerate(batch.parsed):
        if has_known_word(batch.catalog.lexical, query):
            continue
        for rows in out.values():
            rows[row] = _NOTHING
        for channel in dense:
            for name in lists.keys() & set(channel.names):
                items = lists[name][row].items
                similarity = channel.vectors_of(batch.catalog, items) @ channel.encoded([query.text])[0]
                out[name][row] = Candidates(items[similarity >= channel.least_similarity])
    return out
