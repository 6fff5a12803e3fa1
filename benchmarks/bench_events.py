"""Events: durable appends by group commit, and reads of users' events, on SQLite and, where it is installed.

PostgreSQL.

python benchmarks/bench_events.py [--events 1000000]
"""

import argparse
import contextlib
import os
import pwd
import shutil
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from searec.store.event_store import EventStore
from searec.store.event_writer import EventWriter
from searec.store.events import Event
from searec.store.store import Store
from timing import line

EVENTS, USERS_SHARE, READS = 1_000_000, 0.02, 5_000
SECONDS, ROUNDS = 2.0, 5
CALLERS = (1, 32)
_HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.partition(".")[0]))
_BARE = "SELECT * FROM events WHERE user_id = ? ORDER BY time, number"


def run(room: Path, events: int = EVENTS) -> None:
    """Print all lines; those of PostgreSQL only where it is installed."""
    appends(room, f"sqlite:///{room / 'appends.db'}", "sqlite")
    reads(room, events)
    if _HOMES and (os.geteuid() != 0 or shutil.which("setpriv")):
        with postgres(room) as url:
            appends(room, url, "postgresql")
            filled(url, events // 10)
            with Store(url) as store:
                line(
                    "events of a user",
                    "postgresql",
                    {
                        **percentiles(lambda user: store.events.of_users([user]), some(events // 10)),
                        "events": events // 10,
                    },
                )


def click(event_id: str, user: str, time: int) -> Event:
    """A click as shops report it."""
    return Event(event_id=event_id, user=user, kind="click", time=time, item=f"item-{time % 10_000}")


def appends(room: Path, url: str, data: str) -> None:
    """Events acknowledged in a second, from callers that wait for each answer.

    Beside one plain INSERT and commit after another.
    """
    with Store(url) as store, EventWriter(store.events) as recorder, plain_table(room / f"{data}-plain.db") as insert:
        names = iter(range(10**9))
        for callers in CALLERS:
            ours, theirs = [], []
            for _ in range(ROUNDS):
                before = recorder.counts().commits
                count = rate(lambda name: recorder.append([click(name, "u", 1)]).result(), names, callers)
                together = count * SECONDS / max(1, recorder.counts().commits - before)
                ours.append((count, together))
                theirs.append(rate(insert, names, 1))
            figures = {
                "ours_per_s": round(statistics.median(count for count, _ in ours)),
                "theirs_per_s": round(statistics.median(theirs)),
                "ratio": round(
                    statistics.median(count / other for (count, _), other in zip(ours, theirs, strict=True)), 2
                ),
                "events_a_commit": round(statistics.median(together for _, together in ours), 1),
                "callers": callers,
            }
            line("durable events, recorder against one sqlite3 INSERT and commit each", data, figures)


@contextlib.contextmanager
def plain_table(path: Path) -> Iterator[Callable[[str], Any]]:
    """A function that inserts and commits an event in a bare SQLite table with the same columns and indexes."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE events (event_id TEXT PRIMARY KEY, user TEXT, kind TEXT, time INTEGER, item TEXT, "
        "number INTEGER UNIQUE)"
    )
    db.execute("CREATE INDEX of_user ON events (user, time, number)")
    numbers = iter(range(10**9))

    def insert(name: str) -> None:
        db.execute("INSERT INTO events VALUES (?, 'u', 'click', 1, 'item-1', ?)", (name, next(numbers)))

    yield insert
    db.close()


def rate(send: Callable[[str], Any], names: Iterator[int], callers: int) -> float:
    """Calls a second by so many threads, each waiting for its answer."""
    counts = [0] * callers
    end = time.perf_counter() + SECONDS

    def call(place: int) -> None:
        while time.perf_counter() < end:
            send(f"e{next(names)}")
            counts[place] += 1

    threads = [threading.Thread(target=call, args=(place,)) for place in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def filled(url: str, events: int) -> None:
    """Fill a store; 50 events a user, in the order of time."""
    users = int(events * USERS_SHARE)
    with Store(url) as store:
        for start in range(0, events, 20_000):
            store.events.append(
                [click(f"{n}", f"u{n * 7919 % users}", n) for n in range(start, min(start + 20_000, events))]
            )


def some(events: int) -> list[str]:
    """Users drawn at random, the same each time."""
    return [f"u{number}" for number in np.random.default_rng(0).integers(0, int(events * USERS_SHARE), READS)]


def reads(room: Path, events: int) -> None:
    """All events of one user, as objects; beside a bare SELECT of the same rows, in turn.

    The ratio is theirs over ours.
    """
    path = room / "reads.db"
    filled(f"sqlite:///{path}", events)
    os.sync()
    db = sqlite3.connect(path)
    names = some(events)
    with Store(f"sqlite:///{path}") as store:
        assert (
            len(store.events.of_users([names[0]])[names[0]])
            == len(db.execute(_BARE, (names[0],)).fetchall())
            == 1 / USERS_SHARE
        )
        pairs = [
            (
                percentiles(reading(store.events), part),
                percentiles(lambda user: db.execute(_BARE, (user,)).fetchall(), part),
            )
            for part in (names[place::ROUNDS] for place in range(ROUNDS))
        ]
    db.close()
    figures = {
        f"{side}_{name}": round(statistics.median(pair[place][name] for pair in pairs), 4)
        for place, side in enumerate(("ours", "theirs"))
        for name in ("p50_ms", "p99_ms")
    }
    ratio = round(statistics.median(theirs["p50_ms"] / ours["p50_ms"] for ours, theirs in pairs), 2)
    line(
        "events of a user against a bare SELECT",
        "sqlite",
        {**figures, "ratio": ratio, "events": events, "of_a_user": int(1 / USERS_SHARE)},
    )


def reading(store: EventStore) -> Callable[[str], Any]:
    """One user's events from a store."""
    return lambda user: store.of_users([user])


def percentiles(read: Callable[[str], Any], names: list[str]) -> dict[str, float]:
    """Milliseconds of single calls, after as many that do not count."""
    for name in names:
        read(name)
    times = []
    for name in names:
        started = time.perf_counter()
        read(name)
        times.append(time.perf_counter() - started)
    return {f"p{share}_ms": round(1000 * float(np.percentile(times, share)), 4) for share in (50, 99)}


@contextlib.contextmanager
def postgres(room: Path) -> Iterator[str]:
    """A PostgreSQL server of its own, as it comes, in a folder of the user who runs it; a URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="searec-postgres-"))
    own: list[str] = []
    if os.geteuid() == 0:
        own = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = str(place.getsockname()[1])

    def command(program: str, *arguments: str) -> list[str]:
        return [*own, str(_HOMES[-1] / program), *arguments]

    cluster, address = str(folder / "cluster"), ["-h", "127.0.0.1", "-p", port]
    made = command("initdb", "-D", cluster, "-U", "searec", "-A", "trust", "-E", "UTF8", "--locale=C")
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/")
    options = ["-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
    with (room / "postgres.txt").open("wb") as log:
        server = subprocess.Popen(
            command("postgres", "-D", cluster, "-p", port, *options), stdout=log, stderr=log, cwd="/"
        )
    try:
        while subprocess.run(command("pg_isready", "-q", *address), check=False, cwd="/").returncode != 0:
            if server.poll() is not None:
                raise RuntimeError((room / "postgres.txt").read_text())
            time.sleep(0.05)
        yield f"postgresql://searec@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), parser.parse_args().events)
