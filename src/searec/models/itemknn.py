"""itemknn: items whose clickers are like the clickers of what the user clicked (cosine of the training matrix)."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from searec.config import Natural, NonNegative, settings
from searec.data.batch import Batch
from searec.data.dataset import FEED, Dataset
from searec.data.feedback import relative_weights
from searec.data.growth import Growth
from searec.data.leakage.checks import bounds, clicks_of
from searec.data.leakage.findings import Finding, Leaks, row_at
from searec.data.sparse import SparseRows
from searec.data.split import Split
from searec.models.base import best_items, strongest_click
from searec.models.click_matrix import ClickMatrixModel, matrix_of
from searec.models.search_space import Choice, Range

_CHECKED = 4
"""Similarities of each item that the leak check computes again."""
_PAIRS_AT_ONCE = 50_000
_ROUNDING = 1e-6
_SHOWN = 3


class ItemKNN(ClickMatrixModel):
    """score(u, v) = sum over the clicks i of u's history of cos(i, v), from the user-item training matrix.

    cos(i, v) = sum of w(u, i) w(u, v) over users / (sqrt(sum of w(u, i)^2 * sum of w(u, v)^2) + shrink), where w is the
    largest weight of the user's events with the item; an item is no neighbour of its own. With events of one weight
    that is |users of both| / (sqrt(|users of i| |users of v|) + shrink).
    """

    name = "itemknn"
    search_space: ClassVar = {
        "neighbours": Choice((0, 50, 200, 1000)),
        "shrink": Range(0.0, 100.0),
        "repeats": Choice((True, False)),
    }
    arrays: ClassVar[tuple[str, ...]] = ("offsets", "columns", "values")
    offsets: Tensor
    columns: Tensor
    values: Tensor

    @settings
    class Config:
        """What counts, and what is read.

        Attributes:
            neighbours: stored per item, 0 for all.
            shrink: added to the denominator of each cosine.
            repeats: an item clicked twice counts twice.
            feed_only: leave clicks after searches out.
            history: newest clicks read.
        """

        neighbours: Natural = 0
        shrink: NonNegative = 0.0
        repeats: bool = True
        feed_only: bool = False
        history: Natural = 512

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        clicks = self.click_matrix(split, weighted=True)
        together = (clicks.T @ clicks).tocoo()
        clickers = _lengths(clicks)
        keep = together.row != together.col
        row, column = together.row[keep], together.col[keep]
        cosine = together.data[keep] / (clickers[row] * clickers[column] + self.config.shrink)
        if self.config.neighbours:
            row, column, cosine = _strongest(row, column, cosine, self.config.neighbours)
        near = SparseRows.of(scipy.sparse.csr_matrix((cosine, (row, column)), shape=together.shape))
        self.set_arrays(offsets=near.offsets, columns=near.columns, values=near.values)

    @override
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        """Return the similarities of the items that are still there; a new item has no neighbours."""
        size = self.sizes.items + 1
        parts = (array.cpu().numpy() for array in (self.values, self.columns, self.offsets))
        near = scipy.sparse.csr_matrix(tuple(parts), shape=(size, size))
        source = growth.source("items")
        is_known = (source > 0).astype(np.float32)
        by_row = scipy.sparse.diags(is_known) @ near[source]
        grown = SparseRows.of((by_row.tocsc()[:, source] @ scipy.sparse.diags(is_known)).tocsr())
        return {"offsets": grown.offsets, "columns": grown.columns, "values": grown.values}

    @property
    def similarities(self) -> SparseRows:
        """[I + 1, I + 1] cosines of items, a row for each."""
        return SparseRows(self.offsets, self.columns, self.values, self.sizes.items + 1)

    def similar_items(self, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k nearest neighbours of each of some items.

        Args:
            items: [B] internal ids.
            k: how many for each.

        Returns:
            Ids [B, k], best first, 0 where there are fewer; cosines [B, k], -inf there.
        """
        cosines = self.similarities.sum(items[:, None])
        return best_items(cosines.masked_fill(cosines <= 0, -torch.inf), k)

    @override
    def explain(self, items: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
        return strongest_click(self.similarities.sum(clicks[:, None])[:, items.long()].T, clicks)

    @override
    def leaks(self, split: Split) -> Leaks:
        return super().leaks(split) + similarity_leaks(self, split)

    @override
    def score(self, batch: Batch) -> Tensor:
        history = self.clicked(batch)
        if not self.config.repeats:
            history = _distinct(history)
        scores = self.similarities.sum(history)
        return scores if batch.candidates is None else scores.gather(1, batch.candidates.long())


def _strongest(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest entries of each row, ties by the smaller column."""
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    return row[place < k], column[place < k], value[place < k]


def _lengths(clicks: scipy.sparse.csr_matrix | scipy.sparse.csc_matrix) -> NDArray[np.float64]:
    """[I + 1] the Euclidean length of each column."""
    squares: NDArray[np.float64] = np.asarray(clicks.astype(np.float64).power(2).sum(axis=0)).ravel()
    return np.sqrt(squares)


def _distinct(items: Tensor) -> Tensor:
    """[B, T] each line with repeats set to 0, in any order."""
    ordered = items.sort(dim=1).values
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    return ordered


def similarity_leaks(model: ItemKNN, split: Split) -> Leaks:
    """Return similarities that differ from those of the clicks before the cut-off.

    A few of each item are computed again.

    One click more changes all similarities of its item, as the number of its clickers is a factor of each.

    Args:
        model: which has learned.
        split: that it has learned from.
    """
    data, config = split.data, model.config
    user, item, old = clicks_of(split, bounds(split, model.train_tasks)[1])
    counted = (np.asarray(data.click_history.source) == FEED) if config.feed_only else np.ones(len(user), dtype=bool)
    used = old & counted
    weight = np.zeros(len(user), dtype=np.float32)
    weight[old] = relative_weights(data.click_history.weight[old], data.click_history.source[old])
    shape = (data.sizes.users + 1, data.sizes.items + 1)
    clicks = matrix_of(user[used], item[used], weight[used], shape).tocsc()
    offsets, columns, values = (array.cpu().numpy() for array in (model.offsets, model.columns, model.values))
    lengths = np.diff(offsets)
    rows = np.repeat(np.flatnonzero(lengths), np.minimum(lengths[lengths > 0], _CHECKED))
    step = np.arange(len(rows)) - np.searchsorted(rows, rows)
    places = offsets[rows] + step * lengths[rows] // np.minimum(lengths[rows], _CHECKED)
    others = columns[places].astype(np.int64)
    expected = np.zeros(len(rows))
    clickers = _lengths(clicks)
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        both = np.asarray(clicks[:, rows[part]].multiply(clicks[:, others[part]]).sum(axis=0)).ravel()
        length = clickers[rows[part]] * clickers[others[part]] + config.shrink
        expected[part] = np.where(both > 0, both / np.where(length > 0, length, 1), 0)
    wrong = np.abs(values[places] - expected) > _ROUNDING * np.maximum(np.abs(expected), 1e-3)
    checked = {"similarities of items": len(rows)}
    if not wrong.any():
        return Leaks(checked)
    size = data.sizes.items + 1
    share = sum(np.bincount(side[wrong], minlength=size) for side in (rows, others)) / np.maximum(
        sum(np.bincount(side, minlength=size) for side in (rows, others)), 1
    )
    later = np.flatnonzero(~old & counted)
    later = later[np.isin(item[later], np.flatnonzero(share > 0))]
    suspects = np.unique(item[later]) if len(later) else np.unique(rows[wrong])
    first = int(max(suspects, key=lambda one: (share[one], -one)))
    events = later[item[later] == first]
    events = events[np.argsort(data.click_history.time[events], kind="stable")]
    entry = int(np.flatnonzero(wrong & ((rows == first) | (others == first)))[0])
    names = data.items.to_external(np.array([rows[entry], others[entry]]))
    return Leaks(
        checked,
        (
            Finding(
                "error",
                f"{int(wrong.sum()):,} of {len(rows):,} similarities are not those of the clicks before the cut-off",
                f"{model.name}, items {names[0]!r} and {names[1]!r}: {float(values[places[entry]]):.6f}",
                tuple(row_at(data, place) for place in events[:_SHOWN].tolist()),
                max(1, len(events)),
                f"{expected[entry]:.6f}, without the clicks that follow the cut-off",
                "train it again",
            ),
        ),
    )
