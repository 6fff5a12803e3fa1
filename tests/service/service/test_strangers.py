"""What strangers and broken clients send to the whole service.

Nothing breaks, and nobody gets what they may not have.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa
from running_service import Running, click, in_data
from small_shop import Shop

from searec.store.store import Store

TRICKS = [
    "'; DROP TABLE events; --",
    '" OR 1=1 --',
    "../../etc/passwd",
    "..",
    "/etc/passwd",
    "%00",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "{{7*7}}${7*7}",
    "a\tb\r\nX-Evil: 1",
    "\u202e\ud7ff\U0001f600",
    "-1",
    "NaN",
    "x" * 256,
    "x" * 1024,
    "x" * 5000,
    "%",
    "_%_",
    "\\",
]
TABLES = {"events", "items", "users", "api_keys", "deployments", "counter"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest, module_services: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory
) -> Running:
    """With keys, on each database."""
    events = f"sqlite:///{tmp_path_factory.mktemp('keys') / 'events.db'}"
    if request.param == "postgresql":
        events = request.getfixturevalue("module_postgres").new_database()
    with Store(events) as store:
        keys = {role: store.keys.add(role, role) for role in ("read", "write", "admin")}  # type: ignore[arg-type]
    service = module_services(store=events, search=("bm25",))
    service.keys = keys
    return service


@pytest.fixture
def raw(service: Running) -> Iterator[httpx.Client]:
    """Sends anything, as admin."""
    with httpx.Client(base_url=service.url, timeout=60, headers={"X-API-Key": service.keys["admin"]}) as client:
        yield client


def fine(answer: httpx.Response) -> httpx.Response:
    """No fault of ours, and nothing of this machine's files."""
    assert answer.status_code < 500, (answer.request.url, answer.text)
    assert "root:" not in answer.text and "Traceback" not in answer.text and "sqlalchemy" not in answer.text.lower()
    assert "x-evil" not in answer.headers
    if answer.status_code >= 400 and answer.headers["content-type"].startswith("application"):
        assert answer.headers["content-type"] == "application/problem+json"
    return answer


def untouched(service: Running, before: set[str]) -> None:
    """All tables are there, with what was in them."""
    url = service.store.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url)
    assert set(sa.inspect(engine).get_table_names()) >= TABLES
    engine.dispose()
    assert service.stored() >= before
    with Store(service.store) as store:
        assert {key.name for key in store.keys.all()} == {"read", "write", "admin"}


@pytest.mark.parametrize("trick", TRICKS, ids=range(len(TRICKS)))
def test_tricks_are_only_text(service: Running, raw: httpx.Client, shop: Shop, trick: str) -> None:
    before = service.stored()
    item, part = shop.data.items.texts[0], quote(trick, safe="")
    for name in ("user_id", "category", "filter", "exclude", "cursor", "k", "offset"):
        fine(raw.get("/v1/recommend", params={name: trick}))
    for column in ("brand", "title", trick):
        fine(raw.get("/v1/recommend", params={"filter": f"{column}:{trick}"}))
    found = fine(raw.get("/v1/search", params={"q": trick, "user_id": trick}))
    fine(raw.get("/v1/suggest", params={"q": trick, "user_id": trick}))
    fine(raw.get("/v1/users", params={"prefix": trick}))
    for path in (f"/v1/users/{part}", f"/v1/users/{part}/interests", f"/v1/items/{part}"):
        assert fine(raw.get(path)).status_code in (200, 404, 405, 422), path
        fine(raw.get(path.replace(part, trick.replace("\r\n", "").replace("\t", ""))))
    assert fine(raw.delete(f"/v1/users/{part}")).status_code in (200, 404, 405, 422)
    told = fine(
        raw.post("/v1/events", json={"events": [click(trick, trick, trick), click(f"{trick}2", "somebody", item)]})
    )
    assert told.status_code == (200 if len(trick) < 256 else 422), told.text
    if told.status_code == 200:
        # other ids of the same path may be spelt alike by browsers, but never by us
        if trick not in ("..",):
            seen = fine(raw.get(f"/v1/users/{part}"))
            assert seen.status_code == 200 and seen.json()["user_id"] == trick
        assert trick in service.stored()
    fine(raw.post("/v1/items", json={"items": [{"item_id": trick, "title": trick, trick[:60]: trick}]}))
    fine(raw.post("/v1/items/hide", json={"item_ids": [trick]}))
    assert fine(raw.put("/v1/deployment", json={"data": trick, "recommend": [trick]})).status_code == 422
    fine(raw.put("/v1/deployment", json={trick: trick}))
    assert found.status_code in (200, 422)
    untouched(service, before)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"events": 1}',
        b'{"events": [{}]}',
        b"\xff\xfe",
        b'{"events":' + b"[" * 5000,
        b'"\\ud800"',
    ],
    ids=range(9),
)
def test_what_is_no_request_is_refused(service: Running, raw: httpx.Client, body: bytes) -> None:
    before = service.stored()
    for method, path in (
        ("POST", "/v1/events"),
        ("POST", "/v1/items"),
        ("POST", "/v1/users"),
        ("PUT", "/v1/deployment"),
    ):
        answer = fine(raw.request(method, path, content=body, headers={"Content-Type": "application/json"}))
        assert answer.status_code in (400, 422), (path, answer.text)
    assert service.stored() == before


def test_ten_megabytes_are_refused(service: Running, raw: httpx.Client) -> None:
    body = json.dumps({"events": [click(f"big{n}", "x" * 200, "y" * 200) for n in range(20_000)]}).encode()
    assert len(body) > 10_000_000

    def pieces() -> Iterator[bytes]:
        yield from (body[start : start + 65_536] for start in range(0, len(body), 65_536))

    for content in (body, pieces()):
        try:
            answer = raw.post("/v1/events", content=content, headers={"Content-Type": "application/json"})
        except httpx.TransportError:
            continue  # refused while it was still being sent
        assert answer.status_code == 413
    assert not any(one.startswith("big") for one in service.stored())
    assert raw.get("/healthz").status_code == 200


def test_who_may_not_gets_nothing(service: Running, shop: Shop) -> None:
    keys: dict[str, str | None] = {**service.keys, "none": None, "wrong": service.keys["admin"][:-1] + "~"}
    user, item = in_data(shop)[0], shop.data.items.texts[0]
    calls: list[tuple[str, str, str, Any]] = [
        ("read", "GET", f"/v1/recommend?user_id={user}", None),
        ("read", "GET", f"/v1/users/{user}", None),
        ("write", "POST", "/v1/events", {"events": [click("by-key", user, item)]}),
        ("write", "DELETE", "/v1/items/no-such-item", None),
        ("admin", "GET", "/v1/deployment", None),
        ("admin", "DELETE", "/v1/users/no-such-user", None),
        ("admin", "PUT", "/v1/deployment", {}),
    ]
    order = ["none", "read", "write", "admin"]
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for need, method, path, body in calls:
            for name, key in keys.items():
                headers = {"X-API-Key": key} if key else {}
                answer = client.request(method, path, json=body, headers=headers)
                may = name != "wrong" and order.index(name) >= order.index(need)
                assert answer.status_code == (200 if may else 401 if name in ("none", "wrong") else 403), (
                    need,
                    name,
                    path,
                    answer.text,
                )
                assert may or user not in answer.text
        for trick in TRICKS:
            header = trick.encode().replace(b"\r\n", b"").replace(b"\x00", b"")
            for name, value in (("X-API-Key", header), ("Authorization", b"Bearer " + header)):
                assert (
                    client.get("/v1/users", headers={name: value.decode("latin-1").encode("latin-1")}).status_code
                    == 401
                )
        for path in (
            "/../../etc/passwd",
            "/assets/../../../../etc/passwd",
            "/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "/v1/../etc/passwd",
        ):
            assert fine(client.get(path)).status_code in (400, 401, 404)
    assert "Traceback" not in service.log
    assert service.keys["read"] not in service.log
