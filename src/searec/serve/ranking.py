"""Ranking: a run scores the items of a pool for one user, and what is alike is set apart."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from searec.data.past import batch_of, padded
from searec.data.ragged import Ints
from searec.data.words import words_of
from searec.run import Run
from searec.serve.channels import Wanted
from searec.serve.merging import likeness, spread
from searec.serve.shelf import Shelf, item_words

Scores = NDArray[np.float32]


class Ranker:
    """Scores by a run; a new item by its stand-in."""

    def __init__(self, run: Run) -> None:
        self.name = run.label
        self._run = run

    def score(self, wanted: Wanted, pools: Sequence[Ints]) -> list[Scores]:
        """The scores of each request's pool [n]; -inf for new items that no known one stands in for."""
        model = self._run.model
        items = [wanted.shelf.stand_in[pool] for pool in pools]
        batch = batch_of(self._run.data, wanted.pasts, model.needs, wanted.task, wanted.queries, padded(items)).to(model.device)
        found = model.score(batch).float().cpu().numpy()
        return [np.where(own > 0, row[: len(own)], -np.inf).astype(np.float32) for own, row in zip(items, found, strict=True)]


def set_apart(shelf: Shelf, items: Ints, group: NDArray[np.bool_], diversity: float, *, first: int) -> Ints:
    """An order of items [n] in the first places of which those that say the same in words do not crowd together; see `merging.spread`."""
    if diversity <= 0 or len(items) < 2:
        return np.arange(len(items))
    return spread(likeness(_words(shelf, items)), group, diversity, first=first)


def _words(shelf: Shelf, items: Ints) -> scipy.sparse.csr_array:
    """[n, V] which words each item holds; words that the dataset lacks have columns of their own."""
    data = shelf.base.data
    known = data.sizes.items
    columns, owner = data.item_words.take(np.where(items <= known, items, 0))
    extra: dict[str, int] = {}
    index = data.word_index
    for row in np.flatnonzero(items > known).tolist():
        words = words_of(item_words(shelf.about(int(items[row]))))
        own = [index[word] if word in index else data.sizes.words + 1 + extra.setdefault(word, len(extra)) for word in words]
        columns, owner = np.concatenate((columns, own)), np.concatenate((owner, [row] * len(own)))
    used, column = np.unique(columns, return_inverse=True)
    rows = scipy.sparse.csr_array((np.ones(len(column), dtype=np.float32), (owner, column)), shape=(len(items), max(1, len(used))))
    rows.sum_duplicates()
    rows.data[:] = 1
    return rows
