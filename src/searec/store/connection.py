"""Connections to the database of the store, and its failures as StorageError, for SQLite and PostgreSQL alike."""

import contextlib
import os
import shutil
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from searec.config import Count, Positive, settings
from searec.data.schema import DAY
from searec.errors import DependencyError, SettingsError, StorageError, installation
from searec.store.event_checks import as_json, from_json

try:
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.engine import URL, Connection, Engine, make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
except ImportError as error:
    raise DependencyError("SQLAlchemy is not installed", remedy=installation("service")) from error

from searec.store import tables

Clock = Callable[[], int]
"""Microseconds since 1970 (UTC)."""
ADDRESSES = "sqlite:///FILE or postgresql://USER@HOST/DB"
_WRITES = "searec_writes"
_SQLITE_FULL, _SQLITE_IOERR, _POSTGRES_FULL = 13, 10, "53100"
_CACHE_KIB = 32 * 1024
"""Of one SQLite connection: the inner pages of millions of users, so that a read fetches one page or two."""
_LITTLE = 64 * 1024
# For every session of PostgreSQL: a writer that hangs must not hold the lock of the counter for ever, and
# what is acknowledged must be on disk even where the server's default is otherwise.
_SESSION = """
SELECT set_config('statement_timeout', %(wait)s, false),
       set_config('idle_in_transaction_session_timeout', %(wait)s, false),
       set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                                        ELSE current_setting('synchronous_commit') END, false)
"""
_SERVER_CLOCK = sa.text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


@settings
class StoreSettings:
    """Time limits of the database, the age of interests and the patience of the job queue.

    Attributes:
        timeout: seconds that a statement may take or wait for a lock, or a thread for a connection.
        read_timeout: seconds that reading interests for a request may take on a server.
        connect_timeout: seconds that a server has to take a connection; 2 at least.
        connections: of one process at once.
        fresh_days: age in days from which interests are stale; they stay readable.
        max_served: interests that a request reads, the most confident ones.
        max_attempts: faults of a job (it failed, or its worker was lost) after which it is dead.
        first_wait, longest_wait: seconds before a failed job is ready again, doubled each time up to the longest.
        cache_seconds: how long the cache may return interests that were changed without it.
    """

    timeout: Positive = 10.0
    read_timeout: Positive = 0.1
    connect_timeout: Positive = 3.0
    connections: Count = 32
    fresh_days: Positive = 7.0
    max_served: Count = 20
    max_attempts: Count = 5
    first_wait: Positive = 10.0
    longest_wait: Positive = 3600.0
    cache_seconds: Count = 300

    @property
    def lifetime(self) -> int:
        """Return the microseconds for which interests are fresh."""
        return int(self.fresh_days * DAY)


class _Engines(NamedTuple):
    reads: Engine
    writes: Engine
    lookups: Engine


class Database:
    """Opens connections, in every process anew, and turns failures into a StorageError. Threads may share it.

    Args:
        url: `sqlite:///FILE`, made if it is missing, or `postgresql://USER@HOST/DB`; the schema is updated.
        settings: time limits.
        clock: replaces this machine's clock, and a server's.

    Raises:
        SettingsError: any other address.
        StorageError: it cannot be opened, holds something else, or is newer than this code.
        DependencyError: the client is not installed.
    """

    def __init__(self, url: str, settings: StoreSettings, clock: Clock | None = None) -> None:
        self.where = without_password(url)
        self.settings = settings
        self.closed = False
        self._clock = clock
        self._url = _address(url)
        self._file = Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None
        self._known: tuple[type[Exception], ...] = (SQLAlchemyError, sqlite3.Error, OSError)
        self._process = os.getpid()
        self._inherited: list[Any] = []
        self._idle: deque[sqlite3.Connection] = deque()
        with self.failures():
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
        """Close all connections; later calls are refused."""
        self.closed = True
        if self._process == os.getpid():
            while self._idle:
                self._idle.pop().close()
            for engine in (self._engines.writes, self._engines.lookups):
                engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection whose statements each stand alone."""
        with self.failures(), self._here().reads.connect() as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end; on SQLite it holds the write lock."""
        with self.failures(), self.begin() as db:
            yield db

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction as `writing` does, but raise failures as they are."""
        with self._here().writes.begin() as db:
            yield db

    def first_row(self, statement: str, *values: object) -> Any:
        """Return the first row of a query within a request, or None; on SQLite by the driver itself, which is quicker.

        Args:
            statement: SQL with `?` for each value.
            values: as many as the statement has places.

        Raises:
            UnicodeError: a value that is no Unicode text, or has a NUL.
            StorageError: the database fails, or takes longer than `read_timeout`.
        """
        if any(isinstance(value, str) and "\0" in value for value in values):
            raise UnicodeError("a text with a NUL")
        engines = self._here()
        if self._file is None:
            with self.failures(), engines.lookups.connect() as db:
                return db.exec_driver_sql(statement.replace("?", "%s"), values).first()
        try:
            driver = self._idle.pop()
        except IndexError:
            driver = self._driver_connection(engines.reads)
        usable = True
        try:
            return driver.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            usable = False
            raise self._error(error) from error
        finally:
            if usable and not self.closed:
                self._idle.append(driver)
            else:
                driver.close()

    def now(self, db: Connection) -> int:
        """Return the time: a server's own, so that the clocks of other machines do not matter."""
        if self._clock is None and self._file is None:
            return int(db.execute(_SERVER_CLOCK).scalar_one())
        return self.local_now()

    def local_now(self) -> int:
        """Return the time of this machine."""
        return (self._clock or this_clock)()

    def wipe(self) -> None:
        """Take what was deleted out of the file beside an SQLite database too, unless a reader holds it."""
        if self._file is not None:
            with self.reading() as db:
                db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Raise every failure of the database, its client or the system as a StorageError."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise DependencyError("the PostgreSQL client is not installed", remedy=installation("postgres")) from error
        except self._known as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> StorageError:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        code = getattr(cause, "sqlite_errorcode", 0)
        full = code == _SQLITE_FULL or getattr(cause, "sqlstate", None) == _POSTGRES_FULL
        # SQLite says "disk I/O error" where it is a file beside the database that does not fit
        full = full or (code & 0xFF == _SQLITE_IOERR and self._little_room())
        message = " ".join(str(cause).split()) or type(cause).__name__
        if self._url.password:
            message = message.replace(str(self._url.password), "...")
        if full:
            remedy = "free some space and send the same again; nothing of the call was kept"
        elif self._file is not None:
            remedy = "check that the folder may be written to and nobody holds the lock; move a damaged file away"
        else:
            remedy = "check that the server runs and can be reached; what was being written can be sent again"
        what = "the disk is full" if full else "cannot use the store"
        return StorageError(what, where=self.where, got=message, remedy=remedy)

    def _little_room(self) -> bool:
        return self._file is not None and shutil.disk_usage(self._file.parent).free < _LITTLE

    def _here(self) -> _Engines:
        """Return the engines of this process: connections must not cross a fork."""
        if self.closed:
            raise StorageError("the store is closed", where=self.where)
        if self._process != os.getpid():
            self._inherited.append((self._engines, self._idle))
            self._engines, self._idle, self._process = self._make(), deque(), os.getpid()
        return self._engines

    def _driver_connection(self, engine: Engine) -> sqlite3.Connection:
        with self.failures():
            pooled = engine.raw_connection()
            driver: Any = pooled.driver_connection
            pooled.detach()
            return driver  # type: ignore[no-any-return]

    def _make(self) -> _Engines:
        wait = self.settings.timeout
        if self._file is not None:
            # transactions begin where `_begin` says so, and not by themselves
            local = {"timeout": wait, "isolation_level": None, "check_same_thread": False}
            engine = self._engine(wait, connect_args=local)
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin)
            return _Engines(engine, engine.execution_options(**{_WRITES: True}), engine)
        server, lookups = self._server_engine(wait), self._server_engine(self.settings.read_timeout)
        self._known = (SQLAlchemyError, OSError, server.dialect.loaded_dbapi.Error)
        alone = {"isolation_level": "AUTOCOMMIT"}
        return _Engines(server.execution_options(**alone), server, lookups.execution_options(**alone))

    def _engine(self, wait: float, **options: Any) -> Engine:
        options |= {"json_serializer": as_json, "json_deserializer": from_json, "hide_parameters": True}
        size = self.settings.connections
        return sa.create_engine(
            self._url, pool_size=size, max_overflow=0, pool_timeout=wait, pool_use_lifo=True, **options
        )

    def _server_engine(self, wait: float) -> Engine:
        limits = {
            "connect_timeout": str(max(2, round(self.settings.connect_timeout))),
            "tcp_user_timeout": str(int(wait * 1000)),
        }
        limits = {name: value for name, value in limits.items() if name not in self._url.query}
        engine = self._engine(wait, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=limits)

        def configure(db: Any, _: object) -> None:
            with db.cursor() as cursor:
                cursor.execute(_SESSION, {"wait": str(int(wait * 1000))})
            db.commit()

        event.listen(engine, "connect", configure)
        return engine

    def _prepare(self) -> None:
        with self._engines.reads.connect() as db:
            if self._file is not None:
                self._write_ahead(db)
            elif (encoding := db.execute(sa.text("SHOW server_encoding")).scalar()) != "UTF8":
                raise StorageError(
                    "the database cannot hold every text", where=self.where, got=encoding, expected="encoding UTF8"
                )
            version = tables.version_of(db, self.where)
        if version != tables.VERSIONS[-1]:
            with self._engines.writes.begin() as db:
                tables.bring_up_to_date(db, self.where)

    def _write_ahead(self, db: Connection) -> None:
        deadline = time.monotonic() + self.settings.timeout
        while db.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            try:
                db.exec_driver_sql("PRAGMA journal_mode = WAL")
            except DBAPIError:  # another process is doing the same; this step does not wait by itself
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def this_clock() -> int:
    """Return the time of this machine in microseconds since 1970."""
    return time.time_ns() // 1000


def without_password(url: str) -> str:
    """Return the URL as it may be shown: without user name, password and options.

    >>> without_password("redis://me:secret@host:6379/2?a=b"), without_password("a text")
    ('redis://host:6379/2', 'a text')
    """
    if "://" not in url:
        return url if "@" not in url else "..."
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.partition("://")[0] + "://..."
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _address(url: str) -> URL:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest[1:] not in ("", ":memory:"):
        return URL.create("sqlite", database=str(Path(rest[1:]).absolute()))
    if scheme != "postgresql" or not rest:
        raise SettingsError("no address of a store", got=repr(without_password(url)), expected=ADDRESSES)
    try:
        if rest.partition("?")[0].count("@") > 1:
            raise ValueError  # of several readings, one takes a part of the password for the host
        return make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise SettingsError(
            "no address of a store",
            got=repr(f"{scheme}://..."),
            expected="postgresql://USER:PASSWORD@HOST:PORT/DB",
            remedy="write special characters of a password as %XX",
        ) from None


def _configure_sqlite(db: sqlite3.Connection, _: object) -> None:
    for option in ("synchronous = FULL", f"cache_size = -{_CACHE_KIB}", "secure_delete = ON"):
        db.execute(f"PRAGMA {option}")


def _begin(db: Connection) -> None:
    if db.get_execution_options().get(_WRITES):
        db.exec_driver_sql("BEGIN IMMEDIATE")
