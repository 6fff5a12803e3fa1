"""The server as a process, and the clients against it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stand_in import SECRETS, Front, Made, click

from searec.errors import AccessError, DataError, Overloaded, ServiceError, SettingsError, UnknownIdError
from searec.service.client import AsyncClient, Client
from searec.service.http import schemas
from searec.service.http.server import bind, is_loopback, refuse_open, serve

PROGRAM = Path(__file__).with_name("service_process.py")
PATIENCE = 60.0


class Running:
    """A server that has said where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.url = process, url
        self.port = int(url.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code, and what it wrote."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Running]:
    options["server"] = {"port": 0, **options.get("server", {})}
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), json.dumps(options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("searec: listening at http://"), process.communicate(timeout=PATIENCE)[1]
        yield Running(process, line.split()[-1])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with running() as one:
        yield one.url


def test_every_method_of_the_client(plain: str) -> None:
    with Client(plain) as service:
        page = service.recommend("u1", k=2, category=["shoes"], seen=True)
        assert page.items[0].item_id == "i1" and page.left_out[0].part == "sasrec"
        assert service.search("shoe", "u1", sort="price", highlight=True).query.text == "running shoes"
        assert service.suggest("u1").queries[0].channel == "gensar"
        assert list(service.users("u").user_ids) == ["ua", "ub"]
        assert service.user("a/b %").user_id == "a/b %"
        assert service.put_users([{"user_id": "u2"}]).changed == 1
        assert service.forget("u2").changed == 3
        assert service.interests("u1").interests[0].text == "camping"
        assert service.refresh("u1").accepted
        assert service.item("a/b").about["brand"] == "acme"
        assert service.put_items([schemas.ItemIn(item_id="i3", title="Cap", price=3.5)]).changed == 1  # type: ignore[call-arg]
        assert service.hide(["i3"], hidden=False).changed == 1
        assert service.remove("i3").changed == 1
        assert service.report([click("c1"), schemas.EventIn(**click("c2"))]).new == 2
        assert service.report([click("c1")]).known == 1
        assert service.models().models[0].label == "feed"
        assert service.filters().columns["brand"] == ["acme"]
        assert service.deployment() == {"recommend": ["runs/a"]}
        assert service.deploy({"recommend": []}).number == 2
        assert service.ready()


def test_every_method_of_the_asynchronous_client(plain: str) -> None:
    async def all_of_it() -> None:
        async with AsyncClient(plain) as service:
            pages = await asyncio.gather(*(service.recommend("u1") for _ in range(20)))
            assert {page.items[0].item_id for page in pages} == {"i1"}
            assert (await service.search("shoe")).query.typed == "runing shoes"
            assert (await service.report([click("a1")])).new == 1
            assert (await service.user("u/1")).user_id == "u/1"
            assert await service.ready()
            with pytest.raises(UnknownIdError):
                await service.item("missing")

    asyncio.run(all_of_it())


def test_the_example_of_the_documents_runs(plain: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(example.replace("http://127.0.0.1:8000", plain), {})


def test_both_clients_have_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}

    assert names(Client) == names(AsyncClient)


def test_errors_of_the_client(plain: str) -> None:
    with Client(plain) as service:
        with pytest.raises(UnknownIdError, match="no such item"):
            service.item("missing")
        with pytest.raises(ServiceError, match=r"request [0-9a-f]+"):
            service.item("boom")
        with pytest.raises(SettingsError, match="nothing to serve"):
            service.deploy({})
        with pytest.raises(DataError, match="k"):
            service.recommend(k=101)
        service.report([click("x1")])
        with pytest.raises(DataError, match="other contents"):
            service.report([click("x1", item_id="i2")])
        with pytest.raises(DataError, match=r"events\.0\.timestamp"):
            service.report([click("x2", timestamp="yesterday")])
    with pytest.raises(SettingsError):
        Client("127.0.0.1:8000")


def test_keys_of_the_client() -> None:
    with running(keys=True) as one:
        with Client(one.url, SECRETS["read"]) as service:
            assert service.recommend().known
            with pytest.raises(AccessError, match="role of the key is too low"):
                service.report([click()])
        with Client(one.url, "sk-wrong") as service, pytest.raises(AccessError) as caught:
            service.recommend()
        assert "sk-wrong" not in str(caught.value)


def test_the_client_tries_again_what_may_be_sent_again() -> None:
    with running(fails_first=2) as one, Client(one.url, first_wait=0.01) as service:
        assert service.recommend().known
    with running(fails_first=2) as one, Client(one.url, tries=2, first_wait=0.01) as service, pytest.raises(Overloaded):
        service.recommend()


class Failing(threading.Thread):
    """A server that answers 503 to each request and counts them by method and path."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.place = socket.create_server(("127.0.0.1", 0))
        self.port = self.place.getsockname()[1]
        self.lines: list[str] = []

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.place.accept()
            except OSError:
                return
            with connection:
                self.lines.append(connection.recv(65536).split(b"\r\n")[0].decode())
                connection.sendall(
                    b"HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
                )


def test_the_client_sends_nothing_twice_that_counts_twice() -> None:
    server = Failing()
    server.start()
    with Client(f"http://127.0.0.1:{server.port}", tries=3) as service:
        for call in (
            lambda: service.put_items([{"item_id": "i", "title": "t"}]),
            lambda: service.forget("u1"),
            lambda: service.report([click()]),
            lambda: service.user("u1"),
        ):
            with pytest.raises(ServiceError):
                call()
    server.place.close()
    counts = {line.removesuffix(" HTTP/1.1"): server.lines.count(line) for line in server.lines}
    assert counts == {"POST /v1/items": 1, "DELETE /v1/users/u1": 1, "POST /v1/events": 3, "GET /v1/users/u1": 3}


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", tries=2, first_wait=0.01) as service:
        with pytest.raises(ServiceError, match="cannot be reached"):
            service.recommend()
        assert not service.ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_accepted_and_closes(number: int) -> None:
    with running(slow=1.5) as one:
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.get(f"{one.url}/v1/recommend", timeout=PATIENCE)))
        asking.start()
        _until(lambda: "searec_http_in_flight 2.0" in httpx.get(f"{one.url}/metrics").text)
        code, said = one.stop(number)
        asking.join()
        assert code == 0 and answers[0].status_code == 200, said
        assert [line.split()[1] for line in said.splitlines() if line.startswith("closed")] == [
            "front",
            "recorder",
            "events",
        ]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{one.url}/healthz")


def test_a_stop_does_not_wait_for_ever() -> None:
    with running(slow=3600, settings={"shutdown_seconds": 1}) as one:

        def ask() -> None:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{one.url}/v1/recommend", timeout=PATIENCE)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        _until(lambda: "searec_http_in_flight 2.0" in httpx.get(f"{one.url}/metrics").text)
        one.process.send_signal(signal.SIGTERM)
        said = ""
        assert one.process.stderr is not None
        while "closed events" not in said:
            line = one.process.stderr.readline()
            assert line, said
            said += line


def test_several_workers_share_the_port_and_the_metrics() -> None:
    with running(server={"workers": 2}) as one:
        for _ in range(30):
            assert httpx.get(f"{one.url}/v1/recommend").status_code == 200  # a connection each
        text = httpx.get(f"{one.url}/metrics").text
        assert 'searec_http_request_seconds_count{method="GET",route="/v1/recommend",status="200"} 30.0' in text
        before = _children(one.process.pid)
        os.kill(before[0], signal.SIGKILL)
        _until(lambda: len(now := _children(one.process.pid)) == len(before) and before[0] not in now)
        _until(lambda: httpx.get(f"{one.url}/healthz").status_code == 200)
        code, said = one.stop()
        assert code == 0, said
        assert "closed events" in said  # the other one may still have been starting


def test_a_worker_that_cannot_start_is_one_error() -> None:
    for workers in (1, 2):
        done = _ended(broken=True, server={"workers": workers, "port": 0})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.strip() == "searec: the run is damaged; where: runs/a"


def test_a_host_that_others_reach_needs_keys() -> None:
    done = _ended(server={"host": "0.0.0.0", "port": 0})
    assert done.returncode == 1 and "has no keys" in done.stderr and done.stderr.count("searec:") == 1
    with running(server={"host": "0.0.0.0", "open": True}) as one:
        assert httpx.get(f"http://127.0.0.1:{one.port}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.1.2.3", False),
        ("no such host", False),
    ],
)
def test_loopback(host: str, here: bool) -> None:
    assert is_loopback(host) == here
    refuse_open(host, keys=True, open=False)
    refuse_open(host, keys=False, open=True)


def test_a_taken_port_is_one_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port}"):
            bind("127.0.0.1", port)
    with pytest.raises(SettingsError, match="no such host"):
        bind("no such host", 0)


def test_a_port_that_is_taken_while_the_runs_load_is_one_error_and_the_stores_are_closed() -> None:
    front = Front()
    with bind("127.0.0.1", 0) as other:
        port = other.getsockname()[1]

        def load() -> Any:
            other.listen()
            return Made(front=front).app

        with pytest.raises(SettingsError, match=f"cannot listen; where: 127.0.0.1 port {port}"):
            serve(load, port=port)
    assert front.closed == ["front", "recorder", "events"]


def test_headers_that_do_not_end() -> None:
    with running(settings={"header_seconds": 1.0, "header_bytes": 2048}) as one:
        with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE) as slow:
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
            assert slow.recv(1) == b""  # closed by the server
        with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE) as large:
            large.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 4000)
            assert large.recv(1000).startswith(b"HTTP/1.1 431")
        with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE) as second:
            second.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            whole = b""
            while not whole.endswith(b'{"accepted":true}'):
                whole += second.recv(4000)
            second.sendall(b"GET /healthz HT")  # the second request of a connection is timed as well
            assert second.recv(1) == b""


def test_a_chunked_body_that_is_too_large_is_cut_off() -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b" " * 10_000

    with running(settings={"body_bytes": 50_000}) as one:
        with contextlib.suppress(httpx.TransportError):  # the server may close while we still send
            answer = httpx.post(
                f"{one.url}/v1/events", content=chunks(), headers={"Content-Type": "application/json"}, timeout=PATIENCE
            )
            assert answer.status_code == 413
        _, said = one.stop()
        assert '"status":413' in said


def test_the_client_loads_nothing_heavy() -> None:
    heavy = ("torch", "fastapi", "starlette", "uvicorn")
    code = f"import sys, searec.service.client; print(*(n for n in {heavy!r} if n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
    code = (
        "import sys, searec.cli; print(*(n for n in ('fastapi', 'httpx', 'sqlalchemy', 'uvicorn') if n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def _ended(**options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in found if "spawn_main" in line]


def _until(true: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
