"""Intent: the categories and attributes that a query names, and the items that fit them."""

from pathlib import Path

import numpy as np
import pytest

from searec.search.intent import Intent
from searec.search.lexical_index import LexicalIndex
from searec.search.query import SearchQuery
from searec.search.rules import SearchRules
from searec.search.understanding import Understanding
from small_catalogue import catalogue

ITEMS = [
    {"title": "Nova", "categories": ["Shoes", "Running shoes"], "brand": "Black & Decker", "color": "red"},
    {"title": "Orbit", "categories": ["Shoes", "Hiking shoes"], "brand": "Black", "color": "dark red"},
    {"title": "Comet", "categories": ["Shoes"], "brand": "Black", "color": "red"},
    {"title": "Luna", "categories": ["Lamps"], "brand": "Black & Decker", "color": "dark red"},
    {"title": "Titan", "categories": [], "brand": None, "color": "red"},
]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Understanding, LexicalIndex]:
    data = catalogue(tmp_path_factory.mktemp("intent") / "shop", ITEMS)
    return Understanding(data, SearchRules([["lamps", "lights"]])), LexicalIndex.of(data)


def names(read: tuple[Understanding, LexicalIndex], text: str) -> tuple[dict[str, float], dict[str, tuple[str, ...]]]:
    understanding, index = read
    query = understanding.parse(index, text)
    texts = understanding.intent.data.category_names.texts
    return {texts[number - 1]: share for number, share in query.categories.items()}, query.attributes


def test_a_category_is_named_by_all_its_words(read: tuple[Understanding, LexicalIndex]) -> None:
    assert names(read, "shoes for running") == ({"Running shoes": 1.0}, {})
    assert names(read, "shoe") == ({"Shoes": 1.0}, {})
    assert names(read, "cheap lamp") == ({"Lamps": 0.5}, {})
    assert names(read, "lights") == ({"Lamps": 1.0}, {})  # by a rule
    assert names(read, "lapms") == ({"Lamps": 1.0}, {})  # corrected
    assert names(read, "running") == ({}, {})


def test_attributes_are_the_longest_values_that_a_query_names(read: tuple[Understanding, LexicalIndex]) -> None:
    assert names(read, "black decker lamp")[1] == {"brand": ("Black & Decker",)}
    assert names(read, "dark red black shoes")[1] == {"brand": ("Black",), "color": ("dark red",)}
    assert names(read, "decker")[1] == {}
    assert names(read, "nova")[1] == {}  # titles are no attributes


def test_items_that_fit_score_more(read: tuple[Understanding, LexicalIndex]) -> None:
    understanding, index = read
    every = np.arange(1, 6)
    scores = understanding.intent.scores(understanding.parse(index, "red shoes black"), every)
    np.testing.assert_allclose(scores, [1 / 3 + 1, 1 / 3 + 1, 1 / 3 + 2, 0, 1])
    query = understanding.parse(index, "lamps")
    np.testing.assert_allclose(understanding.intent.scores(query, every), [0, 0, 0, 1, 0])
    changed = {2: {"categories": ["Lamps"]}, 6: {"categories": ["Lamps", "Shoes"]}, 4: {"title": "Luna"}}
    np.testing.assert_allclose(understanding.intent.scores(query, np.array([6, 4, 2, 1]), changed), [1, 0, 1, 0])
    none = SearchQuery("x", "x", ())
    assert understanding.intent.scores(none, every).tolist() == [0, 0, 0, 0, 0]


def test_a_column_of_ids_or_numbers_is_no_attribute(tmp_path: Path) -> None:
    items = [{"title": f"t{n}", "code": f"c{n}", "weight": n, "size": "XL" if n % 2 else "S"} for n in range(20)]
    assert set(Intent.of(catalogue(tmp_path / "columns", items)).value_names) == {"size"}
