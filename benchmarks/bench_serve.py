"""The service at a million items and a hundred thousand users.

Latency at a steady rate, and throughput by number of processes.

python benchmarks/bench_serve.py [--room DIR] [--rate 50] [--seconds 30], where DIR keeps the grown shop for the next
time.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import polars as pl

import bench_http
import grown_shop
from searec.interests.interest_table import read_graphs
from searec.pipeline.deployment import Deployment, write_deployment
from searec.store.connection import this_clock
from searec.store.store import Store
from timing import line

CHANNELS = {"recommend": ("serendipity", "gserec-paper"), "search": ("bm25", "dense", "unisar")}
CONNECTIONS = 64
WARM = 300
"""Requests before those that count."""
_AT_ONCE = 2_000


def run(room: Path, *, rate: float = 50.0, seconds: float = 30.0) -> None:
    """Print a line for each route at a steady rate, and one for each number of processes."""
    shop = room / "large" / "shop"
    if not shop.is_dir():
        grown_shop.grow(grown_shop.small_shop(room / "small"), room / "small" / "runs", room / "large")
    store = f"sqlite:///{room / 'store.db'}"
    _fill(store, room)
    with bench_http.server(bench_http.theirs) as bare:
        for workers in (1, 2):
            with service(_deployment(room), store, workers) as port:
                paths = paths_of(shop)
                for route, asked in paths.items():
                    in_process(port, asked[:WARM], 20.0)
                    if workers == 1:
                        figures = in_process(port, asked, rate, seconds)
                        beside = in_process(bare, paths["/v1/recommend"], rate, seconds / 3)
                        line(
                            (
                                f"service: {route} at {rate:g} requests/s, 1 M items, 100 k users, "
                                f"against a bare FastAPI route"
                            ),
                            shop,
                            {
                                **figures,
                                "bare_p50_ms": beside["p50_ms"],
                                "bare_p99_ms": beside["p99_ms"],
                                "ratio": _ratio(figures, beside),
                            },
                        )
                    most = _throughput(port, asked)
                    line(f"service: {route}, as many requests as it answers", shop, {"processes": workers, **most})


def _ratio(ours: dict[str, float], theirs: dict[str, float]) -> float:
    return round(ours["p50_ms"] / theirs["p50_ms"], 1)


def _fill(store: str, room: Path) -> None:
    """Interests of everybody, copied from the small shop's users."""
    graphs = read_graphs(room / "small" / "runs" / "serendipity" / "artifacts")
    users = pl.read_parquet(room / "large" / "shop" / "users.parquet")["user_id"].to_list()
    with Store(store) as opened:
        if opened.jobs.counts().stored == len(users):
            return
        now = this_clock()
        for start in range(0, len(users), _AT_ONCE):
            some = [(user, graphs.get(user.rpartition("-")[0])) for user in users[start : start + _AT_ONCE]]
            opened.interests.write(
                [dataclasses.replace(graph, user=user, at=now) for user, graph in some if graph is not None]
            )


def paths_of(shop: Path) -> dict[str, list[str]]:
    """Requests of each route, by users drawn evenly and queries as often as they were asked."""
    rng = np.random.default_rng(0)
    users = pl.read_parquet(shop / "users.parquet")["user_id"]
    queries = pl.read_parquet(shop / "searches.parquet", columns=["query"])["query"]
    who = users.gather(rng.integers(0, len(users), 20_000)).to_list()
    what = queries.gather(rng.integers(0, len(queries), 20_000)).to_list()
    return {
        "/v1/recommend": [f"/v1/recommend?user_id={quote(user)}" for user in who],
        "/v1/search": [
            "/v1/search?" + urlencode({"q": query, "user_id": user}) for query, user in zip(what, who, strict=True)
        ],
    }


def _deployment(room: Path) -> Deployment:
    runs = room / "large" / "runs"
    served = {task: tuple(str(runs / model) for model in models) for task, models in CHANNELS.items()}
    data = str(room / "large" / "shop")
    return Deployment(data=data, recommend=served["recommend"], search=served["search"])


@contextlib.contextmanager
def service(deployment: Deployment, store: str, workers: int) -> Iterator[int]:
    """`searec serve` in processes of its own; its port."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "deployment.json"
        write_deployment(deployment, file)
        command = [sys.executable, "-m", "searec", "serve", str(file)]
        command += ["--store", store, "--port", "0", "--workers", str(workers), "--set", "rate=1000000"]
        log = Path(folder) / "log.txt"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        assert process.stdout is not None
        try:
            address = ""
            for told in process.stdout:
                if found := re.search(rb"http://[^ ]*:(\d+)", told):
                    address = found.group(1).decode()
                    break
            assert address, log.read_text()[-2000:]
            yield int(address)
        finally:
            process.terminate()
            process.wait(60)


def in_process(port: int, paths: Sequence[str], rate: float, seconds: float | None = None) -> dict[str, float]:
    """Load from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_steady, (port, paths[: int(rate * seconds)] if seconds else paths, rate))


def _throughput(port: int, paths: Sequence[str]) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_all_at_once, (port, paths[:1_000]))


def _steady(port: int, paths: Sequence[str], rate: float) -> dict[str, float]:
    """Requests that come by chance at a mean rate, whether the ones before are answered or not.

    Each is timed from when it was due.
    """
    due = np.cumsum(np.random.default_rng(1).exponential(1 / rate, len(paths)))

    async def several() -> list[tuple[float, bool]]:
        clients: asyncio.Queue[_Connection] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            clients.put_nowait(_Connection(port))
        started = time.perf_counter()

        async def one(path: str, at: float) -> tuple[float, bool]:
            await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
            client = await clients.get()
            whole = await client.get(path)
            clients.put_nowait(client)
            return time.perf_counter() - started - at, whole

        return await asyncio.gather(*(one(path, float(at)) for path, at in zip(paths, due, strict=True)))

    answers = asyncio.run(several())
    times = 1e3 * np.array([seconds for seconds, _ in answers])
    figures = {f"p{share:g}_ms": round(float(np.percentile(times, share)), 2) for share in (50, 90, 99)}
    return {
        "requests": len(paths),
        "rate": rate,
        **figures,
        "max_ms": round(float(times.max()), 1),
        "not_whole": sum(not whole for _, whole in answers),
    }


def _all_at_once(port: int, paths: Sequence[str]) -> dict[str, float]:
    """Requests one after another over some connections."""

    async def several() -> float:
        waiting = iter(paths)

        async def connection() -> None:
            client = _Connection(port)
            for path in waiting:
                await client.get(path)

        started = time.perf_counter()
        await asyncio.gather(*(connection() for _ in range(CONNECTIONS // 2)))
        return len(paths) / (time.perf_counter() - started)

    return {"requests_s": round(asyncio.run(several()), 1), "connections": CONNECTIONS // 2}


class _Connection:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None

    async def get(self, path: str) -> bool:
        """Whether the answer is whole, with no part left out."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:"))
        body = await self._reader.readexactly(length)
        return b'"left_out":[{' not in body


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", type=Path)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        run(options.room or Path(room), rate=options.rate, seconds=options.seconds)


if __name__ == "__main__":
    main()
