"""What each route takes and answers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stand_in import Made, Slow, click

from searec.pipeline.types import Request
from searec.search.filters import Filter
from searec.service.http import replies
from searec.store.events import Event


def test_recommend() -> None:
    made = Made()
    parameters = (
        "user_id=u1&k=5&cursor=abc&category=shoes&filter=brand:a:b&exclude=i9&exclude=i8&seen=true&quota=0.5"
        "&diversity=1&deadline_ms=250&facets=brand&facets=price&facets=brand&sort=-price"
    )
    answer = made.ask("GET", f"/v1/recommend?{parameters}")
    assert answer.status_code == 200, answer.text
    (ask,) = made.front.asked
    filters = (Filter("categories", "shoes"), Filter("brand", "a:b"))
    assert ask == Request(
        user="u1",
        k=5,
        after="abc",
        filters=filters,
        facets=("brand", "price"),
        sort="-price",
        exclude=("i9", "i8"),
        seen=True,
        quota=0.5,
        diversity=1.0,
        seconds=0.25,
    )
    body = answer.json()
    assert body["items"][0] == {
        "item_id": "i1",
        "title": "Trail shoe",
        "score": 0.9,
        "channel": "behaviour",
        "reason": "like what you had",
        "categories": ["shoes", "trail"],
        "novel": True,
        "highlights": None,
    }
    assert {name: value for name, value in body.items() if name != "items"} == {
        "user_id": "u1",
        "known": True,
        "next": "more",
        "interests": "fresh",
        "enr": 0.5,  # one of two
        "total": None,
        "facets": {},
        "left_out": [{"part": "sasrec", "why": "late"}],
        "took_ms": 12.0,
    }
    assert set(body) == set(replies.Page.model_fields)


def test_search_and_suggest() -> None:
    made = Made()
    parameters = "q=runing%20shoes&user_id=u1&offset=20&highlight=true&spelling=false&prefix=true&sort=newest"
    body = made.ask("GET", f"/v1/search?{parameters}").json()
    assert set(body) == set(replies.SearchPage.model_fields)
    assert body["query"] == {
        "typed": "runing shoes",
        "text": "running shoes",
        "suggestion": "trail shoes",
        "redirect": "https://shop/run",
        "relaxed": {"step": "most words", "missing": ["running"]},
    }
    assert body["total"] == 3
    assert body["facets"] == {
        "brand": {"values": [{"value": "acme", "count": 3, "parent": None}], "low": None, "high": None},
        "price": {"values": [{"value": "..20", "count": 2, "parent": None}], "low": 9.5, "high": 20},
    }
    assert body["items"][0]["highlights"] == {
        "title": [[6, 10]],
        "description": {"text": "A shoe.", "spans": [[2, 6]]},
    }
    assert made.front.asked[0] == Request(
        user="u1", query="runing shoes", offset=20, highlight=True, spelling=False, prefix=True, sort="newest"
    )
    body = made.ask("GET", "/v1/suggest?user_id=u1&q=ru").json()
    assert body["queries"] == [
        {
            "query": "running shoes",
            "score": 0.7,
            "channel": "gensar",
            "reason": "asked by many",
            "kind": "query",
            "item_id": None,
        }
    ]
    assert made.front.asked[1] == ("u1", "ru", 8)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("sort=cheapest", "'relevance', 'newest', 'price', '-price' or 'popularity'"),
        ("facets=", "at least 1 character"),
        ("highlight=perhaps", "boolean"),
        ("spelling=1&spelling=0", "more than once"),
        ("&".join(f"facets=c{number}" for number in range(17)), "at most 16"),
    ],
)
def test_what_no_list_can_have_is_refused(parameters: str, says: str) -> None:
    answer = Made().ask("GET", f"/v1/search?q=shoes&{parameters}")
    assert answer.status_code == 422
    assert says in answer.text


def test_users() -> None:
    made = Made()
    assert made.ask("GET", "/v1/users?prefix=u&count=1").json() == {"user_ids": ["ua"]}
    body = made.ask("GET", "/v1/users/u1").json()
    assert body["history"][0] == {
        "type": "search",
        "timestamp": "1970-01-01T00:00:02.000000Z",
        "item_id": None,
        "title": None,
        "query": "shoes",
    }
    assert (body["user_id"], body["known"], body["attributes"]) == ("u1", True, {"age": "30"})
    assert made.ask(
        "POST", "/v1/users", json={"users": [{"user_id": "u2", "age": 4, "vip": True, "x": None}]}
    ).json() == {"changed": 1}
    assert made.ask("DELETE", "/v1/users/u2").json() == {"changed": 3}
    assert made.events.did == [("users", [{"user_id": "u2", "age": 4, "vip": True, "x": None}]), ("forget", "u2")]


def test_interests() -> None:
    made = Made()
    body = made.ask("GET", "/v1/users/u1/interests").json()
    assert body["interests"] == [{"text": "camping", "confidence": 0.8, "reason": "likes trails"}]
    assert (body["inferred_at"], body["graph"], body["picture"]) == (
        "1970-01-01T00:00:01.000000Z",
        {"edges": []},
        "<svg/>",
    )
    refreshed = made.ask("POST", "/v1/users/u1/interests/refresh")
    assert (refreshed.status_code, made.front.asked) == (202, ["u1"])


def test_items() -> None:
    made = Made()
    item = {"item_id": "i3", "title": "Cap", "categories": ["hats"], "price": 3.5, "colours": ["red", "blue"]}
    assert made.ask("POST", "/v1/items", json={"items": [item]}).json() == {"changed": 1}
    assert made.ask("POST", "/v1/items/hide", json={"item_ids": ["i3"]}).json() == {"changed": 1}
    assert made.ask("DELETE", "/v1/items/i3").json() == {"changed": 1}
    assert made.events.did == [("items", [item]), ("hide", ["i3"], True), ("remove", ["i3"])]
    assert made.ask("GET", "/v1/items/i3").json() == {
        "item_id": "i3",
        "title": "Trail shoe",
        "about": {"brand": "acme", "price": 9.5},
        "state": "known",
        "hidden": False,
    }
    assert made.ask("GET", "/v1/items/i1/similar?k=1").json() == {
        "item_id": "i1",
        "run": "feed",
        "items": [{"item_id": "i2", "title": "Hat", "score": 0.9}],
    }
    assert made.ask("GET", "/v1/items/missing/similar").status_code == 404
    assert made.ask("GET", "/v1/items/i1/similar?k=0").status_code == 422
    problem = made.ask("GET", "/v1/items/missing")
    assert problem.status_code == 404 and problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["type"] == "urn:searec:problem:unknown-id" and problem.json()["got"] == "'missing'"


def test_events() -> None:
    made = Made()
    search = {
        "event_id": "s1",
        "user_id": "u1",
        "type": "search",
        "timestamp": "2026-11-20T10:00:00.5+01:00",
        "query": "shoe",
        "shown": ["i1"],
    }
    assert made.ask("POST", "/v1/events", json={"events": [search, click(search_id="s1")]}).json() == {
        "new": 2,
        "known": 0,
        "unknown_types": {},
    }
    time = int(datetime(2026, 11, 20, 9, tzinfo=UTC).timestamp()) * 1_000_000
    assert list(made.recorder.kept.values()) == [
        Event(event_id="s1", user="u1", kind="search", time=time + 500_000, query="shoe", shown=("i1",)),
        Event(event_id="e1", user="u1", kind="click", time=time, item="i1", search="s1"),
    ]
    assert made.ask("POST", "/v1/events", json={"events": [search]}).json() == {
        "new": 0,
        "known": 1,
        "unknown_types": {},
    }
    conflict = made.ask("POST", "/v1/events", json={"events": [{**search, "query": "hat"}]})
    assert (conflict.status_code, conflict.json()["title"]) == (409, "The event id was sent before with other contents")


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": "2026-11-20T09:00:00"},
        {"timestamp": 1_700_000_000},
        {"timestamp": "1969-12-31T23:59:59Z"},
        {"timestamp": (datetime.now(UTC) + timedelta(days=2)).isoformat()},
        {"timestamp": "2026-13-20T09:00:00Z"},
        {"timestamp": "0001-01-01T00:00:00+10:00"},
        {"type": "search"},
        {"query": "shoe"},
        {"item_id": None},
        {"shown": ["i1"]},
        {"user_id": ""},
        {"user_id": "a\0b"},
        {"user_id": "x" * 257},
        {"tpye": "click"},
    ],
)
def test_events_that_are_none(change: dict[str, Any]) -> None:
    made = Made()
    refused = made.ask("POST", "/v1/events", json={"events": [click(), {**click("e2"), **change}]})
    assert refused.status_code == 422 and made.recorder.kept == {}
    assert "events.1" in refused.json()["where"], refused.text


def test_models_filters_deployment() -> None:
    made = Made()
    (line,) = made.ask("GET", "/v1/models").json()["models"]
    assert line == {
        "label": "feed",
        "model": "sasrec",
        "uses": ["feed ranker"],
        "figures": {"recommend full test": {"ndcg@10": 0.1}},
    }
    assert made.ask("GET", "/v1/filters").json() == {"columns": {"categories": ["shoes"], "brand": ["acme"]}}
    assert made.ask("GET", "/v1/deployment").json() == {"recommend": ["runs/a"]}
    assert made.ask("PUT", "/v1/deployment", json={"recommend": []}).json() == {"number": 2}
    assert made.ask("PUT", "/v1/deployment", json={}).json()["type"] == "urn:searec:problem:bad-setting"


def test_health() -> None:
    made = Made(ready_seconds=0.05)
    assert made.ask("GET", "/healthz").status_code == 200
    assert made.ask("GET", "/readyz").json() == {"ready": True, "reasons": []}
    made.front.pipeline.ready, made.events.fails = False, True
    answer = made.ask("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "reasons": ["the pipeline is not ready", "the event store fails: StorageError"],
    }


def test_a_store_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(ready_seconds=0.05)
    monkeypatch.setattr(made.events, "last_number", Slow([]).last_number)
    assert made.ask("GET", "/readyz").json()["reasons"] == ["the event store does not respond in time"]


IDS = ["a/b", "a/interests", "50%", "%2F", "ü 漢字", "a b+c", "..x", "?#&", "a//b", "x/", 'q"uote', "%"]


@pytest.mark.parametrize("name", IDS)
def test_ids_in_paths_may_hold_anything(name: str) -> None:
    from searec.service.client import quote_id

    made = Made()
    assert made.ask("GET", f"/v1/users/{quote_id(name)}").json()["user_id"] == name
    assert made.ask("GET", f"/v1/users/{quote_id(name)}/interests").json()["interests"] != []
    assert made.ask("GET", f"/v1/items/{quote_id(name)}").json()["item_id"] == name
    assert made.ask("POST", f"/v1/users/{quote_id(name)}/interests/refresh").status_code == 202
    assert made.front.asked == [name]


def test_a_path_that_is_no_utf8_is_refused() -> None:
    assert Made().ask("GET", "/v1/users/%ff").json()["detail"] == "the path is not UTF-8"


def test_the_document_describes_everything() -> None:
    document = Made(keys=True, k=50, batch=7).app.openapi()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"]
            assert all(parameter["description"] for parameter in operation.get("parameters", ())), path
            if path.startswith("/v1/"):
                assert {"401", "403", "422", "429", "500", "503"} <= operation["responses"].keys()
                assert "application/problem+json" in operation["responses"]["422"]["content"]
                assert operation["security"]
    k = next(one for one in document["paths"]["/v1/recommend"]["get"]["parameters"] if one["name"] == "k")
    assert k["schema"]["maximum"] == 50
    assert document["components"]["schemas"]["EventsIn"]["properties"]["events"]["maxItems"] == 7
