"""The tree of categories: read off lists in any order, and the categories of items at each level."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searec.data.dataset import Dataset
from searec.data.ragged import Ragged
from searec.data.taxonomy import Taxonomy
from searec.data.vocabulary import IdMap

SHOP = [
    ("Pets", "Dogs", "Dog bed"),
    ("Pets", "Dogs", "Dog bed"),
    ("Pets", "Dogs", "Leash"),
    ("Pets", "Cats"),
    ("Books", "Crime"),
    ("Books", "Crime"),
    ("Books",),
    (),
]
"""Items; "Dog bed" is always among Dogs, and these among Pets."""


@pytest.fixture
def tree(checkerboard: object) -> Callable[[Sequence[Sequence[str]]], Taxonomy]:
    """The taxonomy of items with these categories."""
    data: Dataset = checkerboard.data  # type: ignore[attr-defined]

    def make(lists: Sequence[Sequence[str]]) -> Taxonomy:
        names = sorted({name for one in lists for name in one})
        lengths = np.cumsum([0, 0, *map(len, lists)])
        values = np.array([names.index(name) + 1 for one in lists for name in one], dtype=np.int32)
        ids = IdMap("category", pl.Series("category", names, dtype=pl.String))
        sizes = replace(data.sizes, categories=len(names), items=len(lists))
        return Taxonomy.of(replace(data, item_categories=Ragged(lengths, values), category_names=ids, sizes=sizes))

    return make


def named(tree: Taxonomy) -> dict[str, str | None]:
    return {
        tree.name(c): tree.name(int(tree.parent[c])) if tree.parent[c] else None for c in range(1, len(tree.names) + 1)
    }


def rows(tree: Taxonomy, ragged: Ragged) -> list[list[str]]:
    return [[tree.name(int(c)) for c in ragged.row(item)] for item in range(1, len(ragged))]


@pytest.mark.parametrize("turn", [lambda one: one, lambda one: tuple(reversed(one)), sorted])
def test_the_tree_does_not_depend_on_the_order_of_a_list(
    tree: Callable[..., Taxonomy], turn: Callable[..., Sequence[str]]
) -> None:
    found = tree([turn(one) for one in SHOP])
    assert named(found) == {
        "Pets": None,
        "Dogs": "Pets",
        "Dog bed": "Dogs",
        "Leash": "Dogs",
        "Cats": "Pets",
        "Books": None,
        "Crime": "Books",
    }
    depth = {found.name(c): int(found.depth[c]) for c in range(1, 8)}
    assert depth == {"Pets": 1, "Dogs": 2, "Dog bed": 3, "Leash": 3, "Cats": 2, "Books": 1, "Crime": 2}
    assert sorted(rows(found, found.narrow)) == sorted(
        [["Dog bed"], ["Dog bed"], ["Leash"], ["Cats"], ["Crime"], ["Crime"], ["Books"], []]
    )
    assert sorted(rows(found, found.at(1))) == sorted([["Pets"]] * 4 + [["Books"]] * 3 + [[]])
    assert sorted(rows(found, found.at(2))) == sorted([["Dogs"]] * 3 + [["Cats"], ["Crime"], ["Crime"], ["Books"], []])
    assert sorted(rows(found, found.at(9))) == sorted(rows(found, found.narrow))
    children = {found.name(c): sorted(found.name(int(x)) for x in found.children.row(c)) for c in range(1, 8)}
    assert children["Dogs"] == ["Dog bed", "Leash"]
    assert sorted(found.name(int(x)) for x in found.children.row(0)) == ["Books", "Pets"]


def test_categories_that_always_go_together_stand_in_the_order_they_are_named(tree: Callable[..., Taxonomy]) -> None:
    assert named(tree([("A", "B", "C"), ("A", "B", "C")])) == {"A": None, "B": "A", "C": "B"}


def test_tags_that_only_often_go_together_stand_side_by_side(tree: Callable[..., Taxonomy]) -> None:
    """Three of five pizzerias deliver: neither stands above the other; four of five would be enough."""
    often = [("Food", "Pizza", "Delivery")] * 3 + [("Food", "Pizza")] * 2 + [("Food", "Delivery")] * 2
    found = tree(often)
    assert named(found) == {"Food": None, "Pizza": "Food", "Delivery": "Food"}
    assert rows(found, found.narrow)[0] == ["Delivery", "Pizza"]
    assert named(tree([("Pizza", "Delivery")] * 4 + [("Pizza",)] + [("Delivery",)] * 5))["Pizza"] == "Delivery"


@given(st.lists(st.lists(st.sampled_from("ABCDEFG"), max_size=5, unique=True), min_size=1, max_size=12))
def test_every_climb_ends_and_every_item_keeps_a_narrow_category(lists: list[list[str]]) -> None:
    names = sorted({name for one in lists for name in one})
    values = np.array([names.index(name) + 1 for one in lists for name in one], dtype=np.int32)
    given_ = Ragged(np.cumsum([0, 0, *map(len, lists)]), values)

    class Small:
        item_categories = given_
        sizes = type("Sizes", (), {"categories": len(names)})

        class category_names:
            @staticmethod
            def to_external(ids: np.ndarray) -> list[str]:
                return [names[i - 1] for i in ids]

    found = Taxonomy.of(Small)  # type: ignore[arg-type]
    for c in range(1, len(names) + 1):
        assert 1 <= found.depth[c] <= len(names)
        assert found.depth[c] == 1 + found.depth[found.parent[c]]
    for row in range(1, len(given_)):
        assert bool(len(found.narrow.row(row))) == bool(len(given_.row(row)))
        for c in found.narrow.row(row):
            climb = int(found.parent[c])
            while climb:
                assert climb not in found.narrow.row(row)
                climb = int(found.parent[climb])
