"""The store on a Redis server, for workers and services on many machines. Each step is one Lua script (redis_steps.lua)."""

import contextlib
import importlib.resources
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import numpy as np

from searec.data.schema import DAY
from searec.errors import DataError, DependencyError, SettingsError, StorageError
from searec.interests.interest_graph import InterestGraph
from searec.store.backoff import Backoff
from searec.store.interest_store import (
    NEWS,
    PRIORITY,
    SECOND,
    Clock,
    Counts,
    Job,
    Kept,
    Poisoned,
    Reason,
    StoreSettings,
    is_fresh,
    packed,
    served_bytes,
    this_clock,
    unpacked,
    without_password,
    writable,
)

FORMAT = 1
"""Version of what stands in Redis, part of every key."""
_QUEUE = ("ready", "waiting", "leased", "shelf", "jobs", "made", "marked", "about")
_HEAD = 27
"""Bytes in front of what is served: time (16 digits), 1 if marked as stale, revision (10 digits)."""
_CHUNK = 200


class RedisStore:
    """A `Store` on one Redis server, 5 or newer (in a cluster: with a prefix that is a hash tag, such as `{searec}`).

    Deadlines are by the server's clock, so that the clocks of workers do not matter. How durable it is is the server's setting.

    Args:
        url: `redis://[:PASSWORD@]HOST[:PORT][/DB]`, or rediss:// for TLS.
        rng, clock: see `open_store`; a clock given replaces the server's.

    Raises:
        SettingsError: no such URL.
        DependencyError: the `redis` package is not installed.
    """

    def __init__(
        self,
        url: str,
        settings: StoreSettings | None = None,
        *,
        rng: np.random.Generator | None = None,
        clock: Clock | None = None,
    ) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise DependencyError(
                "the Redis client is not installed", remedy="pip install 'searec[nearline]'"
            ) from error
        self.settings = settings or StoreSettings()
        self._where = without_password(url)
        self._secret = unquote(_password(url))
        self._clock = clock
        self._backoff = Backoff(self.settings.first_wait, self.settings.longest_wait, rng or np.random.default_rng())
        # a connection that another thread has closed shows as a ValueError
        self._failures: tuple[type[Exception], ...] = (redis.exceptions.RedisError, OSError, ValueError)

        def client(seconds: float) -> Any:
            # the library's own retries would make a read wait, and a step be taken twice
            waits = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
            return redis.Redis.from_url(url, **waits)

        try:
            self._reads, self._client = client(self.settings.read_timeout), client(self.settings.timeout)
        except (ValueError, TypeError) as error:
            raise SettingsError(
                "no address of a Redis server", got=self._where, expected="redis://HOST:PORT/DB"
            ) from error
        lua = importlib.resources.files("searec").joinpath("store", "redis_steps.lua").read_bytes()
        self._script = self._client.register_script(lua)
        base = f"{self.settings.prefix}:{FORMAT}"
        self._queue = [f"{base}:{name}" for name in _QUEUE]
        self._served, self._graph = f"{base}:served:", f"{base}:graph:"

    def close(self) -> None:
        self._reads.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Interests

    def read(self, user: str) -> Kept | None:
        try:
            value = self._reads.get(self._served + user)
        except UnicodeError:  # of the caller's text
            raise
        except self._failures as error:
            raise self._error(error) from None
        if value is None:
            return None
        try:
            made, marked, revision = int(value[:16]), value[16:17] == b"1", int(value[17:_HEAD])
        except ValueError:
            raise DataError("kept interests cannot be read", where=f"user {user!r}", got=value[:_HEAD]) from None
        now = (self._clock or this_clock)()
        return Kept(value[_HEAD:], made, marked or not is_fresh(made, now, self.settings.life), revision)

    def read_graph(self, user: str) -> InterestGraph | None:
        with self._errors():
            stored = self._client.get(self._graph + user)
        return None if stored is None else unpacked(stored, user)

    def write(self, graphs: Iterable[InterestGraph]) -> None:
        rest = iter(graphs)
        while part := list(itertools.islice(rest, _CHUNK)):
            values = [value for graph in part for value in (graph.user, *self._forms(graph))]
            self._step("write", *values, keys=self._both(graph.user for graph in part))

    def mark_stale(self, users: Sequence[str]) -> int:
        return sum(self._step("mark", self.settings.life, *part, keys=self._values(part)) for part in _parts(users))

    def prune(self, days: float) -> int:
        pruned, age = 0, int(days * DAY)
        while old := _texts(self._step("old", age)):
            for part in _parts(old):
                pruned += self._step("prune", age, *part, keys=self._both(part))
        return pruned

    def forget(self, users: Sequence[str]) -> None:
        for part in _parts(users):
            self._step("forget", *part, keys=self._both(part))

    # The queue

    def enqueue(self, users: Sequence[str], reason: Reason, *, not_before: int = 0) -> int:
        about = (reason, PRIORITY[reason], int(reason in NEWS), not_before, self.settings.life)
        return sum(self._step("enqueue", *about, *part, keys=self._values(part)) for part in _parts(users))

    def lease(self, worker: str, count: int, seconds: float) -> list[Job]:
        given = self._step("lease", worker, count, int(seconds * SECOND), self.settings.attempts)
        rows = zip(*[iter(given)] * 4, strict=True)
        return [Job(user.decode(), reason.decode(), attempt, token) for user, reason, attempt, token in rows]

    def extend(self, jobs: Sequence[Job], seconds: float) -> list[Job]:
        held = self._step("extend", int(seconds * SECOND), *_tokens(jobs))
        return [job for job, mine in zip(jobs, held, strict=True) if mine]

    def complete(self, job: Job, graph: InterestGraph) -> bool:
        return bool(self._step("complete", job.user, job.token, *self._forms(graph), keys=self._both([job.user])))

    def fail(self, job: Job, error: str, *, blame: bool = True) -> bool:
        pause = int(self._backoff.seconds(job.attempt) * SECOND)
        return bool(self._step("fail", job.user, job.token, writable(error), int(blame), pause, self.settings.attempts))

    def release(self, jobs: Sequence[Job]) -> int:
        return int(self._step("release", *_tokens(jobs)))

    def poisoned(self, limit: int = 100) -> list[Poisoned]:
        found = iter(self._step("poisoned", limit))
        jobs = ((user.decode(), json.loads(job), int(at)) for user, job, at in zip(found, found, found, strict=True))
        return [Poisoned(user, job["r"], job["e"], job["n"], at) for user, job, at in jobs]

    def revive(self, users: Sequence[str] | None = None) -> int:
        return self._on_shelf("revive", users)

    def drop(self, users: Sequence[str] | None = None) -> int:
        return self._on_shelf("drop", users)

    def _on_shelf(self, verb: str, users: Sequence[str] | None) -> int:
        if users is None:
            with self._errors():
                users = _texts(self._client.zrange(self._queue[_QUEUE.index("shelf")], 0, -1))
        return sum(self._step("shelf", verb, *part) for part in _parts(users))

    def counts(self) -> Counts:
        return Counts(*self._step("counts", self.settings.life))

    # The server

    def _step(self, name: str, *values: Any, keys: Sequence[str] = ()) -> Any:
        now = "" if self._clock is None else self._clock()
        with self._errors():
            return self._script(keys=[*self._queue, *keys], args=[name, now, *values])

    def _forms(self, graph: InterestGraph) -> tuple[bytes, bytes]:
        return served_bytes(graph, self.settings.serve), packed(graph)

    def _values(self, users: Iterable[str]) -> list[str]:
        return [self._served + user for user in users]

    def _both(self, users: Iterable[str]) -> list[str]:
        return [key for user in users for key in (self._served + user, self._graph + user)]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError:  # of the caller's text
            raise
        except self._failures as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> StorageError:
        said = str(error).replace(self._secret, "***") if self._secret else str(error)
        return StorageError(
            "cannot use the store of interests",
            where=self._where,
            got=f"{type(error).__name__}: {said}",
            remedy="check that the Redis server runs, and its address, password and memory",
        )


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _texts(values: Iterable[bytes]) -> list[str]:
    return [value.decode() for value in values]


def _tokens(jobs: Sequence[Job]) -> list[str | int]:
    return [part for job in jobs for part in (job.user, job.token)]


def _parts(users: Sequence[str]) -> Iterator[Sequence[str]]:
    """The users, a script's worth at a time, so that the server does not stand still for others."""
    return (users[start : start + _CHUNK] for start in range(0, len(users), _CHUNK))
