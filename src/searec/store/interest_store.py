"""Store: the interests of every user and the queue that keeps them fresh, in one place, so that finishing a job is one atomic step.

A user's interests are fresh for some days and readable after that, until they are pruned. A user has at most one job:

    ready -> leased -> completed                    the interests are written and the job is gone
      ^        |---> waiting (back-off) -> ready    it failed
      |        |---> shelf                          it failed, or its worker was lost, too often: revive or drop it
      '--------'                                    given back, or the lease ran out

Every lease has a token, and what comes with an older token is refused: of two workers that believe they hold a job, one completes it.
"""

import json
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field
from pydantic_core import from_json

from searec.config import Count, Positive, settings
from searec.data.schema import DAY
from searec.errors import DataError, SettingsError
from searec.interests.interest_graph import InterestGraph
from searec.interests.user_interests import Interest

Clock = Callable[[], int]
"""Microseconds since 1970 (UTC)."""
SECOND = 1_000_000
"""Microseconds."""

Reason = Literal["missing", "stale", "drift", "asked"]
PRIORITY: dict[Reason, int] = {"missing": 0, "stale": 1, "drift": 1, "asked": 1}
"""Lower goes first."""
NEWS: tuple[Reason, ...] = ("drift", "asked")
"""Reasons that hold although a value is fresh, and that a refresh under way may have missed; the others want any fresh value."""


@settings
class StoreSettings:
    """How long interests last and how patient the queue is.

    Attributes:
        fresh_days: after this a value is stale; it stays readable.
        serve: so many interests, the most confident ones, are what a request reads.
        attempts: faults of a job (it failed, or its worker was lost) before it goes to the shelf.
        first_wait, longest_wait: seconds before a failed job is ready again, doubled each time up to the longest.
        read_timeout: seconds that `read` waits for a server.
        timeout: seconds that everything else waits, for a server or for the lock of the file.
        prefix: of the keys in Redis.
    """

    fresh_days: Positive = 7.0
    serve: Count = 20
    attempts: Count = 5
    first_wait: Positive = 10.0
    longest_wait: Positive = 3600.0
    read_timeout: Positive = 0.1
    timeout: Positive = 10.0
    prefix: Annotated[str, Field(min_length=1)] = "searec"

    @property
    def life(self) -> int:
        """Microseconds that a value is fresh."""
        return int(self.fresh_days * DAY)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a user, for a request.

    Attributes:
        served: the interests as compact JSON, see `interests`.
        made: microseconds since 1970 when they were written.
        stale: older than `fresh_days`, or marked.
        revision: how often they have been written, from 1.
    """

    served: bytes
    made: int
    stale: bool
    revision: int

    def interests(self) -> list[Interest]:
        """The interests, most confident first.

        Raises:
            DataError: the bytes are no interests.
        """
        try:
            return list(map(Interest._make, from_json(self.served)))
        except (ValueError, TypeError):
            raise DataError(
                "kept interests cannot be read", got=repr(self.served[:60]), remedy="refresh the user"
            ) from None


@dataclass(frozen=True)
class Job:
    """A refresh that a worker holds the lease of.

    attempt: how often it was leased, this time included. token: what proves the lease.
    """

    user: str
    reason: str
    attempt: int
    token: int


@dataclass(frozen=True)
class Poisoned:
    """A job on the shelf: its last error, how often it was tried, and since when it lies there (microseconds since 1970)."""

    user: str
    reason: str
    error: str
    attempt: int
    at: int


@dataclass(frozen=True)
class Counts:
    """How much there is.

    Attributes:
        kept, fresh: users with interests; those whose interests are fresh.
        queued: jobs that may be leased now. waiting: later. leased: in the hands of a worker. poisoned: on the shelf.
    """

    kept: int
    fresh: int
    queued: int
    waiting: int
    leased: int
    poisoned: int


class Store(Protocol):
    """Interests and their queue, shared by threads and processes. Everything that fails for the store's sake is a StorageError."""

    @property
    def settings(self) -> StoreSettings: ...

    def read(self, user: str) -> Kept | None:
        """What a request needs of a user; None if nothing is kept. Never waits for a writer."""
        ...

    def read_graph(self, user: str) -> InterestGraph | None:
        """The whole graph of a user; None if nothing is kept.

        Raises:
            DataError: what is kept is no graph.
        """
        ...

    def write(self, graphs: Iterable[InterestGraph]) -> None:
        """Keep graphs that were made outside of the queue; jobs are left as they are."""
        ...

    def mark_stale(self, users: Sequence[str]) -> int:
        """Mark what is kept of these users as stale; how many were not yet."""
        ...

    def prune(self, days: float) -> int:
        """Forget interests written more than `days` ago; how many."""
        ...

    def forget(self, users: Sequence[str]) -> None:
        """Remove everything about these users, their jobs too; a worker that holds one can no longer complete it."""
        ...

    def enqueue(self, users: Sequence[str], reason: Reason, *, not_before: int = 0) -> int:
        """Ask for a refresh of these users.

        A user who has a job keeps it, at the better of both priorities and the earlier of both times (but a failed job waits its time).
        A leased job runs once more after it is completed where the reason is among `NEWS`. A job on the shelf stays there. For any
        other reason than `NEWS` a user whose interests are fresh is left out.

        Args:
            not_before: microseconds since 1970.

        Returns:
            How many jobs were added, those that will run once more included.
        """
        ...

    def lease(self, worker: str, count: int, seconds: float) -> list[Job]:
        """Up to `count` jobs for a worker, by priority and then age; each is the worker's for so many seconds.

        A job that was with a lost worker, or with others when a reasoner failed, comes alone: should it be to blame, it takes nobody along.
        """
        ...

    def extend(self, jobs: Sequence[Job], seconds: float) -> list[Job]:
        """Hold leases for so many seconds from now; the jobs that are still the caller's."""
        ...

    def complete(self, job: Job, graph: InterestGraph) -> bool:
        """Write the graph and close the job in one step; False, and nothing changes, if the job is no longer the caller's."""
        ...

    def fail(self, job: Job, error: str, *, blame: bool = True) -> bool:
        """Put a job back for later, or on the shelf once it has failed `attempts` times; False if it is no longer the caller's.

        Args:
            blame: whether it is a fault of this job; if not (nobody could be asked), it waits longer each time and never goes to the shelf.
        """
        ...

    def release(self, jobs: Sequence[Job]) -> int:
        """Give jobs back at once, as if they had not been leased; how many were still the caller's."""
        ...

    def poisoned(self, limit: int = 100) -> list[Poisoned]:
        """Jobs on the shelf, oldest first."""
        ...

    def revive(self, users: Sequence[str] | None = None) -> int:
        """Make jobs on the shelf ready again, of these users or all; how many."""
        ...

    def drop(self, users: Sequence[str] | None = None) -> int:
        """Remove jobs from the shelf, of these users or all; how many."""
        ...

    def counts(self) -> Counts:
        """How much there is, now."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_store(
    url: str,
    settings: StoreSettings | None = None,
    *,
    rng: np.random.Generator | None = None,
    clock: Clock | None = None,
) -> Store:
    """Open the store at `sqlite:///FILE` (made if it is missing) or `redis://HOST:PORT/DB` (rediss:// for TLS).

    Args:
        rng: for the jitter of waits.
        clock: this machine's by default, and for Redis its server's.

    Raises:
        SettingsError: any other address.
        StorageError: the file cannot be opened. A Redis server is not asked before the first use.
        DependencyError: the `redis` package is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest[1:] not in ("", ":memory:"):
        from searec.store.sqlite_interest_store import SqliteStore

        return SqliteStore(rest[1:], settings, rng=rng, clock=clock)
    if scheme in ("redis", "rediss") and separator:
        from searec.store.redis_interest_store import RedisStore

        return RedisStore(url, settings, rng=rng, clock=clock)
    known = "sqlite:///FILE or redis://HOST:PORT/DB"
    raise SettingsError("no address of a store", got=repr(without_password(url)), expected=known)


def without_password(url: str) -> str:
    """The URL as it may be shown: without user name, password and options.

    >>> without_password("redis://me:secret@host:6379/2?a=b"), without_password("a text")
    ('redis://host:6379/2', 'a text')
    """
    if "://" not in url:
        return url if "@" not in url else "..."
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.partition("://")[0] + "://..."
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def writable(text: str) -> str:
    """The text, with a question mark for what is no Unicode, as a broken answer may hold."""
    return text.encode(errors="replace").decode()


def this_clock() -> int:
    """This machine's clock."""
    return time.time_ns() // 1000


def is_fresh(made: int, now: int, life: int) -> bool:
    """Whether a value is fresh by its age. One from far ahead was written by a clock that has been set back, and is not."""
    return abs(now - made) < life


def served_bytes(graph: InterestGraph, count: int) -> bytes:
    """The `count` most confident interests as JSON: [[text, confidence, reason], ...]."""
    told = [[one.text, round(one.confidence, 4), one.reason] for one in graph.interests()[:count]]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def packed(graph: InterestGraph) -> bytes:
    """A graph as it is kept: compressed JSON."""
    return zlib.compress(graph.to_json().encode())


def unpacked(stored: bytes, user: str) -> InterestGraph:
    """The graph that `packed` packed.

    Raises:
        DataError: it is something else.
    """
    try:
        return InterestGraph.from_json(zlib.decompress(stored))
    except zlib.error as error:
        raise DataError(
            "not an interest graph", where=f"kept of user {user!r}", got=str(error), remedy="refresh the user"
        ) from None
