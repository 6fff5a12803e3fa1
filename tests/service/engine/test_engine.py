"""The engine on a real shop, real runs and a real event store."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_shop import Shop

from searec.data.feedback import train_weights
from searec.data.schema import TASKS
from searec.data.taxonomy import Taxonomy
from searec.errors import RunError, SearecError, SettingsError, StorageError, UnknownIdError
from searec.interests.interest_graph import Edge, InterestGraph
from searec.models.bm25 import BM25
from searec.pipeline.builder import try_out
from searec.pipeline.channels import Candidates, RequestBatch
from searec.pipeline.executors import Executor, Skipped
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.run import read_run
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import Request, Response, SuggestRequest
from searec.search import intent, scoring
from searec.search.filters import Filter
from searec.search.postings import FieldWeights
from searec.store.event_store import EventStore
from searec.store.events import Event
from searec.store.interest_reader import Reader
from searec.store.store import Store
from searec.text.analysis import plain_words

Engines = Callable[..., Pipeline]
START = 1_750_000_000_000_000
"""After everything in the shop."""


def feed(engine: Pipeline, **asked: Any) -> Response:
    return one(engine.recommend([Request(**asked)]))


def found(engine: Pipeline, **asked: Any) -> Response:
    return one(engine.search([Request(**asked)]))


def one(answers: list[Response | SearecError]) -> Response:
    answer = answers[0]
    assert isinstance(answer, Response), answer
    return answer


def ids(answer: Response) -> list[str]:
    return [shown.item for shown in answer.items]


def clicks(user: str, items: list[str], first: int = 0) -> list[Event]:
    return [
        Event(event_id=f"{user}-{first + n}", user=user, kind="click", time=START + first + n, item=item)
        for n, item in enumerate(items)
    ]


def consumed(shop: Shop, user: str) -> list[str]:
    """What a user has clicked in the dataset, old to new."""
    click_history = shop.data.click_history
    inside = int(shop.data.users.to_internal([user])[0])
    return shop.data.items.to_external(
        click_history.item[click_history.offsets[inside] : click_history.offsets[inside + 1]]
    )


@pytest.fixture
def busy(shop: Shop) -> str:
    """A user with about ten clicks."""
    return min(shop.data.users.texts.to_list(), key=lambda user: abs(len(consumed(shop, user)) - 10))


# --- the feed ---


def test_a_feed_is_the_models_own_list_less_what_was_consumed(shop: Shop, engines: Engines, busy: str) -> None:
    engine = engines(("sasrec",), diversity=0.0)
    answer = feed(engine, user=busy, k=20)
    expected = read_run(shop.runs["sasrec"], shop.data).recommend([busy], k=20)
    assert ids(answer) == expected["item_id"].to_list()
    assert not set(ids(answer)) & set(consumed(shop, busy))
    assert answer.known
    assert {shown.channel for shown in answer.items} == {"sasrec"}
    assert all(shown.title and shown.reason for shown in answer.items)
    assert set(ids(feed(engine, user=busy, k=300, seen=True))) & set(consumed(shop, busy))


def test_a_ranker_orders_what_channels_bring(shop: Shop, engines: Engines, busy: str) -> None:
    expected = read_run(shop.runs["unisar"], shop.data).recommend([busy], k=20)
    plain, ranked = engines(("sasrec",), diversity=0.0), engines(("sasrec", "unisar"), diversity=0.0)
    answer = feed(ranked, user=busy, k=20)
    assert ids(answer) == expected["item_id"].to_list(), "the pool holds the whole of this small catalogue"
    assert [shown.score for shown in answer.items] == pytest.approx(expected["score"].to_list(), rel=1e-4)
    assert ids(answer) != ids(feed(plain, user=busy, k=20))
    assert {shown.channel for shown in answer.items} == {"sasrec"}


def test_who_came_later_gets_what_the_same_history_gets_from_training(
    engines: Engines, shop: Shop, store: EventStore, busy: str
) -> None:
    engine = engines(("sasrec",), events=store, diversity=0.0)
    store.append(clicks("newcomer", consumed(shop, busy)))
    assert ids(feed(engine, user="newcomer", k=50)) == ids(feed(engine, user=busy, k=50))


def test_nobody_and_who_is_unknown_get_what_many_click(shop: Shop, engines: Engines) -> None:
    engine = engines(("sasrec", "serendipity"), diversity=0.0)
    split = read_run(shop.runs["sasrec"], shop.data).split
    counts = np.bincount(split.train_clicks(("recommend",))[1], train_weights(split, ("recommend",)), minlength=301)
    for user in (None, "never seen"):
        answer = feed(engine, user=user, k=30)
        assert not answer.known
        assert {shown.channel for shown in answer.items} == {"popular"}
        clicked = counts[shop.data.items.to_internal(ids(answer))]
        assert clicked.tolist() == sorted(counts[1:], reverse=True)[:30]


def test_what_a_user_refused_is_not_served_until_chosen_again(
    shop: Shop, engines: Engines, store: EventStore, busy: str
) -> None:
    engine = engines(("sasrec", "serendipity"), ("bm25", "dense"), events=store, diversity=0.0)
    query = shop.data.queries.texts[0]
    before, results = ids(feed(engine, user=busy, k=20)), ids(found(engine, user=busy, query=query, k=20))
    refused, hidden = before[0], results[0]

    def event(number: int, kind: str, item: str) -> Event:
        return Event(event_id=f"{kind}{number}", user=busy, kind=kind, time=START + number, item=item)

    store.append([event(1, "dislike", refused), event(2, "hide", hidden), event(3, "impression", before[2])])
    history = engine.histories.context(busy, engine.histories.read([busy])[busy], engine.catalog.last).history
    assert history.click_item.tolist() == shop.data.items.to_internal(consumed(shop, busy)).tolist()
    for after in (ids(feed(engine, user=busy, k=20)), ids(found(engine, user=busy, query=query, k=20))):
        assert len(after) == 20 and not {refused, hidden} & set(after)
    assert refused not in ids(feed(engine, user=busy, k=20, seen=True))
    assert refused in ids(feed(engine, user=busy, k=20, time=START))
    assert refused in ids(feed(engine, user="anybody else", k=300)), "only for that user"
    store.append([event(4, "click", hidden)])
    assert hidden in ids(found(engine, user=busy, query=query, k=20))
    assert [one.item for one in engine.views.user(busy).history if one.item in (refused, before[2])] == []


def test_a_strict_filter_is_filled_from_far_down_and_with_what_is_like_nothing(
    shop: Shop, engines: Engines, store: EventStore
) -> None:
    engine = engines(pool=6, diversity=0.0, events=store)
    split = read_run(shop.runs["sasrec"], shop.data).split
    counts = np.bincount(split.train_clicks(("recommend",))[1], train_weights(split, ("recommend",)), minlength=301)[1:]
    order = np.argsort(-counts, kind="stable") + 1
    wanted = Taxonomy.of(shop.data).names[0]
    held = [
        item
        for item in shop.data.items.to_external(order)
        if wanted in engine.catalog.last.categories(engine.catalog.last.index_of(item))
    ]
    assert len(held) >= 3
    assert order.tolist().index(engine.catalog.last.index_of(held[2])) >= 3
    assert ids(feed(engine, filters=[Filter("categories", wanted)], k=3)) == held[:3]
    store.put_items([{"item_id": "odd", "title": "qqzx", "brand": "Odd"}])
    assert ids(feed(engine, filters=[Filter("brand", "Odd")])) == ["odd"]


def test_a_click_counts_at_the_next_request(engines: Engines, store: EventStore, busy: str) -> None:
    engine = engines(("itemknn",), events=store)
    before = feed(engine, user=busy)
    first = before.items[0].item
    store.append(clicks(busy, [first]))
    after = feed(engine, user=busy)
    assert first not in ids(after)
    assert ids(after) != ids(before)[1:], "the history has changed, and so has the list"
    view = engine.views.user(busy)
    assert (view.history[0].item, view.history[0].kind) == (first, "click")


def test_interests_get_their_share_of_the_places(shop: Shop, engines: Engines, busy: str) -> None:
    engine = engines(("serendipity", "sasrec"), diversity=0.3)
    narrow = Taxonomy.of(shop.data).narrow
    touched = {
        category
        for item in shop.data.items.to_internal(consumed(shop, busy))
        for category in narrow.row(int(item)).tolist()
    }
    counts = []
    for quota in (0.0, 0.2, 0.5):
        answer = feed(engine, user=busy, k=10, quota=quota)
        interest = [shown for shown in answer.items if shown.channel == "interest"]
        counts.append(len(interest))
        assert all(shown.novel and "→" in shown.reason for shown in interest)
        novel = [not touched & set(narrow.row(int(item)).tolist()) for item in shop.data.items.to_internal(ids(answer))]
        assert [shown.novel for shown in answer.items] == novel
        assert answer.enr == sum(novel) / 10
    assert counts == [0, 2, 5]


def test_pages_never_repeat_whatever_happens_between_them(engines: Engines, store: EventStore, busy: str) -> None:
    engine = engines(("serendipity", "sasrec", "itemknn"), events=store)
    shown: list[str] = []
    after = None
    for number in range(8):
        answer = feed(engine, user=busy, k=9, after=after, quota=0.3)
        assert len(answer.items) == 9
        shown += ids(answer)
        after = answer.next
        store.append(clicks(busy, [shown[-1]], first=number))
        store.put_items([{"item_id": f"new{number}", "title": answer.items[0].title}])
    assert len(set(shown)) == len(shown)
    whole, last = ids(feed(engine, user=busy, k=300)), feed(engine, user=busy, k=300)
    assert last.next is None
    paged = [
        item
        for offset in range(0, len(whole), 7)
        for item in ids(feed(engine, user=busy, k=7, offset=offset, diversity=0.0))
    ]
    assert paged == ids(feed(engine, user=busy, k=300, diversity=0.0))


def test_near_identical_items_do_not_crowd_the_first_page(engines: Engines, store: EventStore, busy: str) -> None:
    engine = engines(("sasrec",), events=store)
    first = feed(engine, user=busy, diversity=0.0).items[0]
    store.put_items(
        [{"item_id": f"twin{n}", "title": first.title, "categories": list(first.categories)} for n in range(6)]
    )
    crowded = [item for item in ids(feed(engine, user=busy, diversity=0.0)) if item.startswith("twin")]
    assert len(crowded) == 6
    assert len([item for item in ids(feed(engine, user=busy, diversity=0.6)) if item.startswith("twin")]) < 3


# --- the catalogue ---


def test_new_hidden_and_removed_items(engines: Engines, store: EventStore, busy: str) -> None:
    engine = engines(("sasrec", "serendipity"), ("bm25", "dense"), events=store, diversity=0.0)
    first = feed(engine, user=busy).items[0]
    store.put_items(
        [
            {
                "item_id": "fresh",
                "title": first.title + " zanzibar",
                "categories": list(first.categories),
                "brand": "Nova",
            }
        ]
    )
    assert "fresh" in ids(feed(engine, user=busy))
    assert ids(found(engine, query="zanzibar"))[0] == "fresh"
    assert engine.views.item("fresh").state == "new"
    assert ids(feed(engine, user=busy, filters=[Filter("brand", "Nova")])) == ["fresh"]
    assert found(engine, query="anything at all", filters=[Filter("brand", "Nova")]).items[0].item == "fresh"
    store.hide_items(["fresh", first.item])
    for answer in (feed(engine, user=busy, k=300), found(engine, query=first.title + " zanzibar", k=100)):
        assert not {"fresh", first.item} & set(ids(answer))
    assert engine.views.item("fresh").hidden
    near = engine.views.similar(first.item, 5)[1][0][0]
    store.hide_items([near])
    label, similar = engine.views.similar(first.item, 300)
    assert label in ("sasrec", "serendipity") and len(similar) > 5
    assert not {"fresh", first.item, near} & {item for item, _, _ in similar}
    assert [score for _, _, score in similar] == sorted((score for _, _, score in similar), reverse=True)
    store.hide_items([near], hidden=False)
    store.hide_items(["fresh", first.item], hidden=False)
    assert engine.views.similar("fresh", 3)[1]  # by its proxy
    assert {"fresh", first.item} <= set(ids(feed(engine, user=busy)))
    store.remove_items(["fresh"])
    assert "fresh" not in ids(feed(engine, user=busy, k=300))
    store.put_items([{"item_id": first.item, "title": "a name of its own"}])
    assert feed(engine, user=busy).items[0].title == "a name of its own"
    with pytest.raises(UnknownIdError):
        engine.views.item("no such item")


def test_clicks_on_new_items_are_history_too(engines: Engines, shop: Shop, store: EventStore) -> None:
    engine = engines(("itemknn",), events=store, diversity=0.0)
    counts = np.bincount(shop.data.click_history.item, minlength=301)
    known = shop.data.items.to_external(np.array([int(counts[1:].argmax()) + 1]))[0]
    about = shop.data.item_table.filter(item_id=known).row(0, named=True)
    store.put_items([{**{name: value for name, value in about.items() if value is not None}, "item_id": "twin"}])
    store.append(clicks("by the known one", [known]) + clicks("by the new one", ["twin"]))
    alike = [item for item in ids(feed(engine, user="by the known one", k=30)) if item != "twin"]
    assert alike == [item for item in ids(feed(engine, user="by the new one", k=30)) if item != known]


def test_filters_hold_and_wrong_ones_are_the_askers_alone(shop: Shop, engines: Engines, busy: str) -> None:
    engine = engines(("sasrec", "serendipity"), ("bm25", "dense"))
    column, values = next(iter(engine.views.values().items()))
    for value in values[:5]:
        for answer in (
            feed(engine, user=busy, filters=[Filter(column, value)]),
            found(engine, query="red", filters=[Filter(column, value)]),
        ):
            assert answer.items
            assert all(value in shown.categories for shown in answer.items)
    both = feed(engine, user=busy, filters=[Filter(column, value) for value in values[:2]], k=50)
    assert all(set(values[:2]) & set(shown.categories) for shown in both.items)
    assert not feed(engine, user=busy, filters=[Filter(column, "no such category")]).items
    answers = engine.recommend(
        [Request(user=busy), Request(user=busy, filters=[Filter("colour", "red")]), Request(user=None)]
    )
    assert isinstance(answers[1], SettingsError)
    assert isinstance(answers[0], Response)
    assert isinstance(answers[2], Response)
    left = ids(feed(engine, user=busy))[:3]
    assert not set(left) & set(ids(feed(engine, user=busy, exclude=left, k=300)))


# --- search and suggestions ---


def without_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the lexical channel score as bm25 alone."""
    monkeypatch.setattr(scoring, "PHRASE", 0.0)
    monkeypatch.setattr(intent, "BONUS", 0.0)
    plain = lambda model: FieldWeights(model.config.k1, model.config.b, (1, 1, 1, 1))  # noqa: E731
    monkeypatch.setattr(BM25, "field_weights", plain)


def test_search_by_words_is_the_models_own_list_but_for_phrases(
    shop: Shop, engines: Engines, busy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_fields(monkeypatch)
    engine = engines((), ("bm25",), prior=0.0)
    run = read_run(shop.runs["bm25"], shop.data)
    for query in shop.data.queries.texts.to_list()[:20]:
        expected = run.search([busy], [query], k=300)
        scores = {item: score for item, score in zip(expected["item_id"], expected["score"], strict=True) if score > 0}
        answer = found(engine, user=busy, query=query)
        assert [scores[item] for item in ids(answer)] == pytest.approx(sorted(scores.values(), reverse=True)[:10])


def test_search_that_is_fused_by_rank_is_the_same_for_everybody(engines: Engines, shop: Shop) -> None:
    engine = engines((), ("bm25", "dense", "unisar"))
    query = shop.data.queries.texts[0]
    users = shop.data.users.texts.to_list()[:20]
    assert len({tuple(ids(found(engine, user=user, query=query))) for user in users}) == 1
    assert {line.label: line.uses for line in engine.views.served_runs()}["unisar"] == ()


def test_the_prior_puts_what_is_clicked_before_what_matches_as_well(
    engines: Engines, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_fields(monkeypatch)
    split = engines((), ("bm25",)).parts.popular.split
    item, weight = split.train_clicks(TASKS)[1], train_weights(split, TASKS)
    counts = np.bincount(item, weight, minlength=shop.data.sizes.items + 1)
    plain = read_run(shop.runs["bm25"], shop.data)
    for query in shop.data.queries.texts.to_list()[:5]:
        lists = plain.search([None], [query], k=300)
        score = {
            item: value + 0.3 * np.log1p(counts[shop.data.items.find(item)])
            for item, value in zip(lists["item_id"], lists["score"], strict=True)
        }
        listed = [score[item] for item in ids(found(engines((), ("bm25",)), query=query))]
        assert listed == pytest.approx(sorted(score.values(), reverse=True)[:10])


def test_suggestions(engines: Engines, shop: Shop, busy: str) -> None:
    engine = engines(("serendipity",))
    (answer,) = engine.suggest([SuggestRequest(None, "", 5)])
    assert not isinstance(answer, SearecError)
    asked = shop.data.searches.query
    users = np.repeat(np.arange(len(shop.data.searches.offsets) - 1), np.diff(shop.data.searches.offsets))
    askers = {
        text: len(set(users[asked == n].tolist())) for n, text in enumerate(shop.data.queries.texts.to_list(), start=1)
    }
    assert [askers[one.query] for one in answer.queries] == sorted(askers.values(), reverse=True)[:5]
    prefix = answer.queries[0].query[:2].upper()
    (answer,) = engine.suggest([SuggestRequest(busy, prefix, 5)])
    assert not isinstance(answer, SearecError)
    assert answer.queries
    assert all(any(word.startswith(prefix.lower()) for word in plain_words(one.query)) for one in answer.queries)
    (answer,) = engine.suggest([SuggestRequest(busy, "", 8)])
    assert not isinstance(answer, SearecError)
    interest = [one for one in answer.queries if one.channel == "interest"]
    assert interest
    assert all("→" in one.reason for one in interest)
    assert isinstance(engine.suggest([SuggestRequest(busy, "", 0)])[0], SettingsError)


# --- interests from the store ---


def test_interests_of_the_store_go_before_those_of_the_training(
    engines: Engines, shop: Shop, busy: str, tmp_path: Any
) -> None:
    taxonomy = Taxonomy.of(shop.data)
    inside = shop.data.items.to_internal(consumed(shop, busy))
    touched = {category for item in inside for category in taxonomy.narrow.row(int(item)).tolist()}
    free = [c for c in np.unique(taxonomy.narrow.values).tolist() if c not in touched and "-" not in taxonomy.name(c)]
    wish = taxonomy.name(free[0])
    edges = (
        Edge(source="q", target="d", relation="hypernym", signal="query"),
        Edge(source="d", target=wish, relation="hyponym"),
    )
    with Store(f"sqlite:///{tmp_path / 'interests.db'}") as opened, Reader(opened) as reader:
        engine = engines(("serendipity", "sasrec"), reader=reader, window=1)  # few items carry a single interest
        assert feed(engine, user=busy).interests == "run"
        opened.interests.write([InterestGraph(busy, START, edges)])
        answer: Response | None = None
        for _ in range(200):  # a text that the training never had is encoded beside the requests
            answer = feed(engine, user=busy, quota=0.5)
            if any(shown.channel == "interest" for shown in answer.items):
                break
            threading.Event().wait(0.05)
        assert answer is not None
        assert answer.interests == "fresh"
        brought = [shown for shown in answer.items if shown.channel == "interest"]
        assert brought
        assert {shown.reason for shown in brought} == {f"because you looked for “q” → d → {wish}"}
        view = engine.views.interests(busy)
        assert (view.source, [text for text, _, _ in view.interests]) == ("fresh", [wish])
        assert view.graph is not None
        assert "<svg" in view.picture


# --- parts that fail ---


class _Waiting:
    """A channel that waits until it is let go."""

    names = ("slow",)

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        self.asked += 1
        self.go.wait(30)
        return {"slow": [Candidates(np.array([1])) for _ in requests.users]}


class _Broken:
    names = ("broken",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        raise self.error


class _Torn(Suggester):
    """A writer of queries that fails."""

    def by_model(self, user: Any, prefix: str, k: int) -> list[str]:
        raise RuntimeError("torn in two")


@pytest.mark.parametrize("part", ["recommend", "search", "suggester"])
def test_each_part_is_tried_out_before_anybody_asks(shop: Shop, engines: Engines, part: str) -> None:
    engine = engines(("sasrec",))
    try_out(engine, shop.data)
    engine.executors["broken"] = Executor("broken")
    run = dataclasses.replace(read_run(shop.runs["sasrec"], shop.data), config={"label": "broken"})
    channel: Any = {"broken": _Broken(RuntimeError("torn in two"))}
    broken: Any = _Torn(shop.data) if part == "suggester" else {**engine.parts.channels, part: channel}
    if part == "suggester":
        broken.run = run
    name = "suggester" if part == "suggester" else "channels"
    engine.parts = dataclasses.replace(engine.parts, **{name: broken})
    with pytest.raises(RunError, match=r"a part fails when it is tried; where: broken; got: RuntimeError: torn in two"):
        try_out(engine, shop.data)


@pytest.mark.parametrize("error", [RuntimeError("shapes"), KeyError("no such"), StorageError("gone")])
def test_what_is_late_or_broken_is_left_out_and_named(
    engines: Engines, busy: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engines(("sasrec",))
    slow = _Waiting()
    feed_channels: Any = {**engine.parts.channels["recommend"], "slow": slow, "broken": _Broken(error)}
    engine.parts = dataclasses.replace(engine.parts, channels={**engine.parts.channels, "recommend": feed_channels})
    engine.executors |= {name: Executor(name) for name in ("slow", "broken")}
    for _ in range(3):
        answer = feed(engine, user=busy, seconds=0.4)
        assert {(part, why) for part, why in answer.left_out} >= {("slow", "late"), ("broken", "failed")}
        assert len(answer.items) == 10
    assert slow.asked == 1, "what is stuck gets nothing new"
    assert type(error).__name__ in engine.executors["broken"].last_error
    assert any("broken fails" in told.getMessage() for told in caplog.records), "the log says why"
    slow.go.set()
    for _ in range(200):
        if not [part for part, _ in feed(engine, user=busy).left_out if part == "slow"]:
            break
        threading.Event().wait(0.02)
    else:
        raise AssertionError("it never came back")


def test_a_lane_tells_late_from_failed() -> None:
    lane = Executor("test")
    assert lane.submit(lambda: 7).result(time.monotonic() + 30) == 7
    assert lane.submit(torch.is_inference_mode_enabled).result(time.monotonic() + 30)

    def fails() -> None:
        raise StorageError("gone")

    with pytest.raises(Skipped, match="failed"):
        lane.submit(fails).result(time.monotonic() + 30)
    lane.close()


class _Gone:
    """An event store whose server may go away."""

    def __init__(self, inner: EventStore) -> None:
        self.inner = inner
        self.gone = False

    def __getattr__(self, name: str) -> Any:
        if self.gone:
            raise StorageError("the event store is gone")
        return getattr(self.inner, name)


def test_without_its_store_the_engine_goes_by_what_it_last_knew(engines: Engines, store: EventStore, busy: str) -> None:
    door = _Gone(store)
    engine = engines(("itemknn",), events=door)
    first = feed(engine, user=busy).items[0].item
    store.append(clicks(busy, [first]))
    store.hide_items([feed(engine, user=busy).items[0].item])
    before = feed(engine, user=busy)
    assert not before.left_out
    door.gone = True
    answer = feed(engine, user=busy)
    assert answer.left_out == (("events", "failed"),)
    assert ids(answer) == ids(before), "neither what was clicked nor what was hidden comes back"
    door.gone = False
    assert not feed(engine, user=busy).left_out


def test_bad_requests_are_refused(engines: Engines) -> None:
    engine = engines()
    bad: list[dict[str, Any]] = [
        {"k": 0},
        {"k": 501},
        {"offset": -1},
        {"k": 400, "offset": 200},
        {"quota": 1.5},
        {"diversity": -0.1},
    ]
    bad += [{"seconds": 0.0}, {"after": "nonsense!"}, {"after": "AQ", "offset": 3}]
    answers = engine.recommend([Request(**ask) for ask in bad] + [Request()])
    assert all(isinstance(answer, SettingsError) for answer in answers[:-1])
    assert isinstance(answers[-1], Response)
    assert isinstance(engine.search([Request(query="  ")])[0], SettingsError)


def test_a_run_that_cannot_do_what_it_is_for_is_refused(engines: Engines, shop: Shop) -> None:
    with pytest.raises(SettingsError, match="does not support search"):
        engines((), ("sasrec",))
    with pytest.raises(SearecError, match="no finished run"):
        engines_bad = shop.deployment()
        from searec.pipeline.builder import open_pipeline

        open_pipeline(dataclasses.replace(engines_bad, recommend=("/no/such/folder",)))
