"""Profiles of what users did in the dataset and since, and the interests that follow from them."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from searec.data.dataset import load
from searec.data.schema import DAY
from searec.errors import UnknownIdError
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import CLICKS, QUERIES, ProfileClick, ProfileQuery
from searec.service.reasoner_profiles import Profiles
from searec.store.event_export import export, exported_up_to
from searec.store.event_store import EventStore
from searec.store.events import SEARCH, Event
from searec.store.store import Store

BEGIN = int(datetime(2023, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000
SECONDS = DAY / 1e6
KINDS = [
    ("Pets", "Dogs", "Dog bed"),
    ("Pets", "Dogs", "Leash"),
    ("Outdoor", "Tent"),
    ("Books", "Crime novel"),
    ("Books", "Travel guide"),
]
ITEMS = {
    f"{kind[-1]} {n}": {"title": f"{kind[-1]} no {n}", "categories": list(kind)} for kind in KINDS for n in range(3)
}


def asked(event_id: str, day: float, query: str, user: str = "u0", **values: Any) -> Event:
    return Event(event_id=event_id, user=user, kind=SEARCH, time=BEGIN + int(day * DAY), query=query, **values)


def click(event_id: str, day: float, item: str, user: str = "u0", **values: Any) -> Event:
    return Event(event_id=event_id, user=user, kind="click", time=BEGIN + int(day * DAY), item=item, **values)


@pytest.fixture
def shop(make_folder: Callable[..., Path]) -> Path:
    """Twelve users who look for "sleepy" and find dog beds, and click tents; "u0" also asked for "old" long before."""
    users = [f"u{n}" for n in range(12)]
    feed = [(user, f"Tent {place}", (40 + place) * SECONDS) for place in range(2) for user in users]
    searches = [("u0", "old", 0.0, [])]
    searches += [(user, "sleepy", day * SECONDS, ["Dog bed 1"]) for day in (39.0, 40.5) for user in users]
    return make_folder(items=ITEMS, users=users, feed=feed, searches=searches)


def test_events_are_laid_over_the_dataset(shop: Path, events: EventStore) -> None:
    data = load(shop)
    before = Profiles(data)(["u0"])[0]
    assert [one.text for one in before.queries] == ["sleepy"] and before.earlier == ("old",)
    events.put_items(
        [
            {"item_id": "new", "title": "Hammock", "categories": ["Outdoor", "Hammock"]},
            {"item_id": "Leash 0", "title": "Lead"},
        ]
    )
    events.put_users([{"user_id": "u0", "city": "Ulm", "age": 30, "note": None}])
    events.append(
        [
            asked("s1", 42, "sleepy"),
            asked("s2", 43, "hammock", clicked=["new"]),
            click("c1", 43, "new", search="s2"),
            click("c2", 44, "Leash 0"),
            click("c3", 44, "nobody knows it"),
            asked("s3", 1, "told late"),
        ]
    )
    found = Profiles(data, events)(["u0", "u1"])
    assert found[1] == Profiles(data)(["u1"])[0], "who did nothing since is as before"
    one = found[0]
    assert one.at == BEGIN + 44 * DAY + 1
    assert one.queries == (ProfileQuery("hammock", BEGIN + 43 * DAY), ProfileQuery("sleepy", BEGIN + 42 * DAY))
    assert one.earlier == ("told late", "old"), "out of the window, newest first"
    assert one.clicks[:2] == (
        ProfileClick("Lead", (), BEGIN + 44 * DAY),
        ProfileClick("Hammock", ("Outdoor", "Hammock"), BEGIN + 43 * DAY),
    )
    assert one.clicks[2:] == before.clicks, "a click told twice counts once, and one of an unknown item not at all"
    assert one.attributes == {"city": "Ulm", "age": "30"}


def test_an_item_is_told_as_it_was_last_put(shop: Path, events: EventStore) -> None:
    profiles = Profiles(load(shop), events)
    events.append([click("c1", 44, "new")])
    assert profiles(["u0"])[0].clicks[0].title != "Hammock"
    for title in ("Hammock", "Net"):
        events.put_items([{"item_id": "new", "title": title}])
        assert profiles(["u0"])[0].clicks[0].title == title
    events.remove_items(["new"])
    assert profiles(["u0"])[0].clicks[0].title == "Net", "what was removed had been clicked all the same"


def test_limits_are_those_of_the_dataset(shop: Path, events: EventStore) -> None:
    events.append([asked(f"s{n}", 50 + n / 100, f"query {n}") for n in range(QUERIES + 5)])
    events.append([click(f"c{n}", 50 + n / 1000, "Tent 0") for n in range(CLICKS + 5)])
    one = Profiles(load(shop), events)(["u0"])[0]
    assert [query.text for query in one.queries] == [f"query {n}" for n in range(QUERIES + 4, 4, -1)]
    assert one.earlier[:6] == ("query 4", "query 3", "query 2", "query 1", "query 0", "sleepy")
    assert len(one.clicks) == CLICKS and one.clicks[0].time == BEGIN + int((50 + (CLICKS + 4) / 1000) * DAY)


def test_events_of_the_future_are_not_read(shop: Path, events: EventStore) -> None:
    ahead = (time.time() * 1e6 - BEGIN) / DAY + 1
    events.append([asked("s1", ahead, "tomorrow")])
    assert Profiles(load(shop), events)(["u0"]) == Profiles(load(shop))(["u0"])


def test_users_whom_the_dataset_does_not_know(shop: Path, events: EventStore) -> None:
    events.append([asked("s1", 44, "tent", user="stranger", clicked=["Tent 0"])])
    events.put_users([{"user_id": "put", "city": "Ulm"}])
    profiles = Profiles(load(shop), events)
    one, nobody = profiles(["stranger", "nobody"])
    assert (one.user, one.at, one.queries) == (
        "stranger",
        BEGIN + 44 * DAY + 1,
        (ProfileQuery("tent", BEGIN + 44 * DAY),),
    )
    assert one.clicks == (ProfileClick("Tent no 0", ("Outdoor", "Tent"), BEGIN + 44 * DAY),)
    assert not nobody.queries and nobody.at > one.at
    assert profiles.everybody() == [*sorted(f"u{n}" for n in range(12)), "put", "stranger"]
    profiles.refuse_unknown(["u0", "put", "stranger"])
    with pytest.raises(UnknownIdError, match="nobody"):
        profiles.refuse_unknown(["u0", "nobody"])


def test_exported_events_are_read_once(shop: Path, events: EventStore, tmp_path: Path) -> None:
    events.append([asked("told", 44, "tent"), click("c1", 44, "Tent 2", search="told")])
    export(shop, events, tmp_path / "out")
    events.append([click("c2", 45, "Tent 0")])
    data, after = load(tmp_path / "out"), exported_up_to(tmp_path / "out")
    once = Profiles(data, events, after=after)(["u0"])[0]
    assert once == Profiles(load(shop), events)(["u0"])[0], "from the dataset or from events, it is the same"
    assert len(Profiles(data, events)(["u0"])[0].clicks) == len(once.clicks) + 1, "read twice it would count twice"


def graph_of(store: str, user: str) -> tuple[list[str], list[str]]:
    """Signals and interests that are kept."""
    with Store(store) as opened:
        graph = opened.interests.read_graph(user)
    assert graph is not None
    return list(graph.signals), [one.text for one in graph.interests()]


def test_a_search_that_was_reported_leads_to_interests(
    shop: Path, searec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers")
    url = f"sqlite:///{tmp_path / 'store.db'}"
    command = ("interests", "worker", shop, "--store", url, "--once")
    with Store(url) as store:
        before = Edge(source="tax law", target="law", relation="hypernym", signal="query")
        store.interests.write([InterestGraph("u0", BEGIN + 41 * DAY, (before,))])
    code, out, error = searec(*command, "--enqueue", "drifted")
    assert code == 0 and "jobs: 11 refreshed" in out, error  # users without interests; u0 has no query since
    assert searec(*command, "--enqueue", "stranger")[0] == 1, "nothing is known of this user yet"
    reported = [
        asked("s1", 44, "crime novel"),
        asked("s2", 45, "travel guide"),
        asked("s3", 44, "dog bed", user="stranger"),
    ]
    with Store(url) as store:
        store.events.append(reported)
    code, out, error = searec(*command, "--enqueue", "drifted")
    assert code == 0 and "jobs: 2 refreshed" in out, error  # a stranger, and a user with other queries
    signals, _ = graph_of(url, "u0")
    assert {"crime novel", "travel guide"} <= set(signals)
    signals, interests = graph_of(url, "stranger")
    assert signals == ["dog bed"] and "Tent" in interests, "users who click dog beds click tents"
    code, _, error = searec(*command, "--enqueue", "nobody")
    assert code == 1 and "'nobody'" in error

    built = f"sqlite:///{tmp_path / 'built.db'}"
    monkeypatch.setenv("SEAREC_STORE", built)
    build = ("interests", "build", shop, "--json", "-")
    assert json.loads(searec(*build)[1])["built"] == 12, "the address may come from the environment"
    with Store(built) as store:
        store.events.append(reported)
    assert json.loads(searec(*build)[1])["built"] == 1
    assert graph_of(built, "stranger")[0] == ["dog bed"]
