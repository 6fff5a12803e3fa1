"""Keys, limits, errors, headers, logs and metrics."""

import asyncio
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from stand_in import SECRETS, Made, click

from searec.errors import ChatError, DependencyError, Overloaded, RunError, StorageError
from searec.store.keys import ROLES

ROUTES = [
    ("GET", "/v1/recommend", "read"),
    ("GET", "/v1/search?q=x", "read"),
    ("GET", "/v1/suggest", "read"),
    ("GET", "/v1/users", "read"),
    ("GET", "/v1/users/u1", "read"),
    ("POST", "/v1/users", "write"),
    ("DELETE", "/v1/users/u1", "admin"),
    ("GET", "/v1/users/u1/interests", "read"),
    ("POST", "/v1/users/u1/interests/refresh", "write"),
    ("GET", "/v1/items/i1", "read"),
    ("GET", "/v1/items/i1/similar", "read"),
    ("POST", "/v1/items", "write"),
    ("POST", "/v1/items/hide", "write"),
    ("DELETE", "/v1/items/i1", "write"),
    ("POST", "/v1/events", "write"),
    ("GET", "/v1/models", "read"),
    ("GET", "/v1/filters", "read"),
    ("GET", "/v1/deployment", "admin"),
    ("PUT", "/v1/deployment", "admin"),
]


@pytest.mark.parametrize(("method", "path", "need"), ROUTES)
def test_roles(method: str, path: str, need: str) -> None:
    made = Made(keys=True)
    for role in ROLES:
        status = made.ask(method, path, role=role, json={} if method in ("POST", "PUT") else None).status_code
        assert (status != 403) == (ROLES.index(role) >= ROLES.index(need)), (role, status)  # type: ignore[arg-type]
        assert status not in (401, 500)
    refused = made.ask(method, path, content=b"no json")
    assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Bearer")
    assert made.ask(method, path, headers={"X-API-Key": "sk-wrong"}).status_code == 401


def test_every_route_is_in_the_list_above() -> None:
    paths = Made().app.openapi()["paths"]
    known = {(method, re.sub(r"/[ui]1", "/{}", path.partition("?")[0])) for method, path, _ in ROUTES}
    there = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, methods in paths.items()
        if path.startswith("/v1")
        for method in methods
    }
    assert known == there


def test_keys_in_either_header() -> None:
    made = Made(keys=True)
    assert made.ask("GET", "/v1/recommend", headers={"X-API-Key": SECRETS["read"]}).status_code == 200
    assert made.ask("GET", "/v1/recommend", headers={"Authorization": f"bearer {SECRETS['read']}"}).status_code == 200
    assert made.ask("GET", "/v1/recommend", headers={"Authorization": f"Basic {SECRETS['read']}"}).status_code == 401
    assert made.ask("GET", "/healthz").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "k=0",
        "k=6",
        "k=abc",
        "offset=498&k=5",
        "cursor=a&offset=1",
        "filter=nocolon",
        "filter=:x",
        "filter=a:b&filter=a:c&category=x",
        "exclude=1&exclude=2&exclude=3",
        "quota=1.5",
        "diversity=nan",
        "seen=perhaps",
        "deadline_ms=0",
        "user_id=",
        "user_id=" + "x" * 11,
        "user_id=a%00",
        "exclude=" + "x" * 11,
        "kk=5",
    ],
)
def test_limits_of_a_list(query: str) -> None:
    made = Made(k=5, filters=2, excludes=2, id_length=10)
    assert made.ask("GET", "/v1/recommend?k=5").status_code == 200
    refused = made.ask("GET", f"/v1/recommend?{'' if 'k=' in query else 'k=5&'}{query}")
    assert refused.status_code == 422 and refused.json()["detail"], refused.text
    assert len(made.front.asked) == 1


def test_limits_of_queries_and_batches() -> None:
    made = Made(query_length=5, batch=2)
    assert made.ask("GET", "/v1/search?q=12345").status_code == 200
    for path in ("/v1/search?q=123456", "/v1/search?q=%20", "/v1/search", "/v1/suggest?q=123456", "/v1/users?count=3"):
        assert made.ask("GET", path).status_code == 422, path
    three = [str(number) for number in range(3)]
    bodies: dict[str, dict[str, Any]] = {
        "/v1/events": {"events": [click(one) for one in three]},
        "/v1/items": {"items": [{"item_id": one, "title": "t"} for one in three]},
        "/v1/items/hide": {"item_ids": three},
        "/v1/users": {"users": [{"user_id": one} for one in three]},
    }
    for path, body in bodies.items():
        assert made.ask("POST", path, json=body).json()["expected"] == "at most 2", path
        assert made.ask("POST", path, json={name: [] for name in body}).status_code == 422
        assert made.ask("POST", path, json={**body, "more": 1}).status_code == 422
    assert made.events.did == [] and made.recorder.kept == {}


@pytest.mark.parametrize(
    "body", [b"", b"{", b'"text"', b'{"events": "\\ud800"}', b'{"events": NaN}', b"\xff", b"[" * 100_000]
)
def test_bodies_that_are_none(body: bytes) -> None:
    answer = Made().ask("POST", "/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and answer.headers["content-type"] == "application/problem+json", (
        answer.text
    )


def test_a_body_of_another_kind_is_refused() -> None:
    """A web page elsewhere can send text/plain without asking first."""
    made = Made()
    answer = made.ask("POST", "/v1/events", content=b'{"events": []}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422 and answer.json()["expected"] == "Content-Type: application/json"


def raw(
    made: Made, messages: list[dict[str, Any]], headers: list[tuple[bytes, bytes]], hang: bool = False
) -> tuple[int, int]:
    """Status of POST /v1/events whose body comes in these messages, and how many of them were taken."""
    taken, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        if taken == len(messages) and hang:
            await asyncio.sleep(60)
        taken += 1
        return messages[taken - 1]

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/events", "raw_path": b"/v1/events", "query_string": b"",
        "headers": [(b"content-type", b"application/json"), *headers], "client": ("127.0.0.1", 1), "server": ("x", 1),
        "scheme": "http", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    asyncio.run(made.app(scope, receive, send))
    return sent[0]["status"], taken


CHUNK = {"type": "http.request", "body": b" " * 400, "more_body": True}


def test_a_body_is_counted_while_it_comes_in() -> None:
    chunked = [(b"transfer-encoding", b"chunked")]
    assert raw(Made(body_bytes=1000), [CHUNK] * 50, chunked) == (413, 3)  # 1,200 bytes are too many
    assert raw(Made(body_bytes=1000), [CHUNK] * 50, [(b"content-length", b"20000")]) == (413, 0)
    assert raw(Made(body_bytes=1000), [CHUNK] * 50, [(b"content-length", b"10")]) == (413, 3)
    end = {"type": "http.request", "body": b"{}", "more_body": False}
    assert raw(Made(body_bytes=1000), [CHUNK, CHUNK, end], chunked) == (422, 3)


def test_a_body_that_does_not_come_is_given_up() -> None:
    assert raw(Made(body_seconds=0.05), [CHUNK], [(b"transfer-encoding", b"chunked")], hang=True) == (408, 1)


def test_no_body_is_read_of_who_may_not() -> None:
    made = Made(keys=True)
    assert raw(made, [CHUNK] * 5, [(b"transfer-encoding", b"chunked")]) == (401, 0)
    key = (b"x-api-key", SECRETS["read"].encode())
    assert raw(made, [CHUNK] * 5, [(b"transfer-encoding", b"chunked"), key]) == (403, 0)


MANY = 10
"""Times as many requests as a second allows: some of them come within one second, however slow the machine."""


def test_rates_are_of_each_key() -> None:
    made = Made(keys=True, rate=3)
    answers = [made.ask("GET", "/v1/recommend", role="read") for _ in range(3 * MANY)]
    assert [one.status_code for one in answers[:3]] == [200] * 3
    refused = [one for one in answers if one.status_code == 429]
    assert refused and int(refused[0].headers["retry-after"]) >= 1
    assert made.ask("GET", "/v1/recommend", role="write").status_code == 200
    assert made.ask("GET", "/healthz").status_code == 200


def test_rates_are_of_each_address_without_keys() -> None:
    made = Made(rate=2)
    statuses = [made.ask("GET", "/v1/recommend", host="10.0.0.1").status_code for _ in range(2 * MANY)]
    assert statuses[:2] == [200, 200] and 429 in statuses
    assert made.ask("GET", "/v1/recommend", host="10.0.0.2").status_code == 200


def test_rates_on_a_redis_that_is_gone_are_an_error() -> None:
    answer = Made(rate=2, rate_store="redis://me:geheim@127.0.0.1:1/0").ask("GET", "/v1/recommend")
    assert (
        answer.status_code == 503 and "geheim" not in answer.text and answer.json()["where"] == "redis://127.0.0.1:1/0"
    )


def test_requests_in_flight_are_limited() -> None:
    made = Made(max_in_flight=2)
    made.front.slow = 0.2

    async def several() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(made.app), base_url="http://searec") as client:
            return await asyncio.gather(*(client.get("/v1/recommend") for _ in range(3)))

    answers = asyncio.run(several())
    assert sorted(one.status_code for one in answers) == [200, 200, 503]
    assert "retry-after" in next(one for one in answers if one.status_code == 503).headers


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("too many wait"), 503),
        (StorageError("the store is gone"), 503),
        (RunError("the run is damaged"), 422),
        (DependencyError("faiss is not installed"), 501),
        (ChatError("sk-inside"), 500),
        (ValueError("sk-inside"), 500),
    ],
)
def test_errors_of_the_engine(error: Exception, status: int) -> None:
    made = Made()
    made.front.fail = error
    answer = made.ask("GET", "/v1/recommend", headers={"X-Request-ID": "abc-1"})
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["request_id"]) == (status, status, "abc-1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "sk-inside" not in answer.text + made.lines.getvalue().decode()
    assert (made.log()[-1].get("error") is not None) == (status == 500)


def test_got_is_short_and_unknown_addresses_are_problems() -> None:
    made = Made()
    assert len(made.ask("GET", f"/v1/recommend?k={'9' * 5000}").json()["got"]) <= 100
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/users/", 404),
        ("PATCH", "/v1/recommend", 405),
        ("GET", "/docs", 404),
    ):
        answer = made.ask(method, path)
        assert (answer.status_code, answer.json()["status"]) == (status, status), path


def test_headers() -> None:
    answer = Made().ask("GET", "/v1/recommend")
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
    assert (
        "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        and answer.headers["referrer-policy"] == "no-referrer"
    )
    assert (
        "access-control-allow-origin"
        not in Made().ask("GET", "/v1/recommend", headers={"Origin": "https://evil"}).headers
    )
    made = Made(origins=("https://shop.example",), keys=True)
    assert made.ask("GET", "/v1/recommend", headers={"Origin": "https://shop.example"}).headers[
        "access-control-allow-origin"
    ] == ("https://shop.example")
    assert (
        "access-control-allow-origin"
        not in made.ask("GET", "/v1/recommend", headers={"Origin": "https://evil"}).headers
    )


def test_hosts() -> None:
    made = Made(hosts=("localhost", "[::1]"))
    for host, status in (("localhost:8000", 200), ("[::1]:8000", 200), ("evil.example", 421), ("", 421)):
        assert made.ask("GET", "/v1/recommend", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_X", True), ("a b", False), ("x" * 65, False), ('"}{', False)])
def test_request_ids(given: str, kept: bool) -> None:
    made = Made()
    answer = made.ask("GET", "/v1/recommend", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) == kept
    assert made.log()[-1]["request_id"] == answer.headers["x-request-id"]


def test_logs_hold_no_secrets() -> None:
    made = Made(keys=True)
    key = SECRETS["write"]
    made.ask("GET", "/v1/search?q=pregnancy&user_id=anna", role="write")
    made.ask("GET", "/v1/users/anna", role="write")
    made.ask("POST", "/v1/events", role="write", json={"events": [click(user_id="anna", query="pregnancy")]})
    made.ask("GET", "/v1/items/boom", headers={"X-API-Key": key})
    made.ask("GET", "/v1/recommend?user_id=anna", headers={"X-API-Key": "sk-mistyped"})
    text = made.lines.getvalue().decode()
    assert not any(secret in text for secret in (key, "anna", "pregnancy", "sk-mistyped", "u77"))
    lines = made.log()
    assert [(one["route"], one["status"], one["key"]) for one in lines] == [
        ("/v1/search", 200, "write-key"),
        ("/v1/users/{user_id}", 200, "write-key"),
        ("/v1/events", 422, "write-key"),
        ("/v1/items/{item_id}", 500, "write-key"),
        ("/v1/recommend", 401, None),
    ]
    assert lines[3]["error"] == "ZeroDivisionError" and any("stand_in.py" in frame for frame in lines[3]["frames"])


def test_logs_with_text() -> None:
    made = Made(log_text=True)
    made.ask("GET", "/v1/search?q=shoe&user_id=anna", headers={"X-API-Key": "sk-1"})
    made.ask("GET", "/v1/items/boom")
    first, second = made.log()
    assert first["query"] == "q=shoe&user_id=anna" and second["message"] == "secret internals of user u77"
    assert "sk-1" not in made.lines.getvalue().decode()


def test_logs_name_what_was_left_out() -> None:
    made = Made()
    made.ask("GET", "/v1/recommend")
    assert made.log()[-1]["left_out"] == ["sasrec: late"]


def test_metrics() -> None:
    made = Made()
    made.ask("GET", "/v1/recommend?user_id=anna")
    made.ask("GET", "/v1/users/anna")
    made.ask("GET", "/v1/anna")
    made.ask("BREW", "/v1/recommend")
    made.ask("POST", "/v1/events", json={"events": [click()]})
    text = made.ask("GET", "/metrics").text
    assert 'searec_http_request_seconds_count{method="GET",route="/v1/recommend",status="200"} 1.0' in text
    assert 'searec_http_request_seconds_count{method="GET",route="none",status="404"} 1.0' in text
    assert 'searec_http_left_out_total{part="sasrec",route="/v1/recommend",why="late"} 1.0' in text
    assert 'searec_http_events_total{state="new"} 1.0' in text and "searec_http_in_flight 1.0" in text
    assert "anna" not in text and "BREW" not in text


def test_feedback_is_counted_and_unknown_types_are_named() -> None:
    made = Made()
    types = ["click", "Add-To-Cart", "dislike", "impression", "zoom", "zoom"]
    events = [click(f"e{number}", type=name) for number, name in enumerate(types)]
    response = made.ask("POST", "/v1/events", json={"events": events})
    assert response.json() == {"new": 6, "known": 0, "unknown_types": {"zoom": 2}}
    text = made.ask("GET", "/metrics").text
    for sign, count in (("positive", 2), ("negative", 1), ("neutral", 1), ("unknown", 2)):
        assert f'searec_http_feedback_total{{sign="{sign}"}} {count}.0' in text


def test_metrics_are_not_for_strangers() -> None:
    assert Made().ask("GET", "/metrics", host="10.0.0.1").status_code == 403
    made = Made(keys=True, metrics="admin")
    assert [made.ask("GET", "/metrics", role=role).status_code for role in (None, "read", "admin")] == [401, 403, 200]


def test_page(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>searec</title>")
    (tmp_path / "assets" / "app.js").write_text("let a = 1")
    (tmp_path / "secret.txt").write_text("secret")
    made = Made(page=tmp_path, keys=True)
    assert "<title>searec" in made.ask("GET", "/").text
    assert made.ask("GET", "/assets/app.js").headers["content-type"].startswith("text/javascript")
    for path in (
        "/secret.txt",
        "/assets/../secret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets/..%2fsecret.txt",
        "/assets/none.js",
    ):
        assert made.ask("GET", path).status_code == 404, path
    assert Made().ask("GET", "/").status_code == 404


def test_everything_is_closed_in_order_whatever_fails() -> None:
    made = Made()

    def fail() -> None:
        made.front.closed.append("front")
        raise StorageError("the disk is full")

    made.front.close = fail  # type: ignore[method-assign]

    async def live() -> None:
        async with made.app.router.lifespan_context(made.app):
            assert made.front.closed == []

    with pytest.raises(StorageError):
        asyncio.run(live())
    assert made.front.closed == ["front", "recorder", "events"]


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
def test_rates_on_redis_are_of_all_processes_together(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _await_port(port)

            async def both() -> list[int]:
                """Requests to two applications in turn, within one event loop, as a connection belongs to one."""
                apps = [Made(rate=3, rate_store=f"redis://127.0.0.1:{port}/0").app for _ in range(2)]
                statuses = []
                for app in apps * 15:
                    async with httpx.AsyncClient(
                        transport=httpx.ASGITransport(app), base_url="http://searec"
                    ) as client:
                        statuses.append((await client.get("/v1/recommend")).status_code)
                for app in apps:
                    async with app.router.lifespan_context(app):
                        pass
                return statuses

            statuses = asyncio.run(both())
        finally:
            server.terminate()
    assert statuses[:3] == [200] * 3 and 429 in statuses


def _await_port(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the Redis server did not start")
