"""What a query names besides words: categories, and values of columns such as brand, colour and size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.search.filters import Filter
from searec.search.query import QueryWord, SearchQuery
from searec.text.analyser import Analyser
from searec.text.analysis import FIELDS

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

CATEGORIES = "categories"
BONUS = 1.0
"""What an item gains for its category or an attribute, beside scores of BM25, where a word counts 3 to 8."""
MOST_VALUES = 20_000
"""A column with more values is no attribute."""
_NOT_ATTRIBUTES = ("item_id", "title", "description", CATEGORIES)
_MOST_WORDS = 5
Words = frozenset[str]


class Names:
    """Texts by their terms, to find those that a query has all words of.

    Args:
        texts: value -> what it is called.
        analyser: of the catalogue.
    """

    def __init__(self, texts: Mapping[Any, str], analyser: Analyser) -> None:
        counts: dict[str, int] = {}
        self.terms = counts.keys()
        terms_of: dict[Any, Words] = {}
        for value, text in texts.items():
            terms = frozenset(analyser.terms(text)) - analyser.stop_terms
            if 0 < len(terms) <= _MOST_WORDS:
                terms_of[value] = terms
                for term in terms:
                    counts[term] = counts.get(term, 0) + 1
        self._by_term: dict[str, list[tuple[Any, Words]]] = {}
        for value, terms in terms_of.items():
            rarest = min(terms, key=lambda term: (counts[term], term))
            self._by_term.setdefault(rarest, []).append((value, terms))

    def within(self, terms: Iterable[str]) -> list[tuple[Any, Words]]:
        """Return the values whose terms are all among `terms`, less those whose terms another value has and more."""
        have = frozenset(terms)
        values = [one for term in have for one in self._by_term.get(term, ()) if one[1] <= have]
        return [one for one in values if not any(one[1] < other[1] for other in values)]


@dataclass(frozen=True)
class Intent:
    """Categories and attributes of a dataset's items.

    Attributes:
        category_names: internal category ids.
        value_names: column -> its values.
        codes: column -> [I + 1] position of each item's value among `values`, -1 for none.
        values: column -> its values.
        named_by: term -> the filters of columns that no search by words reads, by values that have it.
    """

    data: "Dataset"
    category_names: Names
    value_names: Mapping[str, Names]
    codes: Mapping[str, NDArray[np.int32]]
    values: Mapping[str, Mapping[str, int]]
    named_by: Mapping[str, Sequence[Filter]]

    @classmethod
    def of(cls, data: "Dataset") -> "Intent":
        """Return the intents that queries to a dataset can have."""
        categories = dict(enumerate(data.category_names.texts.to_list(), start=1))
        columns = {
            name: values
            for name in data.item_table.columns
            if name not in _NOT_ATTRIBUTES and (values := _values(data.item_table[name], data.sizes.items)) is not None
        }
        codes = {}
        for name, values in columns.items():
            codes[name] = np.full(data.sizes.items + 1, -1, dtype=np.int32)
            codes[name][1:] = data.item_table[name].cast(pl.Enum(values)).to_physical().cast(pl.Int32).fill_null(-1)
        analyser = data.analyser
        return cls(
            data,
            Names(categories, analyser),
            {name: Names(dict(zip(values, values, strict=True)), analyser) for name, values in columns.items()},
            codes,
            {name: {value: place for place, value in enumerate(values)} for name, values in columns.items()},
            _named_by(data),
        )

    def of_words(self, words: Sequence[QueryWord]) -> tuple[dict[int, float], dict[str, tuple[str, ...]]]:
        """Return the categories that a query names, each with the share of the words that it has, and the attributes.

        Args:
            words: of the query; synonyms count as its words.
        """
        counted = [word for word in words if not word.is_stop]
        by_word = [
            {*word.terms, *(term for one in word.alternatives if one.source == "synonym" for term in one.terms)}
            for word in counted
        ]
        terms = frozenset(term for one in by_word for term in one)
        if not terms:
            return {}, {}
        categories = {
            category: sum(not one.isdisjoint(named) for one in by_word) / len(by_word)
            for category, named in self.category_names.within(terms)
        }
        attributes = {
            column: tuple(sorted(value for value, _ in named))
            for column, names in self.value_names.items()
            if (named := names.within(terms))
        }
        return categories, attributes

    def scores(
        self, query: SearchQuery, items: Ints, changed: Mapping[int, Mapping[str, Any]] = MappingProxyType({})
    ) -> NDArray[np.float32]:
        """Return how well items [n] fit what a query names: `BONUS` for its category and for each attribute.

        Args:
            query: with its categories and attributes.
            items: [n] item indexes.
            changed: columns of the items among them that were added or edited.
        """
        total = np.zeros(len(items), dtype=np.float32)
        if not query.categories and not query.attributes:
            return total
        is_known = items <= self.data.sizes.items
        known = np.where(is_known, items, 0)
        if query.categories:
            sure = np.zeros(self.data.sizes.categories + 1, dtype=np.float32)
            sure[list(query.categories)] = list(query.categories.values())
            categories, at = self.data.item_categories.take(known)
            np.maximum.at(total, at, sure[categories])
        for column, values in query.attributes.items():
            codes = [self.values[column][value] for value in values]
            total += np.isin(self.codes[column][known], codes)
        for place, item in enumerate(items.tolist() if changed else ()):
            if item in changed:
                total[place] = self._of_columns(query, changed[item])
        return np.float32(BONUS) * total

    def _of_columns(self, query: SearchQuery, columns: Mapping[str, Any]) -> float:
        ids = [self.data.category_names.find(str(name)) for name in columns.get(CATEGORIES) or ()]
        category = max((query.categories.get(one, 0.0) for one in ids), default=0.0)
        return category + sum(columns.get(column) in values for column, values in query.attributes.items())


def _named_by(data: "Dataset") -> dict[str, list[Filter]]:
    """Filters by the terms of their values, of the columns of texts and lists of texts that are not searched."""
    filters: dict[str, list[Filter]] = {}
    for name in data.item_table.columns:
        if name in _NOT_ATTRIBUTES or name in FIELDS:
            continue
        column = data.item_table[name]
        values = _values(column.explode() if isinstance(column.dtype, pl.List) else column, len(column)) or ()
        for value in values:
            for term in dict.fromkeys(data.analyser.terms(value)):
                filters.setdefault(term, []).append(Filter(name, value))
    return filters


def _values(column: pl.Series, items: int) -> list[str] | None:
    """The values of a column of texts that several items share; None if it has other types or is a column of ids."""
    if column.dtype not in (pl.String, pl.Categorical):
        return None
    values = column.drop_nulls().cast(pl.String).unique().sort()
    return values.to_list() if 0 < len(values) <= min(MOST_VALUES, max(2, items // 2)) else None
