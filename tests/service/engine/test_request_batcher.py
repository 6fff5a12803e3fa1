"""The front: who is answered together, what is one request's own, and what a swap waits for."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from typing import Any

import pytest

from searec.errors import Overloaded, SettingsError
from searec.pipeline.types import Request, Response, Suggestions, SuggestRequest
from searec.service.request_batcher import BatcherSettings, RequestBatcher

BAD = SettingsError("bad")


class Pipeline:
    """Answers with its name as `Response.interests` once its gate is open, and keeps what it was asked together."""

    def __init__(self, name: str = "first", *, open: bool = True) -> None:
        self.name, self.closed = name, False
        self.together: list[list[Any]] = []
        self.gate, self.busy = threading.Event(), threading.Event()
        if open:
            self.gate.set()

    def recommend(self, asks: Sequence[Request]) -> list[Response | SettingsError]:
        self.together.append([ask.user for ask in asks])
        self.busy.set()
        assert self.gate.wait(30)
        assert not self.closed, "closed while it answers"
        if any(ask.user == "crash" for ask in asks):
            raise ZeroDivisionError("a fault of ours")
        return [BAD if ask.user == "bad" else Response(interests=self.name) for ask in asks]

    search = recommend

    def suggest(self, asked: Sequence[SuggestRequest]) -> list[Suggestions]:
        self.together.append([one.user for one in asked])
        return [Suggestions() for _ in asked]

    def close(self) -> None:
        self.closed = True


Fronts = Callable[..., RequestBatcher]


@pytest.fixture
def fronts() -> Iterator[Fronts]:
    """Opens fronts on engines, with settings by name."""
    opened: list[tuple[RequestBatcher, Pipeline]] = []

    def make(engine: Pipeline, **settings: int) -> RequestBatcher:
        opened.append((RequestBatcher(engine, BatcherSettings(**settings)), engine))  # type: ignore[arg-type]
        return opened[-1][0]

    yield make
    for front, engine in opened:
        engine.gate.set()
        front.close()


def test_those_who_come_meanwhile_are_answered_together(fronts: Fronts) -> None:
    engine = Pipeline(open=False)
    front = fronts(engine, max_batch_size=4)
    first = front.recommend(Request(user="a"))
    assert engine.busy.wait(30)
    rest = [front.recommend(Request(user=f"u{n}")) for n in range(6)]
    engine.gate.set()
    done = [one.result(30).interests for one in (first, *rest)]
    assert done == ["first"] * 7
    assert engine.together == [["a"], ["u0", "u1", "u2", "u3"], ["u4", "u5"]]


def test_feed_search_and_suggestions_do_not_wait_for_one_another(fronts: Fronts) -> None:
    engine = Pipeline(open=False)
    front = fronts(engine)
    waiting = front.recommend(Request(user="a"))
    assert front.suggest("a", "x", 3).result(30) == Suggestions()
    assert not waiting.done()


def test_what_one_asks_wrong_is_its_own_error(fronts: Fronts) -> None:
    engine = Pipeline(open=False)
    front = fronts(engine)
    first = front.search(Request(user="a"))
    assert engine.busy.wait(30)
    good, bad = front.search(Request(user="b")), front.search(Request(user="bad"))
    engine.gate.set()
    assert first.result(30) and good.result(30).interests == "first"
    assert bad.exception(30) is BAD
    assert engine.together[1] == ["b", "bad"]


def test_a_fault_of_the_engine_is_told_and_the_next_are_answered(fronts: Fronts) -> None:
    front = fronts(Pipeline())
    assert isinstance(front.recommend(Request(user="crash")).exception(30), ZeroDivisionError)
    assert front.recommend(Request(user="a")).result(30).interests == "first"


def test_whoever_gave_up_is_not_answered(fronts: Fronts) -> None:
    engine = Pipeline(open=False)
    front = fronts(engine)
    first = front.recommend(Request(user="a"))
    assert engine.busy.wait(30)
    gone, stays = front.recommend(Request(user="gone")), front.recommend(Request(user="b"))
    assert gone.cancel()
    engine.gate.set()
    assert first.result(30) and stays.result(30)
    assert engine.together == [["a"], ["b"]]


def test_too_many_are_refused_and_room_is_room_again(fronts: Fronts) -> None:
    engine = Pipeline(open=False)
    front = fronts(engine, max_queue=2)
    taken = [front.recommend(Request(user="a"))]
    assert engine.busy.wait(30)
    taken += [front.recommend(Request(user="b")), front.recommend(Request(user="c"))]
    with pytest.raises(Overloaded, match="too many requests wait"):
        front.recommend(Request(user="d"))
    engine.gate.set()
    assert not wait(taken, 30).not_done
    assert front.recommend(Request(user="d")).result(30)


def test_close_answers_what_waits_and_takes_no_more() -> None:
    engine = Pipeline(open=False)
    front = RequestBatcher(engine, BatcherSettings(max_batch_size=1))  # type: ignore[arg-type]
    waiting = [front.recommend(Request(user=f"u{n}")) for n in range(5)]
    closing = threading.Thread(target=front.close)
    closing.start()
    deadline = time.monotonic() + 30
    while True:  # until the front has begun to close
        try:
            waiting.append(front.recommend(Request(user="late")))
        except Overloaded:
            break
        assert time.monotonic() < deadline
    assert not engine.closed
    engine.gate.set()
    closing.join(30)
    assert engine.closed and all(one.result(0).interests == "first" for one in waiting)
    with pytest.raises(Overloaded, match="closing"):
        front.suggest(None, "", 1)


def test_a_swap_waits_for_those_under_way_and_closes_the_old_engine(fronts: Fronts) -> None:
    old, new = Pipeline("old", open=False), Pipeline("new")
    front = fronts(old, max_batch_size=1)
    under_way = front.recommend(Request(user="a"))
    assert old.busy.wait(30)
    after = [front.recommend(Request(user="b"))]
    swapping = threading.Thread(target=front.swap, args=(new,))
    swapping.start()
    deadline = time.monotonic() + 30
    while front.pipeline is old:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert not old.closed and swapping.is_alive(), "a request still uses it"
    found = front.search(Request(user="c")).result(30)
    assert found.interests == "new", "others are answered meanwhile"
    old.gate.set()
    swapping.join(30)
    assert old.closed and not new.closed
    assert under_way.result(30).interests == "old"
    assert after[0].result(30).interests == "new"


def test_swaps_under_load_never_ask_a_closed_engine(fronts: Fronts) -> None:
    engines = [Pipeline(f"{n}") for n in range(20)]
    front = fronts(engines[0])
    stop = threading.Event()
    seen: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            seen.append(front.recommend(Request(user="a")).result(30).interests)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for engine in engines[1:]:
        front.swap(engine)  # type: ignore[arg-type]
    stop.set()
    for thread in threads:
        thread.join(30)
    assert front.recommend(Request(user="a")).result(30).interests == "19"
    assert [engine.closed for engine in engines] == [True] * 19 + [False]
