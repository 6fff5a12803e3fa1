"""Catalog snapshots: the dataset's items, those added since, and what is hidden or removed.

A model knows the items it was trained on. A new item goes by its proxy, the known item nearest to it in words: it
follows its proxy wherever a model retrieves that one, and rankers give it the score of its proxy.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.ragged import Ints
from searec.data.taxonomy import Taxonomy
from searec.errors import UnknownIdError
from searec.search.changed_items import field_text
from searec.search.facets import useful_values
from searec.search.filters import Filter
from searec.search.item_columns import CATEGORIES, ItemColumns
from searec.search.lexical_index import LexicalIndex
from searec.search.nearest_items import NearestItems
from searec.search.postings import FieldWeights
from searec.store.event_store import EventStore
from searec.store.events import ItemChange
from searec.text.analysis import FIELDS

_MASKS = 64


@dataclass(frozen=True)
class NewItem:
    """An item added after training.

    Attributes:
        item: external id.
        about: its columns.
        proxy: internal id of the known item nearest to it, 0 where none shares a word.
    """

    item: str
    about: Mapping[str, Any]
    proxy: int

    @property
    def title(self) -> str:
        """Its title, or its id."""
        return str(self.about.get("title") or self.item)


class CatalogSnapshot:
    """One state of the catalog; a change makes another one, and requests under way keep theirs.

    Item indexes are the internal ids 1..I of the dataset, then I + 1.. for new items in the order of their arrival.

    Attributes:
        unavailable: [N + 1] bool, hidden or removed.
        proxy: [N + 1] the internal id by which models know an item; itself for known ones.
        without_proxy: new items that share no word with a known one.
    """

    def __init__(
        self,
        base: "CatalogBase",
        new: Sequence[NewItem] = (),
        changed: Mapping[int, Mapping[str, Any]] | None = None,
        unavailable: Iterable[int] = (),
        lexical: LexicalIndex | None = None,
        columns: ItemColumns | None = None,
    ) -> None:
        self.base = base
        self.new = list(new)
        self.changed = dict(changed or {})
        count = base.data.sizes.items
        self.size = count + len(self.new)
        self.unavailable = np.zeros(self.size + 1, dtype=bool)
        self.unavailable[list(unavailable)] = True
        self.proxy = np.arange(self.size + 1)
        self.proxy[count + 1 :] = [one.proxy for one in self.new]
        self.without_proxy = np.flatnonzero(self.proxy[1:] == 0) + 1
        self._index = {one.item: index for index, one in enumerate(self.new, start=count + 1)}
        self._masks: OrderedDict[tuple[Filter, ...], NDArray[np.bool_]] = OrderedDict()
        self._lock = threading.Lock()
        self._lexical, self._columns = lexical, columns

    # --- changes ---

    def with_changes(self, changes: Sequence[ItemChange]) -> "CatalogSnapshot":
        """Return the snapshot after changes; hidden and removed items keep their indexes."""
        if not changes:
            return self
        new, changed = list(self.new), dict(self.changed)
        unavailable = set(np.flatnonzero(self.unavailable).tolist())
        known = self.base.data.items
        index = dict(self._index)
        described: dict[int, Mapping[str, Any]] = {}
        for change in changes:
            item = index.get(change.item) or known.find(change.item)
            if not item:
                if not change.about:  # hidden before it was added
                    continue
                item = self.base.data.sizes.items + len(new) + 1
                index[change.item] = item
                new.append(NewItem(change.item, change.about, self.base.proxy(change.about)))
            elif change.about and item > self.base.data.sizes.items:
                new[item - self.base.data.sizes.items - 1] = NewItem(
                    change.item, change.about, self.base.proxy(change.about)
                )
            elif change.about:
                changed[item] = change.about
            if change.about:
                described[item] = change.about
            (unavailable.add if change.hidden or change.removed else unavailable.discard)(item)
        reworded = {item: about for item, about in described.items() if not self._has_words(item, about)}
        lexical, columns = self.lexical.with_items(reworded), self.columns.with_items(described)
        return CatalogSnapshot(self.base, new, changed, unavailable, lexical, columns)

    def _has_words(self, item: int, about: Mapping[str, Any]) -> bool:
        """Whether an item is there with the same words, so that a new price alone leaves the index as it is."""
        if item > self.size:
            return False
        before = self.attributes(item)
        return all(field_text(before.get(name)) == field_text(about.get(name)) for name in FIELDS)

    # --- looking up ---

    def index_of(self, item: str) -> int:
        """Return the index of an external id, 0 if it has none."""
        return self._index.get(item) or self.base.data.items.find(item)

    def indexes_of(self, items: Iterable[str]) -> Ints:
        """Return the indexes of the external ids that have one."""
        values = [self.index_of(item) for item in items]
        return np.array([index for index in values if index], dtype=np.int64)

    def refuse_unknown(self, item: str) -> int:
        """Return the index of an item.

        Raises:
            UnknownIdError: there is none.
        """
        index = self.index_of(item)
        if not index:
            raise UnknownIdError(f"unknown item id {item!r}", expected=f"one of the catalog's {self.size} items")
        return index

    def items(self, indexes: Ints) -> list[str]:
        """Return the external ids [n] of item indexes."""
        count = self.base.data.sizes.items
        if not len(indexes) or int(indexes.max()) <= count:
            return self.base.data.items.to_external(indexes)
        known = iter(self.base.data.items.to_external(indexes[indexes <= count]))
        return [self.new[index - count - 1].item if index > count else next(known) for index in indexes.tolist()]

    def item(self, index: int) -> str:
        """Return the external id of an item index."""
        return self.items(np.array([index]))[0]

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return the columns of an item, empty ones left out."""
        count = self.base.data.sizes.items
        if index > count:
            value: Mapping[str, Any] = self.new[index - count - 1].about
        else:
            value = self.changed.get(index) or self.base.data.item_table.row(index - 1, named=True)
        return {name: value for name, value in value.items() if name != "item_id" and value not in (None, "", [])}

    def titles(self, indexes: Ints) -> list[str]:
        """Return the titles [n] of items."""
        count = self.base.data.sizes.items
        value = self.base.titles.gather(np.minimum(indexes, count).astype(np.int64) - 1).to_list()
        for row, index in enumerate(indexes.tolist()):
            if index > count or index in self.changed:
                value[row] = str(self.attributes(index).get("title") or self.item(index))
        return value

    def title(self, index: int) -> str:
        """Return the title of an item."""
        return self.titles(np.array([index]))[0]

    def categories(self, index: int) -> Sequence[str]:
        """Return the categories of an item, as given."""
        data = self.base.data
        if index > data.sizes.items or index in self.changed:
            return tuple(self.attributes(index).get(CATEGORIES) or ())
        return tuple(self.base.taxonomy.name(category) for category in data.item_categories.row(index).tolist())

    def groups(self, indexes: Ints) -> list[frozenset[int]]:
        """Return the narrow categories of each item, as numbers; of a new one those it names, less their ancestors."""
        count = self.base.data.sizes.items
        narrow = self.base.taxonomy.narrow
        return [
            frozenset(narrow.row(index).tolist())
            if index <= count and index not in self.changed
            else self.base.narrow_of(self.attributes(index))
            for index in indexes.tolist()
        ]

    def touched(self, indexes: Ints) -> frozenset[int]:
        """Return all narrow categories of the items."""
        count = self.base.data.sizes.items
        is_base = (indexes <= count) & ~np.isin(indexes, list(self.changed))
        known = self.base.taxonomy.narrow.take(indexes[is_base])[0]
        return frozenset(np.unique(known).tolist()).union(*self.groups(indexes[~is_base]))

    # --- for search ---

    @cached_property
    def lexical(self) -> LexicalIndex:
        """The words of the items as they are now."""
        if self._lexical is not None:
            return self._lexical
        return self.base.lexical.with_items(self.since_dataset)

    @cached_property
    def columns(self) -> ItemColumns:
        """The columns of the items as they are now."""
        return self._columns if self._columns is not None else self.base.columns.with_items(self.since_dataset)

    @cached_property
    def since_dataset(self) -> dict[int, Mapping[str, Any]]:
        """Columns of the items that were edited or added."""
        return {
            **self.changed,
            **dict(enumerate((one.about for one in self.new), start=self.base.data.sizes.items + 1)),
        }

    @cached_property
    def available(self) -> NDArray[np.bool_] | None:
        """[N + 1] which items can be returned; None for all."""
        return ~self.unavailable if self.unavailable.any() else None

    @cached_property
    def reworded(self) -> Ints:
        """Indexes of the dataset's items that have been put again with other words."""
        before = self.base.data.item_table[[index - 1 for index in self.changed]].iter_rows(named=True)
        pairs = zip(self.changed.items(), before, strict=True)
        indexes = [index for (index, about), row in pairs if item_words(about) != item_words(row)]
        return np.array(sorted(indexes), dtype=np.int64)

    @cached_property
    def unindexed(self) -> Ints:
        """Indexes of the items whose words no index of the dataset has: reworded ones, then new ones."""
        new = np.arange(self.base.data.sizes.items + 1, self.size + 1)
        return np.concatenate((self.reworded, new))

    # --- for models ---

    @cached_property
    def followers(self) -> dict[int, list[int]]:
        """Indexes of the new items that follow each proxy."""
        values: dict[int, list[int]] = {}
        for index, one in enumerate(self.new, start=self.base.data.sizes.items + 1):
            if one.proxy:
                values.setdefault(one.proxy, []).append(index)
        return values

    def expand(self, items: Ints) -> Ints:
        """Return the items of a list with new ones right behind their proxies."""
        if not self.followers:
            return items
        at = np.flatnonzero(np.isin(items, self._followed))
        behind = [self.followers[item] for item in items[at].tolist()]
        after = np.repeat(at + 1, [len(indexes) for indexes in behind])
        return np.insert(
            items.astype(np.int64), after, np.array([index for indexes in behind for index in indexes], dtype=np.int64)
        )

    @cached_property
    def _followed(self) -> Ints:
        return np.array(list(self.followers))

    # --- filters ---

    def allowed(self, filters: Sequence[Filter]) -> NDArray[np.bool_] | None:
        """Return which available items pass the filters, [N + 1]; None if there are no filters.

        Raises:
            SettingsError: a column that items do not have, or a value that its column cannot have.
        """
        if not filters:
            return None
        key = tuple(sorted(set(filters)))
        with self._lock:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        mask = ~self.unavailable
        mask[0] = False
        for column in dict.fromkeys(one.column for one in key):
            mask &= self.columns.passing([one for one in key if one.column == column])
        with self._lock:
            self._masks[key] = mask
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return mask


class CatalogBase:
    """What all snapshots of one dataset's catalog share: its words, its taxonomy, and the proxies of new items."""

    def __init__(self, data: Dataset, weights: FieldWeights | None = None) -> None:
        self.data = data
        self._weights = weights
        self.columns = ItemColumns.of(data)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The tree of categories."""
        return Taxonomy.of(self.data)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """The words of the dataset's items."""
        return LexicalIndex.of(self.data, self._weights)

    @cached_property
    def titles(self) -> pl.Series:
        """[I] titles of the items."""
        return self.data.item_table["title"].fill_null("")

    @cached_property
    def _nearest(self) -> NearestItems:
        return NearestItems(self.lexical, self.taxonomy)

    def narrow_of(self, about: Mapping[str, Any]) -> frozenset[int]:
        """Return the numbers of the known categories that an item names, less their ancestors."""
        return self._nearest.narrow_of(about.get(CATEGORIES) or ())

    def proxy(self, about: Mapping[str, Any]) -> int:
        """Return the known item nearest in words, of a shared narrow category if possible; 0 if none shares a word."""
        return self._nearest.find(item_words(about), about.get(CATEGORIES) or ())

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Columns to filter by, each with its most frequent values or with ranges, of numbers and dates."""
        columns, every = self.columns, np.arange(self.columns.size + 1) > 0
        names = dict.fromkeys((CATEGORIES, *columns.names))
        return {name: values for name in names if (values := useful_values(columns, name, every))}


class LiveCatalog:
    """Follows the items of an event store.

    Args:
        base: the dataset's items.
        events: the store; None for the dataset's items alone.
    """

    def __init__(self, base: CatalogBase, events: EventStore | None = None) -> None:
        self.last = CatalogSnapshot(base)
        self._events = events
        self._number = 0
        self._lock = threading.Lock()

    def snapshot(self) -> CatalogSnapshot:
        """Return the catalog as the store has it now; `last` is the one before.

        Raises:
            StorageError: the store fails.
        """
        if self._events is None:
            return self.last
        with self._lock:
            changes = self._events.items_since(self._number)
            if changes:
                self.last = self.last.with_changes(changes)
                self._number = changes[-1].number
            return self.last


def item_words(about: Mapping[str, Any]) -> str:
    """Return title, brand, categories and description as one text, as `Dataset.item_texts`."""
    parts = (about.get("title"), about.get("brand"), " ".join(about.get(CATEGORIES) or ()), about.get("description"))
    return " ".join(str(part) for part in parts if part)
