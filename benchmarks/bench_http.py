"""What our HTTP costs: GET /v1/recommend with an engine that answers at once.

Beside a bare FastAPI route with the same JSON.

python benchmarks/bench_http.py
"""

import asyncio
import contextlib
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from timing import line

STAND_INS = Path(__file__).parents[1] / "tests" / "service" / "http"
CONNECTIONS, REQUESTS, ROUNDS = 8, 1500, 5
QUERY = "/v1/recommend?user_id=u17&k=10"
LOGS = Path("/dev/null")


def ours(place: socket.socket) -> None:
    """Serve with everything on: a key, a rate, limits, a log line for each request, metrics."""
    sys.path.insert(0, str(STAND_INS))
    from stand_in import Made  # type: ignore[import-not-found]

    with LOGS.open("wb") as log:
        made = Made(keys=True, stream=log, rate=1_000_000)
        made.front.asked = _Nothing()
        _serve(made.app, place)


class _Nothing:
    """Keeps nothing."""

    def append(self, _: object) -> None:
        """Forget it."""


def theirs(place: socket.socket) -> None:
    """Serve a bare route, as a first FastAPI program has it."""
    from fastapi import FastAPI

    app = FastAPI()
    answer = _answer()

    @app.get("/v1/recommend")
    async def recommend(user_id: str | None = None, k: int = 10) -> dict[str, Any]:
        return answer

    _serve(app, place)


def _answer() -> dict[str, Any]:
    sys.path.insert(0, str(STAND_INS))
    from stand_in import Front

    from searec.pipeline.types import Request
    from searec.service.http.routes.lists import page

    return page(Front().recommend(Request()).result(), "u17")


def _serve(app: Any, place: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[place])


@contextlib.contextmanager
def server(target: Any) -> Iterator[int]:
    """A server in a process of its own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        process = multiprocessing.get_context("spawn").Process(target=target, args=(place,), daemon=True)
        process.start()
        port: int = place.getsockname()[1]
    try:
        yield port
    finally:
        process.terminate()
        process.join()


def load(port: int, requests: int) -> dict[str, float]:
    """Ask over some connections, each one request after another; requests per second and milliseconds."""
    sys.path.insert(0, str(STAND_INS))
    from stand_in import SECRETS

    request = f"GET {QUERY} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {SECRETS['read']}\r\n\r\n".encode()

    async def connection(times: list[float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(requests // CONNECTIONS):
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:"))
            await reader.readexactly(length)
            times.append(time.perf_counter() - started)
        writer.close()

    async def several() -> dict[str, float]:
        times: list[float] = []
        started = time.perf_counter()
        await asyncio.gather(*(connection(times) for _ in range(CONNECTIONS)))
        seconds = time.perf_counter() - started
        p50, p99 = (1000 * float(np.percentile(times, share)) for share in (50, 99))
        return {"requests_s": len(times) / seconds, "p50_ms": p50, "p99_ms": p99}

    return asyncio.run(several())


def run() -> None:
    """Print one line; the ratio is our requests per second over theirs."""
    with server(ours) as mine, server(theirs) as other:
        for port in (mine, other):
            load(port, REQUESTS // 2)
        rounds = [(load(mine, REQUESTS), load(other, REQUESTS)) for _ in range(ROUNDS)]
    figures = {
        f"{side}_{name}": round(statistics.median(one[place][name] for one in rounds), 2)
        for place, side in enumerate(("ours", "theirs"))
        for name in ("requests_s", "p50_ms", "p99_ms")
    }
    ratio = statistics.median(a["requests_s"] / b["requests_s"] for a, b in rounds)
    more = 1000 * (1 / figures["ours_requests_s"] - 1 / figures["theirs_requests_s"])
    line(
        "HTTP: recommend, key and limits and logs and metrics, against a bare FastAPI route",
        "an engine that answers at once",
        {
            **figures,
            "ratio": round(ratio, 2),
            "more_ms": round(more, 3),
            "connections": CONNECTIONS,
            "requests": REQUESTS * ROUNDS,
        },
    )


if __name__ == "__main__":
    run()
