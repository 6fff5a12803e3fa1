"""Suggestions while typing: whose come first, what appears and what does not."""

from typing import Any

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.interests.user_interests import Interest, UserInterests
from searec.pipeline import title_completions
from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot
from searec.pipeline.histories import Histories, UserContext
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import SuggestedQuery
from searec.search.completions import CompletionIndex
from searec.store.events import Event, ItemChange

TITLES = {
    "shoe-1": "Running shoes for women",
    "shoe-2": "Running shoes for men",
    "chair": "Garden chair, green",
    "lamp": "Desk lamp",
    "hidden": "Running socks",
    "bike": "电动自行车",
}
SEARCHES = [
    ("u1", "running shoes"),
    ("u2", "running shoes"),
    ("u3", "running shoes"),
    ("u1", "garden chairs"),
    ("u2", "garden chairs"),
    ("u3", "garden shed"),
    ("u1", "café table"),
    ("u2", "café table"),
    ("u4", "rare words"),
]


@pytest.fixture(scope="module")
def data(make_data: Any) -> Dataset:
    feed = [(f"u{n}", "shoe-2", n) for n in range(1, 5)]
    searches = [(name, query, 100 + n, []) for n, (name, query) in enumerate(SEARCHES)]
    made: Dataset = make_data(items=TITLES, users=["u1", "u2", "u3", "u4"], feed=feed, searches=searches)
    return made


def user(data: Dataset, name: str | None, queries: tuple[str, ...] = ()) -> UserContext:
    events = [
        Event(event_id=f"e{n}", user=name or "", kind="search", time=10**16 + n, query=query)
        for n, query in enumerate(queries)
    ]
    return Histories(data).context(name, events, CatalogSnapshot(CatalogBase(data)))


def suggested(
    suggester: Suggester,
    prefix: str,
    context: UserContext,
    catalog: CatalogSnapshot,
    by_model: tuple[str, ...] = (),
    interests: tuple[str, ...] = (),
    k: int = 8,
) -> list[SuggestedQuery]:
    wishes = UserInterests("run", tuple(Interest(text, 0.9, f"why {text}") for text in interests))
    return suggester.suggest(context, by_model, wishes, catalog, prefix, k)


@pytest.fixture
def suggester(data: Dataset) -> Suggester:
    return Suggester(data)


@pytest.fixture
def catalog(data: Dataset) -> CatalogSnapshot:
    return CatalogSnapshot(CatalogBase(data))


def texts(suggestions: list[SuggestedQuery]) -> list[str]:
    return [one.query for one in suggestions]


def test_own_queries_then_the_models_then_frequent_ones_then_titles(
    suggester: Suggester, data: Dataset, catalog: CatalogSnapshot
) -> None:
    shoes = ["running shoes", TITLES["shoe-2"], TITLES["shoe-1"]]
    nobody = user(data, None)
    assert texts(suggested(suggester, "sho", nobody, catalog)) == shoes
    newest = user(data, "u4", ("shop lights", "shower mat", "SHOP  lights"))
    found = suggested(suggester, "sho", newest, catalog, ("shoulder bag", "garden chairs"), ("shoes",))
    assert texts(found) == ["SHOP  lights", "shower mat", "shoulder bag", "shoes", *shoes]
    assert [one.channel for one in found] == ["own", "own", "", "interest", "popular", "title", "title"]
    assert [one.item for one in found[-3:]] == [None, "shoe-2", "shoe-1"]
    assert [one.kind for one in found[-3:]] == ["query", "title", "title"]
    assert found[3].reason == "why shoes"


def test_what_one_user_searched_is_suggested_to_that_user_alone(
    suggester: Suggester, data: Dataset, catalog: CatalogSnapshot
) -> None:
    assert texts(suggested(suggester, "rar", user(data, "u4"), catalog)) == ["rare words"]
    assert suggested(suggester, "rar", user(data, "u1"), catalog) == []
    assert "garden shed" not in texts(suggested(suggester, "garden", user(data, "u1"), catalog))


def test_accents_case_and_scripts(suggester: Suggester, data: Dataset, catalog: CatalogSnapshot) -> None:
    nobody = user(data, None)
    for typed in ("CAFE T", "café", "cafe\u0301 tab", "TABLE"):
        assert texts(suggested(suggester, typed, nobody, catalog)) == ["café table"], typed
    assert texts(suggested(suggester, "自行", nobody, catalog)) == [TITLES["bike"]]
    assert suggested(suggester, "?!", nobody, catalog) == []


def test_a_mistyped_query_comes_after_what_has_the_letters(
    suggester: Suggester, data: Dataset, catalog: CatalogSnapshot
) -> None:
    nobody = user(data, None)
    assert texts(suggested(suggester, "runing sh", nobody, catalog))[0] == "running shoes"
    assert texts(suggested(suggester, "gardne ch", nobody, catalog))[0] == "garden chairs"
    assert suggested(suggester, "hunning", nobody, catalog) == []
    own = user(data, "u4", ("runtime errors",))
    found = texts(suggested(suggester, "runni", own, catalog))
    assert found[0] == "running shoes" and found[-1] == "runtime errors", "even the user's own"
    assert texts(suggested(suggester, "runtme", own, catalog)) == ["runtime errors"]
    many = CatalogSnapshot(catalog.base).with_changes(
        [ItemChange(f"new-{n}", {"title": f"Gardne {n} frame"}) for n in range(20)]
    )
    found = texts(suggested(suggester, "gardne", nobody, many))
    assert found[:5] == [*(f"Gardne {n} frame" for n in range(4)), "garden chairs"], "titles leave room"
    assert len(found) == 8


def test_no_two_suggestions_have_the_same_terms(suggester: Suggester, data: Dataset, catalog: CatalogSnapshot) -> None:
    own = user(data, "u4", ("Garden-Chair", "garden chair"))
    assert texts(suggested(suggester, "gard", own, catalog)) == ["garden chair", "garden chairs", TITLES["chair"]]


def test_an_empty_prefix_is_the_next_query(suggester: Suggester, data: Dataset, catalog: CatalogSnapshot) -> None:
    nobody = user(data, None)
    assert texts(suggested(suggester, "", nobody, catalog)) == ["running shoes", "café table", "garden chairs"]
    own = user(data, "u4", ("one", "two", "three", "four"))
    found = texts(suggested(suggester, " ", own, catalog, ("running shoes",), k=4))
    assert found == ["four", "three", "running shoes", "café table"]


def test_titles_of_now(suggester: Suggester, data: Dataset, catalog: CatalogSnapshot) -> None:
    nobody = user(data, None)

    def lamps(snapshot: CatalogSnapshot, typed: str = "lamp") -> list[str]:
        return [str(one.item) for one in suggested(suggester, typed, nobody, snapshot)]

    assert lamps(catalog) == ["lamp"]
    grown = catalog.with_changes([ItemChange("new", {"title": "Lampshade"})])
    assert lamps(grown) == ["lamp", "new"]
    assert lamps(grown, "lmapsh") == ["new"]
    edited = grown.with_changes([ItemChange("new", {"title": "Curtain"}), ItemChange("lamp", {"title": "Lantern"})])
    assert lamps(edited) == []
    assert (lamps(edited, "curt"), lamps(edited, "lant")) == (["new"], ["lamp"])
    assert (lamps(grown), lamps(grown, "curt")) == (["lamp", "new"], []), "requests under way have their snapshot"
    hidden = edited.with_changes([ItemChange("lamp", {}, hidden=True), ItemChange("new", {}, removed=True)])
    assert (lamps(hidden, "curt"), lamps(hidden, "lant")) == ([], [])
    shown = hidden.with_changes([ItemChange("lamp", {})])
    assert lamps(shown, "lant") == ["lamp"]
    gone = catalog.with_changes([ItemChange("shoe-2", {}, hidden=True)])
    assert texts(suggested(suggester, "running sh", nobody, gone)) == ["running shoes", TITLES["shoe-1"]]


def test_of_equal_titles_one_that_is_available_is_suggested(make_data: Any) -> None:
    items = {f"twin-{n}": "Brass lantern" for n in range(100)} | {f"l{n}": f"lantern {n}" for n in range(100)}
    data = make_data(items=items, users=["u1"], feed=[("u1", "twin-7", n) for n in range(9)])
    suggester, catalog = Suggester(data), CatalogSnapshot(CatalogBase(data))
    first = suggested(suggester, "lant", user(data, None), catalog)[0]
    assert (first.query, first.item) == ("Brass lantern", "twin-7")
    hidden = catalog.with_changes([ItemChange(f"l{n}", {}, hidden=True) for n in range(90)])
    hidden = hidden.with_changes([ItemChange("twin-7", {}, hidden=True)])
    found = suggested(suggester, "lant", user(data, None), hidden)
    assert len(found) == 8, "though those of most of the best are hidden"
    assert all(not hidden.unavailable[hidden.index_of(str(one.item))] for one in found)
    assert sum(one.query == "Brass lantern" for one in found) == 1


def test_changes_are_indexed_once_and_few_parts_remain(
    data: Dataset, catalog: CatalogSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggester, sizes = Suggester(data), []
    plain = CompletionIndex.__init__

    def counted(self: CompletionIndex, titles: Any, weights: Any) -> None:
        sizes.append(len(titles))
        plain(self, titles, weights)

    monkeypatch.setattr(title_completions.CompletionIndex, "__init__", counted)
    snapshot = catalog.with_changes([ItemChange(f"bulk-{n}", {"title": f"Bulk {n}"}) for n in range(300)])
    for number in range(32):
        snapshot = snapshot.with_changes([ItemChange(f"later-{number}", {"title": f"Later {number}"})])
        for _ in range(2):
            found = suggested(suggester, f"later {number}", user(data, None), snapshot)
            assert found[0].item == f"later-{number}"
    assert sizes[0] == 301 and sum(sizes[1:]) < 31 * 8, "the many are not indexed again"
    assert len(suggester._titles._parts) <= 8
    assert np.sum([len(part.items) for part in suggester._titles._parts]) == 332
    edited = snapshot.with_changes([ItemChange("bulk-5", {"title": "Something else"})])
    names = [one.item for one in suggested(suggester, "bulk", user(data, None), edited, k=400)]
    assert len(names) == 299 and "bulk-5" not in names, "its old title is still in the part of the many"
