"""Real worker processes, killed or frozen at random: no job is lost, and nobody is refreshed twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from searec.store.job_queue import Counts
from searec.store.store import Store

PROGRAM = Path(__file__).with_name("worker_process.py")
USERS, WORKERS, KILLS = 60, 4, 15


def eventually(what: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


class Pool:
    """Worker processes on one store."""

    def __init__(self, url: str, log: Path, *, seconds: float, lease: float, grace: float) -> None:
        self.log = log
        arguments = [url, log, seconds, lease, grace]
        self._program = subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._told() == "ready"
        self.alive: list[int] = []
        self.frozen: list[int] = []

    def _told(self) -> str:
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def start(self) -> int:
        assert self._program.stdin is not None
        self._program.stdin.write("go\n")
        self._program.stdin.flush()
        self.alive.append(int(self._told()))
        return self.alive[-1]

    def end(self, process: int, how: int) -> None:
        os.kill(process, how)
        self.alive.remove(process)
        if how == signal.SIGTERM:
            eventually(lambda: not _exists(process))

    def freeze(self, process: int) -> None:
        os.kill(process, signal.SIGSTOP)
        self.alive.remove(process)
        self.frozen.append(process)

    def thaw(self) -> None:
        for process in self.frozen:
            os.kill(process, signal.SIGCONT)
        self.alive, self.frozen = self.alive + self.frozen, []

    def thought(self) -> int:
        """How many users were thought of, the lost thoughts included."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def close(self) -> None:
        for process in self.alive + self.frozen:
            os.kill(process, signal.SIGKILL)
        self._program.communicate()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def pool(store_url: str, tmp_path: Path) -> Iterator[Callable[..., Pool]]:
    made = []

    def make(**values: float) -> Pool:
        made.append(Pool(store_url, tmp_path / "thought.txt", **values))
        return made[-1]

    yield make
    for one in made:
        one.close()


def open_jobs(store: Store) -> int:
    counts = store.jobs.counts()
    return counts.queued + counts.waiting + counts.leased


def test_killed_workers_lose_no_job_and_refresh_nobody_twice(
    stores: Callable[..., Store], pool: Callable[..., Pool]
) -> None:
    store = stores(clock=None)
    chance = random.Random(7)
    workers = pool(seconds=0.06, lease=2.0, grace=5.0)
    names = [f"u{n}" for n in range(USERS)]
    for wave, reason in ((1, "missing"), (2, "requested")):
        before = workers.thought()
        assert store.jobs.enqueue(names, reason) == USERS  # type: ignore[arg-type]
        while len(workers.alive) < WORKERS:
            workers.start()
        for _ in range(KILLS):
            eventually(lambda: store.jobs.counts().leased or not open_jobs(store))
            time.sleep(chance.uniform(0.02, 0.25))
            victim = chance.choice(workers.alive)
            if (
                chance.random() < 0.3
            ):  # or it stands still, as on a machine that is overloaded, and comes back when nobody waits for it
                workers.freeze(victim)
            else:
                workers.end(victim, signal.SIGKILL)
            workers.start()
        workers.thaw()
        eventually(lambda: not open_jobs(store))
        revisions = {name: kept.revision for name in names if (kept := store.interests.read(name)) is not None}
        assert revisions == dict.fromkeys(names, wave), "one write for each time a user was enqueued"
        assert workers.thought() - before > USERS, "thoughts were lost with their workers, and thought anew"
        assert store.jobs.counts() == Counts(stored=USERS, fresh=USERS, queued=0, waiting=0, leased=0, dead=0)


def test_sigterm_keeps_what_is_done_and_gives_back_the_rest(
    stores: Callable[..., Store], pool: Callable[..., Pool]
) -> None:
    store = stores(clock=None)
    workers = pool(seconds=0.1, lease=600.0, grace=60.0)
    names = [f"u{n}" for n in range(50)]
    store.jobs.enqueue(names, "missing")
    process = workers.start()
    eventually(lambda: store.jobs.counts().stored)
    workers.end(process, signal.SIGTERM)
    counts = store.jobs.counts()
    assert counts.leased == 0 and counts.stored + counts.queued == 50 and counts.stored == workers.thought(), (
        "no thought is lost"
    )
    jobs = store.jobs.lease("other", 50, 60)
    assert len(jobs) == counts.queued and all(job.attempt == 1 for job in jobs), (
        "and none has to wait for a lease to run out"
    )


def test_sigterm_does_not_wait_for_a_slow_reasoner(stores: Callable[..., Store], pool: Callable[..., Pool]) -> None:
    store = stores(clock=None)
    workers = pool(seconds=600.0, lease=600.0, grace=0.1)
    store.jobs.enqueue(["a", "b"], "missing")
    process = workers.start()
    eventually(workers.thought)
    workers.end(process, signal.SIGTERM)
    assert [(job.user, job.attempt) for job in store.jobs.lease("other", 50, 60)] == [("a", 1), ("b", 1)]
