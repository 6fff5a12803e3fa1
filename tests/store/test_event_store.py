"""The contract of an event store, held by both databases."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest

from searec.errors import DataError, SettingsError
from searec.store.event_store import EventStore
from searec.store.events import SEARCH, Event, ItemChange, Stored
from searec.store.keys import Key, hash_of
from searec.store.store import Store

Stores = Callable[[], EventStore]
HOUR = 3_600_000_000


def click(event_id: str, user: str = "u", item: str = "i1", time: int = HOUR, **values: Any) -> Event:
    return Event(event_id=event_id, user=user, kind="click", time=time, item=item, **values)


def search(event_id: str, user: str = "u", query: str = "red lamp", time: int = HOUR, **values: Any) -> Event:
    return Event(event_id=event_id, user=user, kind=SEARCH, time=time, query=query, **values)


def numbered(event: Event, number: int) -> Event:
    return dataclasses.replace(event, number=number)


# Events


def test_what_is_appended_is_read(events: EventStore, stores: Stores) -> None:
    assert events.last_number() == 0 and events.all_events() == [] and events.of_users(["u"]) == {}
    one = click("e1", time=2 * HOUR, search="e2")
    two = search("e2", query="Lampe für größere Räume 灯 🪔", clicked=("i1", "ü"), shown=("i1", "i2", "ü"))
    three = click("e3", user="v v", item="i 2")
    assert events.append([one, two, three]) == Stored(new=3, known=0)
    for store in (events, stores().events):
        assert store.all_events() == [numbered(one, 1), numbered(two, 2), numbered(three, 3)]
        assert store.of_users(["u", "v v", "nobody", "u"]) == {
            "u": [numbered(two, 2), numbered(one, 1)],
            "v v": [numbered(three, 3)],
        }
        assert (
            store.of_users(["u"], after=1) == {"u": [numbered(two, 2)]} and store.of_users(["u", "v v"], after=3) == {}
        )
        assert store.of_users([]) == {} and store.of_users(["nobody"]) == {}
        assert store.all_events(after=1, count=1) == [numbered(two, 2)]
        assert store.last_number() == 3


def test_events_of_one_time_keep_their_order_of_arrival(events: EventStore) -> None:
    events.append([click(f"e{n}", item=f"i{n}") for n in (3, 1, 2)])
    assert [event.event_id for event in events.of_users(["u"])["u"]] == ["e3", "e1", "e2"]


def test_the_same_event_again_is_known(events: EventStore) -> None:
    first = [click("e1"), search("e2", clicked=["i1"])]
    assert events.append(first) == Stored(new=2, known=0)
    again = events.append([*first, click("e3")])
    assert again == Stored(new=1, known=2) and again.already == {"e1", "e2"}
    assert events.append([numbered(click("e3"), 77)]) == Stored(new=0, known=1), "a number is the store's business"
    assert [event.number for event in events.all_events()] == [1, 2, 3], "and none is lost to what was known"
    assert events.append([]) == Stored(new=0, known=0) and events.last_number() == 3


@pytest.mark.parametrize(
    "change",
    [
        {"user": "v"},
        {"kind": "purchase"},
        {"time": HOUR + 1},
        {"item": "i2"},
        {"search": "s"},
    ],
)
def test_a_known_id_with_other_contents_is_refused_whole(events: EventStore, change: dict[str, Any]) -> None:
    events.append([click("e1")])
    with pytest.raises(DataError, match=r"'e1'"):
        events.append([click("new"), dataclasses.replace(click("e1"), **change), click("newer")])
    assert [event.event_id for event in events.all_events()] == ["e1"] and events.last_number() == 1


@pytest.mark.parametrize("change", [{"query": "blue lamp"}, {"clicked": ("i2",)}, {"shown": ()}])
def test_a_known_search_with_other_contents_too(events: EventStore, change: dict[str, Any]) -> None:
    known = search("e1", query="a secret wish", clicked=("i1",), shown=("i1", "i2"))
    events.append([known])
    with pytest.raises(DataError, match="'e1'") as raised:
        events.append([dataclasses.replace(known, **change)])
    assert "secret" not in str(raised.value), "what is known may be somebody else's"


def test_an_id_twice_in_one_call(events: EventStore) -> None:
    assert events.append([click("e1"), click("e2"), click("e1")]) == Stored(new=2, known=1)
    with pytest.raises(DataError, match="'e3'"):
        events.append([click("e3"), click("e4"), click("e3", item="i2")])
    assert events.last_number() == 2 and len(events.all_events()) == 2


def test_more_events_than_a_statement_names(events: EventStore) -> None:
    many = [click(f"e{n}", user=f"u{n}") for n in range(2345)]
    assert events.append(many) == Stored(new=2345, known=0)
    assert events.append([*many, click("last")]) == Stored(new=1, known=2345)
    found = events.of_users([event.user for event in many])
    assert len(found) == 2345 and found["u7"] == [numbered(many[7], 8)]
    assert [event.number for event in events.all_events(after=2344)] == [2345, 2346]


BAD_TEXTS = ("a\0b", "half \ud83d of it")


@pytest.mark.parametrize("bad", BAD_TEXTS)
@pytest.mark.parametrize(
    "make",
    [
        click,
        lambda bad: click("e", user=bad),
        lambda bad: click("e", item=bad),
        lambda bad: click("e", search=bad),
        lambda bad: Event(event_id="e", user="u", kind=bad, time=1, item="i"),
        lambda bad: search("e", query=bad),
        lambda bad: search("e", clicked=["i", bad]),
        lambda bad: search("e", shown=[bad]),
    ],
)
def test_texts_that_a_database_refuses_are_refused_before(
    events: EventStore, make: Callable[[str], Event], bad: str
) -> None:
    with pytest.raises(DataError, match="cannot be stored") as raised:
        events.append([click("good"), make(bad)])
    str(raised.value).encode()
    assert events.all_events() == [] and events.last_number() == 0


@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_and_everywhere_else(events: EventStore, store: Store, bad: str) -> None:
    item = {"item_id": "i", "title": "t"}
    for call in (
        lambda: events.put_items([item, item | {"item_id": bad}]),
        lambda: events.put_items([item, item | {"title": bad}]),
        lambda: events.put_items([item | {"deep": [{"er": bad}]}]),
        lambda: events.put_items([item | {"deep": {bad: 1}}]),
        lambda: events.put_users([{"user_id": "u", "city": bad}]),
        lambda: events.hide_items([bad]),
        lambda: events.remove_items(["i", bad]),
        lambda: events.of_users([bad]),
        lambda: events.users_of([bad]),
        lambda: store.forget(bad),
        lambda: events.deploy({"run": bad}),
    ):
        with pytest.raises(DataError, match="cannot be stored"):
            call()
    for call in (lambda: store.keys.add(bad, "read"), lambda: store.keys.revoke(bad)):
        with pytest.raises(SettingsError, match="cannot be stored"):
            call()
    assert events.last_number() == 0 and events.items_since(0) == []


@pytest.mark.parametrize(
    "event",
    [
        click(""),
        click(" "),
        click("e" * 1001),
        click("e", user="é" * 501),
        click("e", time=-1),
        click("e", time=10**18),
        click("e", time=1.5),  # type: ignore[arg-type]
        click("e", clicked=("i",)),
        click("e", query="lamp"),
        search("e", query=" "),
        search("e", item="i"),
        search("e", clicked="i1"),
        Event(event_id="e", user="u", kind="click", time=1),
        Event(event_id="e", user="u", kind="", time=1, item="i"),
        Event(event_id=7, user="u", kind="click", time=1, item="i"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_is_no_event_is_refused(events: EventStore, event: Event) -> None:
    with pytest.raises(DataError):
        events.append([click("good"), event])
    assert events.all_events() == []


def test_the_longest_id_fits(events: EventStore) -> None:
    import secrets

    event = click(secrets.token_hex(500), user=secrets.token_hex(500), item=secrets.token_hex(500))
    assert events.append([event]) == Stored(new=1, known=0)
    assert events.of_users([event.user]) == {event.user: [numbered(event, 1)]}


def test_forgetting_a_user(events: EventStore, store: Store) -> None:
    events.append([click("e1"), click("e2", user="v"), search("e3")])
    events.put_users([{"user_id": "u", "city": "Bern"}, {"user_id": "v"}])
    assert store.forget("u") == 2 and store.forget("u") == 0 and store.forget("nobody") == 0
    assert events.of_users(["u", "v"]).keys() == {"v"} and events.all_users() == {"v": {}}
    assert [event.event_id for event in events.all_events()] == ["e2"]
    last = events.last_number()
    assert events.append([click("e1", item="another")]) == Stored(new=1, known=0), (
        "nothing is left that it could contradict"
    )
    assert events.all_events(after=last)[0].number == last + 1


# Items


def test_items_as_they_stand(events: EventStore) -> None:
    lamp = {
        "title": "Lamp",
        "categories": ["Home", "Light"],
        "price": 9.5,
        "stock": 3,
        "eco": True,
        "note": None,
        "größe": "ü灯",
    }
    events.put_items([{"item_id": "a", **lamp}, {"item_id": "b", "title": "Mug"}])
    assert events.items_since(0) == [ItemChange("a", lamp, number=1), ItemChange("b", {"title": "Mug"}, number=2)]
    events.put_items([{"item_id": "a", "title": "Red lamp"}])
    assert events.items_since(0) == [
        ItemChange("b", {"title": "Mug"}, number=2),
        ItemChange("a", {"title": "Red lamp"}, number=3),
    ]
    assert events.items_since(2) == [ItemChange("a", {"title": "Red lamp"}, number=3)] and events.items_since(3) == []
    assert events.last_number() == 3


def test_hidden_removed_and_put_again(events: EventStore) -> None:
    about = {"title": "Lamp"}
    events.put_items([{"item_id": "a", **about}])
    events.hide_items(["a", "only in the dataset"])
    events.remove_items(["a", "also"])
    assert events.items_since(0) == [
        ItemChange("only in the dataset", {}, hidden=True, number=3),
        ItemChange("a", about, hidden=True, removed=True, number=4),
        ItemChange("also", {}, removed=True, number=5),
    ]
    events.put_items([{"item_id": "a", "title": "New lamp"}])
    assert events.items_since(5) == [ItemChange("a", {"title": "New lamp"}, hidden=True, number=6)]
    events.hide_items(["a", "also"], hidden=False)
    assert events.items_since(6) == [
        ItemChange("a", {"title": "New lamp"}, number=7),
        ItemChange("also", {}, removed=True, number=8),
    ]


def test_the_last_of_equal_items_stays(events: EventStore) -> None:
    events.put_items(
        [{"item_id": "a", "title": "one"}, {"item_id": "b", "title": "x"}, {"item_id": "a", "title": "two"}]
    )
    assert {change.item: change.about["title"] for change in events.items_since(0)} == {"a": "two", "b": "x"}
    events.hide_items(["a", "a"])
    assert events.last_number() == 3
    events.put_items([])
    events.hide_items([])
    assert events.last_number() == 3


@pytest.mark.parametrize(
    "item",
    [
        {"title": "no id"},
        {"item_id": "a"},
        {"item_id": "a", "title": " "},
        {"item_id": "a", "title": 5},
        {"item_id": "", "title": "t"},
        {"item_id": "a", "title": "t", "price": float("nan")},
        {"item_id": "a", "title": "t", "price": float("inf")},
        {"item_id": "a", "title": "t", "stock": 2**63},
        {"item_id": "a", "title": "t", "photo": b"bytes"},
        {"item_id": "a", "title": "t", 5: "five"},
    ],
    ids=repr,
)
def test_what_is_no_item_is_refused(events: EventStore, item: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        events.put_items([{"item_id": "good", "title": "t"}, item])
    assert events.items_since(0) == []


def test_nesting_without_an_end_is_refused(events: EventStore) -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(DataError, match="cannot be stored"):
        events.deploy({"deep": deep})


# Users, keys, deployments


def test_users(events: EventStore) -> None:
    events.put_users([{"user_id": "u", "age": 30, "city": "Köln"}, {"user_id": "v"}])
    assert (
        events.users_of(["v", "u", "nobody"]) == {"v": {}, "u": {"age": 30, "city": "Köln"}}
        and events.users_of([]) == {}
    )
    events.put_users([{"user_id": "u", "age": 31}])
    assert events.all_users() == {"v": {}, "u": {"age": 31}} and events.last_number() == 3
    with pytest.raises(DataError, match="user_id"):
        events.put_users([{"user_id": "w"}, {"age": 3}])
    assert events.users_of(["w"]) == {}


def test_keys_are_shown_once(store: Store, stores: Stores) -> None:
    key = store.keys.add("shop", "write")
    other = store.keys.add("Admin", "admin")
    start, public, secret = key.split("_", 2)
    assert start == "searec" and len(public) == 12 and int(public, 16) >= 0 and len(secret) == 43 and key != other
    assert stores().keys.all() == [
        Key("Admin", "admin", other.split("_")[1], hash_of(other)),
        Key("shop", "write", public, hash_of(key)),
    ]
    with pytest.raises(SettingsError, match="taken"):
        store.keys.add("shop", "read")
    with pytest.raises(SettingsError, match="read or write or admin"):
        store.keys.add("new", "root")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="empty"):
        store.keys.add(" ", "read")
    assert store.keys.revoke("shop") and not store.keys.revoke("shop")
    assert [known.name for known in store.keys.all()] == ["Admin"]
    assert store.keys.add("shop", "read") != key


def test_what_is_served(events: EventStore, stores: Stores) -> None:
    assert events.deployed() is None
    first = events.deploy({"recommend": ["runs/a"], "quota": 0.2, "none": None})
    assert events.deployed() == (first, {"recommend": ["runs/a"], "quota": 0.2, "none": None})
    second = events.deploy({})
    assert stores().events.deployed() == (second, {}) and second > first == 1


def test_threads_share_a_store(events: EventStore) -> None:
    failures = []

    def work(name: str) -> None:
        try:
            for n in range(10):
                events.append([click(f"shared{n}"), click(f"{name} {n}", user=name)])
                events.put_items([{"item_id": "i", "title": name}])
                assert len(events.of_users([name])[name]) == n + 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(events.all_events()) == 10 + 80 and events.last_number() == 90 + 80
