"""From events back to a dataset folder: every row obeys the rules, and nothing is added twice."""

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import searec.store.event_export as exporting
from searec.data.events import EventWeights
from searec.data.log import load_log, open_folder
from searec.errors import DataError, StorageError
from searec.store.event_export import EVENTS_FILE, export, exported_up_to
from searec.store.event_store import EventStore
from searec.store.events import SEARCH, Event

START = datetime(2023, 5, 1, tzinfo=UTC)
MINUTE = 60_000_000
BEGIN = int(START.timestamp()) * 1_000_000
Folder = Callable[..., Path]


def click(
    event_id: str, minute: int, user: str = "u1", item: str = "i1", kind: str = "click", search: str | None = None
) -> Event:
    return Event(event_id=event_id, user=user, kind=kind, time=BEGIN + minute * MINUTE, item=item, search=search)


def asked(event_id: str, minute: int, user: str = "u1", query: str = "lamp", **values: Any) -> Event:
    return Event(event_id=event_id, user=user, kind=SEARCH, time=BEGIN + minute * MINUTE, query=query, **values)


@pytest.fixture
def shop(make_folder: Folder) -> Path:
    """Three items, two users, two clicks, one search."""
    return make_folder(
        items={
            name: {"title": f"thing {name}", "brand": "b", "price": price}
            for name, price in (("i1", 1), ("i2", 2), ("i3", 3))
        },
        users=["u1", "u2"],
        feed=[("u1", "i1", 60.0), ("u2", "i2", 60.0)],
        searches=[("u1", "red lamp", 120.0, ["i1"])],
    )


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    return open_folder(folder)[table].collect().to_dicts()


def clicked(folder: Path) -> dict[str, list[str]]:
    return {row["search_id"]: row["clicked"] for row in rows(folder, "searches")}


def rejects(folder: Path) -> list[tuple[Any, ...]]:
    return pl.read_parquet(folder / "rejects.parquet").rows()


def test_nothing_new_changes_nothing(shop: Path, events: EventStore, tmp_path: Path) -> None:
    counts = export(shop, events, tmp_path / "out")
    assert counts == {
        **{"items": 3, "users": 2, "interactions": 2, "searches": 1},
        **{"events": 0, "clicked": 0, "rejects": 0, "number": 0},
    }
    for table in ("items", "users", "interactions", "searches"):
        assert rows(tmp_path / "out", table) == rows(shop, table)
    assert json.loads((tmp_path / "out" / EVENTS_FILE).read_text()) == {"number": 0, "events": 0}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("out", "."))) == ["out"]


def test_everything_finds_its_place(shop: Path, events: EventStore, tmp_path: Path) -> None:
    events.append(
        [
            click("e1", 10),
            click("e2", 11, kind="purchase", item="i2"),
            asked("e3", 12, user="new", clicked=["i3", "i3"], shown=["i3", "gone", "i1"]),
            click("e4", 14, user="new", item="i2", search="e3"),
            click("e5", 13, user="new", item="i1", search="e3"),
            click("e6", 15, user="new", item="i3", search="e3"),
            click("e7", 16, item="i3", search="s0"),
            click("e8", 17, item="i3", search="nowhere"),
            click("e9", 18, user="u2", item="i3", search="s0"),
            click("e10", 19, item="i2", kind="purchase", search="e3"),
        ]
    )
    out = tmp_path / "out"
    counts = export(shop, events, out)
    assert (counts["events"], counts["clicked"], counts["rejects"], counts["number"]) == (10, 4, 0, 10)
    assert clicked(out) == {"s0": ["i1", "i3"], "e3": ["i3", "i1", "i2"]}, "by time, each once"
    feed = [(row["user_id"], row["item_id"], row["event"]) for row in rows(out, "interactions")]
    assert feed[2:] == [
        *(("u1", "i1", "click"), ("u1", "i2", "purchase"), ("u1", "i3", "click")),
        *(("u2", "i3", "click"), ("u1", "i2", "purchase")),
    ], "also of a search that is not known, or is another user's"
    assert [row["user_id"] for row in rows(out, "users")] == ["u1", "u2", "new"]
    assert rows(out, "searches")[1]["shown"] == ["i3", "gone", "i1"] and rows(out, "searches")[0]["shown"] is None
    assert rows(out, "searches")[1]["timestamp"] == START + timedelta(minutes=12)
    log = load_log(out)
    assert log.interactions.height == 7 and log.searches.height == 2 and not (out / "rejects.parquet").exists()


def test_feedback_keeps_its_name_and_its_weight(shop: Path, events: EventStore, tmp_path: Path) -> None:
    EventWeights({"zoom": -1}).write(shop)
    frame = pl.read_parquet(shop / "interactions.parquet").with_columns(weight=pl.Series([0.5, 2.0]))
    frame.write_parquet(shop / "interactions.parquet")
    events.append(
        [
            click("e1", 10, item="i2", kind="dislike", search="s0"),
            click("e2", 11, item="i3", kind="Click", search="s0"),
            click("e3", 12, item="i3", kind="zoom"),
            click("e4", 13, item="i3", kind="purchase"),
        ]
    )
    out = tmp_path / "out"
    export(shop, events, out)
    export(out, events, tmp_path / "again")
    for folder in (out, tmp_path / "again"):
        assert clicked(folder) == {"s0": ["i1", "i3"]}
        feed = [(row["item_id"], row["event"], row["weight"]) for row in rows(folder, "interactions")]
        assert feed[2:] == [("i2", "dislike", 1.0), ("i3", "zoom", 1.0), ("i3", "purchase", 1.0)]
        assert load_log(folder).interactions["weight"].to_list() == [0.5, 2.0, -1.0, -1.0, 3.0]


def test_what_breaks_a_rule_is_listed(shop: Path, events: EventStore, tmp_path: Path) -> None:
    now = START + timedelta(minutes=100)
    events.append(
        [
            click("e1", 10, item="unknown"),
            click("e2", 11),
            click("e3", 11),
            click("e4", 1),
            click("e5", 101),
            asked("s0", 20),
            asked("e7", 21, clicked=["i1", "unknown"]),
            asked("e8", 102),
            click("e9", 30, search="e8"),
        ]
    )
    out = tmp_path / "out"
    counts = export(shop, events, out, now=now)
    assert rejects(out) == [
        ("events", 5, "no valid time", "2023-05-01 01:41:00.000000+00:00"),
        ("events", 8, "no valid time", "2023-05-01 01:42:00.000000+00:00"),
        ("events", 1, "unknown item", "unknown"),
        ("events", 6, "duplicate search_id", "s0"),
        ("events", 7, "unknown clicked item", "unknown"),
        ("events", 3, "duplicate row", "i1"),
        ("events", 4, "duplicate row", "i1"),
    ]
    assert counts["rejects"] == 7 and counts["interactions"] == 4 and clicked(out) == {"s0": ["i1"], "e7": ["i1"]}
    load_log(out, now=now)


def test_items_and_users_as_they_stand(shop: Path, events: EventStore, tmp_path: Path) -> None:
    events.put_items(
        [
            {"item_id": "i2", "title": "New thing", "price": 2.5, "categories": ["Home", "Light"], "colour": "red"},
            {"item_id": "i9", "title": "Ninth", "brand": 7, "sizes": ["s", "m"], "row": 3, "place": "shelf"},
            {"item_id": "i8", "title": "Mentioned"},
            {"item_id": "i7", "title": "Unmentioned"},
        ]
    )
    events.remove_items(["i1", "i3", "i7", "i8", "never seen"])
    events.hide_items(["i2"])
    events.put_users([{"user_id": "u2", "age": 30, "place": "Bern"}, {"user_id": "u9", "age": None, "vip": True}])
    events.append([click("e1", 10, user="u5", item="i8"), click("e2", 11, item="never seen")])
    out = tmp_path / "out"
    export(shop, events, out)
    items = {row["item_id"]: row for row in rows(out, "items")}
    assert list(items) == ["i1", "i2", "i9", "i8"], "i1 and i8 are mentioned, i3 and i7 are not"
    none = {"brand": None, "price": None, "categories": None, "colour": None, "sizes": None, "place": None}
    assert items["i2"] == none | {
        "item_id": "i2",
        "title": "New thing",
        "price": 2.5,
        "categories": ["Home", "Light"],
        "colour": "red",
    }
    assert items["i9"] == none | {"item_id": "i9", "title": "Ninth", "sizes": ["s", "m"], "place": "shelf"}
    assert items["i1"]["price"] == 1.0
    assert rows(out, "users") == [
        {"user_id": "u1", "age": None, "place": None, "vip": None},
        {"user_id": "u2", "age": 30, "place": "Bern", "vip": None},
        {"user_id": "u9", "age": None, "place": None, "vip": True},
        {"user_id": "u5", "age": None, "place": None, "vip": None},
    ]
    told = [(file, rule, value) for file, _, rule, value in rejects(out)]
    assert told == [
        ("items", "column 'brand' is no String", "7"),
        ("items", "column 'row' has a name that is taken", "3"),
        ("events", "unknown item", "never seen"),
    ]


def test_columns_of_many_types(shop: Path, events: EventStore, tmp_path: Path) -> None:
    values = [1, 2.5, "text", True, ["a"], ["a", 1], {"deep": [1]}, None]
    events.put_items(
        [{"item_id": f"n{n}", "title": "t", "mixed": value, "price": value} for n, value in enumerate(values)]
    )
    out = tmp_path / "out"
    export(shop, events, out)
    items = rows(out, "items")[3:]
    assert [row["mixed"] for row in items] == ["1", "2.5", "text", "true", '["a"]', '["a", 1]', '{"deep": [1]}', None]
    assert [row["price"] for row in items[:3]] == [1.0, 2.5, None] and {row[3] for row in rejects(out)} >= {
        '"text"',
        '["a"]',
    }


def test_an_export_of_an_export_adds_only_what_came_after(shop: Path, events: EventStore, tmp_path: Path) -> None:
    events.append(
        [click("e1", 10), asked("e2", 11), click("e3", 12, item="i2", search="e2"), click("bad", 13, item="no")]
    )
    events.put_items([{"item_id": "i4", "title": "Fourth"}])
    one, two, three, whole = (tmp_path / name for name in ("one", "two", "three", "whole"))
    assert export(shop, events, one)["events"] == 4 and exported_up_to(one) == 4 and exported_up_to(shop) == 0
    again = export(one, events, two)
    assert (again["events"], again["rejects"], again["number"]) == (0, 0, 4)
    for table in ("items", "users", "interactions", "searches"):
        assert rows(two, table) == rows(one, table)
    events.append(
        [click("e4", 14, item="i4", search="e2"), click("e5", 15, user="u7"), click("e1", 10), click("e6", 10)]
    )
    last = export(two, events, three)
    assert (last["events"], last["clicked"], last["rejects"], last["number"]) == (3, 1, 1, 8)
    assert clicked(three) == {"s0": ["i1"], "e2": ["i2", "i4"]} and rejects(three)[0][2] == "duplicate row"
    export(shop, events, whole)
    for table in ("items", "users", "interactions", "searches"):
        assert rows(three, table) == rows(whole, table), "in steps or at once"
    export(shop, events, one)
    assert exported_up_to(one) == 8, "an old export may be replaced"


def test_pages_are_joined(shop: Path, events: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_PAGE", 7)
    events.append([click(f"e{n}", 10 + n) for n in range(50)])
    assert export(shop, events, tmp_path / "out")["interactions"] == 52


def test_a_failure_leaves_what_was_there(
    shop: Path, events: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "room" / "out"
    export(shop, events, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    events.append([click("e1", 10)])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_table", full)
        with pytest.raises(StorageError, match="the disk is full"):
            export(shop, events, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_is_no_place_to_write(shop: Path, events: EventStore, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    for out in (shop, tmp_path):
        with pytest.raises(DataError, match="OUT"):
            export(shop, events, out)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"number": "5"}', '{"number": -1}', '{"number": true}'])
def test_a_mark_that_is_none(shop: Path, events: EventStore, tmp_path: Path, text: str) -> None:
    (shop / EVENTS_FILE).write_text(text)
    with pytest.raises(DataError, match=r"not the mark of an export.*events\.json"):
        export(shop, events, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_breaks_a_rule_is_named(make_folder: Folder, events: EventStore, tmp_path: Path) -> None:
    bad = make_folder(items={"i1": "t"}, users=["u"], feed=[("u", "nowhere", 1.0)])
    with pytest.raises(DataError, match=r"interactions\.parquet row 1"):
        export(bad, events, tmp_path / "out")


# Commands


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'events.db'}"


def test_the_command_exports(
    searec: Any, shop: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searec.store.store import Store

    with Store(place) as store:
        store.events.append([click("e1", 10), click("e2", 10, item="unknown")])
    out = tmp_path / "out"
    code, told, _ = searec("export", "dataset", shop, out, "--store", place)
    assert (
        code == 0 and "interactions: 3 rows" in told and "1 broken rules are listed" in told and f"wrote {out}" in told
    )
    monkeypatch.setenv("SEAREC_STORE", place)
    code, told, _ = searec("export", "dataset", shop, out, "--json", "-")
    assert code == 0 and json.loads(told)["events"] == 2
    code, _, told = searec("export", "recbolle", shop, out)
    assert code == 1 and "unknown format 'recbolle'" in told and "dataset" in told
    code, _, told = searec("export", "dataset", tmp_path / "nowhere", out)
    assert code == 1 and "no such dataset folder" in told


def test_the_commands_on_keys(searec: Any, place: str) -> None:
    from searec.store.keys import Keyring
    from searec.store.store import Store

    code, key, told = searec("keys", "add", "shop", "--role", "write", "--store", place)
    assert code == 0 and told == "" and len(key.split()) == 1
    with Store(place) as store:
        found = Keyring(store.keys).check(key.strip())
    assert found is not None and (found.name, found.role) == ("shop", "write")
    code, told, _ = searec("keys", "list", "--store", place)
    assert (
        code == 0 and told == f"shop  write  searec_{found.public}_...\n" and key.strip().split("_", 2)[2] not in told
    )
    code, told, _ = searec("keys", "list", "--store", place, "--json", "-")
    assert json.loads(told) == [{"name": "shop", "role": "write", "public": found.public}]
    assert searec("keys", "add", "shop", "--store", place)[0] == 1
    code, _, told = searec("keys", "add", "other", "--role", "root", "--store", place)
    assert code == 1 and "read or write or admin" in told
    assert searec("keys", "revoke", "shop", "--store", place)[:2] == (0, "revoked shop\n")
    code, _, told = searec("keys", "revoke", "shop", "--store", place)
    assert code == 1 and "no key of this name" in told
    assert searec("keys", "list", "--store", place)[1] == "no keys\n"
