"""Group commit: callers share a transaction and nothing else."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from searec.errors import DataError, Overloaded, StorageError
from searec.store.event_store import EventStore
from searec.store.event_writer import EventWriter, EventWriterSettings
from searec.store.events import Event, Stored
from searec.store.store import Store

WAIT = 60


def click(event_id: str, **values: Any) -> Event:
    return Event(**{"event_id": event_id, "user": "u", "kind": "click", "time": 1, "item": "i"} | values)


class Gate:
    """A store that lets a commit begin when told, and remembers them."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.open = threading.Semaphore(0)
        self.reached = threading.Semaphore(0)
        self.commits: list[list[str]] = []
        self.failure: Exception | None = None

    def append(self, events: Sequence[Event]) -> Stored:
        self.reached.release()
        assert self.open.acquire(timeout=WAIT)
        self.commits.append([event.event_id for event in events])
        if self.failure is not None:
            raise self.failure
        return self._store.append(events)


@pytest.fixture
def gate(events: EventStore) -> Gate:
    return Gate(events)


def held(recorder: EventWriter, gate: Gate) -> "Future[Stored]":
    """A first call whose commit has begun and waits, so that what comes next is grouped."""
    first = recorder.append([click("first")])
    assert gate.reached.acquire(timeout=WAIT)
    return first


def test_an_answer_comes_when_the_events_are_kept(events: EventStore) -> None:
    with EventWriter(events) as recorder:
        assert recorder.append([click("e1"), click("e2")]).result(WAIT) == Stored(2, 0)
        assert [event.event_id for event in events.all_events()] == ["e1", "e2"]
        assert recorder.append([click("e1"), click("e3")]).result(WAIT) == Stored(1, 1)
        assert recorder.append([]).result(WAIT) == Stored(0, 0)
        counts = recorder.counts()
    assert (counts.events, counts.commits, counts.failed, counts.refused) == (4, 3, 0, 0)


def test_what_waits_is_committed_together(gate: Gate) -> None:
    with EventWriter(gate) as recorder:
        first = held(recorder, gate)
        later = [recorder.append([click(f"e{n}"), click(f"f{n}")]) for n in range(10)]
        assert not first.done() and recorder.counts().waiting == 21
        gate.open.release(2)
        assert [answer.result(WAIT) for answer in (first, *later)] == [Stored(1, 0)] + [Stored(2, 0)] * 10
    assert gate.commits == [["first"], [f"{kind}{n}" for n in range(10) for kind in "ef"]]
    assert recorder.counts().waiting == 0 and recorder.counts().commits == 2


def test_a_transaction_has_its_limit(gate: Gate) -> None:
    with EventWriter(gate, settings=EventWriterSettings(max_batch=3)) as recorder:
        held(recorder, gate)
        for n in range(3):
            recorder.append([click(f"e{n}"), click(f"f{n}")])
        recorder.append([click(f"big{n}") for n in range(5)])
        gate.open.release(9)
    assert [len(commit) for commit in gate.commits] == [1, 2, 2, 2, 5], "calls are not divided"


def test_each_caller_learns_of_its_own(gate: Gate, events: EventStore) -> None:
    events.append([click("old")])
    with EventWriter(gate) as recorder:
        held(recorder, gate)
        calls = [["new", "old"], ["old"], ["new", "own"], ["twice", "twice"], ["alone"]]
        answers = [recorder.append([click(name) for name in names]) for names in calls]
        gate.open.release(2)
        told = [answer.result(WAIT) for answer in answers]
    assert told == [Stored(1, 1), Stored(0, 1), Stored(1, 1), Stored(1, 1), Stored(1, 0)]
    assert len(gate.commits) == 2 and events.last_number() == 6


def test_the_culprit_alone_fails(gate: Gate, events: EventStore) -> None:
    events.append([click("taken")])
    with EventWriter(gate) as recorder:
        held(recorder, gate)
        good = recorder.append([click("a")])
        conflict = recorder.append([click("b"), click("taken", item="another")])
        nul = recorder.append([click("c\0")])
        fine = recorder.append([click("d"), click("taken")])
        gate.open.release(9)
        assert (good.result(WAIT), fine.result(WAIT)) == (Stored(1, 0), Stored(1, 1))
        for answer in (conflict, nul):
            with pytest.raises(DataError):
                answer.result(WAIT)
        assert recorder.append([click("next")]).result(WAIT) == Stored(1, 0)
    assert [event.event_id for event in events.all_events()] == ["taken", "first", "a", "d", "next"]
    assert recorder.counts().failed == 3


@pytest.mark.parametrize("failure", [StorageError("the disk is full"), RuntimeError("a fault of the program")])
def test_a_store_that_fails_fails_the_group(gate: Gate, events: EventStore, failure: Exception) -> None:
    with EventWriter(gate) as recorder:
        first = held(recorder, gate)
        gate.failure = failure
        second = [recorder.append([click(f"e{n}")]) for n in range(3)]
        gate.open.release(2)
        for answer in (first, *second):
            with pytest.raises(type(failure), match=str(failure)):
                answer.result(WAIT)
        gate.failure = None
        gate.open.release(9)
        assert recorder.append([click("e1")]).result(WAIT) == Stored(1, 0), "the same may be sent again"
    assert events.last_number() == 1


def test_too_much_at_once_is_refused_and_nothing_is_lost(gate: Gate, events: EventStore) -> None:
    with EventWriter(gate, settings=EventWriterSettings(max_waiting=5)) as recorder:
        first = held(recorder, gate)
        accepted = recorder.append([click(f"a{n}") for n in range(4)])
        with pytest.raises(Overloaded, match="at most 5"):
            recorder.append([click("b")])
        gate.open.release(9)
        assert (first.result(WAIT), accepted.result(WAIT)) == (Stored(1, 0), Stored(4, 0))
        with pytest.raises(Overloaded):
            recorder.append([click(f"c{n}") for n in range(6)])
    assert events.last_number() == 5 and recorder.counts().refused == 7


def test_closing_commits_what_was_accepted(gate: Gate, events: EventStore) -> None:
    recorder = EventWriter(gate)
    first = held(recorder, gate)
    more = [recorder.append([click(f"e{n}")]) for n in range(5)]
    closing = threading.Thread(target=recorder.close)
    closing.start()
    refused = None
    while refused is None:  # until the other thread has begun to close
        try:
            more.append(recorder.append([click(f"e{len(more)}")]))
        except StorageError as error:
            refused = error
    assert "closed" in str(refused)
    gate.open.release(len(more) + 1)
    closing.join()
    assert all(answer.result(0) == Stored(1, 0) for answer in (first, *more))
    assert events.last_number() == len(more) + 1
    recorder.close()


def test_what_is_cancelled_while_it_waits_is_not_kept(gate: Gate, events: EventStore) -> None:
    with EventWriter(gate) as recorder:
        first = held(recorder, gate)
        given_up, other = recorder.append([click("given up")]), recorder.append([click("other")])
        assert given_up.cancel() and not first.cancel()
        gate.open.release(2)
        assert other.result(WAIT) == Stored(1, 0)
        with pytest.raises(CancelledError):
            given_up.result(WAIT)
    assert [event.event_id for event in events.all_events()] == ["first", "other"] and recorder.counts().waiting == 0


def test_after_is_told_of_what_is_new_and_holds_nobody_up(events: EventStore) -> None:
    told: list[list[str]] = []
    go, asked = threading.Event(), threading.Event()

    def after(news: Sequence[Event]) -> None:
        asked.set()
        assert go.wait(WAIT)
        told.append([event.event_id for event in news])

    with EventWriter(events, after) as recorder:
        assert recorder.append([click("a"), click("a")]).result(WAIT) == Stored(1, 1)
        assert asked.wait(WAIT)
        for names in (["b", "a"], ["a"], ["c"]):
            recorder.append([click(name) for name in names]).result(WAIT)
        with pytest.raises(DataError):
            recorder.append([click("a", item="another")]).result(WAIT)
        assert told == [], "all were answered while it had not even begun"
        go.set()
    assert told == [["a"], ["b", "c"]], "and closing waits for it"


def test_a_failing_after_is_counted_and_logged(events: EventStore, caplog: pytest.LogCaptureFixture) -> None:
    def after(_: Sequence[Event]) -> None:
        raise StorageError("the store of interests is gone")

    with EventWriter(events, after) as recorder:
        assert recorder.append([click("a")]).result(WAIT) == Stored(1, 0)
    assert recorder.counts().after_failed == 1 and "the store of interests is gone" in caplog.text


def test_an_after_that_is_too_slow_drops_news_and_says_so(events: EventStore) -> None:
    go, asked = threading.Event(), threading.Event()
    told: list[str] = []

    def after(news: Sequence[Event]) -> None:
        asked.set()
        assert go.wait(WAIT)
        told.extend(event.event_id for event in news)

    with EventWriter(events, after, EventWriterSettings(max_waiting=3)) as recorder:
        recorder.append([click("a")]).result(WAIT)
        assert asked.wait(WAIT)
        for n in range(5):
            recorder.append([click(f"b{n}")]).result(WAIT)
        go.set()
    assert told == ["a", "b0", "b1", "b2"] and recorder.counts().after_dropped == 2 and events.last_number() == 6


def test_many_threads(stores: Callable[..., Store]) -> None:
    store = stores(clock=None).events
    answers: list[Stored] = []
    with EventWriter(store) as recorder:

        def send(name: str) -> None:
            for n in range(20):
                stored = recorder.append([click(f"{name} {n}"), click(f"shared {n}")]).result(WAIT)
                answers.append(stored)

        threads = [threading.Thread(target=send, args=(f"t{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (
        sum(answer.new for answer in answers) == 180 == store.last_number()
        and sum(answer.known for answer in answers) == 140
    )
    assert recorder.counts().commits < 160, "some of them shared a transaction"
