"""The queue of users whose interests are to be refreshed, each at most once.

    ready -> leased -> completed                    the interests are written and the job is gone, in one transaction
      ^        |---> waiting (back-off) -> ready    it failed
      |        |---> dead                           it failed, or its worker was lost, too often: revive or drop it
      '--------'                                    released, or the lease ran out

Every lease has a token, and calls with an older token are refused: of two workers that believe they hold a job, one
completes it. Workers take jobs side by side: PostgreSQL skips rows that others hold (SKIP LOCKED), SQLite has one
writer at a time.
"""

import contextlib
import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from searec.interests.interest_graph import InterestGraph
from searec.store.backoff import Backoff
from searec.store.connection import Database
from searec.store.interest_store import InterestStore
from searec.store.tables import CLOCK, DEAD, LEASED, READY, WAITING, chunks, counter, insert, jobs

SECOND = 1_000_000
"""Microseconds."""
Reason = Literal["missing", "stale", "drift", "requested"]
PRIORITY: dict[Reason, int] = {"missing": 0, "stale": 1, "drift": 1, "requested": 1}
"""Lower goes first."""
NEWS: tuple[Reason, ...] = ("drift", "requested")
"""Reasons that hold although interests are fresh, and that a refresh under way may have missed."""
_ENQUEUE_LOCK = 0x5EA_2EC_10B5
"""Names the advisory lock of PostgreSQL by which callers of `enqueue` wait for one another."""
_C = jobs.c


@dataclass(frozen=True)
class Job:
    """A refresh that a worker holds the lease of.

    Attributes:
        user: the user id.
        reason: why the refresh is due.
        attempt: how often it was leased, this time included.
        token: proves the lease.
    """

    user: str
    reason: str
    attempt: int
    token: int


@dataclass(frozen=True)
class DeadJob:
    """A job that is not tried any more: its last error, its attempts, and since when (microseconds since 1970)."""

    user: str
    reason: str
    error: str
    attempt: int
    since: int


@dataclass(frozen=True)
class Counts:
    """How much there is.

    Attributes:
        stored: users with interests.
        fresh: users whose interests are fresh.
        queued: jobs that may be leased now.
        waiting: jobs that may be leased later.
        leased: jobs that a worker holds.
        dead: jobs that are not tried any more.
    """

    stored: int
    fresh: int
    queued: int
    waiting: int
    leased: int
    dead: int


class JobQueue:
    """Jobs shared by threads, processes and machines; deadlines follow the clock of the database's machine.

    Args:
        database: where the jobs are.
        interests: where completed jobs write.
        rng: for the jitter of waits.
    """

    def __init__(self, database: Database, interests: InterestStore, rng: np.random.Generator | None = None) -> None:
        self._database, self._interests = database, interests
        self._settings = database.settings
        self._backoff = Backoff(self._settings.first_wait, self._settings.longest_wait, rng or np.random.default_rng())

    def enqueue(self, users: Sequence[str], reason: Reason, *, not_before: int = 0) -> int:
        """Request a refresh of users; return how many jobs were added, those that will run once more included.

        A user who has a job keeps it, at the better of both priorities and the earlier of both times (but a failed job
        waits its time). A leased job runs once more after it is completed where the reason is in `NEWS`. A dead job
        stays. For other reasons than `NEWS` a user whose interests are fresh is left out.

        Args:
            users: user ids.
            reason: sets the priority.
            not_before: microseconds since 1970.
        """
        added = 0
        for part in chunks(list(dict.fromkeys(users))):
            with self._step() as (db, now):
                if db.dialect.name == "postgresql":
                    db.execute(sa.select(sa.func.pg_advisory_xact_lock(_ENQUEUE_LOCK)))
                added += self._enqueue(db, now, list(part), reason, not_before)
        return added

    def _enqueue(self, db: Connection, now: int, users: list[str], reason: Reason, not_before: int) -> int:
        state, until = (WAITING, not_before) if not_before > now else (READY, now)
        new = {"state": state, "until": until, "priority": PRIORITY[reason], "reason": reason}
        if reason not in NEWS:
            fresh = self._interests.fresh_users(db, users, now)
            users = [user for user in users if user not in fresh]
        added = 0
        while users:
            add = insert(db, jobs).on_conflict_do_nothing(index_elements=["user_id"]).returning(_C.user_id)
            inserted = set(db.scalars(add, [{"user_id": user, **new} for user in users]))
            if inserted and reason not in NEWS:
                # a worker may have completed a job between the look at its interests and the insert
                late = self._interests.fresh_users(db, list(inserted), now)
                db.execute(sa.delete(jobs).where(_C.user_id.in_(late)))
                added -= len(late)
            added += len(inserted)
            rest = [user for user in users if user not in inserted]
            # all lock jobs in the order of their ids, so that nobody waits in a circle
            query = sa.select(_C.id, _C.user_id).where(_C.user_id.in_(rest)).order_by(_C.id).with_for_update()
            existing = {row.user_id: row.id for row in db.execute(query)} if rest else {}
            if existing:
                added += self._change_existing(db, list(existing.values()), new, not_before)
            users = [user for user in rest if user not in existing]  # completed since the insert: once more
        return added

    def _change_existing(self, db: Connection, ids: list[int], new: dict[str, Any], not_before: int) -> int:
        """Apply a further request to jobs that exist; return how many will run once more."""
        change = sa.update(jobs).where(_C.id.in_(ids))
        better = _C.state.in_([READY, WAITING]) & (_C.priority > new["priority"])
        db.execute(change.where(better).values(priority=new["priority"], reason=new["reason"]))
        earlier = (_C.state == WAITING) & (_C.attempt == 0) & (_C.until > not_before)
        db.execute(change.where(earlier).values(state=new["state"], until=new["until"]))
        if new["reason"] not in NEWS:
            return 0
        once_more = (_C.state == LEASED) & _C.again.is_(None)
        return db.execute(change.where(once_more).values(again=new["reason"])).rowcount

    def lease(self, worker: str, count: int, seconds: float) -> list[Job]:
        """Return up to `count` jobs for a worker, by priority and then age.

        A job that was with a lost worker, or with others when a reasoner failed, comes alone to harm no other.

        Args:
            worker: its name, for errors.
            count: jobs at most.
            seconds: how long the jobs are the worker's.
        """
        if not self._anything_to_lease():
            return []
        with self._step() as (db, now):
            lost = sa.update(jobs).where(_C.id.in_(_free(sa.select(_C.id).where(_C.state == LEASED, _C.until <= now))))
            error = sa.literal("the lease of worker ") + _C.worker + " ran out"
            state = sa.case((_C.faults + 1 >= self._settings.max_attempts, DEAD), else_=READY)
            again = {"again": None, "token": None, "error": error, "alone": True}
            db.execute(lost.values(state=state, until=now, faults=_C.faults + 1, **again))
            due = _free(sa.select(_C.id).where(_C.state == WAITING, _C.until <= now))
            db.execute(sa.update(jobs).where(_C.id.in_(due)).values(state=READY))
            # the literal lets the planner use the partial index
            ready = sa.select(_C.id, _C.user_id, _C.reason, _C.attempt, _C.alone).where(sa.text("state = 0"))
            first = db.execute(_free(ready.order_by(_C.priority, _C.id).limit(count))).all()
            together = list(itertools.takewhile(lambda row: not row.alone, first))
            chosen = together or first[:1]
            leased = [Job(row.user_id, row.reason, row.attempt + 1, secrets.randbits(62)) for row in chosen]
            if leased:
                change = (
                    sa.update(jobs)
                    .where(_C.id == sa.bindparam("job"))
                    .values(
                        state=LEASED,
                        until=now + int(seconds * SECOND),
                        attempt=_C.attempt + 1,
                        token=sa.bindparam("new_token"),
                        worker=worker,
                    )
                )
                pairs = zip(chosen, leased, strict=True)
                db.execute(change, [{"job": row.id, "new_token": job.token} for row, job in pairs])
        return leased

    def _anything_to_lease(self) -> bool:
        """Return whether a lease may find a job: a look that takes no lock, for workers that wait."""
        with self._database.reading() as db:
            now = self._database.now(db)
            ready = sa.exists(sa.select(_C.id).where(sa.text("state = 0")))
            due = sa.exists(sa.select(_C.id).where(_C.state.in_([WAITING, LEASED]), _C.until <= now))
            set_back = sa.exists(sa.select(counter.c.id).where(counter.c.id == CLOCK, counter.c.number > now + SECOND))
            return bool(db.execute(sa.select(sa.or_(ready, due, set_back))).scalar_one())

    def extend(self, leased: Sequence[Job], seconds: float) -> list[Job]:
        """Hold leases for longer; return the jobs that are still the caller's.

        Args:
            leased: jobs of the caller.
            seconds: from now.
        """
        with self._step() as (db, now):
            held = self._held(db, leased)
            change = sa.update(jobs).where(_C.id.in_(held)).values(until=now + int(seconds * SECOND))
            db.execute(change)
            return [job for job in leased if job in held.values()]

    def complete(self, job: Job, graph: InterestGraph | None) -> bool:
        """Write the graph and close the job in one transaction; return False if the job is no longer the caller's.

        Args:
            job: as leased.
            graph: the interests of its user; None of a user who does not exist, whose interests are deleted.
        """
        with self._step() as (db, now):
            held = sa.delete(jobs).where(_C.user_id == job.user, _C.token == job.token, _C.state == LEASED)
            row = db.execute(held.returning(_C.again)).first()
            if row is None:
                return False
            if graph is None:
                self._interests.delete(db, [job.user])
            entries = {} if graph is None else self._interests.save(db, [graph], now)
            if row.again is not None:
                self._enqueue(db, now, [job.user], row.again, 0)
        if graph is None:
            self._interests.forget_cached([job.user])
        self._interests.publish(entries)
        return True

    def fail(self, job: Job, error: str, *, blame: bool = True) -> bool:
        """Put a job back for later, or mark it dead after `max_attempts` faults; False if it is no longer ours.

        Args:
            job: as leased.
            error: what happened.
            blame: whether it is a fault of this job; otherwise it waits longer each time and never dies.
        """
        pause = int(self._backoff.seconds(job.attempt) * SECOND)
        text = error.encode(errors="replace").decode().replace("\0", "?")
        with self._step() as (db, now):
            dead = (_C.faults + 1 >= self._settings.max_attempts) if blame else sa.false()
            return self._change(
                db,
                job,
                state=sa.case((dead, DEAD), else_=WAITING),
                until=sa.case((dead, now), else_=now + pause),
                faults=_C.faults + int(blame),
                alone=not blame,
                error=text,
            )

    def release(self, leased: Sequence[Job]) -> int:
        """Give jobs back at once, as if they had not been leased; return how many were still the caller's."""
        with self._step() as (db, _):
            held = self._held(db, leased)
            return sum(self._change(db, job, state=READY, attempt=_C.attempt - 1) for job in held.values())

    def dead_jobs(self, limit: int = 100) -> list[DeadJob]:
        """Return jobs that are not tried any more, oldest first."""
        columns = (_C.user_id, _C.reason, _C.error, _C.attempt, _C.until)
        query = sa.select(*columns).where(_C.state == DEAD).order_by(_C.until, _C.id).limit(limit)
        with self._database.reading() as db:
            return [DeadJob(*row) for row in db.execute(query)]

    def revive(self, users: Sequence[str] | None = None) -> int:
        """Make dead jobs ready again, of these users or all; return how many."""
        start = {"state": READY, "attempt": 0, "faults": 0, "alone": True, "error": None}
        return self._of_dead(sa.update(jobs).values(start), users)

    def drop(self, users: Sequence[str] | None = None) -> int:
        """Delete dead jobs, of these users or all; return how many."""
        return self._of_dead(sa.delete(jobs), users)

    def delete(self, db: Connection, users: Sequence[str]) -> None:
        """Delete the jobs of users in the caller's transaction; a worker that holds one cannot complete it any more.

        Args:
            db: a connection in a transaction.
            users: user ids.
        """
        db.execute(sa.delete(jobs).where(_C.user_id.in_(users)))

    def counts(self) -> Counts:
        """Return how many users and jobs there are."""
        with self._database.reading() as db:
            now = self._database.now(db)
            over = (_C.until <= now).label("over")
            groups = db.execute(sa.select(_C.state, over, sa.func.count()).group_by(_C.state, over)).all()
            stored, fresh = self._interests.counts(db, now)
        by_state = {state: {bool(row[1]): row[2] for row in groups if row[0] == state} for state in range(4)}
        queued = sum(by_state[READY].values()) + by_state[WAITING].get(True, 0) + by_state[LEASED].get(True, 0)
        waiting, leased = (by_state[state].get(False, 0) for state in (WAITING, LEASED))
        return Counts(stored, fresh, queued, waiting, leased, sum(by_state[DEAD].values()))

    @contextlib.contextmanager
    def _step(self) -> Iterator[tuple[Connection, int]]:
        """Open a transaction; return it with the time. A clock that was set back takes all deadlines with it."""
        with self._database.writing() as db:
            now = self._database.now(db)
            query = sa.select(counter.c.number).where(counter.c.id == CLOCK)
            if abs(now - db.execute(query).scalar_one()) > SECOND:
                latest = db.execute(query.with_for_update()).scalar_one()
                if now < latest - SECOND:
                    late = sa.update(jobs).where(_C.state.in_([WAITING, LEASED]))
                    db.execute(late.values(until=_C.until - (latest - now)))
                if abs(now - latest) > SECOND:
                    db.execute(sa.update(counter).where(counter.c.id == CLOCK).values(number=now))
            yield db, now

    def _held(self, db: Connection, leased: Sequence[Job]) -> dict[int, Job]:
        """Lock the jobs that are still the caller's, in the order of their ids."""
        tokens = {job.token: job for job in leased}
        query = sa.select(_C.id, _C.user_id, _C.token).where(_C.token.in_(tokens), _C.state == LEASED)
        users = query.where(_C.user_id.in_([job.user for job in leased]))
        return {row.id: tokens[row.token] for row in db.execute(users.order_by(_C.id).with_for_update())}

    def _change(self, db: Connection, job: Job, **values: Any) -> bool:
        """End a lease; return False if it is no longer the caller's."""
        held = sa.update(jobs).where(_C.user_id == job.user, _C.token == job.token, _C.state == LEASED)
        return db.execute(held.values(again=None, token=None, **values)).rowcount == 1

    def _of_dead(self, change: Any, users: Sequence[str] | None) -> int:
        with self._step() as (db, _):
            query = change.where(_C.state == DEAD)
            if users is None:
                return int(db.execute(query).rowcount)
            return sum(db.execute(query.where(_C.user_id.in_(part))).rowcount for part in chunks(list(users)))


def _free(query: "sa.Select[Any]") -> "sa.Select[Any]":
    """Return the query for rows that no other transaction holds; SQLite has one writer and needs nothing."""
    return query.with_for_update(skip_locked=True)
