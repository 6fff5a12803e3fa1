"""The columns of items as arrays: what filters, facets and sorting read, for a catalogue that changes.

A column of the dataset is coded when it is first read. New and edited items are rows that are appended once and read by
every later state of the catalogue, as in `search.changed_items`.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.config import nearest
from searec.data.ragged import Ints, Ragged, group
from searec.data.vocabulary import IdMap
from searec.errors import SettingsError
from searec.search.changed_items import GrowingArray
from searec.search.filters import Filter, Kind, instant, interval

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
CATEGORIES = "categories"
PRICE = "price"
"""A column of numbers, even where they are written as texts."""
_NOT_FILTERS = ("item_id", "title", "description")
_EXACT = 2**53
"""Whole numbers up to this are exact as floats; a column with larger ones is text."""
_SPARSE = 16
"""Items are read one by one where they are fewer than one in this many."""


class _Codes:
    """Codes 1.. of the values of rows, 0 for none: one for each row, or several.

    Args:
        values: the codes.
        offsets: [rows + 1] of each row's codes; None for one for each row.
    """

    def __init__(self, values: Ints, offsets: Ints | None = None) -> None:
        self._values = values
        self._rows = None if offsets is None else Ragged(offsets, values)
        self._owners = None if self._rows is None else self._rows.owners.astype(np.int32)
        self._count = len(values) if offsets is None else len(offsets) - 1

    def rows_with(self, codes: Sequence[int]) -> Mask:
        """[rows] whether a row has one of the codes."""
        starts, rows = self._by_code
        mask = np.zeros(self._count, dtype=bool)
        for code in codes:
            if 0 < code < len(starts) - 1:
                mask[rows[starts[code] : starts[code + 1]]] = True
        return mask

    @cached_property
    def _by_code(self) -> tuple[Ints, Ints]:
        """Rows by code, and where those of each code start."""
        order = np.argsort(self._values, kind="stable")
        rows = order.astype(np.int32) if self._owners is None else self._owners[order]
        return np.concatenate(([0], np.cumsum(np.bincount(self._values)))), rows

    def counts(self, is_counted: Mask, codes: int) -> Ints:
        """[codes + 1] how many of the rows of a mask have each code."""
        if np.count_nonzero(is_counted) * _SPARSE < self._count:
            rows = np.flatnonzero(is_counted)
            values = self._values[rows] if self._rows is None else self._rows.take(rows)[0]
        else:
            values = self._values[is_counted if self._owners is None else is_counted[self._owners]]
        return np.bincount(values, minlength=codes + 1)


class TextColumn:
    """A column of texts, or of lists of texts.

    Args:
        names: its values, coded 1.. in their order.
        codes: [I + 1] of the dataset's items.
    """

    kind: Kind = "text"

    def __init__(self, names: IdMap, codes: _Codes) -> None:
        self._names, self.codes = names, codes
        self._new_names: dict[str, int] = {}
        self.rows, self.row_codes = GrowingArray(np.int64), GrowingArray(np.int64)

    def __len__(self) -> int:
        return len(self._names) + len(self._new_names)

    def find(self, value: str) -> int:
        """Return the code of a value, 0 if no item has it."""
        return self._names.find(value) or self._new_names.get(value, 0)

    def names(self, codes: Ints) -> list[str]:
        """Return the values of codes."""
        known = len(self._names)
        new = list(self._new_names)
        return [self._names.texts[code - 1] if code <= known else new[code - 1 - known] for code in codes.tolist()]

    def append(self, rows: Sequence[int], values: Sequence[Any]) -> None:
        """Append values of rows.

        Args:
            rows: ascending, from the last appended one on.
            values: a text, number or truth value each, or a list of them.
        """
        pairs = [(row, self._code(text)) for row, value in zip(rows, values, strict=True) for text in _texts(value)]
        self.row_codes.extend([code for _, code in pairs])
        self.rows.extend([row for row, _ in pairs])

    def _code(self, text: str) -> int:
        return self.find(text) or self._new_names.setdefault(text, len(self) + 1)


class NumberColumn:
    """A column of numbers, or of dates as microseconds since 1970; NaN where there is none.

    Args:
        kind: "number" or "date".
        values: [I + 1] of the dataset's items.
    """

    def __init__(self, kind: Kind, values: Floats) -> None:
        self.kind, self.values = kind, values
        self.rows, self.row_values = GrowingArray(np.int64), GrowingArray(np.float64)

    def append(self, rows: Sequence[int], values: Sequence[Any]) -> None:
        """Append values of rows.

        Args:
            rows: ascending, from the last appended one on.
            values: a number each, or a text that is one; anything else is none.
        """
        self.row_values.extend([self._number(value) for value in values])
        self.rows.extend(rows)

    def _number(self, value: Any) -> float:
        if self.kind == "date":
            ends = instant(str(value))
            return ends[0] if ends is not None else np.nan
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            return np.nan


Column = TextColumn | NumberColumn


class _Base:
    """What all states of a catalogue share: the columns, and the values of new and edited items not yet coded."""

    def __init__(self, data: "Dataset") -> None:
        self.data, self.size = data, data.sizes.items
        self._columns: dict[str, Column] = {}
        self._waiting: dict[str, tuple[list[int], list[Any]]] = {}
        self._rows = 0
        self._lock = threading.Lock()

    @cached_property
    def names(self) -> list[str]:
        """Names of the dataset's columns to filter by."""
        return [CATEGORIES, *(name for name in self.data.item_table.columns if name not in (*_NOT_FILTERS, CATEGORIES))]

    def add(self, items: Sequence[Mapping[str, Any]]) -> range:
        """Append the columns of items and return their rows."""
        with self._lock:
            first = self._rows
            self._rows += len(items)
            for row, about in enumerate(items, start=first):
                for name, value in about.items():
                    if name not in _NOT_FILTERS and value is not None:
                        rows, values = self._waiting.setdefault(name, ([], []))
                        rows.append(row)
                        values.append(value)
            return range(first, self._rows)

    def column(self, name: str) -> Column | None:
        """Return a column with all rows; None if neither the dataset nor a new item has it."""
        with self._lock:
            waiting = self._waiting.pop(name, None)
            if name not in self._columns:
                if name in self.names:
                    self._columns[name] = _coded(self.data, name)
                elif waiting is not None:
                    self._columns[name] = _new_column(waiting[1][0], self.size)
                else:
                    return None
            column = self._columns[name]
            if waiting is not None:
                column.append(*waiting)
            return column

    def every_name(self) -> list[str]:
        """Return the names of all columns, those of new items last."""
        with self._lock:
            return list(dict.fromkeys((*self.names, *self._columns, *self._waiting)))


@dataclass(frozen=True)
class ItemColumns:
    """One state of a catalogue; a change makes another one.

    Item indexes are as in `search.lexical_index.LexicalIndex`.
    """

    _base: _Base
    _row_of: Mapping[int, int]
    _item_of_row: Ints
    size: int
    _numbers: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, data: "Dataset") -> "ItemColumns":
        """Return the columns of a dataset's items."""
        return cls(_Base(data), {}, np.zeros(0, dtype=np.int64), data.sizes.items)

    def with_items(self, items: Mapping[int, Mapping[str, Any]]) -> "ItemColumns":
        """Return the columns after items were added or edited.

        Args:
            items: item index -> columns.
        """
        if not items:
            return self
        rows = self._base.add(list(items.values()))
        row_of = {**self._row_of, **dict(zip(items, rows, strict=True))}
        item_of_row = np.zeros(rows.stop, dtype=np.int64)  # 0 of a row that another one has replaced
        item_of_row[list(row_of.values())] = list(row_of)
        return ItemColumns(self._base, row_of, item_of_row, max(self.size, *items))

    @property
    def names(self) -> list[str]:
        """Columns to filter by."""
        return self._base.every_name()

    def column(self, name: str) -> Column:
        """Return a column.

        Raises:
            SettingsError: no item has it.
        """
        column = self._base.column(name)
        if column is None:
            names = self.names
            remedy = nearest(name, names) or f"use one of {', '.join(names)}"
            raise SettingsError(f"items have no column {name!r} to filter, count or sort by", remedy=remedy)
        return column

    # --- what is read ---

    def passing(self, filters: Sequence[Filter]) -> Mask:
        """[N + 1] which items have one of the filters' values in the column that all filters name.

        Args:
            filters: at least one, of one column.

        Raises:
            SettingsError: no item has the column, or a value is no number or date.
        """
        column = self.column(filters[0].column)
        if isinstance(column, NumberColumn):
            numbers, mask = self.numbers(filters[0].column), np.zeros(self.size + 1, dtype=bool)
            for low, high in (interval(one, column.kind) for one in filters):
                mask |= (numbers >= low) & (numbers <= high)
            return mask
        selected = [column.find(one.value) for one in filters]
        mask = self._widened(column.codes.rows_with(selected), False)
        items, codes = self._current(column.rows, column.row_codes)
        mask[items[np.isin(codes, [code for code in selected if code])]] = True
        return mask

    def passing_any(self, filters: Sequence[Filter]) -> Mask:
        """[N + 1] which items pass one of the filters, of whatever columns.

        Args:
            filters: at least one.
        """
        mask = np.zeros(self.size + 1, dtype=bool)
        for name in dict.fromkeys(one.column for one in filters):
            mask |= self.passing([one for one in filters if one.column == name])
        return mask

    def numbers(self, name: str) -> Floats:
        """[N + 1] the numbers of a column of numbers or dates, NaN where an item has none.

        Raises:
            SettingsError: no item has the column, or it is of texts.
        """
        column = self.column(name)
        if isinstance(column, TextColumn):
            raise SettingsError(f"the column {name!r} is of texts", expected="a column of numbers or dates")
        if not self._row_of:
            return column.values
        values = self._numbers.get(name)
        if values is None:
            values = self._widened(column.values, np.nan)
            items, numbers = self._current(column.rows, column.row_values)
            values[items] = numbers
            self._numbers[name] = values
        return values

    def counts(self, name: str, is_counted: Mask) -> Ints:
        """[V + 1] how many of the items of a mask [N + 1] have each value of a column of texts.

        Args:
            name: of the column.
            is_counted: the items to count.
        """
        column = self.column(name)
        assert isinstance(column, TextColumn)
        codes = len(column)
        of_dataset = is_counted[: self._base.size + 1]
        if len(self._edited):
            of_dataset = of_dataset.copy()
            of_dataset[self._edited] = False
        counts = column.codes.counts(of_dataset, codes)
        items, row_codes = self._current(column.rows, column.row_codes)
        counts += np.bincount(row_codes[is_counted[items]], minlength=codes + 1)[: codes + 1]
        return counts

    @cached_property
    def _edited(self) -> Ints:
        """The dataset's items that were edited."""
        return np.unique(self._item_of_row[(self._item_of_row > 0) & (self._item_of_row <= self._base.size)])

    def _widened(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """Values of the dataset's items for all items, without those that were edited."""
        wider = np.full(self.size + 1, missing, dtype=values.dtype)
        wider[: len(values)] = values
        wider[self._edited] = missing
        return wider

    def _current(self, rows: GrowingArray, values: GrowingArray) -> tuple[Ints, NDArray[Any]]:
        """Items and values of the rows of this state."""
        of_rows = rows.values  # before the values, of which there may be more by then
        of_rows = of_rows[: np.searchsorted(of_rows, len(self._item_of_row))]
        items = self._item_of_row[of_rows]
        return items[items > 0], values.values[: len(of_rows)][items > 0]


def _coded(data: "Dataset", name: str) -> Column:
    """A column of the dataset."""
    if name == CATEGORIES:
        width = data.sizes.categories + 1
        keys = np.sort(data.item_categories.owners * width + data.item_categories.values, kind="stable")
        keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)]]  # `np.unique` is ten times as slow
        rows = group(keys // width, keys % width, data.sizes.items + 1)
        return TextColumn(data.category_names, _Codes(rows.values.astype(np.int32), rows.offsets))
    values = data.item_table[name]
    if values.dtype in (pl.Date, pl.Datetime):
        return NumberColumn("date", _floats(values.cast(pl.Datetime("us")).to_physical()))
    if name == PRICE or values.dtype.is_float():
        return NumberColumn("number", _floats(values.cast(pl.Float64, strict=False)))
    if values.dtype.is_integer() and (values.cast(pl.Float64).abs() <= _EXACT).all():
        return NumberColumn("number", _floats(values))
    if isinstance(values.dtype, (pl.List, pl.Array)):
        flat = values.rename("value").to_frame().with_row_index("row", offset=1).explode("value").unique()
        flat = (
            flat.with_columns(pl.col("value").cast(pl.String, strict=False).replace("", None)).drop_nulls().sort("row")
        )
        rows = group(flat["row"].to_numpy(), _ranks(flat["value"]), data.sizes.items + 1)
        return TextColumn(_names(name, flat["value"]), _Codes(rows.values, rows.offsets))
    if values.dtype.is_nested():
        values = pl.Series(name, [str(value) for value in values.to_list()])
    texts = values.cast(pl.String, strict=False).replace("", None)
    return TextColumn(_names(name, texts), _Codes(np.concatenate((np.zeros(1, dtype=np.int32), _ranks(texts)))))


def _names(name: str, texts: pl.Series) -> IdMap:
    return IdMap(name, texts.drop_nulls().unique().sort())


def _ranks(texts: pl.Series) -> Ints:
    return texts.rank("dense").fill_null(0).cast(pl.Int32).to_numpy()


def _floats(values: pl.Series) -> Floats:
    return np.concatenate(([np.nan], values.cast(pl.Float64).fill_null(np.nan).to_numpy()))


def _new_column(value: Any, items: int) -> Column:
    """A column that the dataset does not have, by its first value."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return NumberColumn("number", np.full(items + 1, np.nan))
    return TextColumn(IdMap("value", pl.Series([], dtype=pl.String)), _Codes(np.zeros(items + 1, dtype=np.int32)))


def _texts(value: Any) -> list[str]:
    """The values of a cell as texts, each once: those of a list, none of an empty text."""
    cells = value if isinstance(value, (list, tuple)) else (value,)
    texts = (str(one).lower() if isinstance(one, bool) else str(one) for one in cells if one is not None)
    return [text for text in dict.fromkeys(texts) if text]
