"""Explaining: why an item is on the page, for people."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.models.sasrec import SASRec
from searec.models.serendipity.model import Serendipity
from searec.pipeline.catalog_snapshot import item_words
from searec.pipeline.channels import RequestBatch
from searec.pipeline.run import Run
from searec.text.analysis import words_of

_CLOSE = 0.5
"""Cosine of two items' vectors from which one is said to be there for the other; a category in common counts as much."""
_RECENT = 20


class Explainer:
    """Reasons by channel.

    Args:
        runs: of the feed's channels; the first with vectors of items tells which click an item is like.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._vectors: NDArray[np.float32] | None = None
        for run in runs:
            model = run.model
            if self._vectors is None and isinstance(model, Serendipity | SASRec):
                vectors = model.item_vectors if isinstance(model, Serendipity) else model.item.weight
                self._vectors = vectors.detach().float().cpu().numpy()

    def feed(self, wanted: RequestBatch, row: int, items: Ints, channels: Sequence[str], interest: Ints) -> list[str]:
        """Why each item [n] is in a feed: its channel and, for "interest", the place of the interest among the user's."""
        like = self._alike(wanted, items, wanted.known[row].recent[:_RECENT])
        titles = iter(wanted.catalog.titles(like[like > 0]))
        named = [next(titles) if source else "" for source in like.tolist()]
        told = []
        for channel, wish, source in zip(channels, interest.tolist(), named, strict=True):
            if channel == "interest":
                told.append(wanted.interests[row].interests[wish].reason)
            elif channel == "popular":
                told.append("often clicked by others")
            elif source:
                told.append(f"like “{source}”, which you clicked")
            else:
                told.append("goes with what you clicked lately")
        return told

    @staticmethod
    def search(wanted: RequestBatch, row: int, items: Ints, channels: Sequence[str]) -> list[str]:
        """Why each item [n] is among the results of a search."""
        query = wanted.queries[row]
        asked = list(dict.fromkeys(words_of(query)))
        told = []
        for place, channel in zip(items.tolist(), channels, strict=True):
            held = set(words_of(item_words(wanted.catalog.about(place))))
            shared = [word for word in asked if word in held]
            if shared:
                told.append("holds " + ", ".join(f"“{word}”" for word in shared))
            elif channel == "dense":
                told.append(f"close in meaning to “{query}”")
            else:
                told.append(f"often what follows “{query}”")
        return told

    def _alike(self, wanted: RequestBatch, items: Ints, recent: Ints) -> Ints:
        """[n] the recent click nearest to each item, 0 where none is near."""
        if not len(recent) or not len(items):
            return np.zeros(len(items), dtype=np.int64)
        groups = wanted.catalog.groups(np.concatenate((items, recent)))
        own, clicked = groups[: len(items)], groups[len(items) :]
        near = np.array([[_CLOSE if one & other else 0.0 for other in clicked] for one in own], dtype=np.float32)
        if self._vectors is not None:
            rows = self._vectors[wanted.catalog.proxy[np.concatenate((items, recent))]]
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            near += np.maximum(rows[: len(items)] @ rows[len(items) :].T, 0)
        best = near.argmax(1)
        close: Ints = np.where(near.max(1) >= _CLOSE, recent[best], 0)
        return close
