"""The database of a store: addresses, damaged files, schemas, forks, locks, full disks, secrets, imports."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from searec.errors import DependencyError, SettingsError, StorageError
from searec.store import tables
from searec.store.connection import StoreSettings
from searec.store.event_store import EventStore
from searec.store.events import Event, Stored
from searec.store.job_queue import SECOND, JobQueue
from searec.store.store import Store

SECRET = "pa55word"


def click(event_id: str, **values: Any) -> Event:
    return Event(**{"event_id": event_id, "user": "u", "kind": "click", "time": 1, "item": "i"} | values)


@pytest.mark.parametrize(
    "url",
    ["", "events.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://", f"redis://me:{SECRET}@host/0"],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no address of a store") as raised:
        Store(url)
    assert SECRET not in str(raised.value)


def test_secrets_stay_out_of_errors() -> None:
    for url in (
        f"postgresql://me:{SECRET}@127.0.0.1:1/db",
        f"postgresql://me:half@{SECRET}@127.0.0.1:1/db",
        f"postgresql://me:{SECRET}@127.0.0.1:port/db",
        f"postgresql://127.0.0.1:1/db?password={SECRET}&nonsense=1",
    ):
        with pytest.raises((SettingsError, StorageError)) as raised:
            Store(url)
        assert SECRET not in str(raised.value)
    with pytest.raises(StorageError) as raised:
        Store(f"postgresql://me:{SECRET}@127.0.0.1:1/db")
    assert "postgresql://127.0.0.1:1/db" in str(raised.value)


def test_clients_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DependencyError, match=r"'\.\[postgres\]' in a checkout"):
        Store("postgresql://127.0.0.1:1/db")
    code = "import sys; sys.modules['sqlalchemy'] = None\nfrom searec.store.store import Store\nStore('sqlite:///x.db')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DependencyError" in done.stderr and "'.[service]' in a checkout" in done.stderr


def test_light_modules_load_no_database() -> None:
    code = "import sys, searec.cli, searec.store.events, searec.store.event_writer\n"
    code += "print(*(name for name in ('sqlalchemy', 'alembic', 'psycopg') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_relative_path_and_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store("sqlite:///deep/er/events.db") as store:
        store.events.append([click("e")])
        monkeypatch.chdir("/")
        assert store.events.last_number() == 1
    with Store(f"sqlite:///{tmp_path}/deep/er/events.db") as store:
        assert store.events.last_number() == 1


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="file is not a database"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == b"no database" * 1000
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE things (id)")
    db.close()
    with pytest.raises(StorageError, match="tables things"):
        Store(f"sqlite:///{other}")
    with pytest.raises(StorageError):
        Store(f"sqlite:///{tmp_path}")


def test_a_database_with_tables_of_others(postgres_server: Any) -> None:
    url = postgres_server.new_database()
    database = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with database.begin() as db:
        db.execute(sa.text("CREATE TABLE orders (id int)"))
    with Store(url) as store:
        assert store.events.append([click("e")]) == Stored(1, 0), "other names are no matter"
    url = postgres_server.new_database()
    database.dispose()
    database = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with database.begin() as db:
        db.execute(sa.text("CREATE TABLE users (id int)"))
    database.dispose()
    with pytest.raises(StorageError, match="tables users"):
        Store(url)


def test_a_database_that_cannot_hold_every_text(postgres_server: Any) -> None:
    options = [
        "-h",
        "127.0.0.1",
        "-p",
        postgres_server.port,
        "-U",
        "searec",
        "-E",
        "LATIN1",
        "-T",
        "template0",
        "latin",
    ]
    postgres_server._run("createdb", *options)
    with pytest.raises(StorageError, match="LATIN1"):
        Store(postgres_server.url("latin"))


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Adds a version to the schema, as a later searec would."""

    def add() -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(tables._MIGRATIONS, folder)
        step = 'revision, down_revision = "0002", "0001"\n\ndef upgrade():\n'
        step += '    op.create_table("later", sa.Column("id", sa.Integer, primary_key=True))\n'
        (folder / "versions" / "v0002_later.py").write_text("import sqlalchemy as sa\nfrom alembic import op\n" + step)
        monkeypatch.setattr(tables, "_MIGRATIONS", folder)
        monkeypatch.setattr(tables, "VERSIONS", ("0001", "0002"))

    return add


def test_an_older_schema_is_brought_up_to_date(store_url: str, next_version: Callable[[], None]) -> None:
    with Store(store_url) as store:
        store.events.append([click("old")])
    next_version()
    with Store(store_url) as store:
        assert store.events.all_events() == [click("old", number=1)] and store.events.append([click("old")]).known == 1
        with store.database.reading() as db:
            assert sa.inspect(db).has_table("later") and tables.version_of(db, "") == "0002"


def test_a_newer_schema_is_refused_and_left_alone(store_url: str) -> None:
    with Store(store_url) as store:
        store.events.append([click("e")])
        with store.database.writing() as db:
            db.execute(sa.text(f"UPDATE {tables.VERSION_TABLE} SET version_num = '0099'"))
        with pytest.raises(StorageError, match=r"newer than this searec.*schema 0099.*schema 0001"):
            Store(store_url)
        with store.database.writing() as db:
            db.execute(sa.text(f"UPDATE {tables.VERSION_TABLE} SET version_num = '0001'"))
    with Store(store_url) as store:
        assert store.events.last_number() == 1


def test_a_step_that_fails_leaves_the_older_schema(
    store_url: str, next_version: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(store_url).close()
    next_version()
    with monkeypatch.context() as patch:
        from alembic.migration import MigrationContext

        def fail(*_: object) -> None:
            raise OSError("the machine stops here")

        patch.setattr(MigrationContext, "stamp", fail)
        with pytest.raises(StorageError, match="stops here"):
            Store(store_url)
    with Store(store_url) as store, store.database.reading() as db:  # the tables of the step were not there
        assert sa.inspect(db).has_table("later")


def test_the_migrations_make_what_the_code_uses(store_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with Store(store_url) as store, store.database.reading() as db:
        context = MigrationContext.configure(db, opts={"version_table": tables.VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, tables.schema) == []


def test_a_closed_store_says_so(store_url: str) -> None:
    store = Store(store_url)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.events.last_number()


def test_a_user_who_is_forgotten_is_out_of_the_file(tmp_path: Path) -> None:
    mark = "a very particular wish"
    with Store(f"sqlite:///{tmp_path / 'events.db'}") as store:
        store.events.append(
            [Event(event_id="e", user="u", kind="search", time=1, query=mark), click("other", user="v")]
        )

        def found() -> bool:
            return any(mark.encode() in path.read_bytes() for path in tmp_path.iterdir())

        assert found() and store.forget("u") == 1 and not found()


def test_what_is_acknowledged_is_synced(store_url: str, backend: str) -> None:
    with Store(store_url) as store, store.database.reading() as db:
        if backend == "sqlite":
            assert (
                db.exec_driver_sql("PRAGMA synchronous").scalar() == 2
                and db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            )
        else:
            assert db.execute(sa.text("SHOW synchronous_commit")).scalar() == "on"


def test_a_server_that_does_not_sync_by_default_is_told_to(postgres_server: Any) -> None:
    url = postgres_server.new_database()
    name = url.rpartition("/")[2]
    options = ["-h", "127.0.0.1", "-p", postgres_server.port, "-U", "searec", "-d", name]
    postgres_server._run("psql", *options, "-c", f"ALTER DATABASE {name} SET synchronous_commit = off")
    with Store(url) as store, store.database.reading() as db:
        assert db.execute(sa.text("SHOW synchronous_commit")).scalar() == "on"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
        ).returncode
        != 0
    ):
        pytest.skip("may not mount a small disk here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path) -> None:
    url = f"sqlite:///{tiny_disk / 'events.db'}"
    with Store(url) as store:
        kept = 0
        with pytest.raises(StorageError, match=r"the disk is full.*free some space"):
            for _ in range(1000):
                store.events.append([click(f"e{kept + n}", item="i" * 500) for n in range(20)])
                kept += 20
        assert kept > 0 and store.events.last_number() == kept == len(store.events.all_events()), (
            "nothing of the call was kept"
        )
        (tiny_disk / "filler").write_bytes(b"0" * max(0, os.statvfs(tiny_disk).f_bfree * 4096 - 4096))
        with pytest.raises(StorageError, match="the disk is full"):
            store.events.append([click(f"more{n}", item="i" * 500) for n in range(20)])
        assert store.events.last_number() == kept and len(store.events.of_users(["u"])["u"]) == kept, (
            "what is there can be read"
        )
        subprocess.run(["mount", "-o", "remount,size=8m", tiny_disk], check=True)
        assert store.events.append([click("after")]) == Stored(1, 0)
    with Store(url) as store:
        assert [event.event_id for event in store.events.all_events()] == [*(f"e{n}" for n in range(kept)), "after"]


def test_a_full_postgres_is_told_like_a_full_file(store_url: str, backend: str) -> None:
    if backend == "sqlite":
        pytest.skip("it has a test of its own, with a real disk")
    with Store(store_url) as store:
        raising = sa.text("DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$")
        with pytest.raises(StorageError, match="the disk is full"), store.database.writing() as db:
            db.execute(raising)


# Locks, forks and clocks


def test_a_failed_step_changes_nothing_and_the_next_one_works(
    stores: Any, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores()
    store.jobs.enqueue(["u"], "missing")
    (job,) = store.jobs.lease("w", 1, 60)
    save = store.interests.save

    def half(*values: Any) -> None:
        save(*values)
        raise OSError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store.interests, "save", half)
        with pytest.raises(StorageError, match="disk I/O error"):
            store.jobs.complete(job, graph("u", "caps"))
    assert store.interests.read("u") is None and store.jobs.counts().leased == 1
    assert store.jobs.complete(job, graph("u", "caps"))


def test_a_writer_that_holds_the_lock_stops_no_read(tmp_path: Path, graph: Any) -> None:
    path = tmp_path / "store.db"
    with Store(f"sqlite:///{path}", StoreSettings(timeout=0.05)) as store:
        store.interests.write([graph("u", "caps")])
        later = (time.time_ns() // 1000) + 1000 * SECOND
        store.jobs.enqueue(["later"], "requested", not_before=later)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM interests")
        assert store.interests.read("u") is not None and store.interests.read_graph("u") is not None
        assert store.jobs.lease("w", 1, 60) == [], "idle workers take no lock"
        with pytest.raises(StorageError, match="locked"):
            store.jobs.enqueue(["u"], "requested")
        writer.execute("ROLLBACK")
        writer.close()
        assert store.jobs.enqueue(["u"], "requested") == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_each_side_reads_with_connections_of_its_own(stores: Any, graph: Any) -> None:
    store = stores()
    store.interests.write([graph("u", "caps")])
    assert store.interests.read("u") is not None
    child = os.fork()
    if child == 0:
        try:
            store.interests.write([graph("v", "hats")])
            os._exit(0 if store.interests.read("u") is not None else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.interests.read("v") is not None
    store.interests.write([graph("w", "caps")])
    assert store.jobs.counts().stored == 3


@pytest.mark.parametrize("backend", ["postgresql"])
def test_the_clocks_of_machines_do_not_matter_to_leases(stores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores(clock=None)
    store.jobs.enqueue(["u"], "missing")
    (job,) = store.jobs.lease("w", 1, 600)
    now = time.time_ns()
    for wrong in (-400 * 86_400, 400 * 86_400):
        monkeypatch.setattr(time, "time_ns", lambda wrong=wrong: now + wrong * 10**9)
        assert store.jobs.lease("other", 1, 600) == [] and store.jobs.counts().leased == 1
    assert store.jobs.extend([job], 600) == [job]


def test_jobs_under_way_survive_a_server_that_is_killed(own_postgres: Any, graph: Any) -> None:
    with Store(own_postgres.new_database(), StoreSettings(read_timeout=5.0)) as store:
        store.interests.write([graph("u", "caps")])
        store.jobs.enqueue(["u"], "requested")
        (job,) = store.jobs.lease("w", 1, 600)
        own_postgres.kill()
        for step in (
            lambda: store.interests.read("u"),
            lambda: store.interests.read_graph("u"),
            lambda: store.jobs.enqueue(["u"], "requested"),
            lambda: store.jobs.complete(job, graph("u", "hats")),
            store.jobs.counts,
        ):
            with pytest.raises(StorageError, match=r"127\.0\.0\.1"):
                step()
        own_postgres.start()
        assert store.jobs.complete(job, graph("u", "hats")), "the lease was on disk"
        stored = store.interests.read("u")
        assert stored is not None and stored.revision == 2


@pytest.mark.parametrize("backend", ["postgresql"])
def test_workers_take_jobs_side_by_side(stores: Any) -> None:
    """A worker that is in the middle of a lease holds up no other: it gets the jobs that are left."""
    one, other = stores(clock=None), stores(clock=None)
    one.jobs.enqueue(["a", "b", "c"], "missing")
    with one.database.writing() as db:
        held = sa.select(tables.jobs.c.id).order_by(tables.jobs.c.id).limit(1).with_for_update()
        assert db.execute(held).scalar_one()
        assert [job.user for job in other.jobs.lease("w", 10, 60)] == ["b", "c"]
    assert [job.user for job in one.jobs.lease("w", 10, 60)] == ["a"]


def test_each_part_has_few_methods() -> None:
    for part in (Store, EventStore, JobQueue):
        assert len([name for name in vars(part) if not name.startswith("_")]) <= 15, part
