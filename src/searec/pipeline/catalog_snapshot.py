"""Shelf: the catalogue as it stands now: the dataset's items, those that came since, and what is hidden or removed.

A model knows the items it was trained on. An item that came since goes by its stand-in, the known item nearest to it in words: wherever a
model would bring the stand-in, the new item comes right behind it, and rankers score it as they score the stand-in.
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

from searec.config import nearest
from searec.data.dataset import Dataset
from searec.data.lexical import Lexicon
from searec.data.ragged import Ints
from searec.data.taxonomy import Taxonomy
from searec.errors import SettingsError, UnknownIdError
from searec.pipeline.types import Filter
from searec.store.events import ItemChange

CATEGORIES = "categories"
_MASKS = 64
_NOT_FILTERS = ("item_id", "title", "description")


@dataclass(frozen=True)
class NewItem:
    """An item that the training did not know. stand_in: internal id of the known item nearest to it, 0 where none shares a word."""

    item: str
    about: Mapping[str, Any]
    proxy: int

    @property
    def title(self) -> str:
        return str(self.about.get("title") or self.item)


class CatalogSnapshot:
    """One state of the catalogue; a change makes another one, and requests under way keep theirs.

    Places are the internal ids 1..I of the dataset, then I + 1.. for new items in the order in which they came.

    Attributes:
        gone: [N + 1] bool, hidden or removed.
        stand_in: [N + 1] the internal id by which models know an item; itself for known ones.
        unlike: new items that no known one stands in for.
    """

    def __init__(
        self,
        base: "CatalogBase",
        new: Sequence[NewItem] = (),
        changed: Mapping[int, Mapping[str, Any]] | None = None,
        gone: Iterable[int] = (),
    ) -> None:
        self.base = base
        self.new = list(new)
        self.changed = dict(changed or {})
        count = base.data.sizes.items
        self.size = count + len(self.new)
        self.gone = np.zeros(self.size + 1, dtype=bool)
        self.gone[list(gone)] = True
        self.proxy = np.arange(self.size + 1)
        self.proxy[count + 1 :] = [one.proxy for one in self.new]
        self.unlike = np.flatnonzero(self.proxy[1:] == 0) + 1
        self._place = {one.item: place for place, one in enumerate(self.new, start=count + 1)}
        self._masks: OrderedDict[tuple[Filter, ...], NDArray[np.bool_]] = OrderedDict()
        self._lock = threading.Lock()

    # --- changes ---

    def with_changes(self, changes: Sequence[ItemChange]) -> "CatalogSnapshot":
        """The shelf after changes; hidden and removed items keep their places."""
        if not changes:
            return self
        new, changed = list(self.new), dict(self.changed)
        gone = set(np.flatnonzero(self.gone).tolist())
        known = self.base.data.items
        place = dict(self._place)
        for change in changes:
            own = place.get(change.item) or (int(known.to_internal([change.item])[0]) if change.item in known else 0)
            if not own:
                if not change.about:  # hidden before anybody told what it is
                    continue
                own = self.base.data.sizes.items + len(new) + 1
                place[change.item] = own
                new.append(NewItem(change.item, change.about, self.base.proxy(change.about)))
            elif change.about and own > self.base.data.sizes.items:
                new[own - self.base.data.sizes.items - 1] = NewItem(
                    change.item, change.about, self.base.proxy(change.about)
                )
            elif change.about:
                changed[own] = change.about
            (gone.add if change.hidden or change.removed else gone.discard)(own)
        return CatalogSnapshot(self.base, new, changed, gone)

    # --- looking up ---

    def place(self, item: str) -> int:
        """The place of an external id, 0 if it has none."""
        return self._place.get(item) or (
            int(self.base.data.items.to_internal([item])[0]) if item in self.base.data.items else 0
        )

    def places(self, items: Iterable[str]) -> Ints:
        """[n] places of the external ids that have one."""
        found = [self.place(item) for item in items]
        return np.array([place for place in found if place], dtype=np.int64)

    def refuse_unknown(self, item: str) -> int:
        """The place of an item.

        Raises:
            UnknownIdError: there is none.
        """
        place = self.place(item)
        if not place:
            raise UnknownIdError(f"unknown item id {item!r}", expected=f"one of the catalogue's {self.size} items")
        return place

    def items(self, places: Ints) -> list[str]:
        """[n] the external ids at places."""
        count = self.base.data.sizes.items
        if not len(places) or int(places.max()) <= count:
            return self.base.data.items.to_external(places)
        known = iter(self.base.data.items.to_external(places[places <= count]))
        return [self.new[place - count - 1].item if place > count else next(known) for place in places.tolist()]

    def item(self, place: int) -> str:
        """The external id at a place."""
        return self.items(np.array([place]))[0]

    def about(self, place: int) -> Mapping[str, Any]:
        """The columns of an item, empty ones left out."""
        count = self.base.data.sizes.items
        if place > count:
            told: Mapping[str, Any] = self.new[place - count - 1].about
        else:
            told = self.changed.get(place) or self.base.data.item_table.row(place - 1, named=True)
        return {name: value for name, value in told.items() if name != "item_id" and value not in (None, "", [])}

    def titles(self, places: Ints) -> list[str]:
        """[n] titles of items."""
        count = self.base.data.sizes.items
        told = self.base.titles.gather(np.minimum(places, count).astype(np.int64) - 1).to_list()
        for row, place in enumerate(places.tolist()):
            if place > count or place in self.changed:
                told[row] = str(self.about(place).get("title") or self.item(place))
        return told

    def title(self, place: int) -> str:
        """Of an item."""
        return self.titles(np.array([place]))[0]

    def categories(self, place: int) -> Sequence[str]:
        """Of an item, as given."""
        data = self.base.data
        if place > data.sizes.items or place in self.changed:
            return tuple(self.about(place).get(CATEGORIES) or ())
        return tuple(self.base.taxonomy.name(category) for category in data.item_categories.row(place).tolist())

    def groups(self, places: Ints) -> list[frozenset[int]]:
        """The narrow categories of each item, as numbers; of a new one those it names, less what stands above another of them."""
        count = self.base.data.sizes.items
        narrow = self.base.taxonomy.narrow
        return [
            frozenset(narrow.row(place).tolist())
            if place <= count
            else self.base.narrow_of(self.new[place - count - 1].about)
            for place in places.tolist()
        ]

    def touched(self, places: Ints) -> frozenset[int]:
        """All narrow categories of some items."""
        count = self.base.data.sizes.items
        known = self.base.taxonomy.narrow.take(places[places <= count])[0]
        return frozenset(np.unique(known).tolist()).union(*self.groups(places[places > count]))

    # --- for models ---

    @cached_property
    def followers(self) -> dict[int, list[int]]:
        """Places of new items behind each stand-in."""
        found: dict[int, list[int]] = {}
        for place, one in enumerate(self.new, start=self.base.data.sizes.items + 1):
            if one.proxy:
                found.setdefault(one.proxy, []).append(place)
        return found

    def expand(self, items: Ints) -> Ints:
        """[n'] the items of a list with new ones right behind their stand-ins."""
        if not self.followers:
            return items
        at = np.flatnonzero(np.isin(items, self._followed))
        behind = [self.followers[item] for item in items[at].tolist()]
        after = np.repeat(at + 1, [len(places) for places in behind])
        return np.insert(
            items.astype(np.int64), after, np.array([place for places in behind for place in places], dtype=np.int64)
        )

    @cached_property
    def _followed(self) -> Ints:
        return np.array(list(self.followers))

    # --- filters ---

    def allowed(self, filters: Sequence[Filter]) -> NDArray[np.bool_] | None:
        """[N + 1] items that pass the filters and are not gone; None where that is every item but the gone ones.

        Raises:
            SettingsError: a column that items do not have.
        """
        if not filters:
            return None
        key = tuple(sorted(set(filters)))
        with self._lock:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        mask = ~self.gone
        mask[0] = False
        for column in {one.column for one in key}:
            mask &= self._having(column, {one.value for one in key if one.column == column})
        with self._lock:
            self._masks[key] = mask
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return mask

    def _having(self, column: str, values: set[str]) -> NDArray[np.bool_]:
        base = self.base
        mask = np.zeros(self.size + 1, dtype=bool)
        if column == CATEGORIES:
            numbers = [
                int(base.data.category_names.to_internal([value])[0])
                for value in values
                if value in base.data.category_names
            ]
            rows = base.data.item_categories
            mask[rows.owners[np.isin(rows.values, numbers)]] = True
        elif column in base.columns:
            own = base.data.item_table[column].cast(pl.String, strict=False)
            mask[1 : base.data.sizes.items + 1] = own.is_in(list(values)).fill_null(False).to_numpy()
        elif not any(column in one.about for one in self.new):
            raise SettingsError(
                f"items cannot be filtered by {column!r}", remedy=nearest(column, [CATEGORIES, *base.columns])
            )
        for place in (*self.changed, *range(base.data.sizes.items + 1, self.size + 1)):
            told = self.about(place).get(column)
            own_values = (
                {str(one) for one in told}
                if isinstance(told, (list, tuple))
                else {str(told)}
                if told is not None
                else set()
            )
            mask[place] = bool(own_values & values)
        return mask


class CatalogBase:
    """What all shelves over one dataset share: its words, its taxonomy, and who stands in for a new item."""

    def __init__(self, data: Dataset, lexicon: Lexicon | None = None) -> None:
        self.data = data
        self.taxonomy = Taxonomy.of(data)
        self.lexicon = lexicon or Lexicon.of(data)
        table = data.item_table
        self.columns = [name for name in table.columns if name not in (*_NOT_FILTERS, CATEGORIES)]

    @cached_property
    def titles(self) -> pl.Series:
        """[I] titles of the items."""
        return self.data.item_table["title"].fill_null("")

    @cached_property
    def _categories(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.taxonomy.names, start=1)}

    def narrow_of(self, about: Mapping[str, Any]) -> frozenset[int]:
        """Numbers of the known categories that an item names, less those that stand above another of them."""
        given = [self._categories[name] for name in about.get(CATEGORIES) or () if name in self._categories]
        above = set()
        for category in given:
            parent = int(self.taxonomy.parent[category])
            while parent:
                above.add(parent)
                parent = int(self.taxonomy.parent[parent])
        return frozenset(given) - above

    def proxy(self, about: Mapping[str, Any]) -> int:
        """The known item nearest in words, one of a shared narrow category where there is any; 0 where none shares a word."""
        scores = self.lexicon.scores(self.lexicon.words(item_words(about)))
        own = self.narrow_of(about)
        if own:
            rows = self.taxonomy.narrow
            alike = np.zeros(len(scores), dtype=bool)
            alike[rows.owners[np.isin(rows.values, list(own))]] = True
            if (scores * alike).any():
                scores = scores * alike
        best = int(scores.argmax())
        return best if scores[best] > 0 else 0

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Columns to filter by, each with its most frequent values."""
        counts = self.taxonomy.items[1:]
        order = np.argsort(-counts, kind="stable")[:_MASKS]
        found = {CATEGORIES: [self.taxonomy.names[place] for place in order.tolist()]} if len(counts) else {}
        for column in self.columns:
            values = self.data.item_table[column]
            if values.dtype in (pl.String, pl.Boolean, pl.Categorical) or values.dtype.is_integer():
                frequent = values.drop_nulls().cast(pl.String).value_counts(sort=True)
                if 0 < frequent.height < max(2, len(values) // 2):  # a column of ids is nothing to filter by
                    found[column] = frequent[column].head(_MASKS).to_list()
        return found


def item_words(about: Mapping[str, Any]) -> str:
    """Title, brand, categories and description of an item as one text, as `Dataset.item_texts`."""
    parts = (about.get("title"), about.get("brand"), " ".join(about.get(CATEGORIES) or ()), about.get("description"))
    return " ".join(str(part) for part in parts if part)
