"""Features of the candidates of a request, by which a learned fusion orders them; the same offline and in the service.

A value that does not apply is NaN: a run that has no score, an item without categories, a user without history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.dataset import SEARCH, Dataset
from searec.data.feedback import relative_weights
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.channels import Candidates, RequestBatch

Floats = NDArray[np.floating]
Matrix = NDArray[np.float32]
OF_SCORES = ("score", "z", "rank")
"""Features of a run: its score, that in standard deviations from the pool's mean, and the logarithm of 1 / rank."""
POPULARITY = ("clicks", "search clicks", "recent clicks", "age", "idle")
"""Logarithms: clicks by weight, after searches, in the newest tenth of the training time; days since first and last."""
HISTORY = ("touched", "affinity", "novel")
"""Share of the item's categories that the user has touched, share of the user's clicks with one, and none touched."""
REPEATS = ("clicked", "since click")
"""How often the user has clicked the item, and the number of the user's clicks since, as logarithms."""
PRICE = ("price to user", "price to pool")
"""Logarithm of the price over the median of what the user has clicked, or of the pool."""
WORDS = ("coverage", "title", "phrase")
"""Shares of the query's words that the item and its title have, and the rarities of pairs that stand together."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "popularity": POPULARITY,
    "categories": HISTORY,
    "price": PRICE,
    "repeats": REPEATS,
    "words": WORDS,
}
"""Features that do not come from runs, by part."""
_RECENT = 0.1
_DAY = 86_400_000_000


@dataclass(frozen=True)
class ItemStatistics:
    """What the training clicks and the catalogue say of each item [I + 1]; clicks that either task holds out are out.

    Attributes:
        clicks: weighted clicks.
        search_clicks: clicks after searches.
        times: [E] times of the clicks, by item and time.
        offsets: [I + 2] of each item's.
        end: time after the last click.
        span: microseconds of a tenth of the time of the clicks.
        price: logarithm; NaN where there is none.
    """

    clicks: Floats
    search_clicks: Floats
    times: Ints
    offsets: Ints
    end: int
    span: int
    price: Floats

    @classmethod
    def of(cls, split: Split) -> "ItemStatistics":
        """Return the statistics of a split's training clicks."""
        data = split.data
        history = data.click_history
        user = np.repeat(np.arange(len(history.offsets) - 1), np.diff(history.offsets))
        old = history.time < split.cutoff(TASKS)[user]
        item, time, source = (np.asarray(column)[old] for column in (history.item, history.time, history.source))
        weight = relative_weights(np.asarray(history.weight)[old], source)
        size = data.sizes.items + 1
        order = np.lexsort((time, item))
        ends = (int(time.min()), int(time.max()) + 1) if len(time) else (0, 1)
        return cls(
            np.bincount(item, weight, minlength=size).astype(np.float64),
            np.bincount(item[source == SEARCH], minlength=size).astype(np.float64),
            time[order],
            np.concatenate(([0], np.cumsum(np.bincount(item, minlength=size)))),
            ends[1],
            max(1, int(_RECENT * (ends[1] - ends[0]))),
            _prices(data),
        )

    def popularity(self, items: Ints, now: Ints) -> Matrix:
        """Return the features `POPULARITY` [n, 5].

        Args:
            items: [n] internal ids; 0 for an item without training clicks.
            now: [n] time of the request; after the training clicks their end counts.
        """
        now = np.minimum(now, self.end)
        first, last = self.offsets[items], self.offsets[items + 1]
        before, start = self._count(first, last, now), self._count(first, last, now - self.span)
        out = np.full((len(items), len(POPULARITY)), np.nan, dtype=np.float32)
        out[:, 0] = np.log1p(np.maximum(self.clicks[items], 0))
        out[:, 1] = np.log1p(self.search_clicks[items])
        out[:, 2] = np.log1p(before - start)
        has_click = before > first
        if len(self.times):
            oldest = self.times[np.minimum(first, len(self.times) - 1)]
            newest = self.times[np.maximum(before - 1, 0)]
            out[:, 3] = np.where(has_click, np.log1p(np.maximum(now - oldest, 0) / _DAY), np.nan)
            out[:, 4] = np.where(has_click, np.log1p(np.maximum(now - newest, 0) / _DAY), np.nan)
        return out

    def _count(self, first: Ints, last: Ints, limit: Ints) -> Ints:
        return first_not_before(self.times, first, last, limit)


def _prices(data: Dataset) -> Floats:
    prices = np.full(data.sizes.items + 1, np.nan)
    if "price" in data.item_table.columns:
        column = data.item_table["price"].cast(pl.Float64, strict=False)
        prices[1:] = column.fill_null(np.nan).to_numpy()
    return log_price(prices)


def log_price(prices: Floats) -> Floats:
    """Return the logarithm of prices, NaN where a price is missing or not above 0."""
    return np.log(np.where(prices > 0, prices, np.nan))


def groups_of(statistics: ItemStatistics, data: Dataset, task: Task) -> list[str]:
    """Return the parts of `GROUPS` that a task has on a dataset.

    Args:
        statistics: of its items.
        data: the dataset.
        task: of the requests.
    """
    is_there = {
        "popularity": len(statistics.times) > 0,
        "categories": data.sizes.categories > 0,
        "price": not np.isnan(statistics.price).all(),
        "repeats": task == "search",
        "words": task == "search",
    }
    return [name for name in GROUPS if is_there[name]]


class Features:
    """Makes the feature matrix of the pools of a task.

    Args:
        statistics: of the items.
        runs: names of the runs that score.
        lists: names of channels that retrieve without scoring the items of others.
        groups: parts of `GROUPS`.
    """

    def __init__(
        self, statistics: ItemStatistics, runs: Sequence[str], lists: Sequence[str], groups: Sequence[str]
    ) -> None:
        self._statistics = statistics
        self.runs, self.lists, self.groups = tuple(runs), tuple(lists), tuple(groups)
        self.by_part = {name: tuple(f"{name} {one}" for one in OF_SCORES) for name in self.runs}
        self.by_part |= {name: (f"{name} rank",) for name in self.lists}
        self.by_part |= {name: GROUPS[name] for name in self.groups}
        self.names = tuple(name for names in self.by_part.values() for name in names)

    def matrix(
        self,
        batch: RequestBatch,
        pools: Sequence[Ints],
        scores: Mapping[str, Sequence[Floats | None]],
        lists: Mapping[str, Sequence[Candidates]],
    ) -> Matrix:
        """Return the features [E, F] of all items of all pools, end to end.

        Args:
            batch: B requests.
            pools: [B] of item indexes.
            scores: run -> [B] of a score for each item of the pool, NaN or None where there is none.
            lists: channel -> [B] of its candidates, of those in `lists`.
        """
        owner = np.repeat(np.arange(len(pools)), [len(pool) for pool in pools])
        columns: list[Floats] = []
        for name in self.runs:
            none = [None] * len(pools)
            rows = [
                np.full(len(pool), np.nan) if score is None else score
                for pool, score in zip(pools, scores.get(name, none), strict=True)
            ]
            columns += of_scores(np.concatenate(rows).astype(np.float64), owner, len(pools))
        for name in self.lists:
            columns.append(_list_ranks(pools, lists.get(name)))
        items = np.concatenate(pools).astype(np.int64) if len(pools) else np.zeros(0, dtype=np.int64)
        makers: Mapping[str, Any] = {
            "popularity": self._popularity,
            "categories": self._categories,
            "price": self._price,
            "repeats": self._repeats,
            "words": self._words,
        }
        for name in self.groups:
            columns += makers[name](batch, items, owner)
        if not columns:
            return np.zeros((len(items), 0), dtype=np.float32)
        return np.stack(columns, axis=1).astype(np.float32)

    def _popularity(self, batch: RequestBatch, items: Ints, owner: Ints) -> list[Floats]:
        known = batch.catalog.base.data.sizes.items
        now = np.array([history.time for history in batch.histories], dtype=np.int64)
        values = self._statistics.popularity(np.where(items <= known, items, 0), now[owner])
        values[items > known, POPULARITY.index("age")] = (
            0  # it has just come, as an item just clicked for the first time
        )
        return list(values.T)

    def _categories(self, batch: RequestBatch, items: Ints, owner: Ints) -> list[Floats]:
        touched, affinity = np.full(len(items), np.nan), np.full(len(items), np.nan)
        for row, user in enumerate(batch.users):
            place = np.flatnonzero(owner == row)
            if not len(user.recent) or not len(place):
                continue
            clicked, _ = _narrow(batch.catalog, user.recent)
            width = batch.catalog.base.data.sizes.categories + 1
            share = np.bincount(clicked, minlength=width)[:width] / len(user.recent)
            category, at = _narrow(batch.catalog, items[place])
            count = np.bincount(at, minlength=len(place))
            has_any = count > 0
            hits = np.bincount(at, share[category] > 0, minlength=len(place))
            touched[place[has_any]] = hits[has_any] / count[has_any]
            best = np.zeros(len(place))
            np.maximum.at(best, at, share[category])
            affinity[place[has_any]] = best[has_any]
        return [touched, affinity, np.where(np.isnan(touched), np.nan, touched == 0)]

    def _price(self, batch: RequestBatch, items: Ints, owner: Ints) -> list[Floats]:
        price = self._prices(batch.catalog, items)
        to_user, to_pool = np.full(len(items), np.nan), np.full(len(items), np.nan)
        for row, user in enumerate(batch.users):
            place = owner == row
            to_user[place] = price[place] - _median(self._prices(batch.catalog, user.recent))
            to_pool[place] = price[place] - _median(price[place])
        return [to_user, to_pool]

    def _prices(self, catalog: CatalogSnapshot, items: Ints) -> Floats:
        known = catalog.base.data.sizes.items
        prices = self._statistics.price[np.where(items <= known, items, 0)]
        for at in np.flatnonzero(_is_changed(catalog, items)).tolist():
            given = pl.Series([str(catalog.attributes(int(items[at])).get("price", ""))])
            value = given.cast(pl.Float64, strict=False)[0]
            prices[at] = log_price(np.array([np.nan if value is None else value]))[0]
        return prices

    def _repeats(self, batch: RequestBatch, items: Ints, owner: Ints) -> list[Floats]:
        clicked, since = np.full(len(items), np.nan), np.full(len(items), np.nan)
        for row, user in enumerate(batch.users):
            if not len(user.consumed):
                continue
            place = np.flatnonzero(owner == row)
            item, count = np.unique(user.consumed, return_counts=True)
            at = np.minimum(np.searchsorted(item, items[place]), len(item) - 1)
            clicked[place] = np.log1p(np.where(item[at] == items[place], count[at], 0))
            newest = np.full(len(item), np.nan)
            recent_at = np.searchsorted(item, user.recent)
            newest[recent_at] = np.log1p(np.arange(len(user.recent)))
            since[place] = np.where(item[at] == items[place], newest[at], np.nan)
        return [clicked, since]

    def _words(self, batch: RequestBatch, items: Ints, owner: Ints) -> list[Floats]:
        values = np.full((len(items), len(WORDS)), np.nan)
        for row, query in enumerate(batch.parsed):
            place = np.flatnonzero(owner == row)
            if len(place) and query.words:
                evidence = batch.catalog.lexical.evidence(query, items[place])
                values[place] = np.stack((evidence.coverage, evidence.title, evidence.phrase), axis=1)
        return list(values.T)


def of_scores(scores: Floats, owner: Ints, count: int) -> list[Floats]:
    """Return the features `OF_SCORES` of a run; each [E].

    Args:
        scores: [E] of the items of all pools, NaN or infinite where there is none.
        owner: [E] request of each, from 0.
        count: of requests.
    """
    has = np.isfinite(scores)
    value, row = scores[has], owner[has]
    number = np.maximum(np.bincount(row, minlength=count), 1)
    mean = np.bincount(row, value, minlength=count) / number
    off = value - mean[row]
    deviation = np.sqrt(np.bincount(row, off * off, minlength=count) / number)[row]
    order = np.lexsort((-value, row))
    ranks = np.empty(len(value))
    first = np.searchsorted(row, row)  # owners ascend
    ranks[order] = np.arange(len(value)) - first + 1
    columns = []
    for part in (value, off / np.where(deviation > 0, deviation, 1), -np.log(ranks)):
        column = np.full(len(scores), np.nan)
        column[has] = part
        columns.append(column)
    return columns


def _list_ranks(pools: Sequence[Ints], lists: Sequence[Candidates] | None) -> Floats:
    """The logarithm of 1 / rank [E] of each item in a channel's list, one rank after the last where it is not in it."""
    rows = []
    for row, pool in enumerate(pools):
        items = lists[row].items if lists is not None else np.zeros(0, dtype=np.int64)
        ranks = np.full(len(pool), len(items) + 1 if len(items) else np.nan)
        if len(items):
            order = np.argsort(items, kind="stable")
            at = np.minimum(np.searchsorted(items[order], pool), len(items) - 1)
            ranks = np.where(items[order][at] == pool, order[at] + 1, ranks)
        rows.append(-np.log(ranks))
    return np.concatenate(rows) if rows else np.zeros(0)


def _is_changed(catalog: CatalogSnapshot, items: Ints) -> NDArray[np.bool_]:
    changed: NDArray[np.bool_] = items > catalog.base.data.sizes.items
    return changed | np.isin(items, list(catalog.changed)) if catalog.changed else changed


def _narrow(catalog: CatalogSnapshot, items: Ints) -> tuple[Ints, Ints]:
    """Narrow categories of items, and the position of the item that each is of."""
    known = catalog.base.data.sizes.items
    changed = _is_changed(catalog, items)
    category, at = catalog.base.taxonomy.narrow.take(np.where(changed | (items > known), 0, items))
    for position in np.flatnonzero(changed).tolist():
        (group,) = catalog.groups(items[position : position + 1])
        category = np.concatenate((category, np.array(sorted(group), dtype=category.dtype)))
        at = np.concatenate((at, np.full(len(group), position)))
    return category, at


def novel_items(catalog: CatalogSnapshot, recent: Ints, items: Ints) -> NDArray[np.bool_]:
    """Return which items [n] have categories of which the user has touched none.

    Args:
        catalog: of the items.
        recent: item indexes that the user has clicked.
        items: [n] item indexes.
    """
    category, at = _narrow(catalog, items)
    is_known = np.isin(category, _narrow(catalog, recent)[0])
    touched = np.bincount(at, is_known, minlength=len(items)) > 0
    return ~touched & (np.bincount(at, minlength=len(items)) > 0)


def _median(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else float("nan")
