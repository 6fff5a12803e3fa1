"""Real processes on one event store, killed at random: no number is missed, and what was acknowledged is there."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from searec.errors import DataError, StorageError
from searec.store.event_store import EventStore
from searec.store.events import Event, Stored
from searec.store.store import Store

PROGRAM = Path(__file__).with_name("writer_process.py")


def writer(url: str, name: str, count: int, together: int = 1) -> "subprocess.Popen[str]":
    arguments = [sys.executable, str(PROGRAM), url, name, str(count), str(together)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def click(event_id: str, **values: Any) -> Event:
    return Event(**{"event_id": event_id, "user": "u", "kind": "click", "time": 1, "item": "i"} | values)


def test_a_poller_misses_nothing_that_several_processes_write(events: EventStore, store_url: str) -> None:
    writers = [writer(store_url, f"w{n}", 150, together=n + 1) for n in range(3)]
    seen: list[Event] = []
    alive = True
    while alive:  # one more look after the last has ended
        alive = any(one.poll() is None for one in writers)
        while news := events.all_events(after=seen[-1].number if seen else 0, count=7):
            seen += news
    ended = [(one.communicate()[1], one.returncode) for one in writers]
    assert ended == [("", 0)] * 3
    assert [event.number for event in seen] == list(range(1, 451)), "every number once, and in order"
    for name in ("w0", "w1", "w2"):
        places = [int(event.event_id.partition("-")[2]) for event in seen if event.event_id.startswith(name)]
        assert places == list(range(150)), "in the order of their commits"


def test_one_id_in_many_threads_at_once_is_new_to_one(stores: Callable[..., Store]) -> None:
    opened = [stores(clock=None).events for _ in range(4)]
    for turn in range(10):
        gate, answers = threading.Barrier(4), []

        def send(
            store: EventStore, gate: threading.Barrier = gate, answers: list[Any] = answers, turn: int = turn
        ) -> None:
            gate.wait()
            answers.append(store.append([click(f"e{turn}")]))

        threads = [threading.Thread(target=send, args=(store,)) for store in opened]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers, key=lambda stored: stored.new) == [Stored(0, 1)] * 3 + [Stored(1, 0)]
    assert opened[0].last_number() == 10


def test_one_id_with_different_contents_is_kept_once(stores: Callable[..., Store]) -> None:
    opened = [stores(clock=None).events for _ in range(4)]
    gate, answers = threading.Barrier(4), []

    def send(number: int) -> None:
        gate.wait()
        try:
            answers.append(opened[number].append([click(f"own{number}"), click("e", item=f"i{number}")]))
        except DataError as error:
            answers.append(error)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer for answer in answers if isinstance(answer, Stored)] == [Stored(2, 0)]
    assert len(answers) == 4 and len(opened[0].all_events()) == 2 and opened[0].last_number() == 2


def test_what_a_killed_writer_was_told_is_there(events: EventStore, store_url: str) -> None:
    chance = random.Random(5)
    for turn in range(3):
        process = writer(store_url, f"w{turn}", 100_000, together=3)
        assert process.stdout is not None
        acknowledged = 0
        for _ in range(chance.randrange(2, 30)):
            told = process.stdout.readline().strip()
            acknowledged = 0 if told == "ready" else int(told)
        process.kill()
        acknowledged = max([acknowledged, *(int(line) for line in process.communicate()[0].split() if line.isdigit())])
        kept = sorted(
            int(e.event_id.partition("-")[2])
            for e in events.all_events(count=10**6)
            if e.event_id.startswith(f"w{turn}-")
        )
        assert acknowledged > 0 and kept == list(range(len(kept)))
        assert len(kept) - acknowledged in (0, 3), "all that was acknowledged, and a call is there whole or not at all"
    assert events.append([click("after")]) == Stored(1, 0), "nobody holds a lock any more"


def test_a_killed_postgres_has_what_was_acknowledged(own_postgres: Any) -> None:
    url = own_postgres.new_database()
    with Store(url) as store:
        process = writer(url, "w", 100_000, together=2)
        assert process.stdout is not None and process.stderr is not None
        for _ in range(40):
            told = process.stdout.readline().strip()
        own_postgres.kill()
        rest, problem = process.communicate()
        acknowledged = max([int(told), *(int(line) for line in rest.split())])
        assert process.returncode == 1 and "StorageError: cannot use the store" in problem
        for call in (
            lambda: store.events.append([click("e")]),
            store.events.last_number,
            lambda: store.events.of_users(["u"]),
            store.keys.all,
        ):
            with pytest.raises(StorageError, match=r"127\.0\.0\.1"):
                call()
        with pytest.raises(StorageError, match=r"127\.0\.0\.1"):
            Store(url)
        own_postgres.start()
        kept = store.events.all_events(count=10**6)
        assert len(kept) - acknowledged in (0, 2)
        assert store.events.append([click("e"), *kept[:5]]) == Stored(1, 5), "and the same store works again"


def test_a_writer_that_stands_still_does_not_hold_the_others_up(own_postgres: Any) -> None:
    from searec.store.connection import StoreSettings
    from searec.store.tables import take_numbers

    url = own_postgres.new_database()
    with Store(url, StoreSettings(timeout=0.5)) as frozen, Store(url, StoreSettings(timeout=30.0)) as store:
        with pytest.raises(StorageError), frozen.database.writing() as db:
            take_numbers(db, 1)
            assert store.events.append([click("e")]) == Stored(1, 0), (
                "the server has ended the transaction that stood still"
            )
        assert frozen.events.append([click("f")]) == Stored(1, 0) and store.events.last_number() == 2


def test_a_lock_that_is_held_too_long_is_a_storage_error(backend: str, store_url: str) -> None:
    from searec.store.connection import StoreSettings
    from searec.store.tables import take_numbers

    with Store(store_url) as holder, Store(store_url, StoreSettings(timeout=0.2)) as store:
        with holder.database.writing() as db:
            take_numbers(db, 1)
            with pytest.raises(StorageError, match="locked" if backend == "sqlite" else "statement timeout"):
                store.events.append([click("e")])
            assert store.events.all_events() == [] and store.events.last_number() == 0, "readers do not wait"
        assert store.events.append([click("e")]) == Stored(1, 0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_each_side_has_connections_of_its_own(events: EventStore) -> None:
    events.append([click("before")])
    child = os.fork()
    if child == 0:
        try:
            for n in range(20):
                events.append([click(f"child{n}")])
            os._exit(0 if events.all_events()[0].event_id == "before" else 1)
        except BaseException:
            os._exit(2)
    for n in range(20):
        events.append([click(f"parent{n}")])
    assert os.waitpid(child, 0)[1] == 0
    assert events.append([click("after")]) == Stored(1, 0) and events.last_number() == 42


def test_many_processes_may_open_an_empty_place_at_once(store_url: str) -> None:
    openers = [writer(store_url, f"w{n}", 1) for n in range(3)]
    assert [(one.communicate()[1], one.returncode) for one in openers] == [("", 0)] * 3
    with Store(store_url) as store:
        assert store.events.last_number() == 3
