"""What each backend does beyond the contract: addresses, damaged or foreign files, forks, servers that are gone, passwords."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from searec.errors import SettingsError, StorageError
from searec.store.interest_store import SECOND, StoreSettings, open_store
from searec.store.sqlite_interest_store import SqliteStore

SECRET = "pa55word"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "interests.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://interests.db",
        "sqlite:///:memory:",
        "postgresql://me:pa55word@host/db",
        "redis",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no address of a store") as raised:
        open_store(url)
    assert SECRET not in str(raised.value)


def test_addresses_of_redis(redis_server: Any) -> None:
    for url in ("redis://host:port", f"redis://:{SECRET}@host:1/zero?socket_timeout=soon", f"redis://:{SECRET}@[/0"):
        with pytest.raises(SettingsError) as raised:
            open_store(url)
        assert SECRET not in str(raised.value)


def test_a_relative_path_and_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///deep/er/interests.db") as store:
        store.enqueue(["u"], "missing")
    assert (tmp_path / "deep" / "er" / "interests.db").is_file()
    with open_store(f"sqlite:///{tmp_path / 'deep' / 'er' / 'interests.db'}") as store:
        assert store.counts().queued == 1


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="file is not a database"):
        SqliteStore(path)
    assert path.read_bytes() == b"no database" * 1000
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE things (id)")
    db.close()
    with pytest.raises(StorageError, match="tables things"):
        SqliteStore(other)
    with pytest.raises(StorageError):
        SqliteStore(tmp_path)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "interests.db"
    SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE about SET value = 99 WHERE name = 'format'")
    db.close()
    with pytest.raises(StorageError, match=r"format 99.*expected: format 1"):
        SqliteStore(path)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "interests.db")
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.read("u")


def test_a_failed_step_changes_nothing_and_the_next_one_works(
    tmp_path: Path, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searec.store import sqlite_interest_store

    with SqliteStore(tmp_path / "interests.db") as store:
        store.enqueue(["u"], "missing")
        (job,) = store.lease("w", 1, 60)
        keep = sqlite_interest_store._keep

        def half(db: sqlite3.Connection, *values: Any) -> None:
            keep(db, *values)
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(sqlite_interest_store, "_keep", half)
        with pytest.raises(StorageError, match="disk I/O error"):
            store.complete(job, graph("u", "caps"))
        assert store.read("u") is None and store.counts().leased == 1
        monkeypatch.undo()
        assert store.complete(job, graph("u", "caps"))


def test_a_writer_that_holds_the_lock_stops_no_read(tmp_path: Path, graph: Any) -> None:
    path = tmp_path / "interests.db"
    with SqliteStore(path, StoreSettings(timeout=0.05)) as store:
        store.write([graph("u", "caps")])
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM kept")
        assert store.read("u") is not None and store.read_graph("u") is not None and store.lease("w", 1, 60) == []
        with pytest.raises(StorageError, match="locked"):
            store.enqueue(["u"], "asked")
        writer.execute("ROLLBACK")
        writer.close()
        assert store.enqueue(["u"], "asked") == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_each_side_has_connections_of_its_own(tmp_path: Path, graph: Any) -> None:
    with SqliteStore(tmp_path / "interests.db") as store:
        store.write([graph("u", "caps")])
        assert store.read("u") is not None
        child = os.fork()
        if child == 0:
            try:
                store.write([graph("v", "hats")])
                os._exit(0 if store.read("u") is not None else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert store.read("v") is not None
        store.write([graph("w", "caps")])
        assert store.counts().kept == 3


def test_idle_workers_take_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "interests.db"
    with SqliteStore(path, StoreSettings(timeout=0.05)) as store:
        store.enqueue(["later"], "asked", not_before=(time.time_ns() // 1000) + 1000 * SECOND)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert store.lease("w", 1, 60) == []
        writer.close()


@pytest.mark.parametrize("backend", ["redis"])
def test_the_clocks_of_machines_do_not_matter_to_leases_in_redis(stores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores(clock=None)
    store.enqueue(["u"], "missing")
    (job,) = store.lease("w", 1, 600)
    now = time.time_ns()
    for wrong in (-400 * 86_400, 400 * 86_400):
        monkeypatch.setattr(time, "time_ns", lambda wrong=wrong: now + wrong * 10**9)
        assert store.lease("other", 1, 600) == [] and store.counts().leased == 1
    assert store.extend([job], 600) == [job]


def test_a_redis_that_is_gone_is_a_storage_error_without_its_password(own_redis: Any, graph: Any) -> None:
    with open_store(f"redis://me:{SECRET}@127.0.0.1:{own_redis.port}/0", StoreSettings(timeout=1.0)) as store:
        with pytest.raises(StorageError) as raised:
            store.read("u")
        assert SECRET not in str(raised.value) and f"redis://127.0.0.1:{own_redis.port}/0" in str(raised.value)
    with open_store(own_redis.url, StoreSettings(timeout=1.0)) as store:
        store.write([graph("u", "caps")])
        store.enqueue(["u"], "asked")
        (job,) = store.lease("w", 1, 600)
        own_redis.kill()
        for step in (
            lambda: store.read("u"),
            lambda: store.read_graph("u"),
            lambda: store.enqueue(["u"], "asked"),
            lambda: store.complete(job, graph("u", "hats")),
            store.counts,
        ):
            with pytest.raises(StorageError, match=r"127\.0\.0\.1"):
                step()
        own_redis.start()
        assert store.complete(job, graph("u", "hats")), "a durable server knows the lease still"
        kept = store.read("u")
        assert kept is not None and kept.revision == 2


def test_two_prefixes_share_nothing(redis_server: Any, graph: Any) -> None:
    one, two = (open_store(redis_server.url, StoreSettings(prefix=f"{{share}}{name}")) for name in "ab")
    with one, two:
        one.write([graph("u", "caps")])
        one.enqueue(["v"], "missing")
        assert two.read("u") is None and two.lease("w", 1, 60) == [] and one.counts().queued == 1
