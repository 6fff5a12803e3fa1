"""itemknn: items whose clickers are like the clickers of what the user clicked (cosine of the training matrix)."""

from typing import ClassVar

import numpy as np
import scipy.sparse
from torch import Tensor

from searec.config import Natural, NonNegative, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import FEED, Dataset
from searec.data.schema import Task
from searec.data.sparse import SparseRows
from searec.data.split import Split
from searec.models.base import FittedModel


class ItemKNN(FittedModel):
    """score(u, v) = sum over the clicks i of u's history of cos(i, v), from the binary user-item training matrix.

    cos(i, v) = |users of both| / (sqrt(|users of i| |users of v|) + shrink); an item is no neighbour of its own.
    """

    name = "itemknn"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    arrays: ClassVar[tuple[str, ...]] = ("offsets", "columns", "values")
    offsets: Tensor
    columns: Tensor
    values: Tensor

    @settings
    class Config:
        """neighbours: kept per item, 0 for all. repeats: an item clicked twice counts twice. feed_only: leave search clicks out.

        history: newest clicks read.
        """

        neighbours: Natural = 0
        shrink: NonNegative = 0.0
        repeats: bool = True
        feed_only: bool = False
        history: Natural = 512

    @property
    def needs(self) -> Needs:
        return Needs(rec=self.config.history) if self.config.feed_only else Needs(trail=self.config.history)

    def fit(self, data: Dataset, split: Split) -> None:
        user, item, source = split.train_clicks(("recommend",))
        if self.config.feed_only:
            user, item = user[source == FEED], item[source == FEED]
        shape = (data.sizes.users + 1, data.sizes.items + 1)
        clicks = scipy.sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=shape)
        clicks.data[:] = 1
        together = (clicks.T @ clicks).tocoo()
        clickers = np.sqrt(clicks.getnnz(axis=0))
        keep = together.row != together.col
        row, column = together.row[keep], together.col[keep]
        cosine = together.data[keep] / (clickers[row] * clickers[column] + self.config.shrink)
        if self.config.neighbours:
            row, column, cosine = _strongest(row, column, cosine, self.config.neighbours)
        near = SparseRows.of(scipy.sparse.csr_matrix((cosine, (row, column)), shape=(shape[1], shape[1])))
        self.keep(offsets=near.offsets, columns=near.columns, values=near.values)

    def score(self, batch: Batch) -> Tensor:
        history = batch.rec_item if self.config.feed_only else batch.trail_item
        if not self.config.repeats:
            history = _distinct(history)
        scores = SparseRows(self.offsets, self.columns, self.values, self.sizes.items + 1).sum(history)
        return scores if batch.candidates is None else scores.gather(1, batch.candidates.long())


def _strongest(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest entries of each row, ties by the smaller column."""
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    return row[place < k], column[place < k], value[place < k]


def _distinct(items: Tensor) -> Tensor:
    """[B, T] each line with repeats set to 0, in any order."""
    ordered = items.sort(dim=1).values
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    return ordered
