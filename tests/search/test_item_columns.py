"""Columns, filters and facets against the plain way of doing the same: a loop over the items as they are."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

import searec
from searec.data.dataset import Dataset, load
from searec.data.taxonomy import Taxonomy
from searec.errors import SettingsError
from searec.search.facets import Facet, FacetValue, facet
from searec.search.filters import Filter
from searec.search.item_columns import ItemColumns

ITEMS: list[dict[str, Any]] = [
    {"item_id": "a", "title": "A", "brand": "acme", "categories": ["shoes", "trail"], "price": 10.0, "size": 42},
    {"item_id": "b", "title": "B", "brand": "acme", "categories": ["shoes"], "price": 15.5, "size": 43},
    {"item_id": "c", "title": "C", "brand": None, "categories": [], "price": None, "size": None},
    {
        "item_id": "d",
        "title": "D",
        "brand": "10..20",
        "categories": ["shoes", "trail", "trail"],
        "price": 20.0,
        "size": 42,
    },
]
DAYS = [datetime(2023, 5, 1), datetime(2023, 12, 31, 23), datetime(2024, 1, 1), None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("columns") / "shop"
    folder.mkdir()
    table = pl.DataFrame(ITEMS).with_columns(
        date=pl.Series(DAYS, dtype=pl.Datetime("us")),
        tags=pl.Series([["new", "red"], None, ["red"], []], dtype=pl.List(pl.String)),
        sold=pl.Series([True, False, None, True]),
    )
    table.write_parquet(folder / "items.parquet")
    pl.DataFrame({"user_id": ["u"]}).write_parquet(folder / "users.parquet")
    time = datetime(2024, 1, 1, tzinfo=UTC)
    pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": [time], "event": ["click"]}).write_parquet(
        folder / "interactions.parquet"
    )
    pl.DataFrame(
        {"search_id": ["s"], "user_id": ["u"], "query": ["a"], "timestamp": [time], "clicked": [["a"]]}
    ).write_parquet(folder / "searches.parquet")
    return load(folder)


@pytest.fixture
def columns(data: Dataset) -> ItemColumns:
    return ItemColumns.of(data)


def passing(columns: ItemColumns, *conditions: str) -> list[int]:
    filters = [Filter(*one.split(":", 1)) for one in conditions]
    return np.flatnonzero(columns.passing(filters)).tolist()


def every(columns: ItemColumns) -> np.ndarray:
    return np.arange(columns.size + 1) > 0


@pytest.mark.parametrize(
    ("conditions", "items"),
    [
        (["brand:acme"], [1, 2]),
        (["brand:10..20"], [4]),
        (["categories:trail"], [1, 4]),
        (["categories:trail", "categories:shoes"], [1, 2, 4]),
        (["brand:nobody"], []),
        (["tags:red"], [1, 3]),
        (["sold:true"], [1, 4]),
        (["price:15.5"], [2]),
        (["price:10..20"], [1, 2, 4]),
        (["price:..15.5"], [1, 2]),
        (["price:15.6.."], [4]),
        (["price:10", "price:20"], [1, 4]),
        (["size:42"], [1, 4]),
        (["size:42.."], [1, 2, 4]),
        (["date:2023"], [1, 2]),
        (["date:2023-12"], [2]),
        (["date:..2023-12-31"], [1, 2]),
        (["date:2024-01-01.."], [3]),
        (["date:2023-12-31T23:00:00..2024"], [2, 3]),
    ],
)
def test_values_and_ranges(columns: ItemColumns, conditions: list[str], items: list[int]) -> None:
    assert passing(columns, *conditions) == items


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("price:cheap", "a number or a range"),
        ("price:20..10", "a number or a range"),
        ("price:..", "a number or a range"),
        ("price:nan", "a number or a range"),
        ("price:1..2..3", "a number or a range"),
        ("date:2023-13", "2023..2024"),
        ("date:yesterday..", "2023..2024"),
        ("colour:red", "no column 'colour'"),
        ("brnd:acme", "did you mean 'brand'"),
        ("title:A", "no column 'title'"),
    ],
)
def test_what_is_no_filter_is_refused(columns: ItemColumns, condition: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        passing(columns, condition)


def test_new_and_edited_items_and_the_states_before_them(columns: ItemColumns) -> None:
    assert passing(columns, "price:..12") == [1]
    later = columns.with_items(
        {
            5: {"title": "E", "brand": "new", "price": "12", "colour": "red", "date": "2025-02-03", "sold": False},
            1: {"title": "A", "brand": "new", "categories": ["boots"], "tags": ["red", "red", ""]},
        }
    )
    latest = later.with_items(
        {5: {"title": "E", "price": 11, "weight": 2.5}, 6: {"title": "F", "brand": ["x", "acme"]}}
    )
    assert passing(later, "price:..12") == [5]
    assert passing(later, "brand:new") == [1, 5]
    assert passing(later, "brand:acme") == [2]
    assert passing(later, "categories:trail") == [4]
    assert passing(later, "categories:boots") == [1]
    assert passing(later, "tags:red") == [1, 3]
    assert passing(later, "colour:red") == [5]
    assert passing(later, "date:2025") == [5]
    assert passing(later, "sold:false") == [2, 5]
    assert passing(latest, "brand:new") == [1]
    assert passing(latest, "brand:acme") == [2, 6]
    assert passing(latest, "colour:red") == []
    assert passing(latest, "weight:2..3") == [5]
    assert passing(latest, "price:11") == [5]
    assert passing(columns, "brand:acme") == [1, 2]  # what came before is as it was
    assert passing(later, "price:12") == [5]
    assert facet(latest, "brand", every(latest)).values == [
        FacetValue("acme", 2),
        FacetValue("10..20", 1),
        FacetValue("new", 1),
        FacetValue("x", 1),
    ]
    assert np.isnan(later.numbers("price")[[0, 1, 3]]).all()
    assert later.numbers("price")[[2, 4, 5]].tolist() == [15.5, 20.0, 12.0]


def test_facets(data: Dataset, columns: ItemColumns) -> None:
    counted = every(columns)
    assert facet(columns, "categories", counted, Taxonomy.of(data)) == Facet(
        [FacetValue("shoes", 3), FacetValue("trail", 2, "shoes")]
    )
    assert facet(columns, "tags", counted).values == [FacetValue("red", 2), FacetValue("new", 1)]
    assert facet(columns, "size", counted) == Facet([FacetValue("42", 2), FacetValue("43", 1)], 42, 43)
    assert facet(columns, "date", counted) == Facet(
        [FacetValue("..2023-11", 1), FacetValue("2023-12..2023-12", 1), FacetValue("2024-01..", 1)],
        "2023-05-01",
        "2024-01-01",
    )
    counted[4] = False
    assert facet(columns, "categories", counted).values == [FacetValue("shoes", 2), FacetValue("trail", 1)]
    assert facet(columns, "size", np.zeros(5, dtype=bool)) == Facet([])


def test_a_count_is_what_the_filter_lets_pass() -> None:
    """Of many prices and dates: the ranges cover all, and each count equals that of its value as a filter."""
    generator = np.random.default_rng(0)
    data = load(searec.sample_folder())
    columns = ItemColumns.of(data)
    items = {
        data.sizes.items + 1 + place: {"title": "x", "price": price, "listed": f"20{year}-03-0{day}"}
        for place, (price, year, day) in enumerate(
            zip(
                generator.lognormal(3, 2, 500).round(2),
                generator.integers(10, 26, 500),
                generator.integers(1, 9, 500),
                strict=True,
            )
        )
    }
    columns = columns.with_items(items)
    counted = every(columns) & (generator.random(columns.size + 1) < 0.7)
    prices = facet(columns, "price", counted)
    assert 3 <= len(prices.values) <= 5
    assert prices.values[0].value.startswith("..")
    assert prices.values[-1].value.endswith("..")
    total = 0
    for one in prices.values:
        assert one.count == (columns.passing([Filter("price", one.value)]) & counted).sum()
        total += one.count
    assert total >= counted.sum()
    brands = facet(columns, "brand", counted)
    table = data.item_table["brand"].filter(pl.Series(counted[1 : data.sizes.items + 1])).value_counts(sort=True)
    assert {one.value: one.count for one in brands.values}.items() <= dict(table.iter_rows()).items()
    assert [one.count for one in brands.values] == table["count"].head(50).to_list()
