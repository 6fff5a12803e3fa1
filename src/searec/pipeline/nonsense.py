"""Queries that mean nothing to a catalogue find nothing, whatever the channels retrieve."""

from collections.abc import Mapping, Sequence

import numpy as np

from searec.pipeline.channels import Candidates, RequestBatch
from searec.search.relaxation import has_known_word


def without_nonsense(batch: RequestBatch, lists: Mapping[str, Sequence[Candidates]]) -> dict[str, list[Candidates]]:
    """Return the lists, empty for queries of which no item has a word.

    Args:
        batch: B searches.
        lists: channel -> [B] of its candidates.
    """
    is_known = [has_known_word(batch.catalog.lexical, query) for query in batch.parsed]
    nothing = Candidates(np.zeros(0, dtype=np.int64))
    return {
        name: [one if known else nothing for one, known in zip(rows, is_known, strict=True)]
        for name, rows in lists.items()
    }
