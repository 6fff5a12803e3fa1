"""Keys at hand within a request: whom they let in, how soon a revoked one is shut out, and an outage."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from searec.errors import StorageError
from searec.store.keys import ROLES, Key, Keyring, KeyStore, allows
from searec.store.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_role_may_do_what_the_ones_before_it_may() -> None:
    assert [[allows(role, needed) for needed in ROLES] for role in ROLES] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.fixture
def keys(store: Store) -> KeyStore:
    return store.keys


def test_only_the_whole_key_opens(keys: KeyStore) -> None:
    key, other = keys.add("shop", "write"), keys.add("other", "read")
    ring = Keyring(keys)
    found = ring.check(key)
    assert found is not None and (found.name, found.role) == ("shop", "write")
    public, secret = key.split("_", 2)[1:]
    other_public, other_secret = other.split("_", 2)[1:]
    for wrong in (
        "",
        "searec",
        "searec_",
        "searec__",
        public,
        key[:-1],
        key + "x",
        key.upper(),
        " " + key,
        f"searec_{public}_",
        f"searec_{public}_{other_secret}",
        f"searec_{other_public}_{secret}",
        f"other_{public}_{secret}",
        f"searec_000000000000_{secret}",
        "searec_ü_\ud800",
        "\0" * 1000,
    ):
        assert ring.check(wrong) is None, wrong


def test_changes_are_seen_after_a_while(keys: KeyStore) -> None:
    clock = Clock()
    ring = Keyring(keys, 2.0, clock=clock)
    assert ring.check("searec_x_y") is None
    key = keys.add("shop", "read")
    clock.now += 1.9
    assert ring.check(key) is None
    clock.now += 0.2
    assert ring.check(key) is not None
    keys.revoke("shop")
    assert ring.check(key) is not None
    clock.now += 2.0
    assert ring.check(key) is None


def test_a_database_that_is_gone_shuts_nobody_out(own_postgres: Any) -> None:
    url = own_postgres.new_database()
    clock = Clock()
    with Store(url) as store:
        key, second = store.keys.add("shop", "read"), store.keys.add("second", "admin")
        ring, late = Keyring(store.keys, 2.0, clock=clock), Keyring(store.keys, 2.0, clock=clock)
        assert ring.check(key) is not None
        own_postgres.kill()
        for _ in range(3):
            clock.now += 10
            assert ring.check(key) is not None and ring.check(second) is not None and ring.check(key + "x") is None
        for _ in range(2):
            with pytest.raises(StorageError):
                late.check(key)
        own_postgres.start()
        store.keys.revoke("shop")
        clock.now += 10
        assert ring.check(key) is None and late.check(key) is None and late.check(second) is not None


class Slow:
    """A store whose answer waits for the test."""

    def __init__(self, keys: list[Key]) -> None:
        self.go, self.asked = threading.Event(), threading.Event()
        self.times = 0
        self._keys = keys

    def all(self) -> list[Key]:
        self.times += 1
        self.asked.set()
        assert self.go.wait(60)
        return self._keys


def test_one_thread_reads_while_the_others_go_on(keys: KeyStore) -> None:
    key = keys.add("shop", "read")
    clock, store = Clock(), Slow(keys.all())
    ring = Keyring(store, 2.0, clock=clock)
    store.go.set()
    assert ring.check(key) is not None and store.times == 1
    store.go.clear()
    store.asked.clear()
    clock.now += 5
    reader = threading.Thread(target=ring.check, args=(key,))
    reader.start()
    assert store.asked.wait(60)
    assert ring.check(key) is not None, "with what was known before"
    store.go.set()
    reader.join()
    assert ring.check(key) is not None and store.times == 2


def test_a_store_that_fails_is_asked_once_in_a_while() -> None:
    class Failing:
        times = 0

        def all(self) -> list[Key]:
            self.times += 1
            raise StorageError("gone")

    clock, store = Clock(), Failing()
    ring = Keyring(store, 2.0, clock=clock)
    calls: list[Callable[[], None]] = [lambda: None, lambda: setattr(clock, "now", clock.now + 3)]
    for before, times in zip([*calls, calls[0]], (1, 2, 2), strict=True):
        before()
        with pytest.raises(StorageError, match="gone"):
            ring.check("searec_a_b")
        assert store.times == times
