"""Words that only a column has, such as colours, find the items that have them there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Filter, Request, Response
from searec.search.relaxation import Relaxed
from searec.store.events import ItemChange
from small_catalogue import catalogue

ITEMS = [
    {"title": "Office chair", "color": "black", "size": ["S", "XL"], "price": 40.0},
    {"title": "Garden chair", "color": "navy blue", "size": ["S"], "price": 30.0},
    {"title": "Desk lamp", "color": "black", "size": ["S"], "price": 20.0},
    {"title": "Floor lamp", "color": "blue", "size": ["XL"], "price": 10.0},
    {"title": "Kitchen table", "color": "blue", "size": ["S"], "price": 50.0},
    {"title": "White table", "color": "white", "size": ["S"], "price": 60.0},
    {"title": "Round table", "color": "white", "size": ["S"], "price": 70.0},
    {"title": "Shelf", "color": None, "size": None, "price": None},
]


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """Words over a small shop."""
    catalogue(tmp_path / "shop", ITEMS)
    opened = open_pipeline(Deployment(data=str(tmp_path / "shop")), executor=Inline)
    yield opened
    opened.close()


def search(pipeline: Pipeline, query: str, **options: Any) -> Response:
    [response] = pipeline.search([Request(query=query, **options)])
    assert isinstance(response, Response), response
    return response


def titles(pipeline: Pipeline, query: str, **options: Any) -> list[str]:
    return [item.title for item in search(pipeline, query, **options).items]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("black", {"Office chair", "Desk lamp"}),
        ("BLACK", {"Office chair", "Desk lamp"}),
        ("navy blue", {"Garden chair"}),
        ("navy", {"Garden chair"}),
        ("black chair", {"Office chair"}),
        ("lamps in blue", {"Floor lamp"}),
        ("xl", {"Office chair", "Floor lamp"}),  # of a list
    ],
)
def test_a_value_of_a_column_finds_its_items(pipeline: Pipeline, query: str, expected: set[str]) -> None:
    response = search(pipeline, query, facets=("color",))
    assert response.relaxed is None
    assert response.total == len(expected) == sum(one.count for one in response.facets["color"].values)
    assert {item.title for item in response.items[: len(expected)]} == expected
    assert set(titles(pipeline, query, sort="price")) == expected


def test_what_was_given_up_is_named(pipeline: Pipeline) -> None:
    assert search(pipeline, "black table").relaxed == Relaxed("any word", ())
    assert search(pipeline, "black xqzvw").relaxed == Relaxed("any word", ("xqzvw",))


def test_filters_and_texts_hold(pipeline: Pipeline) -> None:
    assert titles(pipeline, "black", filters=(Filter("color", "blue"),)) == []
    assert titles(pipeline, "black", filters=(Filter("price", "..30"),)) == ["Desk lamp"]
    assert titles(pipeline, "white") == ["White table"]  # a text has the word


def test_hidden_edited_and_new_items(pipeline: Pipeline) -> None:
    before = pipeline.catalog.last
    changes = [
        ItemChange("i001", {"title": "Office chair", "color": "blue"}),
        ItemChange("i003", hidden=True),
        ItemChange("new", {"title": "Stool", "color": "black"}),
    ]
    pipeline.catalog.last = before.with_changes(changes)
    assert titles(pipeline, "black") == ["Stool"]
    assert "Office chair" in titles(pipeline, "blue")
    pipeline.catalog.last = before
    assert set(titles(pipeline, "black")) == {"Office chair", "Desk lamp"}


def test_the_best_of_many_have_all_words_and_then_what_is_named(tmp_path: Path) -> None:
    items = [{"title": "Chair" if place % 20 else "Table", "color": "blue"} for place in range(400)]
    items[391]["color"] = items[395]["color"] = "black"
    catalogue(tmp_path / "many", items)
    opened = open_pipeline(Deployment(data=str(tmp_path / "many")), executor=Inline)
    assert [item.item for item in search(opened, "black chair").items[:2]] == ["i392", "i396"]
    assert set(titles(opened, "black table")) == {"Table"}
    opened.close()
