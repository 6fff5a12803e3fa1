"""Results: all items that match a request, how many have what, and their order where a request sorts them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.channels import Mask, RequestBatch
from searec.pipeline.fusion import RankedList
from searec.pipeline.fusion_features import ItemStatistics
from searec.pipeline.types import CATALOGUE, MOST, Request, Sort
from searec.search.facets import Facet, facet
from searec.search.item_columns import PRICE, Floats
from searec.search.query import Relaxation

DATES = ("date", "created_at", "added_at", "published_at", "released_at", "release_date", "timestamp")
"""Columns of dates that "newest" goes by; the first that items have."""
_SINCE, _APART = 3e17, 1024.0
"""Microseconds after the year 9999, where new items without a date are put, as far apart as floats need."""


class Matches(NamedTuple):
    """The items that match a request, whether they are ranked or not, without what it must not get.

    Attributes:
        is_match: [N + 1].
        step: what a search gave up, as of `LexicalIndex.matching`.
    """

    is_match: Mask
    step: Relaxation | None = None


def matches_of(batch: RequestBatch, row: int, allowed: Mask | None) -> Matches:
    """Return the items that match a request.

    Args:
        batch: of requests.
        row: of the request.
        allowed: [N + 1] items that pass its filters; None without filters.
    """
    catalog = batch.catalog
    permitted, step = catalog.available if allowed is None else allowed, None
    if batch.task == "search":
        is_match = np.zeros(catalog.size + 1, dtype=bool)
        items, step = catalog.lexical.matching(batch.parsed[row], permitted)
        is_match[items] = True
    elif permitted is None:
        is_match = np.ones(catalog.size + 1, dtype=bool)
    else:
        is_match = permitted.copy()
    is_match[0] = False
    is_match[batch.excluded[row]] = False
    return Matches(is_match, step)


def facets_of(batch: RequestBatch, row: int, request: Request, is_match: Mask) -> Mapping[str, Facet]:
    """Return the facets of a request; in each the filters of its own column do not count.

    Args:
        batch: of requests.
        row: of the request.
        request: that names the columns.
        is_match: [N + 1] the items that match it.
    """
    catalog = batch.catalog
    facets = {}
    for name in request.facets:
        others = [one for one in request.filters if one.column != name]
        is_filtered = len(others) < len(request.filters)
        of_column = matches_of(batch, row, catalog.allowed(others)).is_match if is_filtered else is_match
        facets[name] = facet(catalog.columns, name, of_column, catalog.base.taxonomy)
    return facets


def sorted_matches(batch: RequestBatch, row: int, is_match: Mask, sort: Sort, statistics: ItemStatistics) -> RankedList:
    """Return the first `MOST` of the items that match, in an order that does not go by relevance alone.

    Of equal ones the more relevant goes first (in the feed the more popular), then the one with the smaller index.

    Args:
        batch: of requests.
        row: of the request.
        is_match: [N + 1] the items that match it.
        sort: the order.
        statistics: of the dataset's items.
    """
    items = np.flatnonzero(is_match)
    keys = sort_keys(batch.catalog, items, sort, statistics)
    if len(items) > MOST:
        last = np.partition(keys, MOST - 1)[MOST - 1]
        before, tied = items[keys < last], items[keys == last]
        tied = _most_relevant(batch, row, tied, MOST - len(before), statistics)
        items = np.sort(np.concatenate((before, tied)))
        keys = sort_keys(batch.catalog, items, sort, statistics)
    relevance = _relevance(batch, row, items, statistics)
    order = np.lexsort((items, -relevance, keys))
    channel = "bm25" if batch.task == "search" else CATALOGUE
    return RankedList(
        items[order],
        relevance[order].astype(np.float64),
        [channel] * len(items),
        np.full(len(items), -1),
        np.zeros(len(items), dtype=bool),
    )


def sort_keys(catalog: CatalogSnapshot, items: Ints, sort: Sort, statistics: ItemStatistics) -> Floats:
    """Return what items [n] are sorted by, the smallest first, infinite where an item has no such value.

    Args:
        catalog: of the items.
        items: [n] item indexes.
        sort: the order.
        statistics: of the dataset's items.

    Raises:
        SettingsError: items have no price.
    """
    if sort == "newest":
        values = -_times(catalog, items, statistics)
    elif sort == "popularity":
        values = -_clicks(items, statistics)
    elif sort == "price":
        values = catalog.columns.numbers(PRICE)[items]
    elif sort == "-price":
        values = -catalog.columns.numbers(PRICE)[items]
    else:
        values = np.zeros(len(items))
    return np.where(np.isnan(values), np.inf, values)


def _times(catalog: CatalogSnapshot, items: Ints, statistics: ItemStatistics) -> Floats:
    """[n] when items appeared, NaN if unknown; those that arrived since the dataset was made come after all others."""
    known = catalog.base.data.sizes.items
    columns = catalog.columns
    name = next((name for name in DATES if name in columns.names and columns.column(name).kind == "date"), None)
    if name is not None:
        times = columns.numbers(name)[items]
    else:
        inside = np.where(items <= known, items, 0)
        first = statistics.offsets[inside]
        has_click = statistics.offsets[inside + 1] > first
        times = np.full(len(items), np.nan)
        times[has_click] = statistics.times[first[has_click]]
    is_new = np.isnan(times) & (items > known)
    times[is_new] = _SINCE + _APART * items[is_new]
    return times


def _clicks(items: Ints, statistics: ItemStatistics) -> Floats:
    inside = np.where(items < len(statistics.clicks), items, 0)
    return np.where(inside > 0, statistics.clicks[inside], 0.0)


def _relevance(batch: RequestBatch, row: int, items: Ints, statistics: ItemStatistics) -> NDArray[np.floating]:
    if batch.task == "search":
        return batch.catalog.lexical.scores(batch.parsed[row], items)
    return _clicks(items, statistics)


def _most_relevant(batch: RequestBatch, row: int, items: Ints, k: int, statistics: ItemStatistics) -> Ints:
    """The k most relevant of items."""
    if batch.task == "recommend":
        return items[np.argsort(-_clicks(items, statistics), kind="stable")[:k]]
    allowed = np.zeros(batch.catalog.size + 1, dtype=bool)
    allowed[items] = True
    best, _ = batch.catalog.lexical.best(batch.parsed[row], k, allowed)
    allowed[best] = False
    return np.concatenate((best, np.flatnonzero(allowed)[: k - len(best)]))
