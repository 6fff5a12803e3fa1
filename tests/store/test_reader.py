"""The reader: what a request gets, what it asks for.

And that nothing behind the store changes or holds up an answer.
"""

import http.server
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from searec.errors import ChatError, StorageError
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult
from searec.interests.user_interests import Interest, UserInterests
from searec.store.connection import StoreSettings
from searec.store.events import Event
from searec.store.interest_reader import Reader, ReaderSettings
from searec.store.interest_store import StoredInterests
from searec.store.store import Store
from searec.store.worker import Worker, WorkerSettings

OWN = [Interest("sports shoes", 0.5, "you clicked them")]
Readers = Callable[..., Reader]


def eventually(what: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


class Asked:
    """A store that does as it is told: fails, waits at a gate, takes `delay` on the clock `ticks`.

    And tells what it was asked.
    """

    def __init__(self, store: Store) -> None:
        self.interests = self.jobs = self
        self.cache = None
        self._store = store
        self.reads = 0
        self.enqueued: list[tuple[list[str], str]] = []
        self.problem: Exception | None = None
        self.ticks = self.delay = 0.0
        self.gate, self.queue_gate = threading.Event(), threading.Event()
        self.gate.set()
        self.queue_gate.set()

    def read(self, user: str) -> StoredInterests | None:
        self.reads += 1
        if self.problem is not None:
            raise self.problem
        self.gate.wait(20)
        self.ticks += self.delay
        return self._store.interests.read(user)

    def enqueue(self, users: list[str], reason: Any, *, not_before: int = 0) -> int:
        self.queue_gate.wait(20)
        if self.problem is not None:
            raise self.problem
        self.enqueued.append((list(users), reason))
        return self._store.jobs.enqueue(users, reason, not_before=not_before)


@pytest.fixture
def asked(store: Store) -> Asked:
    return Asked(store)


@pytest.fixture
def readers() -> Iterator[Readers]:
    made = []

    def make(store: Any, own: Any = None, *, clock: Any = time.monotonic, **values: Any) -> Reader:
        made.append(Reader(store, own, ReaderSettings(**{"flush": 0.01, "slow": 30.0, **values}), clock=clock))
        return made[-1]

    yield make
    for reader in made:
        reader.close()


def texts(found: UserInterests) -> list[str]:
    return [one.text for one in found.interests]


def test_fresh_then_last_then_own(store: Store, clock: Any, graph: Any, readers: Readers) -> None:
    reader = readers(store, lambda user: OWN if user == "known" else [])
    assert reader.interests("known") == UserInterests("own", OWN)
    assert reader.interests("nobody") == UserInterests("none", [])
    store.interests.write([graph("u", "caps", "tents")])
    made = clock.now
    found = reader.interests("u")
    assert (texts(found), found.source, found.made_at) == (["caps", "tents"], "fresh", made)
    assert found.interests[0].reason == "because you looked for “nike air” → sports shoes → caps"
    clock.forward(8 * 86_400)
    found = reader.interests("u")
    assert (texts(found), found.source, found.made_at) == (["caps", "tents"], "last", made)
    reader.close()
    jobs = store.jobs.lease("w", 10, 60)
    assert [(job.user, job.reason) for job in jobs] == [("known", "missing"), ("nobody", "missing"), ("u", "stale")]
    counts = reader.counts()
    assert counts == {"own": 1, "none": 1, "fresh": 1, "last": 1, "enqueued": 3}


def test_users_who_do_not_exist_get_neither_job_nor_row(store: Store, clock: Any, readers: Readers) -> None:
    """Those of the dataset and of events or attributes are sent to the queue; a forgotten one is unknown again."""
    store.events.append([Event(event_id="e1", user="clicker", kind="click", time=1, item="i")])
    store.events.put_users([{"user_id": "described", "age": "30"}])
    reader = readers(store)
    reader.dataset_users = {"customer"}
    for user in ("customer", "clicker", "described", "stranger", "robot-1"):
        assert reader.interests(user).source == "none"
    reader.flush()
    assert {job.user for job in store.jobs.lease("w", 10, 60)} == {"customer", "clicker", "described"}
    assert reader.counts()["unknown"] == 2 and reader.counts()["enqueued"] == 3
    store.forget("clicker")
    later = readers(store)
    later.dataset_users = {"customer"}
    later.interests("clicker")
    later.flush()
    assert later.counts() == {"none": 1, "unknown": 1}


def test_an_empty_value_is_not_asked_for_again(store: Store, graph: Any, readers: Readers) -> None:
    store.interests.write([graph("u")])
    reader = readers(store, lambda user: OWN)
    assert reader.interests("u") == UserInterests("own", OWN)
    reader.close()
    assert store.jobs.counts().queued == 0


def test_marked_users_are_read_and_asked_for(store: Store, graph: Any, readers: Readers) -> None:
    store.interests.write([graph("u", "caps")])
    store.interests.mark_stale(["u"])
    reader = readers(store)
    assert reader.interests("u").source == "last"
    eventually(lambda: store.jobs.counts().queued == 1)


def test_a_user_is_asked_for_once_in_a_while(asked: Asked, readers: Readers) -> None:
    reader = readers(asked, quiet=600)
    for _ in range(200):
        reader.interests("u")
        reader.interests("v")
    eventually(lambda: reader.counts().get("enqueued") == 2)
    reader.close()
    assert sorted(user for users, _ in asked.enqueued for user in users) == ["u", "v"] and asked.reads == 400
    often = readers(asked, quiet=0.05)
    eventually(lambda: often.interests("u") and [users for users, _ in asked.enqueued].count(["u"]) >= 3)


def test_a_read_does_not_wait_for_the_queue(asked: Asked, readers: Readers) -> None:
    asked.queue_gate.clear()
    reader = readers(asked, pending=3)
    for user in ("a", "b"):
        assert reader.interests(user).source == "none"
    eventually(lambda: not reader._pending)  # the thread has taken them, and stands at the gate
    for user in "cdefgh":
        assert reader.interests(user).source == "none"
    assert asked.enqueued == [] and asked.reads == 8
    assert reader.counts()["dropped"] == 3, "what does not fit is left to its next read"
    asked.queue_gate.set()
    reader.close()
    assert sorted(user for users, _ in asked.enqueued for user in users) == ["a", "b", "c", "d", "e"]


def test_a_store_that_fails_is_left_alone_for_a_while(asked: Asked, graph: Any, store: Store, readers: Readers) -> None:
    store.interests.write([graph("u", "caps")])
    reader = readers(asked, lambda user: OWN, rest=2.0, clock=lambda: asked.ticks)
    asked.problem = StorageError("gone", where="there")
    assert [reader.interests("u").source for _ in range(50)] == ["own"] * 50
    assert asked.reads == 1, "one asked, the others went on without it"
    assert reader.last_error == "gone; where: there"
    assert reader.counts() == {"own": 50, "failed": 1, "skipped": 49}
    asked.ticks += 2.1
    assert [reader.interests("u").source for _ in range(5)] == ["own"] * 5 and asked.reads == 2, (
        "tried again, still gone"
    )
    asked.problem = None
    asked.ticks += 1.9
    assert reader.interests("u").source == "own" and asked.reads == 2
    asked.ticks += 0.2
    assert [reader.interests("u").source for _ in range(3)] == ["fresh"] * 3


def test_only_one_request_tries_a_store_that_failed(asked: Asked, graph: Any, store: Store, readers: Readers) -> None:
    store.interests.write([graph("u", "caps")])
    reader = readers(asked, clock=lambda: asked.ticks)
    asked.problem = StorageError("gone")
    reader.interests("u")
    asked.problem = None
    asked.ticks += 10
    asked.gate.clear()
    threads = [threading.Thread(target=reader.interests, args=("u",)) for _ in range(10)]
    for thread in threads:
        thread.start()
    eventually(lambda: reader.counts().get("skipped") == 9)
    asked.gate.set()
    for thread in threads:
        thread.join()
    assert asked.reads == 2 and reader.counts()["fresh"] == 1
    assert reader.interests("u").source == "fresh"


def test_a_slow_store_is_left_alone_too(asked: Asked, graph: Any, store: Store, readers: Readers) -> None:
    store.interests.write([graph("u", "caps")])
    reader = readers(asked, slow=0.2, clock=lambda: asked.ticks)
    asked.delay = 0.3
    assert reader.interests("u").source == "fresh", "what it has waited for, it uses"
    assert reader.interests("u").source == "none" and asked.reads == 1
    assert reader.counts()["slow"] == 1 and reader.last_error == "a read took 0.30 s"
    asked.ticks += 10
    assert reader.interests("u").source == "fresh" and reader.interests("u").source == "none", (
        "tried, slow, left alone again"
    )


def test_a_queue_that_fails_drops_and_goes_on(asked: Asked, readers: Readers) -> None:
    reader = readers(asked, quiet=0.1)
    asked.queue_gate.clear()
    reader.interests("u")
    eventually(lambda: not reader._pending)
    asked.problem = StorageError("full")
    asked.queue_gate.set()
    eventually(lambda: reader.counts().get("dropped"))
    asked.problem = None
    eventually(lambda: reader.interests("u") and asked.enqueued)
    assert asked.enqueued[0] == (["u"], "missing")


def test_what_cannot_be_read_is_asked_for_anew(store: Store, readers: Readers) -> None:
    class Damaged(Asked):
        def read(self, user: str) -> StoredInterests:
            return StoredInterests(b'{"no": "list"', 1, False, 1)

    damaged = Damaged(store)
    reader = readers(damaged, lambda user: OWN)
    assert reader.interests("u") == UserInterests("own", OWN)
    assert reader.counts()["damaged"] == 1 and "cannot be read" in reader.last_error
    reader.close()
    assert damaged.enqueued == [(["u"], "missing")]


def test_an_id_that_is_no_text(store: Store, readers: Readers) -> None:
    reader = readers(store)
    assert reader.interests("\ud800") == UserInterests("none", ())
    assert reader.interests("no\0text") == UserInterests("none", ())
    assert reader.counts()["unreadable"] == 2
    assert reader.interests("'; DROP TABLE interests; --").source == "none"
    reader.close()
    assert store.jobs.counts().queued == 1


def test_a_server_killed_and_back(own_postgres: Any, graph: Any, readers: Readers) -> None:
    with Store(own_postgres.new_database(), StoreSettings(read_timeout=5.0)) as store:
        store.interests.write([graph("u", "caps")])
        reader = readers(store, lambda user: OWN, rest=0.05, quiet=0.1)
        assert reader.interests("u").source == "fresh"
        own_postgres.kill()
        assert [reader.interests("u").source for _ in range(20)] == ["own"] * 20
        assert f"postgresql://127.0.0.1:{own_postgres.port}/" in reader.last_error
        own_postgres.start()
        eventually(lambda: reader.interests("u").source == "fresh")
        assert reader.interests("v").source == "own"
        eventually(lambda: reader.interests("v") and store.jobs.counts().queued == 1)
        reader.close()


def test_a_server_that_does_not_answer_costs_one_time_out(readers: Readers, postgres_server: Any, graph: Any) -> None:
    with Store(postgres_server.new_database(), StoreSettings(read_timeout=0.2)) as store:
        store.interests.write([graph("u", "caps")])
        reader = readers(store, lambda user: OWN, rest=60.0)
        with store.database.writing() as db:
            db.execute(sa.text("LOCK TABLE interests IN ACCESS EXCLUSIVE MODE"))
            started = time.monotonic()
            assert [reader.interests("u").source for _ in range(50)] == ["own"] * 50
            assert time.monotonic() - started < 10, "one read waited, and not for the time of other statements"
        assert reader.counts() == {"own": 50, "failed": 1, "skipped": 49}


class Model(http.server.BaseHTTPRequestHandler):
    """A language model's server that fails, lies or sleeps, as its `behave` says."""

    behave = "fail"

    def do_GET(self) -> None:
        if self.behave == "sleep":
            time.sleep(0.5)
        body = {"lie": b'["free money", {"user": 1}]'}.get(self.behave, b"")
        self.send_response(500 if self.behave == "fail" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("behave", ["fail", "lie", "sleep"])
def test_no_language_model_changes_a_read(
    store: Store, graph: Any, readers: Readers, behave: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server, a real worker behind the store, and requests that go on as ever."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Model, "behave", behave)
    url = f"http://127.0.0.1:{server.server_port}/"
    asked = threading.Event()

    class Asking:
        name, version = "asking", "1"

        def infer(self, profiles: Any) -> list[ReasoningResult]:
            asked.set()
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    said = answer.read()
            except urllib.error.HTTPError as error:
                error.close()
                raise ChatError("the chat server fails", got=error.code) from None
            except OSError as error:
                raise ChatError("the chat server fails", got=str(error)) from None
            return [ReasoningResult(one, None, f"an answer that says nothing: {said[:30]!r}") for one in profiles]

    stop = threading.Event()
    worker = Worker(
        store, Asking(), lambda users: [Profile(user, 5) for user in users], WorkerSettings(idle=0.01, first_wait=0.01)
    )
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        store.interests.write([graph("u", "caps")])
        store.interests.mark_stale(["u"])
        reader = readers(store, lambda user: OWN)
        before = reader.interests("u")
        assert (texts(before), before.source) == (["caps"], "last")
        assert reader.interests("new") == UserInterests("own", OWN)
        eventually(asked.is_set)
        for _ in range(100):
            assert reader.interests("u") == before
            assert reader.interests("new") == UserInterests("own", OWN)
        if behave != "sleep":
            eventually(lambda: store.jobs.counts().waiting == 2)  # neither lost nor tried without end
            assert reader.interests("u") == before
    finally:
        stop.set()
        thread.join()
        server.shutdown()
        server.server_close()
