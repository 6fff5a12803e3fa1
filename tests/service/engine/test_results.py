"""Results people can use: facets, totals, sorting and pages, against a plain loop over the items."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_shop import Shop

from searec.errors import SearecError, SettingsError
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import MOST, Response
from searec.pipeline.types import Request as Asked
from searec.search.filters import Filter
from searec.store.event_store import EventStore

Engines = Callable[..., Pipeline]


def found(engine: Pipeline, **asked: Any) -> Response:
    answers = engine.search([Asked(**asked)]) if "query" in asked else engine.recommend([Asked(**asked)])
    [answer] = answers
    if isinstance(answer, SearecError):
        raise answer
    assert answer.left_out == ()
    return answer


def ids(answer: Response) -> list[str]:
    return [one.item for one in answer.items]


def about(engine: Pipeline, items: list[str], column: str) -> list[Any]:
    return [engine.views.item(item).about.get(column) for item in items]


@pytest.fixture
def word(shop: Shop) -> str:
    """The last word of many titles."""
    titles = shop.data.item_table["title"].to_list()
    return Counter(title.split()[-1].lower() for title in titles).most_common(1)[0][0]


def everything(engine: Pipeline, **asked: Any) -> list[str]:
    return ids(found(engine, **asked, k=MOST))


def test_totals_and_facets_count_all_that_match_whatever_the_page(engines: Engines, word: str) -> None:
    engine = engines(("itemknn",), ("bm25",))
    answer = found(engine, query=word, k=3, facets=["brand", "categories", "price"])
    items = everything(engine, query=word)
    assert len(answer.items) == 3 < answer.total == len(items)  # one word, so that what is found has it
    brands = Counter(about(engine, items, "brand"))
    assert {one.value: one.count for one in answer.facets["brand"].values} == dict(brands)
    assert [one.count for one in answer.facets["brand"].values] == sorted(brands.values(), reverse=True)
    categories = Counter(name for names in about(engine, items, "categories") for name in set(names))
    assert {one.value: one.count for one in answer.facets["categories"].values}.items() <= categories.items()
    parents = {one.value: one.parent for one in answer.facets["categories"].values}
    assert any(parents.values())
    assert None in parents.values()
    prices = about(engine, items, "price")
    assert (answer.facets["price"].low, answer.facets["price"].high) == (min(prices), max(prices))


def test_filters_count_in_every_facet_but_their_own(engines: Engines, word: str) -> None:
    engine = engines(("itemknn",), ("bm25",))
    items = everything(engine, query=word)
    brand = about(engine, items, "brand")[0]
    filters = [Filter("brand", brand), Filter("price", "..60")]
    answer = found(engine, query=word, filters=filters, facets=["brand", "price"])
    rows = list(zip(about(engine, items, "brand"), about(engine, items, "price"), strict=True))
    assert answer.total == len(answer.items) == sum(name == brand and price <= 60 for name, price in rows)
    assert {one.value: one.count for one in answer.facets["brand"].values} == Counter(
        name for name, price in rows if price <= 60
    )
    assert answer.facets["price"].high == max(price for name, price in rows if name == brand)


def test_a_feed_has_facets_and_a_total_too(engines: Engines, shop: Shop) -> None:
    engine = engines(("itemknn",), ("bm25",))
    assert found(engine).total is None
    assert found(engine, facets=["brand"]).total == shop.data.sizes.items
    answer = found(engine, filters=[Filter("price", "10..20")], k=1)
    assert (
        answer.total
        == shop.data.item_table.filter((pl_price := shop.data.item_table["price"]) >= 10, pl_price <= 20).height
    )


@pytest.mark.parametrize("query", [None, "word"])
def test_sorting_is_over_all_that_match(
    engines: Engines, shop: Shop, store: EventStore, word: str, query: str | None
) -> None:
    engine = engines(("itemknn",), ("bm25",), store)
    store.put_items(
        [
            {"item_id": "first", "title": f"New {word}", "price": 0.5},
            {"item_id": "unpriced", "title": f"Another new {word}"},
            {"item_id": "text", "title": f"Third {word}", "price": "1"},
        ]
    )
    asked: dict[str, Any] = {"query": word} if query else {}
    cheapest = everything(engine, **asked, sort="price")
    dearest = everything(engine, **asked, sort="-price")
    assert cheapest[:2] == ["first", "text"]
    assert cheapest[-1] == dearest[-1] == "unpriced"
    assert found(engine, **asked, sort="price").total == len(cheapest) == len(set(cheapest))
    prices = [float(price) for price in about(engine, cheapest[:-1], "price")]
    assert prices == sorted(prices)
    assert prices[::-1] == [float(price) for price in about(engine, dearest[:-1], "price")]
    newest = everything(engine, **asked, sort="newest")
    assert newest[:3] == ["text", "unpriced", "first"]
    statistics = engine.parts.statistics
    clicks_of = np.split(statistics.times, statistics.offsets[1:-1])
    times = [clicks_of[shop.data.items.find(item)].min(initial=2**62) for item in newest[3:]]
    times = [-1 if time == 2**62 else time for time in times]
    assert times == sorted(times, reverse=True)
    popular = everything(engine, **asked, sort="popularity")
    clicks = statistics.clicks
    counts = [clicks[shop.data.items.find(item)] for item in popular]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0


def test_of_equal_ones_the_more_relevant_goes_first(engines: Engines, store: EventStore) -> None:
    engine = engines(("itemknn",), ("bm25",), store)
    store.put_items(
        [
            {"item_id": "a", "title": "something long about a zyx", "price": 5},
            {"item_id": "b", "title": "zyx", "price": 5},
            {"item_id": "c", "title": "something long about a zyx", "price": 5},
            {"item_id": "d", "title": "something long about a zyx", "price": 4},
        ]
    )
    assert ids(found(engine, query="zyx", sort="price")) == ["d", "b", "a", "c"]


def test_more_than_the_longest_list_is_sorted_as_a_whole(engines: Engines, store: EventStore) -> None:
    engine = engines(("itemknn",), ("bm25",), store)
    prices = np.random.default_rng(0).permutation(700)
    titles = ["many zyx" if number % 2 else "zyx" for number in range(700)]
    store.put_items(
        [
            {"item_id": f"z{number:03}", "title": title, "price": int(price), "stock": 1}
            for number, (price, title) in enumerate(zip(prices, titles, strict=True))
        ]
    )
    answer = found(engine, query="zyx", sort="-price", k=MOST)
    assert answer.total == 700
    assert about(engine, ids(answer), "price") == list(range(699, 199, -1))
    tied = found(engine, query="zyx", sort="popularity", k=MOST)  # nobody clicked any
    assert set(ids(tied)[:350]) == {f"z{number:03}" for number in range(0, 700, 2)}
    assert ids(tied)[:350] == sorted(ids(tied)[:350])


@pytest.mark.parametrize("size", [1, 7, 10, 50])
@pytest.mark.parametrize(
    "asked",
    [
        {"user": "busy"},
        {"user": "busy", "quota": 0.3, "diversity": 0.7},
        {"user": "busy", "query": "word", "diversity": 0.7},
        {"query": "word", "sort": "price"},
        {"user": "busy", "sort": "popularity"},
    ],
)
def test_pages_join_to_one_list(engines: Engines, shop: Shop, word: str, asked: dict[str, Any], size: int) -> None:
    engine = engines(("sasrec", "serendipity"), ("bm25", "dense"))
    names = {"user": str(shop.data.users.texts[16]), "query": word}
    asked = {key: names.get(key, value) for key, value in asked.items()}
    longest = 25 if size == 1 else 130
    whole = everything(engine, **asked)[:longest]
    assert len(whole) > 20
    by_offset = [
        item for start in range(0, len(whole), size) for item in ids(found(engine, **asked, k=size, offset=start))
    ]
    by_cursor: list[str] = []
    after = None
    while len(by_cursor) < len(whole):
        answer = found(engine, **asked, k=size, after=after)
        by_cursor += ids(answer)
        after = answer.next
        if after is None:
            break
    assert by_offset[: len(whole)] == whole
    assert by_cursor[: len(whole)] == whole


def test_what_matches_is_marked_when_it_is_asked_for(engines: Engines, store: EventStore) -> None:
    engine = engines(("itemknn",), ("bm25",), store)
    text = "For every café and bar. " * 10 + "With a zyx inside."
    store.put_items([{"item_id": "a", "title": "Zyx für Cafés", "description": text}, {"item_id": "b", "title": "Zyx"}])
    [plain, _] = found(engine, query="cafe zyx").items[:1] * 2
    assert plain.highlights is None
    first, *_ = found(engine, query="cafe zyx", highlight=True).items
    assert first.highlights is not None
    assert [first.title[start:end] for start, end in first.highlights.title] == ["Zyx", "Cafés"]
    description = first.highlights.description
    assert description is not None
    assert {description.text[start:end] for start, end in description.spans} <= {"café", "zyx"}
    assert description.spans
    [bare] = [one for one in found(engine, query="zyx", highlight=True).items if one.item == "b"]
    assert bare.highlights is not None
    assert bare.highlights.description is None


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"sort": "cheapest"}, "relevance, newest, price, -price, popularity"),
        ({"facets": ["colour"]}, "no column 'colour'"),
        ({"filters": [Filter("price", "cheap")]}, "10..20"),
        ({"after": ""}, "not the token of a page"),
    ],
)
def test_a_wrong_value_is_one_clear_error_of_its_request_alone(
    engines: Engines, asked: dict[str, Any], says: str
) -> None:
    engine = engines(("itemknn",), ("bm25",))
    wrong, right = engine.search([Asked(query="red", **asked), Asked(query="red")])
    assert isinstance(wrong, SettingsError)
    assert says in str(wrong)
    assert isinstance(right, Response)
