"""The cache of interests: it follows the store, expires, and its failures never reach a reader."""

import time
from typing import Any

import pytest

from searec.errors import SettingsError
from searec.store.interest_cache import InterestCache
from searec.store.store import Store

SECRET = "pa55word"


def texts(store: Store, user: str) -> list[str] | None:
    stored = store.interests.read(user)
    return None if stored is None else [one.text for one in stored.interests()]


def test_other_addresses_are_refused() -> None:
    pytest.importorskip("redis")
    for url in (f"http://:{SECRET}@host", "redis://host:port", f"redis://:{SECRET}@host:1/0?socket_timeout=soon"):
        with pytest.raises(SettingsError, match="no address of a cache") as raised:
            InterestCache(url)
        assert SECRET not in str(raised.value)


def test_reads_come_from_the_cache_and_follow_every_write(stores: Any, own_redis: Any, graph: Any, clock: Any) -> None:
    store, bare = stores(cache=own_redis.url), stores()
    assert texts(store, "u") is None
    store.interests.write([graph("u", "caps")])
    first = store.interests.read("u")
    assert first == bare.interests.read("u"), "the cached value is the stored one"
    bare.interests.write([graph("u", "hats")])
    assert texts(store, "u") == ["caps"], "written without the cache: seen when the entry expires"
    store.jobs.enqueue(["u"], "requested")
    (job,) = store.jobs.lease("w", 1, 60)
    assert store.jobs.complete(job, graph("u", "tents")) and texts(store, "u") == ["tents"]
    store.interests.mark_stale(["u"])
    assert store.interests.read("u") == bare.interests.read("u") and store.interests.read("u").stale
    clock.forward(30 * 86_400)
    assert store.interests.prune(20) == 1 and texts(store, "u") is None
    store.interests.write([graph("u", "boots")])
    assert texts(store, "u") == ["boots"]
    store.forget("u")
    assert texts(store, "u") is None
    assert store.interests.cache.failures == 0


def test_an_entry_expires(stores: Any, own_redis: Any, graph: Any) -> None:
    store, bare = stores(cache=own_redis.url, cache_seconds=1), stores()
    store.interests.write([graph("u", "caps")])
    bare.interests.write([graph("u", "hats")])
    deadline = time.monotonic() + 20
    while texts(store, "u") != ["hats"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_reader_does_not_replace_what_a_writer_just_put(own_redis: Any) -> None:
    cache = InterestCache(own_redis.url, timeout=5.0)
    cache.put("u", b"new")
    cache.put("u", b"old", replace=False)
    assert cache.get("u") == b"new"
    cache.close()


def test_a_cache_that_is_gone_changes_no_read_and_is_counted(stores: Any, own_redis: Any, graph: Any) -> None:
    store = stores(cache=own_redis.url)
    store.interests.write([graph("u", "caps")])
    own_redis.kill()
    assert texts(store, "u") == ["caps"] and texts(store, "nobody") is None
    store.interests.write([graph("u", "hats")])
    store.interests.mark_stale(["u"])
    assert texts(store, "u") == ["hats"]
    failed = store.interests.cache.failures
    assert failed > 0
    for _ in range(50):
        assert texts(store, "u") == ["hats"]
    assert store.interests.cache.failures <= failed + 5, "a server that is gone is not tried at every read"
