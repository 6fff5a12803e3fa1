"""The embedded store: one SQLite file for many threads and processes of one machine."""

import contextlib
import itertools
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from searec.data.schema import DAY
from searec.errors import StorageError
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
    writable,
)

FORMAT = 1
"""Version of the tables."""
_READY, _WAITING, _LEASED, _SHELF = range(4)
_CHUNK = 500
_CACHE_KIB = 32 * 1024
"""Of a connection, a thread's; it holds the inner pages of millions of users, so that a read asks the system for one page or two."""

# about: format; clock, the latest time seen; number, the last token and place in the queue given out.
# Interests lie apart from whole graphs, which are larger and seldom read.
_TABLES = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO about VALUES ('format', {FORMAT}), ('clock', 0), ('number', 0);
CREATE TABLE kept (
    id INTEGER PRIMARY KEY, user TEXT NOT NULL UNIQUE, made INTEGER NOT NULL, stale INTEGER NOT NULL, revision INTEGER NOT NULL,
    served BLOB NOT NULL
);
CREATE INDEX kept_age ON kept (stale, made);
CREATE TABLE graphs (id INTEGER PRIMARY KEY, graph BLOB NOT NULL);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, user TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, until INTEGER NOT NULL, priority INTEGER NOT NULL,
    place INTEGER NOT NULL, reason TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, faults INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL DEFAULT 0, token INTEGER, worker TEXT, again TEXT, error TEXT
);
CREATE INDEX jobs_until ON jobs (state, until);
CREATE INDEX jobs_ready ON jobs (priority, place) WHERE state = {_READY};
"""


class SqliteStore:
    """A `Store` in one SQLite file (WAL): readers never wait, writers wait for one another.

    Args:
        path: of the file; made if it is missing.
        rng, clock: see `open_store`.

    Raises:
        StorageError: the file cannot be opened, or holds something else.
    """

    def __init__(
        self,
        path: Path | str,
        settings: StoreSettings | None = None,
        *,
        rng: np.random.Generator | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or StoreSettings()
        self._path = Path(path).absolute()
        self._clock = clock or this_clock
        self._backoff = Backoff(self.settings.first_wait, self.settings.longest_wait, rng or np.random.default_rng())
        self._idle: deque[sqlite3.Connection] = deque()
        self._process = os.getpid()
        self._inherited: list[Any] = []
        self._closed = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._error(error) from error
        with self._connection() as db:
            self._prepare(db)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Interests

    def read(self, user: str) -> Kept | None:
        with self._connection() as db:
            row = db.execute("SELECT served, made, stale, revision FROM kept WHERE user = ?", (user,)).fetchone()
        if row is None:
            return None
        served, made, marked, revision = row
        return Kept(served, made, bool(marked) or not is_fresh(made, self._clock(), self.settings.life), revision)

    def read_graph(self, user: str) -> InterestGraph | None:
        with self._connection() as db:
            row = db.execute(
                "SELECT graph FROM graphs WHERE id = (SELECT id FROM kept WHERE user = ?)", (user,)
            ).fetchone()
        return None if row is None else unpacked(row[0], user)

    def write(self, graphs: Iterable[InterestGraph]) -> None:
        rest = iter(graphs)
        while part := [(graph.user, *self._forms(graph)) for graph in itertools.islice(rest, _CHUNK)]:
            with self._step() as (db, now):
                for user, served, graph in part:
                    _keep(db, user, served, graph, now)

    def mark_stale(self, users: Sequence[str]) -> int:
        life, marked = self.settings.life, 0
        for part in _parts(users):
            with self._step() as (db, now):
                for user in part:
                    found = db.execute("SELECT made FROM kept WHERE user = ? AND stale = 0", (user,)).fetchone()
                    if found is not None:
                        db.execute("UPDATE kept SET stale = 1 WHERE user = ?", (user,))
                        marked += is_fresh(found[0], now, life)
        return marked

    def prune(self, days: float) -> int:
        pruned, size = 0, _CHUNK
        while size == _CHUNK:
            with self._step() as (db, now):
                old = db.execute(
                    "SELECT id FROM kept WHERE stale IN (0, 1) AND made < ? LIMIT ?", (now - int(days * DAY), _CHUNK)
                ).fetchall()
                db.executemany("DELETE FROM graphs WHERE id = ?", old)
                db.executemany("DELETE FROM kept WHERE id = ?", old)
            size = len(old)
            pruned += size
        return pruned

    def forget(self, users: Sequence[str]) -> None:
        for part in _parts(users):
            names = [(user,) for user in part]
            with self._step() as (db, _):
                db.executemany("DELETE FROM graphs WHERE id = (SELECT id FROM kept WHERE user = ?)", names)
                db.executemany("DELETE FROM kept WHERE user = ?", names)
                db.executemany("DELETE FROM jobs WHERE user = ?", names)

    # The queue

    def enqueue(self, users: Sequence[str], reason: Reason, *, not_before: int = 0) -> int:
        added = 0
        for part in _parts(users):
            with self._step() as (db, now):
                added += sum(self._enqueue(db, now, user, reason, not_before) for user in part)
        return added

    def _enqueue(self, db: sqlite3.Connection, now: int, user: str, reason: Reason, not_before: int) -> bool:
        """Add or change the job of one user; whether a run was added."""
        if reason not in NEWS:
            kept = db.execute("SELECT made FROM kept WHERE user = ? AND stale = 0", (user,)).fetchone()
            if kept is not None and is_fresh(kept[0], now, self.settings.life):
                return False
        job = db.execute(
            "SELECT id, state, until, priority, attempt, again FROM jobs WHERE user = ?", (user,)
        ).fetchone()
        if job is None:
            values = (user, *_when(not_before, now), PRIORITY[reason], _number(db, 1), reason)
            db.execute(
                "INSERT INTO jobs (user, state, until, priority, place, reason) VALUES (?, ?, ?, ?, ?, ?)", values
            )
            return True
        key, state, until, priority, attempt, again = job
        if state == _LEASED and reason in NEWS:
            db.execute("UPDATE jobs SET again = ? WHERE id = ?", (again or reason, key))
            return again is None
        if state in (_READY, _WAITING):
            if PRIORITY[reason] < priority:
                db.execute("UPDATE jobs SET priority = ?, reason = ? WHERE id = ?", (PRIORITY[reason], reason, key))
            if state == _WAITING and attempt == 0 and not_before < until:
                db.execute("UPDATE jobs SET state = ?, until = ? WHERE id = ?", (*_when(not_before, now), key))
        return False

    def lease(self, worker: str, count: int, seconds: float) -> list[Job]:
        if not self._anything_to_lease():
            return []
        with self._step() as (db, now):
            db.execute(
                f"UPDATE jobs SET state = iif(faults + 1 >= ?, {_SHELF}, {_READY}), until = ?, faults = faults + 1, alone = 1, "
                "again = NULL, token = NULL, error = 'the lease of worker ' || worker || ' ran out' "
                f"WHERE state = {_LEASED} AND until <= ?",
                (self.settings.attempts, now, now),
            )
            db.execute(f"UPDATE jobs SET state = {_READY} WHERE state = {_WAITING} AND until <= ?", (now,))
            first = db.execute(
                f"SELECT id, user, reason, attempt + 1, alone FROM jobs WHERE state = {_READY} ORDER BY priority, place LIMIT ?",
                (count,),
            ).fetchall()
            chosen = first[:1] if first and first[0][4] else list(itertools.takewhile(lambda row: not row[4], first))
            token = _number(db, len(chosen))
            jobs = []
            for key, user, reason, attempt, _ in chosen:
                db.execute(
                    f"UPDATE jobs SET state = {_LEASED}, until = ?, attempt = ?, token = ?, worker = ? WHERE id = ?",
                    (now + int(seconds * SECOND), attempt, token, worker, key),
                )
                jobs.append(Job(user, reason, attempt, token))
                token += 1
        return jobs

    def _anything_to_lease(self) -> bool:
        """Whether a lease may find something: a look that takes no lock, for workers that wait."""
        now = self._clock()
        with self._connection() as db:
            return bool(
                db.execute(
                    f"SELECT EXISTS (SELECT 1 FROM jobs WHERE state = {_READY}) OR EXISTS (SELECT 1 FROM jobs WHERE state IN "
                    f"({_WAITING}, {_LEASED}) AND until <= ?) OR (SELECT value FROM about WHERE name = 'clock') > ?",
                    (now, now + SECOND),
                ).fetchone()[0]
            )

    def extend(self, jobs: Sequence[Job], seconds: float) -> list[Job]:
        with self._step() as (db, now):
            return [job for job in jobs if _change(db, job, "until = ?", now + int(seconds * SECOND))]

    def complete(self, job: Job, graph: InterestGraph) -> bool:
        served, whole = self._forms(graph)
        with self._step() as (db, now):
            held = db.execute(
                f"SELECT again FROM jobs WHERE user = ? AND token = ? AND state = {_LEASED}", (job.user, job.token)
            ).fetchone()
            if held is None:
                return False
            _keep(db, job.user, served, whole, now)
            db.execute("DELETE FROM jobs WHERE user = ?", (job.user,))
            if held[0] is not None:
                self._enqueue(db, now, job.user, held[0], 0)
        return True

    def fail(self, job: Job, error: str, *, blame: bool = True) -> bool:
        pause = int(self._backoff.seconds(job.attempt) * SECOND)
        with self._step() as (db, now):
            state, until = f"iif(faults + ? >= ?, {_SHELF}, {_WAITING})", "iif(faults + ? >= ?, ?, ?)"
            full = (int(blame), self.settings.attempts if blame else 1 << 62)
            return _change(
                db,
                job,
                f"state = {state}, until = {until}, faults = faults + ?, alone = ?, again = NULL, error = ?, token = NULL",
                *(*full, *full, now, now + pause, int(blame), int(not blame), writable(error)),
            )

    def release(self, jobs: Sequence[Job]) -> int:
        with self._step() as (db, _):
            return sum(
                _change(db, job, f"state = {_READY}, attempt = attempt - 1, again = NULL, token = NULL") for job in jobs
            )

    def poisoned(self, limit: int = 100) -> list[Poisoned]:
        query = (
            f"SELECT user, reason, error, attempt, until FROM jobs WHERE state = {_SHELF} ORDER BY until, place LIMIT ?"
        )
        with self._connection() as db:
            return [Poisoned(*row) for row in db.execute(query, (limit,))]

    def revive(self, users: Sequence[str] | None = None) -> int:
        return self._on_shelf(
            f"UPDATE jobs SET state = {_READY}, attempt = 0, faults = 0, alone = 1, error = NULL", users
        )

    def drop(self, users: Sequence[str] | None = None) -> int:
        return self._on_shelf("DELETE FROM jobs", users)

    def _on_shelf(self, verb: str, users: Sequence[str] | None) -> int:
        with self._step() as (db, _):
            if users is None:
                return db.execute(f"{verb} WHERE state = {_SHELF}").rowcount
            return sum(db.execute(f"{verb} WHERE state = {_SHELF} AND user = ?", (user,)).rowcount for user in users)

    def counts(self) -> Counts:
        now, life = self._clock(), self.settings.life
        with self._connection() as db:
            (kept,) = db.execute("SELECT count(*) FROM kept").fetchone()
            between = (now - life, now + life)
            (fresh,) = db.execute(
                "SELECT count(*) FROM kept WHERE stale = 0 AND made > ? AND made < ?", between
            ).fetchone()
            groups = db.execute("SELECT state, until <= ?, count(*) FROM jobs GROUP BY 1, 2", (now,)).fetchall()
        jobs = {(state, bool(over)): count for state, over, count in groups}
        queued = (
            jobs.get((_READY, True), 0)
            + jobs.get((_READY, False), 0)
            + jobs.get((_WAITING, True), 0)
            + jobs.get((_LEASED, True), 0)
        )
        shelf = jobs.get((_SHELF, True), 0) + jobs.get((_SHELF, False), 0)
        return Counts(kept, fresh, queued, jobs.get((_WAITING, False), 0), jobs.get((_LEASED, False), 0), shelf)

    # Connections

    def _forms(self, graph: InterestGraph) -> tuple[bytes, bytes]:
        return served_bytes(graph, self.settings.serve), packed(graph)

    @contextlib.contextmanager
    def _step(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """One atomic step, and the time at which it is taken."""
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db, self._now(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite ends some by itself, as on a full disk
                    db.execute("ROLLBACK")
                raise

    def _now(self, db: sqlite3.Connection) -> int:
        """The time. A clock that was set back takes all deadlines with it, so that nobody waits for the time it has lost."""
        now = self._clock()
        (latest,) = db.execute("SELECT value FROM about WHERE name = 'clock'").fetchone()
        if now < latest - SECOND:
            db.execute(f"UPDATE jobs SET until = until - ? WHERE state IN ({_WAITING}, {_LEASED})", (latest - now,))
        if not latest - SECOND <= now <= latest + SECOND:
            db.execute("UPDATE about SET value = ? WHERE name = 'clock'", (now,))
        return now

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; there are as many as were ever needed at once."""
        if self._process != os.getpid():  # a connection must not be used, nor closed, on the other side of a fork
            self._inherited.append(self._idle)
            self._idle, self._process = deque(), os.getpid()
        db = None
        try:
            try:
                db = self._idle.pop()
            except IndexError:
                db = self._connect()
            yield db
        except sqlite3.Error as error:
            if db is not None:
                db.close()
                db = None
            raise self._error(error) from error
        finally:
            if self._closed and db is not None:
                db.close()
            elif db is not None:
                self._idle.append(db)

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise StorageError("the store is closed", where=self._path)
        db = sqlite3.connect(self._path, timeout=self.settings.timeout, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables, or check that they are ours."""
        deadline = time.monotonic() + self.settings.timeout
        while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:  # another process is doing the same; this step does not wait by itself
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        db.execute("BEGIN IMMEDIATE")
        try:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                for statement in _TABLES.split(";\n"):
                    db.execute(statement)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        found = (
            db.execute("SELECT value FROM about WHERE name = 'format'").fetchone()
            if not tables or "about" in tables
            else None
        )
        if found is None or found[0] != FORMAT:
            raise StorageError(
                "not a store of interests that can be read",
                where=self._path,
                got=f"tables {', '.join(sorted(tables))}" if found is None else f"format {found[0]}",
                expected=f"format {FORMAT}",
                remedy="give another file; a new one is made if it is missing",
            )

    def _error(self, error: Exception) -> StorageError:
        return StorageError(
            "cannot use the store of interests",
            where=self._path,
            got=error,
            remedy="check that the folder may be written to and the disk is not full; move a damaged file away",
        )


def _keep(db: sqlite3.Connection, user: str, served: bytes, graph: bytes, now: int) -> None:
    db.execute(
        "INSERT INTO kept (user, made, stale, revision, served) VALUES (?, ?, 0, 1, ?) ON CONFLICT (user) DO UPDATE SET "
        "made = excluded.made, stale = 0, revision = revision + 1, served = excluded.served",
        (user, now, served),
    )
    db.execute(
        "INSERT INTO graphs VALUES ((SELECT id FROM kept WHERE user = ?), ?) ON CONFLICT (id) DO UPDATE SET graph = excluded.graph",
        (user, graph),
    )


def _change(db: sqlite3.Connection, job: Job, changes: str, *values: object) -> bool:
    """Change a leased job; False if it is no longer the caller's."""
    query = f"UPDATE jobs SET {changes} WHERE user = ? AND token = ? AND state = {_LEASED}"
    return db.execute(query, (*values, job.user, job.token)).rowcount == 1


def _number(db: sqlite3.Connection, count: int) -> int:
    """The first of `count` numbers that nobody had before."""
    db.execute("UPDATE about SET value = value + ? WHERE name = 'number'", (count,))
    (last,) = db.execute("SELECT value FROM about WHERE name = 'number'").fetchone()
    return int(last) - count + 1


def _when(not_before: int, now: int) -> tuple[int, int]:
    """State and deadline of a job that may be leased from `not_before` on."""
    return (_WAITING, not_before) if not_before > now else (_READY, now)


def _parts(users: Sequence[str]) -> Iterator[Sequence[str]]:
    """The users, a transaction's worth at a time, so that nobody waits long for the lock."""
    return (users[start : start + _CHUNK] for start in range(0, len(users), _CHUNK))
