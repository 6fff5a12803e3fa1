"""Worker: leases users from the queue, calls a reasoner and writes the interests it infers."""

import contextlib
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

import numpy as np

from searec.config import Count, NonNegative, Positive, settings
from searec.errors import DataError, SearecError, StorageError
from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import Reasoner, ReasoningResult
from searec.store.backoff import Backoff
from searec.store.job_queue import Job
from searec.store.store import Store
from searec.store.worker_metrics import Metrics, Outcome

log = logging.getLogger(__name__)

ProfilesOf = Callable[[Sequence[str]], Sequence[Profile]]
"""The profile of each user, in order, as of now; an empty one for an unknown user."""
_LOOK = 0.1
"""Seconds between two checks of the reasoner and of the request to stop."""
_WRITES = 4
"""Tries to write a graph before its lease is left to run out."""
_OUTAGES = 3
"""Failures of the reasoner in a row, after which draining is given up."""


@settings
class WorkerSettings:
    """Batch size and time limits of a worker; in seconds unless noted.

    Attributes:
        batch: users per call of the reasoner.
        lease: of a job, extended for as long as the reasoner runs.
        longest: a reasoner that runs longer is given up, and the worker with it.
        idle: between two looks into an empty queue.
        grace: for the reasoner to finish once a stop is requested; then its jobs are given back.
        first_wait, longest_wait: when the reasoner or the store fails as a whole, doubled each time up to the longest.
        half_life: days in which the confidence of an interest halves that is not inferred again.
        keep: interests of a graph, the most confident ones.
    """

    batch: Count = 8
    lease: Positive = 60.0
    longest: Positive = 900.0
    idle: Positive = 0.5
    grace: NonNegative = 10.0
    first_wait: Positive = 1.0
    longest_wait: Positive = 60.0
    half_life: Positive = 30.0
    keep: Count = 64


def renewed(
    older: InterestGraph | None, newer: InterestGraph, profile: Profile, *, half_life: float, keep: int
) -> InterestGraph:
    """Return the graph to store: both merged, without interests that the profile's history holds by now.

    Graphs of the same time were inferred from the same events; the newer one then replaces the older.

    Args:
        older: the stored graph, if any.
        newer: as the reasoner inferred it.
        profile: of the user, as of now.
        half_life: days in which the confidence of an interest halves that is not inferred again.
        keep: interests at most.
    """
    if older is not None and older.at != newer.at:
        first, second = sorted((older, newer), key=lambda graph: graph.at)
        newer = first.merged(second, half_life=half_life)
    return newer.novel(profile).top(keep)


@dataclass
class _Batch:
    """Jobs under way, those of them still held, and what the reasoner's thread has returned."""

    jobs: list[Job]
    held: list[Job]
    started: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    profiles: Sequence[Profile] = ()
    thoughts: Sequence[ReasoningResult] = ()
    problem: BaseException | None = None


class Worker:
    """One worker with a reasoner of its own; many may share a store, in threads, processes or on other machines.

    Args:
        store: where jobs and interests are.
        reasoner: infers graphs from profiles.
        profiles_of: called in the reasoner's thread.
        settings: batch size and time limits.
        name: in the errors of jobs that it loses.
        metrics: where outcomes are counted.
        rng: for the jitter of its waits.
    """

    def __init__(
        self,
        store: Store,
        reasoner: Reasoner,
        profiles_of: ProfilesOf,
        settings: WorkerSettings | None = None,
        *,
        name: str = "worker",
        metrics: Metrics | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._store = store
        self._reasoner = reasoner
        self._profiles_of = profiles_of
        self._settings = settings or WorkerSettings()
        self._name = name
        self._metrics = metrics
        self._backoff = Backoff(self._settings.first_wait, self._settings.longest_wait, rng or np.random.default_rng())
        self._outages = 0
        self._ended: Counter[Outcome] = Counter()

    def run(self, stop: threading.Event, *, drain: bool = False) -> dict[Outcome, int]:
        """Work until a stop is requested; return the number of jobs by outcome.

        After that, results that come within the grace are written and the other jobs given back.

        Args:
            stop: set to request a stop.
            drain: stop when nothing can be leased.

        Raises:
            SearecError: the reasoner does not return. With `drain`, also: the store or the reasoner fails again and
                again; without, the worker waits for either.
        """
        self._ended = Counter()
        while not stop.is_set():
            try:
                # after an outage one job is risked to find out whether it is over
                jobs = self._store.jobs.lease(
                    self._name, 1 if self._outages else self._settings.batch, self._settings.lease
                )
                outage = self._work(jobs, stop) if jobs else None
                if outage is not None:
                    self._pause(outage, stop)
                    if drain and self._outages >= _OUTAGES:
                        raise outage
                elif jobs:
                    continue
                elif drain:
                    break
                else:
                    stop.wait(self._settings.idle)
            except StorageError as error:
                if drain:
                    raise
                self._pause(error, stop)
        return dict(self._ended)

    def _work(self, jobs: list[Job], stop: threading.Event) -> SearecError | None:
        """Process a batch; return the error if the reasoner failed as a whole."""
        batch = _Batch(jobs, jobs)
        threading.Thread(target=self._think, args=(batch,), name=f"{self._name}-thinks", daemon=True).start()
        if not self._hold(batch, stop):
            return None
        if batch.problem is None and not len(batch.thoughts) == len(batch.profiles) == len(jobs):
            batch.problem = ValueError(
                f"{len(batch.profiles)} profiles and {len(batch.thoughts)} thoughts for {len(jobs)} users"
            )
        if batch.problem is not None:
            return self._put_back(batch, batch.problem)
        self._outages = 0
        for job, profile, thought in zip(jobs, batch.profiles, batch.thoughts, strict=True):
            if job in batch.held:
                try:
                    self._close(job, profile, thought, batch, stop)
                except DataError as error:  # graphs that do not fit one another
                    self._fail(job, str(error), batch)
        return None

    def _think(self, batch: _Batch) -> None:
        """Call the reasoner in a thread of its own, so that leases are extended and a stop is noticed meanwhile."""
        called = None
        try:
            batch.profiles = self._profiles_of([job.user for job in batch.jobs])
            called = time.monotonic()
            batch.thoughts = self._reasoner.infer(batch.profiles)
        except BaseException as problem:
            batch.problem = problem
        finally:
            if called is not None and self._metrics is not None:
                self._metrics.called(self._reasoner.name, time.monotonic() - called, ok=batch.problem is None)
            batch.done.set()

    def _hold(self, batch: _Batch, stop: threading.Event) -> bool:
        """Hold the leases until the reasoner is done; return False if the grace of a stop is over first."""
        settings, held_at = self._settings, batch.started
        stopped_at: float | None = None
        while not batch.done.wait(_LOOK):
            now = time.monotonic()
            if stop.is_set():
                stopped_at = stopped_at or now
                if now - stopped_at >= settings.grace:
                    self._store.jobs.release(batch.held)
                    self._end("returned", batch, len(batch.held))
                    return False
            if now - batch.started > settings.longest:
                self._give_up(batch)
            if now - held_at >= settings.lease / 3:
                held_at = now
                self._extend(batch)
        return True

    def _extend(self, batch: _Batch) -> None:
        try:
            held = self._store.jobs.extend(batch.held, self._settings.lease)
        except StorageError as error:  # the leases last for two more tries
            log.warning("%s: %s", self._name, error)
            return
        self._end("lost", batch, len(batch.held) - len(held))
        batch.held = held

    def _give_up(self, batch: _Batch) -> None:
        problem = f"no thought within {self._settings.longest:g} s"
        for job in batch.held:
            self._fail(job, problem, batch, blame=len(batch.jobs) == 1)
        raise SearecError(
            "the reasoner does not return",
            where=f"{self._reasoner.name}, {len(batch.jobs)} users from {batch.jobs[0].user!r} on",
            got=problem,
            remedy="start the worker again",  # a thread that still runs cannot be ended
        )

    def _put_back(self, batch: _Batch, problem: BaseException) -> SearecError | None:
        """Fail a whole batch. Only a single job can be to blame for that; several are tried again one by one."""
        outage = isinstance(problem, SearecError) and not isinstance(problem, DataError)
        error = str(problem) if isinstance(problem, SearecError) else f"{type(problem).__name__}: {problem}"
        blame = len(batch.jobs) == 1 and not outage
        for job in batch.held:
            self._fail(job, error, batch, blame=blame)
        if isinstance(problem, SearecError) and outage:
            return problem
        log.warning("%s: %s", self._name, error)
        return None

    def _fail(self, job: Job, problem: str, batch: _Batch, *, blame: bool = True) -> None:
        still_ours = self._store.jobs.fail(job, problem, blame=blame)
        self._end(("failed" if blame else "postponed") if still_ours else "lost", batch)

    def _close(
        self, job: Job, profile: Profile, thought: ReasoningResult, batch: _Batch, stop: threading.Event
    ) -> None:
        """Write the graph of one thought, or why there is none; of a user who does not exist nothing is written."""
        if not profile.exists:
            self._end("unknown" if self._write(job, None, stop) else "lost", batch)
            return
        if thought.graph is None or thought.graph.user != job.user:
            problem = (
                thought.problem or "no graph" if thought.graph is None else f"a graph of user {thought.graph.user!r}"
            )
            self._fail(job, problem, batch)
            return
        try:
            older = self._store.interests.read_graph(job.user)
        except DataError as error:  # nothing that could be read; the new one replaces it
            log.warning("%s: %s", self._name, error)
            older = None
        graph = renewed(older, thought.graph, profile, half_life=self._settings.half_life, keep=self._settings.keep)
        self._end("refreshed" if self._write(job, graph, stop) else "lost", batch)

    def _write(self, job: Job, graph: InterestGraph | None, stop: threading.Event) -> bool:
        """Write a graph; a thought may have cost money, so a store that fails for a moment is tried again."""
        for attempt in range(1, _WRITES):
            try:
                return self._store.jobs.complete(job, graph)
            except StorageError as error:
                log.warning("%s: %s", self._name, error)
                stop.wait(self._backoff.seconds(attempt))
        return self._store.jobs.complete(job, graph)

    def _pause(self, error: object, stop: threading.Event) -> None:
        self._outages += 1
        log.warning("%s: %s", self._name, error)
        stop.wait(self._backoff.seconds(self._outages))

    def _end(self, outcome: Outcome, batch: _Batch, count: int = 1) -> None:
        if not count:
            return
        self._ended[outcome] += count
        if self._metrics is not None:
            self._metrics.ended(outcome, time.monotonic() - batch.started, count)


def work(workers: Sequence[Worker], *, drain: bool = False) -> dict[Outcome, int]:
    """Run workers, a thread each, until SIGTERM or SIGINT; return the number of jobs by outcome.

    Signals arrive in the main thread only; a second SIGINT is a KeyboardInterrupt.

    Args:
        workers: to run side by side.
        drain: stop when nothing can be leased.

    Raises:
        SearecError: of the first worker that failed, once the others have stopped.
    """
    stop = threading.Event()
    ended: Counter[Outcome] = Counter()
    problems: list[BaseException] = []

    def run(worker: Worker) -> None:
        try:
            ended.update(worker.run(stop, drain=drain))
        except BaseException as problem:
            problems.append(problem)
            stop.set()

    threads = [threading.Thread(target=run, args=(worker,), name="searec-worker", daemon=True) for worker in workers]
    with _signals(stop):
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(_LOOK) if threads[0].is_alive() else time.sleep(_LOOK)
    if problems:
        raise problems[0]
    return dict(ended)


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGTERM or SIGINT inside the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request_stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
