"""Ranking: a run scores the items of a pool for one user, and what is alike is set apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.data.user_history import batch_of, padded
from searec.pipeline.catalog_snapshot import CatalogSnapshot, item_words
from searec.pipeline.channels import RequestBatch
from searec.pipeline.fusion import RRF, likeness, spread
from searec.pipeline.run import Run
from searec.text.analysis import words_of

Scores = NDArray[np.float32]


class Ranker:
    """Scores by a run; a new item by its stand-in."""

    def __init__(self, run: Run) -> None:
        self.name = run.label
        self._run = run
        self._device = run.model.device

    def score(self, wanted: RequestBatch, pools: Sequence[Ints]) -> list[Scores]:
        """The scores of each request's pool [n]; -inf for new items that no known one stands in for."""
        model = self._run.model
        items = [wanted.catalog.proxy[pool] for pool in pools]
        batch = batch_of(self._run.data, wanted.histories, model.needs, wanted.task, wanted.queries, padded(items)).to(
            self._device
        )
        found = model.score(batch).float().cpu().numpy()
        return [
            np.where(own > 0, row[: len(own)], -np.inf).astype(np.float32)
            for own, row in zip(items, found, strict=True)
        ]


def fuse_scores(scores: Sequence[Scores]) -> NDArray[np.float64]:
    """[n] several rankers' scores of the same items as one: the sum of 1 / (RRF + rank), -inf where none of them can score."""
    total = np.zeros(len(scores[0]))
    for own in scores:
        rank = np.empty(len(own))
        rank[np.argsort(-own, kind="stable")] = np.arange(1, len(own) + 1)
        total += np.where(np.isfinite(own), 1 / (RRF + rank), 0)
    return np.where(total > 0, total, -np.inf)


def diversify(catalog: CatalogSnapshot, items: Ints, group: NDArray[np.bool_], diversity: float, *, first: int) -> Ints:
    """An order of items [n] in the first places of which those that say the same in words do not crowd together; see `merging.spread`."""
    if diversity <= 0 or len(items) < 2:
        return np.arange(len(items))
    return spread(likeness(*_words(catalog, items), len(items)), group, diversity, first=first)


def _words(catalog: CatalogSnapshot, items: Ints) -> tuple[Ints, Ints]:
    """Pairs of an item's place in the list and a word it holds; words that the dataset lacks have numbers of their own."""
    data = catalog.base.data
    known = data.sizes.items
    words, owner = data.item_words.take(np.where(items <= known, items, 0))
    extra: dict[str, int] = {}
    index = data.word_index
    for row in np.flatnonzero(items > known).tolist():
        own = [
            index[word] if word in index else data.sizes.words + 1 + extra.setdefault(word, len(extra))
            for word in words_of(item_words(catalog.about(int(items[row]))))
        ]
        words, owner = np.concatenate((words, own)), np.concatenate((owner, np.full(len(own), row)))
    return owner, words.astype(np.int64)
