"""Interests ahead of need: reads within a request, and workers that wait for a language model.

python benchmarks/bench_nearline.py [--users 1000000]
"""

import argparse
import contextlib
import http.client
import http.server
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult
from searec.store.interest_reader import Reader
from searec.store.interest_store import packed, served_bytes
from searec.store.redis_interest_store import RedisStore
from searec.store.sqlite_interest_store import SqliteStore
from searec.store.worker import Worker, WorkerSettings, work
from timing import line, paired

USERS, REDIS_USERS, READS = 1_000_000, 100_000, 20_000
INTERESTS = 20
ROUNDS = 9
PAUSE, JOBS = 0.05, 40
"""Seconds that the language model takes for a user, and users a round."""


def typical(user: str) -> InterestGraph:
    """A graph of 5 queries, 5 demands and 20 interests."""
    ups = [
        Edge(
            source=f"nike air max {n}",
            target=f"sports shoes {n}",
            relation="hypernym",
            signal="query",
            confidence=0.9,
            evidence="a brand",
        )
        for n in range(5)
    ]
    wide = [
        Edge(
            source=ups[n % 5].target,
            target=f"graphic tees kind {n}",
            relation="co-hyponym",
            confidence=0.5 + n / 100,
            evidence="worn with them",
        )
        for n in range(INTERESTS)
    ]
    return InterestGraph(user, 1_700_000_000_000_000, (*ups, *wide), {"reasoner": "bench", "version": "1"})


GRAPH = typical("u")
SERVED, PACKED = served_bytes(GRAPH, INTERESTS), packed(GRAPH)


class FilledSqlite(SqliteStore):
    """A store that writes the same bytes for everybody, so that a million users are there in a minute."""

    def _forms(self, graph: InterestGraph) -> tuple[bytes, bytes]:
        return SERVED, PACKED


class FilledRedis(RedisStore):
    """The same on Redis."""

    def _forms(self, graph: InterestGraph) -> tuple[bytes, bytes]:
        return SERVED, PACKED


class Name:
    """As much of a graph as writing needs."""

    def __init__(self, number: int) -> None:
        self.user = f"u{number}"


def run(room: Path, users: int = USERS) -> None:
    """Print all lines; those with Redis only where its server is installed."""
    url = None
    with contextlib.ExitStack() as stack:
        if shutil.which("redis-server") is not None:
            url = stack.enter_context(redis_server(room))
        embedded(room, users, url)
        if url is not None:
            redis_reads(url, min(users, REDIS_USERS))
    waiting_workers(room)


def embedded(room: Path, users: int, url: str | None) -> None:
    """Reads from the embedded store by a reader, decoded; beside a bare Redis GET of the same bytes, decoded as well."""
    with FilledSqlite(room / "interests.db") as store:
        store.write(Name(number) for number in range(users))  # type: ignore[misc]
        os.sync()  # gigabytes that are still on their way to the disk are not what is measured
        names = some(users)
        with Reader(store) as reader:
            assert len(reader.interests(names[0]).interests) == INTERESTS
            figures = percentiles(reader.interests, names)
    if url is not None:
        import json

        import redis

        with redis.Redis.from_url(url) as client:
            client.set("bare", SERVED)
            theirs = percentiles(lambda _: json.loads(client.get("bare")), names)
        figures |= {
            "theirs_p50_ms": theirs["p50_ms"],
            "theirs_p99_ms": theirs["p99_ms"],
            "ratio": round(theirs["p50_ms"] / figures["p50_ms"], 2),
        }
    line(
        "nearline read, embedded store, against a bare Redis GET (both decoded)",
        room,
        {**figures, "users": users, "bytes": len(SERVED)},
    )


def redis_reads(url: str, users: int) -> None:
    """Reads from the Redis store against GETs of the same keys by a client of its own, in turn; the ratio is theirs over ours."""
    import redis

    with FilledRedis(url) as store, redis.Redis.from_url(url) as client:
        store.write(Name(number) for number in range(users))  # type: ignore[misc]
        names = some(users)[: READS // 4]

        def ours(name: str) -> None:
            store.read(name)

        def theirs(name: str) -> None:
            client.get(store._served + name)

        rounds = [
            (percentiles(ours, part), percentiles(theirs, part))
            for part in (names[place::ROUNDS] for place in range(ROUNDS))
        ]
    figures = {
        f"{side}_{name}": round(statistics.median(round_[place][name] for round_ in rounds), 4)
        for place, side in enumerate(("ours", "theirs"))
        for name in ("p50_ms", "p99_ms")
    }
    ratio = statistics.median(b["p50_ms"] / a["p50_ms"] for a, b in rounds)
    line(
        "nearline read, Redis store, against a bare GET",
        "redis",
        {**figures, "ratio": round(ratio, 2), "users": users, "reads": len(names)},
    )


def waiting_workers(room: Path) -> None:
    """Two workers against one, where the reasoner waits for a real HTTP server."""

    class Asking:
        """Asks a server about each user, one after another."""

        name, version = "asking", "1"

        def __init__(self, port: int) -> None:
            self._port = port

        def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
            for _ in profiles:
                connection = http.client.HTTPConnection("127.0.0.1", self._port)
                connection.request("GET", "/")
                connection.getresponse().read()
                connection.close()
            return [ReasoningResult(one, typical(one.user)) for one in profiles]

    with sleeping_server() as port, SqliteStore(room / "jobs.db") as store:

        def with_workers(count: int) -> Callable[[], None]:
            def refresh() -> None:
                store.enqueue([f"u{number}" for number in range(JOBS)], "asked")
                workers = [Worker(store, Asking(port), empty_profiles, WorkerSettings(batch=4)) for _ in range(count)]
                assert work(workers, drain=True) == {"refreshed": JOBS}

            return refresh

        figures = paired(with_workers(2), with_workers(1), rounds=5)
    line("nearline, two workers against one", "http server that sleeps", {**figures, "jobs": JOBS, "pause_s": PAUSE})


def empty_profiles(users: Sequence[str]) -> list[Profile]:
    """Nothing is known of anybody."""
    return [Profile(user, time.time_ns() // 1000) for user in users]


def some(users: int) -> list[str]:
    """Users drawn at random, the same each time."""
    return [f"u{number}" for number in np.random.default_rng(0).integers(0, users, READS)]


def percentiles(read: Callable[[str], Any], names: Sequence[str]) -> dict[str, float]:
    """Milliseconds of single calls, after as many that do not count; `cpu_` ones do not suffer from neighbours on the machine."""
    for name in names:
        read(name)
    times: dict[str, list[float]] = {"": [], "cpu_": []}
    for name in names:
        started, busy = time.perf_counter(), time.thread_time()
        read(name)
        times["cpu_"].append(time.thread_time() - busy)
        times[""].append(time.perf_counter() - started)
    return {
        f"{kind}p{share}_ms": round(1000 * float(np.percentile(times[kind], share)), 4)
        for kind in times
        for share in (50, 99)
    }


class Sleeping(http.server.BaseHTTPRequestHandler):
    """Answers after a pause."""

    def do_GET(self) -> None:
        """One answer."""
        time.sleep(PAUSE)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _serve(ports: Any) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sleeping)
    ports.put(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def sleeping_server() -> Iterator[int]:
    """A server in a process of its own; its port."""
    spawn = multiprocessing.get_context("spawn")
    ports = spawn.Queue()
    process = spawn.Process(target=_serve, args=(ports,), daemon=True)
    process.start()
    yield ports.get(timeout=120)
    process.terminate()
    process.join()


@contextlib.contextmanager
def redis_server(room: Path) -> Iterator[str]:
    """A redis-server on a free port that keeps nothing; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    command = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(room),
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=USERS)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), parser.parse_args().users)
