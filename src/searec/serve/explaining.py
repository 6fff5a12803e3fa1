"""Explaining: why an item is on the page, for people."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.data.words import words_of
from searec.models import SASRec, Serendipity
from searec.run import Run
from searec.serve.channels import Wanted
from searec.serve.shelf import item_words

_CLOSE = 0.5
"""Cosine of two items' vectors from which one is said to be there for the other; a category in common counts as much."""
_RECENT = 20


class Explainer:
    """Reasons by channel.

    Args:
        runs: of the feed's channels; the first with vectors of items tells which click an item is like.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._vectors: torch.Tensor | None = None
        for run in runs:
            model = run.model
            if self._vectors is None and isinstance(model, Serendipity):
                self._vectors = model.item_vectors.detach()
            elif self._vectors is None and isinstance(model, SASRec):
                self._vectors = model.item.weight.detach()

    def feed(self, wanted: Wanted, row: int, items: Ints, channels: Sequence[str], interest: Ints) -> list[str]:
        """Why each item [n] is in a feed: its channel and, for "interest", the place of the interest among the user's."""
        like = self._alike(wanted, items, wanted.known[row].recent[:_RECENT])
        told = []
        for channel, wish, source in zip(channels, interest.tolist(), like, strict=True):
            if channel == "interest":
                told.append(wanted.longings[row].interests[wish].reason)
            elif channel == "popular":
                told.append("often clicked by others")
            elif source:
                told.append(f"like “{wanted.shelf.title(source)}”, which you clicked")
            else:
                told.append("goes with what you clicked lately")
        return told

    @staticmethod
    def search(wanted: Wanted, row: int, items: Ints, channels: Sequence[str]) -> list[str]:
        """Why each item [n] is among the results of a search."""
        query = wanted.queries[row]
        asked = list(dict.fromkeys(words_of(query)))
        told = []
        for place, channel in zip(items.tolist(), channels, strict=True):
            held = set(words_of(item_words(wanted.shelf.about(place))))
            shared = [word for word in asked if word in held]
            if shared:
                told.append("holds " + ", ".join(f"“{word}”" for word in shared))
            elif channel == "dense":
                told.append(f"close in meaning to “{query}”")
            else:
                told.append(f"often what follows “{query}”")
        return told

    def _alike(self, wanted: Wanted, items: Ints, recent: Ints) -> list[int]:
        """[n] the recent click nearest to each item, 0 where none is near."""
        if not len(recent) or not len(items):
            return [0] * len(items)
        groups = wanted.shelf.groups(np.concatenate((items, recent)))
        own, clicked = groups[: len(items)], groups[len(items) :]
        near = np.array([[_CLOSE if one & other else 0.0 for other in clicked] for one in own], dtype=np.float32)
        if self._vectors is not None:
            stand_in = wanted.shelf.stand_in
            ids = torch.from_numpy(np.concatenate((stand_in[items], stand_in[recent]))).to(self._vectors.device)
            vectors = torch.nn.functional.normalize(self._vectors[ids].float(), dim=1)
            cosine: NDArray[np.float32] = (vectors[: len(items)] @ vectors[len(items) :].T).cpu().numpy()
            near += np.maximum(cosine, 0)
        best = near.argmax(1)
        return [int(recent[place]) if row[place] >= _CLOSE else 0 for place, row in zip(best.tolist(), near, strict=True)]
