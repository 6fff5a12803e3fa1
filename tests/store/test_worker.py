"""Workers: what is kept, who is blamed, and what becomes of a job when the reasoner.

The store or the worker itself gives way.
"""

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from searec.data.schema import DAY
from searec.errors import ChatError, SearecError, StorageError, UnknownIdError
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile, ProfileQuery
from searec.interests.reasoner import ReasoningResult
from searec.store.job_queue import Counts
from searec.store.store import Store
from searec.store.worker import Worker, WorkerSettings, renewed, work
from searec.store.worker_metrics import Metrics

QUICK = {"idle": 0.01, "first_wait": 0.01, "longest_wait": 0.02}


def eventually(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


class Thinker:
    """A reasoner that finds caps for everybody, unless told otherwise. thought: the users of each call."""

    name, version = "thinker", "1"

    def __init__(self, graph: Callable[..., InterestGraph]) -> None:
        self.graph = graph
        self.thought: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.behave: Callable[[Sequence[Profile]], list[ReasoningResult]] = self.caps

    def caps(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        return [ReasoningResult(one, self.graph(one.user, "caps", at=one.at)) for one in profiles]

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        self.thought.append([one.user for one in profiles])
        assert self.gate.wait(60)
        return self.behave(profiles)


def profiles_of(users: Sequence[str]) -> list[Profile]:
    return [Profile(user, 50 * DAY) for user in users]


@pytest.fixture
def thinker(graph: Any) -> Thinker:
    return Thinker(graph)


@pytest.fixture
def make_worker(store: Store, thinker: Thinker) -> Callable[..., Worker]:
    def make(*, on: Any = None, profiles: Any = profiles_of, metrics: Any = None, **values: Any) -> Worker:
        return Worker(on or store, thinker, profiles, WorkerSettings(**QUICK | values), name="w", metrics=metrics)

    return make


@pytest.fixture
def running() -> Iterator[Callable[[Worker], threading.Event]]:
    """Runs a worker in a thread until the event is set; the thread's outcome is on the event."""
    threads = []

    def run(worker: Worker) -> Any:
        stop: Any = threading.Event()
        stop.ended, stop.problem = None, None

        def body() -> None:
            try:
                stop.ended = worker.run(stop)
            except BaseException as problem:
                stop.problem = problem

        stop.thread = threading.Thread(target=body)
        stop.thread.start()
        threads.append(stop)
        return stop

    yield run
    for stop in threads:
        stop.set()
        stop.thread.join()


def drained(worker: Worker) -> dict[Any, int]:
    return worker.run(threading.Event(), drain=True)


def test_the_queue_is_worked_off_in_batches(store: Store, thinker: Thinker, make_worker: Any) -> None:
    names = [f"u{n}" for n in range(7)]
    store.jobs.enqueue(names, "missing")
    assert drained(make_worker(batch=3)) == {"refreshed": 7}
    assert thinker.thought == [names[:3], names[3:6], names[6:]]
    assert store.jobs.counts() == Counts(stored=7, fresh=7, queued=0, waiting=0, leased=0, dead=0)
    kept = store.interests.read("u3")
    assert kept is not None and [one.text for one in kept.interests()] == ["caps"]
    assert drained(make_worker()) == {}


def test_a_new_graph_is_laid_over_the_old_one(store: Store, thinker: Thinker, make_worker: Any, graph: Any) -> None:
    store.interests.write([graph("u", "tents", at=20 * DAY)])
    store.jobs.enqueue(["u"], "requested")
    assert drained(make_worker(half_life=30.0)) == {"refreshed": 1}
    merged = store.interests.read_graph("u")
    assert merged == graph("u", "tents", at=20 * DAY).merged(graph("u", "caps", at=50 * DAY), half_life=30.0)
    assert [one.text for one in merged.interests()] == ["caps", "tents"]


def test_what_to_keep(graph: Any) -> None:
    profile = Profile("u", 60 * DAY, queries=(ProfileQuery("nike air", 1), ProfileQuery("tent", 2)))
    older, newer = graph("u", "tents", "caps", at=20 * DAY), graph("u", "hats", "socks", at=50 * DAY)

    def texts(*graphs: Any, keep: int = 9) -> list[str]:
        return [one.text for one in renewed(*graphs, profile, half_life=30.0, keep=keep).interests()]

    assert texts(None, newer) == ["hats", "socks"]
    assert texts(older, newer) == ["hats", "socks", "caps"], "tents were asked for since"
    assert texts(older, newer, keep=1) == ["hats"]
    assert texts(newer, older) == ["hats", "socks", "caps"], "an older one that comes late is laid beneath"
    again = renewed(newer, newer, profile, half_life=30.0, keep=9)
    assert again == newer, "the same events are no second reason"


def test_an_old_value_that_cannot_be_read_is_replaced(
    store: Store, thinker: Thinker, make_worker: Any, graph: Any
) -> None:
    class Unreadable(Passing):
        def read_graph(self, user: str) -> InterestGraph:
            return InterestGraph.from_json("{}")

    store.jobs.enqueue(["u"], "missing")
    assert drained(make_worker(on=Unreadable(store))) == {"refreshed": 1}
    assert store.interests.read_graph("u") == graph("u", "caps", at=50 * DAY)


class Part:
    """A part of a store of which some steps are replaced."""

    def __init__(self, replaced: Any, inner: Any) -> None:
        self.replaced, self.inner = replaced, inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.replaced if name in vars(type(self.replaced)) else self.inner, name)


class Passing:
    """A store that passes everything on to another; subclasses replace a step."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.jobs, self.interests = Part(self, store.jobs), Part(self, store.interests)


def test_each_job_ends_by_its_own_outcome(store: Store, thinker: Thinker, make_worker: Any, graph: Any) -> None:
    def mixed(profiles: Sequence[Profile]) -> list[ReasoningResult]:
        good, silent, wrong, empty = profiles
        stranger = graph("stranger", "caps")
        return [
            *thinker.caps([good]),
            ReasoningResult(silent, None, "it says nothing"),
            ReasoningResult(wrong, stranger),
            ReasoningResult(empty, InterestGraph(empty.user, 5)),
        ]

    thinker.behave = mixed
    store.jobs.enqueue(["good", "silent", "wrong", "empty"], "missing")
    assert drained(make_worker()) == {"refreshed": 2, "failed": 2}
    assert store.jobs.counts() == Counts(stored=2, fresh=2, queued=0, waiting=2, leased=0, dead=0)
    assert store.interests.read("stranger") is None


def test_who_fails_again_and_again_goes_to_the_shelf_alone(
    stores: Any, thinker: Thinker, clock: Any, make_worker: Any
) -> None:
    def never_bad(profiles: Sequence[Profile]) -> list[ReasoningResult]:
        return [
            ReasoningResult(one, None, "no answer") if one.user == "bad" else thinker.caps([one])[0] for one in profiles
        ]

    store = stores(max_attempts=2)
    thinker.behave = never_bad
    store.jobs.enqueue(["bad", "good"], "missing")
    worker = make_worker(on=store)
    assert drained(worker) == {"refreshed": 1, "failed": 1}
    clock.forward(100)
    assert drained(worker) == {"failed": 1}
    assert [(one.user, one.error) for one in store.jobs.dead_jobs()] == [("bad", "no answer")]


def test_a_profile_that_breaks_the_reasoner_takes_nobody_along(
    stores: Any, thinker: Thinker, clock: Any, make_worker: Any
) -> None:
    def breaks(profiles: Sequence[Profile]) -> list[ReasoningResult]:
        if any(one.user == "bad" for one in profiles):
            raise ZeroDivisionError("division by zero")
        return thinker.caps(profiles)

    store = stores(max_attempts=2)
    thinker.behave = breaks
    store.jobs.enqueue(["a", "bad", "b"], "missing")
    worker = make_worker(on=store)
    assert drained(worker) == {"postponed": 3}
    clock.forward(100)
    assert drained(worker) == {"refreshed": 2, "failed": 1}
    clock.forward(100)
    assert drained(worker) == {"failed": 1}
    assert [(one.user, one.error) for one in store.jobs.dead_jobs()] == [("bad", "ZeroDivisionError: division by zero")]


@pytest.mark.parametrize("thoughts", [0, 1, 3])
def test_a_wrong_number_of_thoughts_is_a_failure(
    store: Store, thinker: Thinker, make_worker: Any, thoughts: int
) -> None:
    thinker.behave = lambda profiles: thinker.caps([*profiles, *profiles])[:thoughts]
    store.jobs.enqueue(["a", "b"], "missing")
    assert drained(make_worker()) == {"postponed": 2}
    assert store.jobs.counts().stored == 0


def test_a_server_that_is_down_blames_nobody_and_is_tried_with_one_job(
    stores: Any, thinker: Thinker, clock: Any, make_worker: Any
) -> None:
    def down(profiles: Sequence[Profile]) -> list[ReasoningResult]:
        raise ChatError("the chat server fails")

    store = stores(max_attempts=1)
    store.jobs.enqueue([f"u{n}" for n in range(9)], "missing")
    thinker.behave = down
    worker = make_worker(on=store, batch=4)
    with pytest.raises(ChatError, match="the chat server fails"):
        drained(worker)
    assert thinker.thought == [["u0", "u1", "u2", "u3"], ["u4"], ["u5"]], (
        "three times in a row, and the rest is left in the queue"
    )
    assert store.jobs.counts() == Counts(stored=0, fresh=0, queued=3, waiting=6, leased=0, dead=0)
    thinker.behave = thinker.caps
    clock.forward(100)
    assert drained(worker) == {"refreshed": 9}
    assert thinker.thought[3:] == [["u0"], ["u1"], ["u2"], ["u3"], ["u4"], ["u5"], ["u6", "u7", "u8"]]


def test_profiles_that_cannot_be_had(stores: Any, thinker: Thinker, clock: Any, make_worker: Any) -> None:
    def some(users: Sequence[str]) -> list[Profile]:
        if "ghost" in users:
            raise UnknownIdError("unknown user id 'ghost'")
        return profiles_of(users)

    store = stores(max_attempts=1)
    store.jobs.enqueue(["a", "ghost"], "missing")
    worker = make_worker(on=store, profiles=some)
    assert drained(worker) == {"postponed": 2}
    clock.forward(100)
    assert drained(worker) == {"refreshed": 1, "failed": 1}
    assert store.jobs.dead_jobs()[0].error == "unknown user id 'ghost'"


def test_leases_are_held_while_the_reasoner_thinks(
    store: Store, clock: Any, thinker: Thinker, make_worker: Any, running: Any
) -> None:
    class Counting(Passing):
        extended = 0

        def extend(self, jobs: Any, seconds: float) -> Any:
            held = self.inner.jobs.extend(jobs, seconds)
            self.extended += 1
            return held

    counting = Counting(store)
    store.jobs.enqueue(["u"], "missing")
    thinker.gate.clear()
    stop = running(make_worker(on=counting, lease=0.3))
    eventually(lambda: thinker.thought)
    for _ in range(4):
        before = counting.extended
        eventually(lambda before=before: counting.extended > before)
        clock.forward(0.25)
        assert store.jobs.lease("other", 1, 60) == []
    thinker.gate.set()
    eventually(lambda: store.jobs.counts().stored == 1)
    stop.set()
    stop.thread.join()
    assert stop.ended == {"refreshed": 1}


def test_a_worker_that_lost_its_lease_changes_nothing(
    store: Store, clock: Any, thinker: Thinker, make_worker: Any, running: Any, graph: Any
) -> None:
    store.jobs.enqueue(["u"], "missing")
    thinker.gate.clear()
    stop = running(make_worker())
    eventually(lambda: thinker.thought)
    clock.forward(61)
    (job,) = store.jobs.lease("other", 1, 60)
    assert store.jobs.complete(job, graph("u", "tents"))
    thinker.gate.set()
    stop.set()
    stop.thread.join()
    assert stop.ended == {"lost": 1}
    assert store.interests.read_graph("u") == graph("u", "tents")
    assert store.jobs.counts() == Counts(stored=1, fresh=1, queued=0, waiting=0, leased=0, dead=0)


def test_a_stop_gives_back_what_is_not_done(store: Store, thinker: Thinker, make_worker: Any, running: Any) -> None:
    store.jobs.enqueue(["a", "b", "c"], "missing")
    thinker.gate.clear()
    stop = running(make_worker(batch=2, grace=0.0))
    eventually(lambda: thinker.thought)
    stop.set()
    stop.thread.join()
    assert stop.ended == {"returned": 2}
    assert [(job.user, job.attempt) for job in store.jobs.lease("other", 10, 60)] == [("a", 1), ("b", 1), ("c", 1)]
    thinker.gate.set()


def test_a_stop_keeps_what_comes_within_the_grace(
    store: Store, thinker: Thinker, make_worker: Any, running: Any
) -> None:
    store.jobs.enqueue(["a", "b", "c"], "missing")
    thinker.gate.clear()
    stop = running(make_worker(batch=2, grace=60.0))
    eventually(lambda: thinker.thought)
    stop.set()
    thinker.gate.set()
    stop.thread.join()
    assert stop.ended == {"refreshed": 2}
    assert store.jobs.counts() == Counts(stored=2, fresh=2, queued=1, waiting=0, leased=0, dead=0)


def test_a_reasoner_that_never_comes_back_ends_its_worker(
    store: Store, thinker: Thinker, make_worker: Any, running: Any
) -> None:
    store.jobs.enqueue(["u"], "missing")
    thinker.gate.clear()
    stop = running(make_worker(longest=0.2))
    stop.thread.join()
    assert isinstance(stop.problem, SearecError) and "does not return" in str(stop.problem)
    assert store.jobs.counts().waiting == 1
    thinker.gate.set()


def test_a_store_that_fails_for_a_while_is_waited_for(
    store: Store, thinker: Thinker, make_worker: Any, running: Any
) -> None:
    class Failing(Passing):
        leases = completes = 0

        def lease(self, *args: Any) -> Any:
            self.leases += 1
            if self.leases <= 3:
                raise StorageError("gone")
            return self.inner.jobs.lease(*args)

        def complete(self, *args: Any) -> Any:
            self.completes += 1
            if self.completes <= 2:
                raise StorageError("gone")
            return self.inner.jobs.complete(*args)

    failing = Failing(store)
    store.jobs.enqueue(["u"], "missing")
    stop = running(make_worker(on=failing))
    eventually(lambda: store.jobs.counts().stored == 1)
    stop.set()
    stop.thread.join()
    assert stop.ended == {"refreshed": 1} and failing.completes == 3 and len(thinker.thought) == 1, "thought of once"
    with pytest.raises(StorageError, match="gone"):
        drained(make_worker(on=Failing(store)))


def test_many_workers_share_a_queue(stores: Any, graph: Any) -> None:
    store = stores(clock=None)
    names = [f"u{n}" for n in range(60)]
    store.jobs.enqueue(names, "missing")
    thinkers = [Thinker(graph) for _ in range(4)]
    workers = [
        Worker(store, one, profiles_of, WorkerSettings(batch=4, **QUICK), name=f"w{n}")
        for n, one in enumerate(thinkers)
    ]
    assert work(workers, drain=True) == {"refreshed": 60}
    assert sorted(user for one in thinkers for users in one.thought for user in users) == sorted(names)


def test_the_first_workers_error_ends_all(store: Store, thinker: Thinker, make_worker: Any) -> None:
    class Gone(Passing):
        def lease(self, *args: Any) -> Any:
            raise StorageError("gone")

    with pytest.raises(StorageError, match="gone"):
        work([make_worker(on=Gone(store)), make_worker()], drain=True)


def test_metrics_tell_what_happened(store: Store, thinker: Thinker, make_worker: Any) -> None:
    pytest.importorskip("prometheus_client")
    metrics = Metrics(store)
    thinker.behave = lambda profiles: [
        ReasoningResult(one, None, "no") if one.user == "bad" else thinker.caps([one])[0] for one in profiles
    ]
    store.jobs.enqueue(["a", "b", "bad"], "missing")
    drained(make_worker(metrics=metrics))
    store.jobs.enqueue(["late"], "missing")

    def value(name: str, **labels: str) -> float | None:
        found: float | None = metrics.registry.get_sample_value(f"searec_nearline_{name}", labels)
        return found

    assert value("jobs_total", outcome="refreshed") == 2 and value("jobs_total", outcome="failed") == 1
    assert value("jobs_total", outcome="lost") == 0
    assert value("refresh_seconds_count") == 2
    assert value("reasoner_calls_total", reasoner="thinker", result="ok") == 1
    assert (
        value("users", state="fresh") == 2
        and value("queue", state="waiting") == 1
        and value("queue", state="queued") == 1
    )
    assert value("store_up") == 1
    port = metrics.serve(0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b'searec_nearline_queue{state="queued"} 1.0' in answer.read()
    finally:
        metrics.close()


def test_metrics_of_a_store_that_is_gone(store: Store) -> None:
    pytest.importorskip("prometheus_client")

    class Gone(Passing):
        def counts(self) -> Any:
            raise StorageError("gone")

    registry = Metrics(Gone(store)).registry  # type: ignore[arg-type]
    assert registry.get_sample_value("searec_nearline_store_up") == 0
    assert registry.get_sample_value("searec_nearline_queue", {"state": "queued"}) is None


def test_edges_that_do_not_fit_fail_their_job_alone(
    store: Store, thinker: Thinker, make_worker: Any, monkeypatch: Any
) -> None:
    def refuse(older: Any, newer: InterestGraph, profile: Profile, **_: Any) -> InterestGraph:
        if newer.user == "bad":
            InterestGraph("bad", 1, (Edge(source="a", target="b", relation="hyponym"),))
        return newer

    monkeypatch.setattr("searec.store.worker.renewed", refuse)
    store.jobs.enqueue(["a", "bad", "b"], "missing")
    assert drained(make_worker()) == {"refreshed": 2, "failed": 1}


def test_nothing_is_written_of_a_user_who_does_not_exist(store: Store, graph: Any, make_worker: Any) -> None:
    """The job is done, the row of one who was deleted meanwhile goes, and others are written."""
    store.interests.write([graph("gone", "caps")])
    store.interests.mark_stale(["gone"])
    store.jobs.enqueue(["gone", "here", "ghost"], "requested")

    def some_exist(users: Sequence[str]) -> list[Profile]:
        return [Profile(user, 50 * DAY, exists=user == "here") for user in users]

    ended = make_worker(profiles=some_exist).run(threading.Event(), drain=True)
    assert ended == {"refreshed": 1, "unknown": 2}
    assert [store.interests.read(user) is not None for user in ("gone", "here", "ghost")] == [False, True, False]
    assert store.jobs.counts().queued == store.jobs.counts().leased == 0
