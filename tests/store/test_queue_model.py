"""The queue against a plain model in memory: whatever is done in whatever order, both backends do as the model does."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from searec.store import tables
from searec.store.connection import StoreSettings
from searec.store.job_queue import NEWS, PRIORITY, SECOND, Counts, Job
from searec.store.store import Store

USERS = ["a", "b", "c"]
ATTEMPTS, WAIT, LEASE, LIFE_DAYS = 3, 10, 60, 7


@dataclass
class Wanted:
    """A job of the model; state is ready, waiting, leased or shelf."""

    reason: str
    place: int
    state: str = "ready"
    until: float = 0.0
    attempt: int = 0
    faults: int = 0
    alone: bool = False
    token: int | None = None
    again: str | None = None

    @property
    def order(self) -> tuple[int, int]:
        return PRIORITY[self.reason], self.place


class Model:
    """What a store should do, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.places = itertools.count()
        self.jobs: dict[str, Wanted] = {}
        self.kept: dict[str, tuple[float, bool, int]] = {}

    def fresh(self, user: str) -> bool:
        made, marked, _ = self.kept.get(user, (0.0, True, 0))
        return not marked and self.now - made < LIFE_DAYS * 86_400

    def write(self, user: str) -> None:
        self.kept[user] = (self.now, False, self.kept.get(user, (0.0, True, 0))[2] + 1)

    def enqueue(self, user: str, reason: str, not_before: float) -> int:
        if reason not in NEWS and self.fresh(user):
            return 0
        job = self.jobs.get(user)
        if job is None:
            self.jobs[user] = Wanted(
                reason, next(self.places), *(("waiting", not_before) if not_before > self.now else ("ready",))
            )
            return 1
        if job.state == "leased" and reason in NEWS and job.again is None:
            job.again = reason
            return 1
        if job.state in ("ready", "waiting"):
            if PRIORITY[reason] < PRIORITY[job.reason]:
                job.reason = reason
            if job.state == "waiting" and job.attempt == 0 and not_before < job.until:
                job.state, job.until = ("waiting", not_before) if not_before > self.now else ("ready", 0.0)
        return 0

    def settle(self) -> None:
        """What the clock has brought about, as the next lease finds it."""
        for job in self.jobs.values():
            if job.state == "leased" and job.until <= self.now:
                job.faults, job.alone, job.again, job.token = job.faults + 1, True, None, None
                job.state = "dead" if job.faults >= ATTEMPTS else "ready"
            elif job.state == "waiting" and job.until <= self.now:
                job.state = "ready"

    def next(self, count: int) -> list[str]:
        self.settle()
        ready = sorted((job.order, user) for user, job in self.jobs.items() if job.state == "ready")
        names = [user for _, user in ready][:count]
        if names and self.jobs[names[0]].alone:
            return names[:1]
        return list(itertools.takewhile(lambda user: not self.jobs[user].alone, names))

    def holds(self, job: Job) -> bool:
        mine = self.jobs.get(job.user)
        return mine is not None and mine.state == "leased" and mine.token == job.token

    def counts(self) -> Counts:
        states = [
            "ready" if job.state in ("waiting", "leased") and job.until <= self.now else job.state
            for job in self.jobs.values()
        ]
        fresh = sum(map(self.fresh, self.kept))
        return Counts(len(self.kept), fresh, *(states.count(one) for one in ("ready", "waiting", "leased", "dead")))


class Queue(RuleBasedStateMachine):
    """Does the same to a store and to the model."""

    def __init__(self, stores: Callable[..., Store], clock: Any, graph: Any, started: int) -> None:
        super().__init__()
        self.clock, self.graph, self.started = clock, graph, started
        values = {"max_attempts": ATTEMPTS, "first_wait": WAIT, "longest_wait": WAIT}
        self.store, self.model = stores(**values), Model()
        self.clock.now = started
        self.held: list[Job] = []  # every job ever leased

    def write(self, users: list[str]) -> None:
        self.store.interests.write([self.graph(user, "caps") for user in users])
        for user in users:
            self.model.write(user)

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0, 30.0, 61.0, 8 * 86_400.0]))
    def forward(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.model.now += seconds

    @rule(
        users=st.lists(st.sampled_from(USERS), max_size=4),
        reason=st.sampled_from(list(PRIORITY)),
        later=st.sampled_from([0, 0, 0, 5, 40]),
    )
    def enqueue(self, users: list[str], reason: Any, later: float) -> None:
        until = self.model.now + later
        added = self.store.jobs.enqueue(users, reason, not_before=self.started + int(until * SECOND))
        assert added == sum(self.model.enqueue(user, reason, until) for user in users)

    @rule(count=st.integers(1, 4))
    def lease(self, count: int) -> None:
        wanted = self.model.next(count)
        jobs = self.store.jobs.lease("w", count, LEASE)
        assert [job.user for job in jobs] == wanted
        for job in jobs:
            mine = self.model.jobs[job.user]
            mine.state, mine.until, mine.attempt, mine.token = (
                "leased",
                self.model.now + LEASE,
                mine.attempt + 1,
                job.token,
            )
            assert (job.attempt, job.reason) == (mine.attempt, mine.reason)
        assert not {job.token for job in jobs} & {job.token for job in self.held}, "a token is never given twice"
        self.held += jobs

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def complete(self, data: Any) -> None:
        job = data.draw(st.sampled_from(self.held))
        holds = self.model.holds(job)
        assert self.store.jobs.complete(job, self.graph(job.user, "caps")) == holds
        if holds:
            again = self.model.jobs.pop(job.user).again
            self.model.write(job.user)
            if again is not None:
                self.model.enqueue(job.user, again, 0.0)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), blame=st.booleans())
    def fail(self, data: Any, blame: bool) -> None:
        job = data.draw(st.sampled_from(self.held))
        holds = self.model.holds(job)
        assert self.store.jobs.fail(job, "no", blame=blame) == holds
        if holds:
            mine = self.model.jobs[job.user]
            mine.faults, mine.alone, mine.again, mine.token = mine.faults + blame, not blame, None, None
            mine.state = "dead" if blame and mine.faults >= ATTEMPTS else "waiting"
            mine.until = self.model.now + WAIT

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        job = data.draw(st.sampled_from(self.held))
        holds = self.model.holds(job)
        assert self.store.jobs.release([job]) == holds
        if holds:
            mine = self.model.jobs[job.user]
            mine.state, mine.attempt, mine.again, mine.token = "ready", mine.attempt - 1, None, None

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def extend(self, data: Any) -> None:
        jobs = data.draw(st.lists(st.sampled_from(self.held), max_size=3, unique=True))
        held = [job for job in jobs if self.model.holds(job)]
        assert self.store.jobs.extend(jobs, LEASE) == held
        for job in held:
            self.model.jobs[job.user].until = self.model.now + LEASE

    @rule(users=st.lists(st.sampled_from(USERS), max_size=2, unique=True), drop=st.booleans())
    def shelf(self, users: list[str], drop: bool) -> None:
        there = [user for user in users if user in self.model.jobs and self.model.jobs[user].state == "dead"]
        assert (self.store.jobs.drop(users) if drop else self.store.jobs.revive(users)) == len(there)
        for user in there:
            if drop:
                del self.model.jobs[user]
            else:
                mine = self.model.jobs[user]
                mine.state, mine.attempt, mine.faults, mine.alone = "ready", 0, 0, True

    @rule(users=st.lists(st.sampled_from(USERS), max_size=2, unique=True))
    def mark(self, users: list[str]) -> None:
        assert self.store.interests.mark_stale(users) == sum(self.model.fresh(user) for user in users)
        for user in users:
            if user in self.model.kept:
                made, _, revision = self.model.kept[user]
                self.model.kept[user] = (made, True, revision)

    @rule(user=st.sampled_from(USERS))
    def put(self, user: str) -> None:
        self.write([user])

    @rule(user=st.sampled_from(USERS))
    def forget(self, user: str) -> None:
        self.store.forget(user)
        self.model.kept.pop(user, None)
        self.model.jobs.pop(user, None)

    @rule(days=st.sampled_from([1, 10]))
    def prune(self, days: float) -> None:
        old = [user for user, (made, _, _) in self.model.kept.items() if made < self.model.now - days * 86_400]
        assert self.store.interests.prune(days) == len(old)
        for user in old:
            del self.model.kept[user]

    @invariant()
    def same(self) -> None:
        assert self.store.jobs.counts() == self.model.counts()
        for user in USERS:
            kept = self.store.interests.read(user)
            assert (None if kept is None else (kept.stale, kept.revision)) == (
                (not self.model.fresh(user), self.model.kept[user][2]) if user in self.model.kept else None
            )
        shelved = [(one.user, one.attempt) for one in self.store.jobs.dead_jobs()]
        assert sorted(shelved) == sorted(
            (user, job.attempt) for user, job in self.model.jobs.items() if job.state == "dead"
        )

    def teardown(self) -> None:
        self.store.close()


class FullWaits:
    """A generator without chance: every wait is as long as it may be."""

    def uniform(self, low: float, high: float) -> float:
        return high


@pytest.fixture
def empty_stores(store_url: str, clock: Any) -> Callable[..., Store]:
    """Opens a store and empties it."""

    def make(**values: Any) -> Store:
        store = Store(store_url, StoreSettings(**values), rng=FullWaits(), clock=clock)  # type: ignore[arg-type]
        with store.database.writing() as db:
            for table in (tables.jobs, tables.interests, tables.interest_graphs):
                db.execute(sa.delete(table))
            db.execute(sa.update(tables.counter).values(number=0))
        return store

    return make


def test_the_queue_does_as_the_model_does(empty_stores: Callable[..., Store], clock: Any, graph: Any) -> None:
    started = clock.now
    run_state_machine_as_test(
        lambda: Queue(empty_stores, clock, graph, started),
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
