"""Connections of the event store: how they are opened and what their failures are called, for SQLite and PostgreSQL alike."""

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from searec.config import Count, Positive, settings
from searec.errors import DependencyError, SettingsError, StorageError
from searec.store.event_checks import as_json, from_json
from searec.store.event_tables import VERSIONS, bring_up_to_date, version_of
from searec.store.interest_store import without_password

_WRITES = "searec_writes"
_SQLITE_FULL, _SQLITE_IOERR, _POSTGRES_FULL = 13, 10, "53100"
_CACHE_KIB = 32 * 1024
_LITTLE = 64 * 1024
# What every session of PostgreSQL is told. A writer that stands still must not hold the lock of the counter for ever, and
# what is acknowledged must be on disk even where the server's default is otherwise.
_SESSION = """
SELECT set_config('statement_timeout', %(wait)s, false), set_config('idle_in_transaction_session_timeout', %(wait)s, false),
       set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                                        ELSE current_setting('synchronous_commit') END, false)
"""


@settings
class EventSettings:
    """How patient the event store is.

    Attributes:
        timeout: seconds that a statement may take or wait for a lock, or a thread for a connection.
        connect: seconds that a server has to take a connection; 2 at least.
        connections: at once, of one process.
    """

    timeout: Positive = 10.0
    connect: Positive = 3.0
    connections: Count = 32


class Database:
    """The one place that opens connections, in every process anew, and turns what fails into a StorageError.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`.

    Raises:
        SettingsError: no such address.
        StorageError: it cannot be opened, or holds something else.
        DependencyError: the client is not installed.
    """

    def __init__(self, url: str, settings: EventSettings) -> None:
        self.where = without_password(url)
        self.settings = settings
        self.closed = False
        self._url = self._address(url)
        self._file = Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None
        self._known: tuple[type[Exception], ...] = (SQLAlchemyError, sqlite3.Error, OSError)
        self._process = os.getpid()
        self._inherited: list[Any] = []
        self._engines = self._make()
        try:
            with self.failures():
                if self._file is not None:
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all connections; whoever asks for one after that is refused."""
        self.closed = True
        if self._process == os.getpid():
            self._engines[0].dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for single statements, each by itself."""
        with self.failures(), self._both()[0].connect() as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end; on SQLite it holds the write lock."""
        with self.failures(), self.begin() as db:
            yield db

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """As `writing`, but failures stay what they were."""
        with self._both()[1].begin() as db:
            yield db

    def wipe(self) -> None:
        """Take what was deleted out of the file beside an SQLite database too, unless somebody is reading it."""
        if self._file is not None:
            with self.reading() as db:
                db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Anything that the database, its client or the system says as a StorageError."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise DependencyError(
                "the PostgreSQL client is not installed", remedy="pip install 'searec[postgres]'"
            ) from error
        except self._known as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> StorageError:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        code = getattr(cause, "sqlite_errorcode", 0)
        full = code == _SQLITE_FULL or getattr(cause, "sqlstate", None) == _POSTGRES_FULL
        # SQLite says "disk I/O error" where it is a file beside the database that does not fit
        full = full or (code & 0xFF == _SQLITE_IOERR and self._little_room())
        said = " ".join(str(cause).split()) or type(cause).__name__
        if self._url.password:
            said = said.replace(str(self._url.password), "...")
        if full:
            remedy = "free some space and send the same again; nothing of the call was kept"
        elif self._file is not None:
            remedy = "check that the folder may be written to and nobody holds the lock; move a damaged file away"
        else:
            remedy = "check that the server runs and can be reached; what was being written can be sent again"
        return StorageError(
            "the disk is full" if full else "cannot use the store of events", where=self.where, got=said, remedy=remedy
        )

    def _little_room(self) -> bool:
        return self._file is not None and shutil.disk_usage(self._file.parent).free < _LITTLE

    def _both(self) -> tuple[Engine, Engine]:
        """What reads and what writes, of this process: a connection must not be used, nor closed, on the other side of a fork."""
        if self.closed:
            raise StorageError("the store of events is closed", where=self.where)
        if self._process != os.getpid():
            self._inherited.append(self._engines)
            self._engines, self._process = self._make(), os.getpid()
        return self._engines

    def _address(self, url: str) -> URL:
        scheme, _, rest = url.partition("://")
        if scheme == "sqlite":
            return URL.create("sqlite", database=str(Path(rest[1:]).absolute()))
        try:
            if rest.partition("?")[0].count("@") > 1:
                raise ValueError  # of several readings, one takes a part of the password for the host
            return make_url(url).set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError):
            raise SettingsError(
                "no address of events",
                got=repr(f"{scheme}://..."),
                expected="postgresql://USER:PASSWORD@HOST:PORT/DB",
                remedy="write special characters of a password as %XX",
            ) from None

    def _make(self) -> tuple[Engine, Engine]:
        wait, connections = self.settings.timeout, self.settings.connections
        about: dict[str, Any] = {
            "pool_size": connections,
            "max_overflow": 0,
            "pool_timeout": wait,
            "pool_use_lifo": True,
        }
        about |= {"hide_parameters": True, "json_serializer": as_json, "json_deserializer": from_json}
        if self._file is not None:
            # transactions begin where `_begin` says so, and not by themselves
            about["connect_args"] = {"timeout": wait, "isolation_level": None, "check_same_thread": False}
            engine = sa.create_engine(self._url, **about)
            event.listen(engine, "connect", _tell_sqlite)
            event.listen(engine, "begin", _begin)
            return engine, engine.execution_options(**{_WRITES: True})
        given = {
            "connect_timeout": str(max(2, round(self.settings.connect))),
            "tcp_user_timeout": str(int(wait * 1000)),
        }
        about["connect_args"] = {name: value for name, value in given.items() if name not in self._url.query}
        with self.failures():
            engine = sa.create_engine(self._url, isolation_level="READ COMMITTED", pool_pre_ping=True, **about)
        self._known = (SQLAlchemyError, OSError, engine.dialect.loaded_dbapi.Error)
        event.listen(engine, "connect", self._tell_postgres)
        return engine.execution_options(isolation_level="AUTOCOMMIT"), engine

    def _tell_postgres(self, db: Any, _: object) -> None:
        with db.cursor() as cursor:
            cursor.execute(_SESSION, {"wait": str(int(self.settings.timeout * 1000))})
        db.commit()

    def _prepare(self) -> None:
        reads, writes = self._engines
        with reads.connect() as db:
            if self._file is not None:
                self._write_ahead(db)
            elif (encoding := db.execute(sa.text("SHOW server_encoding")).scalar()) != "UTF8":
                raise StorageError(
                    "the database cannot hold every text", where=self.where, got=encoding, expected="encoding UTF8"
                )
            version = version_of(db, self.where)
        if version != VERSIONS[-1]:
            with writes.begin() as db:
                bring_up_to_date(db, self.where)

    def _write_ahead(self, db: Connection) -> None:
        deadline = time.monotonic() + self.settings.timeout
        while db.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            try:
                db.exec_driver_sql("PRAGMA journal_mode = WAL")
            except DBAPIError:  # another process is doing the same; this step does not wait by itself
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def _tell_sqlite(db: sqlite3.Connection, _: object) -> None:
    for option in ("synchronous = FULL", f"cache_size = -{_CACHE_KIB}", "secure_delete = ON"):
        db.execute(f"PRAGMA {option}")


def _begin(db: Connection) -> None:
    if db.get_execution_options().get(_WRITES):
        db.exec_driver_sql("BEGIN IMMEDIATE")
