"""Titles of items as completions: those of the dataset in one index, new and edited ones in small ones beside it."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import Dataset
from searec.data.ragged import Ints
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.search.completions import BEST, CompletionIndex, Match, Typed

_MANY = 10_000
_MERGED = 2
"""A small index joins the one before it, if that is at most this many times as large."""


@dataclass(frozen=True)
class _Part:
    """Titles of changed items, and the columns that each is of."""

    index: CompletionIndex
    items: Ints
    columns: Sequence[Mapping[str, Any]]


class TitleCompletions:
    """Items by the words of their titles, the most clicked ones first.

    Args:
        data: the dataset.
    """

    def __init__(self, data: Dataset) -> None:
        clicks = np.bincount(data.click_history.item, minlength=data.sizes.items + 1)[1:]
        self._known = CompletionIndex(data.item_table["title"].fill_null(""), clicks)
        self._clicks = clicks
        self._parts: list[_Part] = []
        self._indexed: dict[int, Mapping[str, Any]] = {}
        self._last: CatalogSnapshot | None = None
        self._lock = threading.Lock()

    def complete(self, catalog: CatalogSnapshot, typed: Typed, match: Match, k: int) -> list[int]:
        """Return items whose titles have what was typed; of equal titles one, and none that is unavailable.

        Args:
            catalog: of the items.
            typed: what was typed.
            match: as `CompletionIndex.complete`.
            k: items at most.
        """
        items: list[int] = []
        for count in (BEST, _MANY):  # many, where most of the best are hidden
            entries = self._known.complete(typed, match, count).tolist()
            items = list(itertools.islice(self._available(catalog, entries), k))
            if len(items) == k or len(entries) < count:
                break
        scored = [(-self._clicked(item), place, item) for place, item in enumerate(items)]
        for part in self._updated(catalog):
            for entry in part.index.complete(typed, match, k).tolist():
                rows = part.index.rows.row(entry).tolist()
                current = [int(part.items[row]) for row in rows if self._is_current(catalog, part, row)][:1]
                scored += [(-self._clicked(item), len(scored), item) for item in current]
        return [item for _, _, item in (sorted(scored) if len(scored) > len(items) else scored)][:k]

    def _available(self, catalog: CatalogSnapshot, entries: Sequence[int]) -> Iterator[int]:
        """The most clicked available item of each entry that has one."""
        for entry in entries:
            for item in (self._known.rows.row(entry) + 1).tolist():
                if item not in catalog.changed and not catalog.unavailable[item]:
                    yield item
                    break

    def _clicked(self, item: int) -> int:
        return int(self._clicks[item - 1]) if item <= len(self._clicks) else 0

    @staticmethod
    def _is_current(catalog: CatalogSnapshot, part: _Part, row: int) -> bool:
        item = int(part.items[row])
        return item <= catalog.size and not catalog.unavailable[item] and _columns(catalog, item) is part.columns[row]

    def _updated(self, catalog: CatalogSnapshot) -> list[_Part]:
        """The small indexes, with all changes of a snapshot."""
        with self._lock:
            if catalog is not self._last and (catalog.new or catalog.changed):
                first = catalog.base.data.sizes.items + 1
                changes = [*catalog.changed.items(), *((first + row, one.about) for row, one in enumerate(catalog.new))]
                fresh = [(item, about) for item, about in changes if self._indexed.get(item) is not about]
                self._indexed.update(fresh)
                while fresh and self._parts and len(self._parts[-1].items) <= _MERGED * len(fresh):
                    part = self._parts.pop()
                    before = zip(part.items.tolist(), part.columns, strict=True)
                    fresh = [(item, about) for item, about in before if self._indexed[item] is about] + fresh
                if fresh:
                    self._parts.append(self._part(fresh))
                self._last = catalog
            return list(self._parts) if catalog.new or catalog.changed else []

    def _part(self, changes: Sequence[tuple[int, Mapping[str, Any]]]) -> _Part:
        titles = pl.Series([str(about.get("title") or "") for _, about in changes], dtype=pl.String)
        items = np.array([item for item, _ in changes], dtype=np.int64)
        clicks = np.array([self._clicked(item) for item in items.tolist()])
        return _Part(CompletionIndex(titles, clicks), items, [about for _, about in changes])


def _columns(catalog: CatalogSnapshot, item: int) -> Mapping[str, Any] | None:
    known = catalog.base.data.sizes.items
    return catalog.new[item - known - 1].about if item > known else catalog.changed.get(item)
