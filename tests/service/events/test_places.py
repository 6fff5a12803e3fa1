"""Where events are kept: addresses, foreign and damaged files, older and newer schemas, full disks, secrets, what importing costs."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from searec.errors import DependencyError, SettingsError, StorageError
from searec.store import event_tables
from searec.store.connection import Database, EventSettings
from searec.store.event_store import SqlEvents
from searec.store.events import Event, Stored, open_events

SECRET = "pa55word"


def click(event_id: str, **values: Any) -> Event:
    return Event(**{"event_id": event_id, "user": "u", "kind": "click", "time": 1, "item": "i"} | values)


@pytest.mark.parametrize(
    "url",
    ["", "events.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://", f"redis://me:{SECRET}@host/0"],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no address of events") as raised:
        open_events(url)
    assert SECRET not in str(raised.value)


def test_secrets_stay_out_of_errors() -> None:
    for url in (
        f"postgresql://me:{SECRET}@127.0.0.1:1/db",
        f"postgresql://me:half@{SECRET}@127.0.0.1:1/db",
        f"postgresql://me:{SECRET}@127.0.0.1:port/db",
        f"postgresql://127.0.0.1:1/db?password={SECRET}&nonsense=1",
    ):
        with pytest.raises((SettingsError, StorageError)) as raised:
            open_events(url)
        assert SECRET not in str(raised.value)
    with pytest.raises(StorageError) as raised:
        open_events(f"postgresql://me:{SECRET}@127.0.0.1:1/db")
    assert "postgresql://127.0.0.1:1/db" in str(raised.value)


def test_clients_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DependencyError, match=r"searec\[postgres\]"):
        SqlEvents("postgresql://127.0.0.1:1/db")
    code = "import sys; sys.modules['sqlalchemy'] = None\nfrom searec.store.events import open_events\nopen_events('sqlite:///x.db')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DependencyError" in done.stderr and "searec[service]" in done.stderr


def test_light_modules_load_no_database() -> None:
    code = "import sys, searec.cli, searec.store.events, searec.store.keys, searec.store.event_writer\n"
    code += "print(*(name for name in ('sqlalchemy', 'alembic', 'psycopg') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_relative_path_and_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_events("sqlite:///deep/er/events.db") as store:
        store.append([click("e")])
        monkeypatch.chdir("/")
        assert store.last_number() == 1
    with open_events(f"sqlite:///{tmp_path}/deep/er/events.db") as store:
        assert store.last_number() == 1


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="file is not a database"):
        open_events(f"sqlite:///{path}")
    assert path.read_bytes() == b"no database" * 1000
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE things (id)")
    db.close()
    with pytest.raises(StorageError, match="tables things"):
        open_events(f"sqlite:///{other}")
    with pytest.raises(StorageError):
        open_events(f"sqlite:///{tmp_path}")


def test_a_database_with_tables_of_others(postgres_server: Any) -> None:
    url = postgres_server.new_database()
    database = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with database.begin() as db:
        db.execute(sa.text("CREATE TABLE orders (id int)"))
    with open_events(url) as store:
        assert store.append([click("e")]) == Stored(1, 0), "other names are no matter"
    url = postgres_server.new_database()
    database.dispose()
    database = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with database.begin() as db:
        db.execute(sa.text("CREATE TABLE users (id int)"))
    database.dispose()
    with pytest.raises(StorageError, match="tables users"):
        open_events(url)


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
        open_events(postgres_server.url("latin"))


class Older(Database):
    """What an older searec left behind."""

    def _prepare(self) -> None:
        if self._file is not None:
            with self._engines[0].connect() as db:
                self._write_ahead(db)
        with self._engines[1].begin() as db:
            event_tables.bring_up_to_date(db, self.where, to="0001")


def test_an_older_schema_is_brought_up_to_date(events_url: str) -> None:
    database = Older(events_url, EventSettings())
    with database.writing() as db:
        db.execute(sa.update(event_tables.counter).values(number=1))
        row = {
            "event_id": "old",
            "user_id": "u",
            "kind": "click",
            "time": 1,
            "item_id": "i",
            "clicked": [],
            "shown": [],
            "number": 1,
        }
        db.execute(sa.insert(event_tables.events), row)
        assert not sa.inspect(db).has_table("api_keys")
    database.close()
    with open_events(events_url) as store:
        assert store.all_events() == [click("old", number=1)] and store.append([click("old")]) == Stored(0, 1)
        store.add_key("k", "read")
        assert store.deploy({}) == 3
    with open_events(events_url) as store:
        assert store.last_number() == 3 and len(store.keys()) == 1


def test_a_newer_schema_is_refused_and_left_alone(events_url: str) -> None:
    with SqlEvents(events_url) as store:
        store.append([click("e")])
        with store._database.writing() as db:
            db.execute(sa.text(f"UPDATE {event_tables.VERSION_TABLE} SET version_num = '0099'"))
        with pytest.raises(StorageError, match=r"newer than this searec.*schema 0099.*schema 0002"):
            open_events(events_url)
        with store._database.writing() as db:
            db.execute(sa.text(f"UPDATE {event_tables.VERSION_TABLE} SET version_num = '0002'"))
    with open_events(events_url) as store:
        assert store.last_number() == 1


def test_a_step_that_fails_leaves_the_older_schema(events_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Older(events_url, EventSettings()).close()
    with monkeypatch.context() as patch:
        from alembic.migration import MigrationContext

        def fail(*_: object) -> None:
            raise OSError("the machine stops here")

        patch.setattr(MigrationContext, "stamp", fail)
        with pytest.raises(StorageError, match="stops here"):
            open_events(events_url)
    with open_events(events_url) as store:  # the tables of the step were not there
        assert store.deploy({}) == 1


def test_the_migrations_make_what_the_code_uses(events_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with SqlEvents(events_url) as store, store._database.reading() as db:
        context = MigrationContext.configure(
            db, opts={"version_table": event_tables.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, event_tables.schema) == []


def test_a_closed_store_says_so(events_url: str) -> None:
    store = open_events(events_url)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.last_number()


def test_a_user_who_is_forgotten_is_out_of_the_file(tmp_path: Path) -> None:
    mark = "a very particular wish"
    with open_events(f"sqlite:///{tmp_path / 'events.db'}") as store:
        store.append([Event(event_id="e", user="u", kind="search", time=1, query=mark), click("other", user="v")])

        def found() -> bool:
            return any(mark.encode() in path.read_bytes() for path in tmp_path.iterdir())

        assert found() and store.forget("u") == 1 and not found()


def test_what_is_acknowledged_is_synced(events_url: str, events_backend: str) -> None:
    with SqlEvents(events_url) as store, store._database.reading() as db:
        if events_backend == "sqlite":
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
    with SqlEvents(url) as store, store._database.reading() as db:
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
    with open_events(url) as store:
        kept = 0
        with pytest.raises(StorageError, match=r"the disk is full.*free some space"):
            for _ in range(1000):
                store.append([click(f"e{kept + n}", item="i" * 500) for n in range(20)])
                kept += 20
        assert kept > 0 and store.last_number() == kept == len(store.all_events()), "nothing of the call was kept"
        (tiny_disk / "filler").write_bytes(b"0" * max(0, os.statvfs(tiny_disk).f_bfree * 4096 - 4096))
        with pytest.raises(StorageError, match="the disk is full"):
            store.append([click(f"more{n}", item="i" * 500) for n in range(20)])
        assert store.last_number() == kept and len(store.of_users(["u"])["u"]) == kept, "what is there can be read"
        subprocess.run(["mount", "-o", "remount,size=8m", tiny_disk], check=True)
        assert store.append([click("after")]) == Stored(1, 0)
    with open_events(url) as store:
        assert [event.event_id for event in store.all_events()] == [*(f"e{n}" for n in range(kept)), "after"]


def test_a_full_postgres_is_told_like_a_full_file(events_url: str, events_backend: str) -> None:
    if events_backend == "sqlite":
        pytest.skip("it has a test of its own, with a real disk")
    with SqlEvents(events_url) as store:
        raising = sa.text("DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$")
        with pytest.raises(StorageError, match="the disk is full"), store._database.writing() as db:
            db.execute(raising)
