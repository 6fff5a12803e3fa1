"""itemknn: items that others clicked near in time to what the user clicked lately (cosine of the training clicks)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from searec.config import Natural, NonNegative, Share, settings
from searec.data.batch import Batch
from searec.data.dataset import FEED, Dataset, Sizes
from searec.data.feedback import relative_weights, train_weights
from searec.data.leakage.checks import bounds, clicks_of
from searec.data.leakage.findings import Finding, Leaks, row_at
from searec.data.ragged import Ints
from searec.data.sparse import SparseRows
from searec.data.split import Split
from searec.models.base import Preset, best_items, strongest_click
from searec.models.click_matrix import ClickMatrixModel
from searec.models.growth import Growth
from searec.models.search_space import Choice, Range

_CHECKED = 4
"""Similarities of each item that the leak check compares."""
_PAIRS_AT_ONCE = 20_000_000
_ROUNDING = 1e-6
_SHOWN = 3


class ItemKNN(ClickMatrixModel):
    """score(u, v) = sum over the clicks i of u's history of r(i) S(i, v), with cosines S of the training clicks.

    S(i, v) = sum over users of w(u, i) w(u, v) p(u, i, v) / (sqrt(sum of w(u, i)^2 * sum of w(u, v)^2) + shrink), where
    w is 1, or the largest weight of the user's events with the item; an item is no neighbour of its own.
    p = d^-proximity for items that are d apart in the order in which the user last clicked them, times `backward` if v
    came first; r = a^-recency for the a-th newest click. With both exponents 0 and `backward` 1,
    S is |users of both| / (sqrt(|users of i| |users of v|) + shrink): the preset "paper".
    """

    name = "itemknn"
    search_space: ClassVar = {
        "neighbours": Choice((0, 50, 200, 1000)),
        "shrink": Range(0.0, 200.0),
        "recency": Range(0.0, 2.0),
        "proximity": Range(0.0, 1.0),
        "backward": Range(0.0, 1.0),
        "weighted": Choice((False, True)),
    }
    presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        "default": {},
        "paper": {"shrink": 0.0, "recency": 0.0, "proximity": 0.0, "window": 0, "backward": 1.0, "repeats": True},
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
            recency: exponent by which older clicks of the history count less.
            proximity: exponent by which items that a user clicked far apart count less.
            window: items further apart are not counted; 0 for no limit.
            backward: weight of an item that the user clicked before the one of the history.
            weighted: events count by their weight.
            repeats: an item clicked twice counts twice.
            feed_only: leave clicks after searches out.
            history: newest clicks read.
        """

        neighbours: Natural = 0
        shrink: NonNegative = 30.0
        recency: NonNegative = 0.75
        proximity: NonNegative = 0.5
        window: Natural = 50
        backward: Share = 0.8
        weighted: bool = False
        repeats: bool = False
        feed_only: bool = False
        history: Natural = 512

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        user, item, source = split.train_clicks(("recommend",))
        weight = train_weights(split, ("recommend",)) if self.config.weighted else np.ones(len(user), np.float32)
        counted = source == FEED if self.config.feed_only else np.ones(len(user), dtype=bool)
        cosines = item_cosines(user[counted], item[counted], weight[counted], self.config, self.sizes)
        if self.config.neighbours:
            cosines = cosines.tocoo()
            row, column, value = _strongest(cosines.row, cosines.col, cosines.data, self.config.neighbours)
            cosines = scipy.sparse.csr_matrix((value, (row, column)), shape=cosines.shape)
        near = SparseRows.of(cosines)
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

    def mean_of_nearest(self) -> float:
        """Return the mean over items of the cosine of their nearest neighbour; 0 where no item has one."""
        largest = torch.zeros(self.sizes.items + 1, device=self.values.device)
        largest.scatter_reduce_(0, torch.repeat_interleave(self.offsets.diff()), self.values, "amax")
        return float(largest[largest > 0].mean()) if len(self.values) else 0.0

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
        weight = self.recency_weights(clicks[None], repeats=self.config.repeats)[0]
        return strongest_click((weight[:, None] * self.similarities.sum(clicks[:, None])[:, items.long()]).T, clicks)

    @override
    def leaks(self, split: Split) -> Leaks:
        return super().leaks(split) + similarity_leaks(self, split)

    @override
    def score(self, batch: Batch) -> Tensor:
        history = self.clicked(batch)
        scores = self.similarities.sum(history, self.recency_weights(history, repeats=self.config.repeats))
        return scores if batch.candidates is None else scores.gather(1, batch.candidates.long())


def item_cosines(
    user: Ints, item: Ints, weight: NDArray[np.float32], config: ItemKNN.Config, sizes: Sizes
) -> scipy.sparse.csr_matrix:
    """Return [I + 1, I + 1] S of `ItemKNN`, all neighbours.

    Args:
        user: [E] of each click, by user and time.
        item: [E] of each click.
        weight: [E] of each click, above 0.
        config: with the exponents.
        sizes: of the dataset.
    """
    user, item, weight = _last_of_each(user, item, weight, sizes.items + 1)
    shape = (sizes.items + 1, sizes.items + 1)
    length = np.sqrt(np.bincount(item, weight.astype(np.float64) ** 2, minlength=shape[0]))
    total = scipy.sparse.csr_matrix(shape)
    if not config.proximity and not config.window and config.backward == 1:
        clicks = scipy.sparse.csr_matrix((weight, (user, item)), shape=(sizes.users + 1, shape[0]))
        total = clicks.T @ clicks
        total.setdiag(0)
    else:
        longest = int(np.bincount(user).max(initial=0)) - 1
        parts: list[tuple[Ints, Ints, NDArray[np.float64]]] = []
        waiting = 0
        for apart in range(1, min(config.window or longest, longest) + 1):
            same = user[apart:] == user[:-apart]
            early, late = item[:-apart][same], item[apart:][same]
            value = weight[:-apart][same].astype(np.float64) * weight[apart:][same] * apart**-config.proximity
            parts += [(early, late, value), (late, early, config.backward * value)]
            waiting += 2 * len(value)
            if waiting > _PAIRS_AT_ONCE:
                total, parts, waiting = total + _summed(parts, shape), [], 0
        total = total + _summed(parts, shape)
    total.eliminate_zeros()
    cosines = total.tocoo()
    cosines.data = cosines.data / (length[cosines.row] * length[cosines.col] + config.shrink)
    return cosines.tocsr()


def _summed(parts: list[tuple[Ints, Ints, NDArray[np.float64]]], shape: tuple[int, int]) -> scipy.sparse.csr_matrix:
    """A matrix of rows, columns and values, those of one place added up."""
    if not parts:
        return scipy.sparse.csr_matrix(shape)
    row, column, value = (np.concatenate(side) for side in zip(*parts, strict=True))
    return scipy.sparse.csr_matrix((value, (row, column)), shape=shape)


def _last_of_each(
    user: Ints, item: Ints, weight: NDArray[np.float32], width: int
) -> tuple[Ints, Ints, NDArray[np.float32]]:
    """The last click of each user on each item, in the order given, with the largest weight of them."""
    if not len(user):
        return user, item, weight
    key = user.astype(np.int64) * width + item
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    last = order[np.append(first[1:], len(order)) - 1]
    largest = np.maximum.reduceat(weight[order], first)
    by_place = np.argsort(last)
    return user[last[by_place]], item[last[by_place]], largest[by_place]


def _strongest(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest entries of each row, ties by the smaller column."""
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    return row[place < k], column[place < k], value[place < k]


def similarity_leaks(model: ItemKNN, split: Split) -> Leaks:
    """Return similarities that differ from those of the clicks before the cut-off.

    One click more changes all similarities of its item, as the number of its clickers is a factor of each.

    Args:
        model: which has learned.
        split: that it has learned from.
    """
    data, config = split.data, model.config
    user, item, old = clicks_of(split, bounds(split, model.train_tasks)[1])
    counted = (np.asarray(data.click_history.source) == FEED) if config.feed_only else np.ones(len(user), dtype=bool)
    used = old & counted
    weight = np.ones(len(user), dtype=np.float32)
    if config.weighted:
        weight[old] = relative_weights(data.click_history.weight[old], data.click_history.source[old])
    cosines = item_cosines(user[used], item[used], weight[used], config, data.sizes)
    offsets, columns, values = (array.cpu().numpy() for array in (model.offsets, model.columns, model.values))
    lengths = np.diff(offsets)
    rows = np.repeat(np.flatnonzero(lengths), np.minimum(lengths[lengths > 0], _CHECKED))
    step = np.arange(len(rows)) - np.searchsorted(rows, rows)
    places = offsets[rows] + step * lengths[rows] // np.minimum(lengths[rows], _CHECKED)
    others = columns[places].astype(np.int64)
    expected = np.asarray(cosines[rows, others]).ravel() if len(rows) else np.zeros(0)
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
