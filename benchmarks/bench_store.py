"""The store of interests: reads within a request, the job queue, and workers that wait for a language model.

python benchmarks/bench_store.py [--users 1000000]
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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult
from searec.store.interest_reader import Reader
from searec.store.interest_store import pack_graph, served_bytes
from searec.store.store import Store
from searec.store.tables import interest_graphs, interests
from searec.store.worker import Worker, WorkerSettings, work
from timing import line, paired

USERS, SERVER_USERS, READS = 1_000_000, 100_000, 20_000
INTERESTS = 20
ROUNDS = 9
PAUSE, JOBS, QUEUE = 0.05, 40, 800
"""Seconds that the language model takes for a user, users a round, and jobs of the queue alone."""


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
SERVED, PACKED = served_bytes(GRAPH, INTERESTS), pack_graph(GRAPH)


def fill(store: Store, users: int) -> None:
    """Write the same bytes for every user, so that a million users are there in a minute."""
    now = time.time_ns() // 1000
    for start in range(0, users, 10_000):
        names = [f"u{number}" for number in range(start, min(start + 10_000, users))]
        row = {"written_at": now, "stale": False, "revision": 1, "served": SERVED}
        with store.database.writing() as db:
            db.execute(sa.insert(interests), [{"user_id": name, **row} for name in names])
            db.execute(sa.insert(interest_graphs), [{"user_id": name, "graph": PACKED} for name in names])


def run(room: Path, users: int = USERS) -> None:
    """Print all lines; those with a server only where it is installed."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(room)) if shutil.which("redis-server") is not None else None
        postgres = stack.enter_context(postgres_url())
        embedded(room, users, redis)
        if postgres is not None:
            server_reads(postgres, min(users, SERVER_USERS))
            jobs("postgresql", postgres)
            if redis is not None:
                cached_reads(postgres, redis)
        jobs("sqlite", f"sqlite:///{room / 'queue.db'}")
    waiting_workers(room)


def embedded(room: Path, users: int, url: str | None) -> None:
    """Reads from the embedded store by a reader, decoded.

    Beside a bare Redis GET of the same bytes, decoded as well.
    """
    with Store(f"sqlite:///{room / 'store.db'}") as store:
        fill(store, users)
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
    about = {**figures, "users": users, "bytes": len(SERVED)}
    line("store read, SQLite, against a bare Redis GET (both decoded)", room, about)


def server_reads(url: str, users: int) -> None:
    """Reads from PostgreSQL against the same SELECT by its client alone, in turn; the ratio is theirs over ours."""
    import psycopg

    with Store(url) as store, psycopg.connect(url, autocommit=True) as client:
        fill(store, users)
        names = some(users)[: READS // 4]
        select = "SELECT served, written_at, stale, revision FROM interests WHERE user_id = %s"

        def theirs(name: str) -> None:
            client.execute(select, (name,)).fetchone()

        compared("store read, PostgreSQL, against its client alone", store.interests.read, theirs, names, users)


def cached_reads(url: str, cache: str) -> None:
    """Reads that the cache answers, against a bare GET, in turn; the ratio is theirs over ours."""
    import redis

    with Store(url, cache=cache) as store, redis.Redis.from_url(cache) as client:
        names = some(SERVER_USERS)[: READS // 4]

        def theirs(name: str) -> None:
            client.get(f"searec:interests:{name}")

        compared("store read, cache, against a bare GET", store.interests.read, theirs, names, SERVER_USERS)


def compared(
    title: str, ours: Callable[[str], Any], theirs: Callable[[str], Any], names: Sequence[str], users: int
) -> None:
    """Print the percentiles of two ways to read."""
    parts = [names[start::ROUNDS] for start in range(ROUNDS)]
    rounds = [(percentiles(ours, part), percentiles(theirs, part)) for part in parts]
    figures = {
        f"{side}_{name}": round(statistics.median(round_[place][name] for round_ in rounds), 4)
        for place, side in enumerate(("ours", "theirs"))
        for name in ("p50_ms", "p99_ms")
    }
    ratio = statistics.median(b["p50_ms"] / a["p50_ms"] for a, b in rounds)
    line(title, "server", {**figures, "ratio": round(ratio, 2), "users": users, "reads": len(names)})


def jobs(data: str, url: str) -> None:
    """Print milliseconds to lease 8 jobs and to complete one, with its interests in the same transaction."""
    with Store(url) as store:
        store.jobs.enqueue([f"job{number}" for number in range(QUEUE)], "requested")
        leases, completes = [], []
        for _ in range(QUEUE // 8):
            started = time.perf_counter()
            leased = store.jobs.lease("bench", 8, 600.0)
            leases.append(time.perf_counter() - started)
            for job in leased:
                started = time.perf_counter()
                assert store.jobs.complete(job, typical(job.user))
                completes.append(time.perf_counter() - started)
    figures = {
        f"{name}_p{share}_ms": round(1000 * float(np.percentile(times, share)), 3)
        for name, times in (("lease", leases), ("complete", completes))
        for share in (50, 99)
    }
    line("job queue", data, {**figures, "jobs": QUEUE})


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

    with sleeping_server() as port, Store(f"sqlite:///{room / 'jobs.db'}") as store:

        def with_workers(count: int) -> Callable[[], None]:
            def refresh() -> None:
                store.jobs.enqueue([f"u{number}" for number in range(JOBS)], "requested")
                workers = [Worker(store, Asking(port), empty_profiles, WorkerSettings(batch=4)) for _ in range(count)]
                assert work(workers, drain=True) == {"refreshed": JOBS}

            return refresh

        figures = paired(with_workers(2), with_workers(1), rounds=5)
    line("store, two workers against one", "http server that sleeps", {**figures, "jobs": JOBS, "pause_s": PAUSE})


def empty_profiles(users: Sequence[str]) -> list[Profile]:
    """Nothing is known of anybody."""
    return [Profile(user, time.time_ns() // 1000) for user in users]


def some(users: int) -> list[str]:
    """Users drawn at random, the same each time."""
    return [f"u{number}" for number in np.random.default_rng(0).integers(0, users, READS)]


def percentiles(read: Callable[[str], Any], names: Sequence[str]) -> dict[str, float]:
    """Milliseconds of single calls, after as many that do not count.

    `cpu_` ones do not suffer from neighbours on the machine.
    """
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
def postgres_url() -> Iterator[str | None]:
    """An empty database of a server of our own, as the tests start it; None where it is not installed."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from postgres_server import PROGRAMS, PostgresServer

    if not PROGRAMS:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="searec-postgres-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server.new_database()
        finally:
            server.stop()


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
