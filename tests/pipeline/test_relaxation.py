"""Searches without a perfect answer: what was given up is said, nonsense finds nothing, accents are preferred."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searec.experiments import run_training
from searec.pipeline.builder import open_pipeline
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.channels import Candidates, RequestBatch
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.nonsense import without_nonsense
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Filter, Request, Response
from searec.search.relaxation import Relaxed, relaxation
from searec.store.events import ItemChange
from small_catalogue import catalogue

ITEMS = [
    {"title": "Red running shoes", "color": "red"},
    {"title": "Blue running shoes", "color": "blue"},
    {"title": "Red lamp", "color": "red"},
    {"title": "Cafe table", "color": "blue"},
    {"title": "Cafe chair", "color": "blue"},
    {"title": "Café stool", "color": "blue"},
]
OFTEN = [("u1", "cafe", [4]), ("u2", "cafe", [4]), ("u3", "cafe", [5])] * 3


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Words over a small shop."""
    home = tmp_path_factory.mktemp("relaxation")
    data = catalogue(home / "shop", ITEMS, OFTEN)
    run_training.train("bm25", data, home / "bm25")
    opened = open_pipeline(Deployment(data=str(home / "shop"), search=(str(home / "bm25"),)), executor=Inline)
    yield opened
    opened.close()


def search(pipeline: Pipeline, query: str, **options: Any) -> Response:
    [response] = pipeline.search([Request(query=query, **options)])
    assert isinstance(response, Response), response
    return response


def test_what_was_given_up_is_named(pipeline: Pipeline) -> None:
    assert search(pipeline, "red shoes").relaxed is None
    assert search(pipeline, "the shoes").relaxed is None  # a function word is no loss
    assert search(pipeline, "red running sandals").relaxed == Relaxed("most words", ("sandals",))
    assert search(pipeline, "green sandals lamp").relaxed == Relaxed("any word", ("green", "sandals"))
    assert search(pipeline, "running lamp").relaxed == Relaxed("any word", ())  # each has one of the two
    blue = search(pipeline, "red shoes", filters=(Filter("color", "blue"),))
    assert [item.title for item in blue.items] == ["Blue running shoes"]
    assert blue.relaxed == Relaxed("any word", ("red",))


def test_a_correction_comes_before_leaving_words_out_and_can_be_undone(pipeline: Pipeline) -> None:
    response = search(pipeline, "red runing shoes")
    assert response.items[0].title == "Red running shoes"
    assert response.relaxed is None
    assert response.query is not None
    assert (response.query.text, response.query.typed) == ("red running shoes", "red runing shoes")
    as_typed = search(pipeline, "red runing shoes", spelling=False)
    assert as_typed.relaxed == Relaxed("most words", ("runing",))
    assert as_typed.query is not None
    assert not as_typed.query.is_corrected


@pytest.mark.parametrize("query", ["xqzvw jkwpt", "zzzzzz", "8812345", "!!!", "ปปปป"])
def test_nonsense_finds_nothing(pipeline: Pipeline, query: str) -> None:
    response = search(pipeline, query, user="u1")
    assert (list(response.items), response.relaxed) == ([], None)


class TwoDimensions:
    """A dense channel: "seat" is near the chair (item 5) and the stool (6), other texts near nothing."""

    names = ("dense",)
    least_similarity = 0.5

    def encoded(self, queries: Sequence[str]) -> np.ndarray:
        return np.array([[1, 0] if "seat" in query else [0, -1] for query in queries], dtype=np.float32)

    def vectors_of(self, catalog: CatalogSnapshot, items: np.ndarray) -> np.ndarray:
        near = {5: [1, 0], 6: [0.6, 0.8]}
        return np.array([near.get(item, [0, 1]) for item in items.tolist()], dtype=np.float32).reshape(-1, 2)


def test_unknown_words_find_what_is_close_in_meaning(pipeline: Pipeline) -> None:
    index = pipeline.catalog.last.lexical
    texts = ("seatt", "xqzvw", "lamp xqzvw")
    parsed = [pipeline.parts.understanding.parse(index, text, spelling=False) for text in texts]
    batch = RequestBatch(pipeline.catalog.last, [], texts, parsed=parsed)
    lists = {name: [Candidates(np.array([6, 1, 5]))] * 3 for name in ("dense", "bm25", "itemknn")}
    channel: Any = TwoDimensions()
    left = without_nonsense(batch, lists, [channel])
    assert [one.items.tolist() for one in left["dense"]] == [[6, 5], [], [6, 1, 5]]
    assert [one.items.tolist() for one in left["bm25"]] == [[], [], [6, 1, 5]]
    assert [one.items.tolist() for one in left["itemknn"]] == [[], [], [6, 1, 5]]
    assert relaxation(index, parsed[0], np.array([6, 5]), "no word") == Relaxed("no word", ("seatt",))


def test_the_last_word_may_be_unfinished(pipeline: Pipeline) -> None:
    assert search(pipeline, "red la", prefix=True).items[0].title == "Red lamp"
    assert search(pipeline, "xqzvw re", prefix=True).items
    assert not search(pipeline, "re").items


def test_accents_are_folded_and_preferred_when_typed(pipeline: Pipeline) -> None:
    assert {item.title for item in search(pipeline, "cafe").items} == {"Cafe table", "Cafe chair", "Café stool"}
    assert search(pipeline, "cafe").items[0].title == "Cafe table"  # often clicked
    accented = [item.title for item in search(pipeline, "café").items]
    assert accented[0] == "Café stool"
    assert set(accented) == {"Cafe table", "Cafe chair", "Café stool"}


def test_what_a_query_names_is_preferred_and_no_slip(tmp_path: Path) -> None:
    """Colors are in no searched text: "black" is no slip of "block", and black items come first, new ones too."""
    items = [{"title": "Lamp block", "color": color} for color in ("red", "red", "black", "red", "black", "red")]
    data = catalogue(tmp_path / "shop", items)
    pipeline = open_pipeline(Deployment(data=str(tmp_path / "shop")), executor=Inline)
    new = ItemChange("new", {"title": "Lamp block", "color": "black"})
    edited = ItemChange("i005", {"title": "Lamp block", "color": "red"})
    pipeline.catalog.last = pipeline.catalog.last.with_changes([new, edited])
    response = search(pipeline, "black lamps")
    assert response.query is not None
    assert (response.query.text, response.query.suggestion) == ("black lamps", None)
    assert {item.item for item in response.items[:2]} == {"new", "i003"}
    assert len(response.items) == data.sizes.items + 1
    pipeline.close()


def test_the_feed_has_no_query(pipeline: Pipeline) -> None:
    [response] = pipeline.recommend([Request(user="u1")])
    assert isinstance(response, Response)
    assert (response.query, response.relaxed) == (None, None)


@pytest.mark.parametrize("query", ["the xqzvw", "xqzvw of the"])
def test_function_words_do_not_make_nonsense_known(tmp_path: Path, query: str) -> None:
    catalogue(tmp_path / "shop", ["The lamp of the year", "A chair"])
    opened = open_pipeline(Deployment(data=str(tmp_path / "shop")), executor=Inline)
    assert (list(search(opened, query).items), search(opened, query).relaxed) == ([], None)
    assert search(opened, "the").total == 1
    opened.close()


def test_items_with_one_part_of_a_model_number_are_counted(tmp_path: Path) -> None:
    catalogue(tmp_path / "shop", ["Sony WF-1000XM5", "Chair"])
    opened = open_pipeline(Deployment(data=str(tmp_path / "shop")), executor=Inline)
    response = search(opened, "wf-77")
    assert ([item.title for item in response.items], response.total) == (["Sony WF-1000XM5"], 1)
    assert response.relaxed == Relaxed("any word", ("wf77",))
    opened.close()
