"""`searec serve` as a process, and threads that ask it without pause."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from small_shop import Shop

from searec.errors import SearecError
from searec.pipeline.deployment import write_deployment
from searec.service.client import Client
from searec.store.store import Store

PATIENCE = 90.0


def eventually(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)


def command(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `searec` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "searec", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


class Running:
    """A service over the shop. It can be killed and started again with the same command line or another.

    Args:
        recommend, search: models of the shop's runs.
        events, store: addresses; an SQLite file of its own, and None.
        sets: settings by name; answers may take their time, and nobody asks too often, unless they say otherwise.
    """

    def __init__(
        self,
        shop: Shop,
        folder: Path,
        *,
        recommend: Sequence[str] = ("itemknn",),
        search: Sequence[str] = (),
        store: str | None = None,
        cache: str | None = None,
        workers: int = 1,
        environment: dict[str, str] | None = None,
        **sets: object,
    ) -> None:
        self.shop, self.recommend, self.search = shop, recommend, search
        self.store, self.workers = store or f"sqlite:///{folder / 'store.db'}", workers
        self._cache = cache
        self._sets = {"seconds": 20, "rate": 0, **sets}
        self._environment = os.environ | (environment or {})
        self._log = folder / "log.txt"
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        deployment = self._log.with_name("deployment.json")
        write_deployment(self.shop.deployment(tuple(self.recommend), tuple(self.search)), deployment)
        words = ["serve", str(deployment), "--port", "0", "--store", self.store, "--workers", str(self.workers)]
        words += ["--cache", self._cache] if self._cache else []
        words += [word for name, value in self._sets.items() for word in ("--set", f"{name}={value}")]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "searec", *words],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("searec: listening at"), self.log
        self.url = line.split()[-1]
        return self

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text()

    def client(self, key: str | None = None, *, tries: int = 1) -> Client:
        """A client that does not try again by itself."""
        return Client(self.url, key, timeout=PATIENCE, tries=tries)

    def kill(self) -> None:
        """At once: nothing of it gets to say anything."""
        if self.process is not None:
            if self.workers > 1:
                for worker in self.children():
                    os.kill(worker, signal.SIGKILL)
            self.process.kill()
            self._gone()

    def stop(self) -> int:
        """By SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._gone()

    def _gone(self) -> int:
        assert self.process is not None
        self.process.communicate(timeout=PATIENCE)
        code, self.process = self.process.returncode, None
        return code

    def children(self) -> list[int]:
        """The processes of its workers."""
        assert self.process is not None
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]

    def stored(self) -> set[str]:
        """The ids of all events that are kept."""
        with Store(self.store) as store:
            return {event.event_id for event in store.events.all_events(count=1_000_000)}

    def followed(self, number: int, runs: Sequence[str]) -> bool:
        """Whether whoever answers now serves this deployment for the feed."""
        with self.client() as client:
            told = client.deployment()
        return bool(told["number"] == number and told["recommend"] == [*runs])


class Askers:
    """Threads that do something over and over, each with a client of its own, until the block ends.

    Attributes:
        answers: of each kind of call, in order. failures: likewise.
    """

    def __init__(self, service: Running, calls: dict[str, Callable[[Client, int], Any]], *, threads: int = 1) -> None:
        self.answers: dict[str, list[Any]] = {name: [] for name in calls}
        self.failures: dict[str, list[SearecError]] = {name: [] for name in calls}
        self._service, self._stop = service, threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=call) for call in calls.items() for _ in range(threads)
        ]
        self._numbers = itertools.count()

    def _ask(self, name: str, call: Callable[[Client, int], Any]) -> None:
        with self._service.client() as client:
            while not self._stop.is_set():
                try:
                    self.answers[name].append(call(client, next(self._numbers)))
                except SearecError as error:
                    self.failures[name].append(error)
                    time.sleep(0.02)

    def more(self, count: int) -> None:
        """Wait for so many further answers of each kind."""
        goal = {name: len(found) + count for name, found in self.answers.items()}
        eventually(
            lambda: all(len(self.answers[name]) >= least for name, least in goal.items()) or any(self.unexpected())
        )
        assert not any(self.unexpected()), self.unexpected()

    def unexpected(self) -> list[SearecError]:
        """Failures of whatever is no writing."""
        return [error for name, some in self.failures.items() if name != "report" for error in some]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def click(event_id: str, user: str, item: str) -> dict[str, Any]:
    """A click of now."""
    now = datetime.now(UTC).isoformat()
    return {"event_id": event_id, "user_id": user, "type": "click", "timestamp": now, "item_id": item}


def reporting(shop: Shop, acknowledged: list[str], name: str = "w") -> Callable[[Client, int], None]:
    """A call that reports a click, and remembers it once the service has said that it is kept."""
    items = shop.data.items.texts.to_list()

    def report(client: Client, number: int) -> None:
        kept = client.report([click(f"{name}{number}", f"{name}-user{number % 7}", items[number % len(items)])])
        assert kept.new == 1
        acknowledged.append(f"{name}{number}")

    return report


def channels(page: Any) -> set[str]:
    """What brought the items of an answer."""
    return {item.channel for item in page.items}


def left_out(page: Any) -> set[str]:
    """The parts that an answer did without."""
    return {one.part for one in page.left_out}


def in_data(shop: Shop, count: int = 20) -> list[str]:
    """Users who have clicked something."""
    sizes = shop.data.click_history.offsets[1:] - shop.data.click_history.offsets[:-1]
    return [user for user, size in zip(shop.data.users.texts.to_list(), sizes[1:].tolist(), strict=False) if size][
        :count
    ]
