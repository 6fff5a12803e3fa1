"""The tables of the store, the same on SQLite and PostgreSQL, and the migrations that make them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from searec.errors import DependencyError, StorageError, installation

T = TypeVar("T")
CHUNK = 500
"""Ids of one statement, and rows of one transaction, so that nobody waits long for a lock."""
VERSIONS = ("0001",)
"""Of the schema, oldest first; each is a file of `migrations/versions`."""
VERSION_TABLE = "searec_version"
NUMBER, CLOCK = 1, 2
"""Rows of `counter`: the number of the last change, and the latest time that the job queue has seen."""
READY, WAITING, LEASED, DEAD = range(4)
"""States of a job."""
_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x5EA_2EC_E7E9
"""Names the advisory lock of PostgreSQL that is held while the schema changes."""

schema = sa.MetaData()
# A writer adds to the row NUMBER first and holds its lock until the commit: numbers go up in the order of commits.
counter = sa.Table(
    "counter",
    schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)
events = sa.Table(
    "events",
    schema,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("item_id", sa.Text),
    sa.Column("query", sa.Text),
    sa.Column("search_id", sa.Text),
    sa.Column("clicked", sa.JSON, nullable=False),
    sa.Column("shown", sa.JSON, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    sa.Index("events_of_user", "user_id", "time", "number"),
)
items = sa.Table(
    "items",
    schema,
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("about", sa.JSON, nullable=False),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sa.Column("removed", sa.Boolean, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
)
users = sa.Table(
    "users",
    schema,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("attributes", sa.JSON, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
)
api_keys = sa.Table(
    "api_keys",
    schema,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("public", sa.Text, nullable=False, unique=True),
    sa.Column("hashed", sa.LargeBinary, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
)
deployments = sa.Table(
    "deployments",
    schema,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("config", sa.JSON, nullable=False),
)
# What a request reads is apart from whole graphs, which are larger and seldom read. Times: microseconds since 1970.
interests = sa.Table(
    "interests",
    schema,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("written_at", sa.BigInteger, nullable=False),
    sa.Column("stale", sa.Boolean, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("served", sa.LargeBinary, nullable=False),
    sa.Index("interests_by_age", "stale", "written_at"),
)
interest_graphs = sa.Table(
    "interest_graphs",
    schema,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("graph", sa.LargeBinary, nullable=False),
)
# `id` is the place in the queue. `until` is when a waiting job is ready, a lease ends, or since when a job is dead.
jobs = sa.Table(
    "jobs",
    schema,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0"),
    sa.Column("alone", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("token", sa.BigInteger),
    sa.Column("worker", sa.Text),
    sa.Column("again", sa.Text),
    sa.Column("error", sa.Text),
    sa.Index("jobs_by_time", "state", "until"),
    sa.Index("jobs_ready", "priority", "id", sqlite_where=sa.text("state = 0"), postgresql_where=sa.text("state = 0")),
)


_TAKE = (
    sa.update(counter)
    .where(counter.c.id == NUMBER)
    .values(number=counter.c.number + sa.bindparam("count"))
    .returning(counter.c.number)
)


def take_numbers(db: Connection, count: int) -> int:
    """Return the first of `count` numbers that were not given before; until the commit nobody else gets any.

    Args:
        db: a connection in a transaction.
        count: how many.
    """
    return int(db.execute(_TAKE, {"count": count}).scalar_one()) - count + 1


def insert(db: Connection, table: sa.Table) -> Any:
    """Return an INSERT of the database's dialect, which can say what to do about a row that exists.

    Args:
        db: an open connection.
        table: where rows go.
    """
    return (postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert)(table)


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Return the values in parts of one transaction or statement each."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def version_of(db: Connection, where: str) -> str | None:
    """Return the version of the schema; None for an empty database.

    Args:
        db: an open connection.
        where: the address, for errors.

    Raises:
        StorageError: the tables belong to another program, or to a newer version of this one.
    """
    tables = set(sa.inspect(db).get_table_names())
    if VERSION_TABLE not in tables:
        # a server's database may serve other programs too
        others = tables if db.dialect.name == "sqlite" else tables & set(schema.tables)
        if others:
            raise StorageError(
                "not a store of searec",
                where=where,
                got=f"tables {', '.join(sorted(others))}",
                expected=f"a table {VERSION_TABLE}, or none of these",
                remedy="give another file or database; a new file is made if it is missing",
            )
        return None
    version = db.execute(sa.text(f"SELECT max(version_num) FROM {VERSION_TABLE}")).scalar()
    if version is not None and version not in VERSIONS:
        raise StorageError(
            "the store is newer than this searec",
            where=where,
            got=f"schema {version}",
            expected=f"schema {VERSIONS[-1]} or older",
            remedy="install the newer searec, or give another file or database",
        )
    return None if version is None else str(version)


def bring_up_to_date(db: Connection, where: str) -> None:
    """Make or change the tables, within the transaction of `db`, which on SQLite must hold the write lock.

    Args:
        db: a connection in a transaction.
        where: the address, for errors.

    Raises:
        StorageError: as `version_of`.
        DependencyError: Alembic is not installed.
    """
    try:
        from alembic.config import Config
        from alembic.migration import MigrationContext
        from alembic.operations import Operations
        from alembic.script import ScriptDirectory
    except ImportError as error:
        raise DependencyError("Alembic is not installed", remedy=installation("service")) from error
    if db.dialect.name == "postgresql":
        db.execute(sa.text("SET LOCAL statement_timeout = 0"))
        db.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = version_of(db, where)  # again, under the lock: another process may have been here
    if version == VERSIONS[-1]:
        return
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(db, opts={"version_table": VERSION_TABLE})
    with Operations.context(context):
        for step in reversed(list(scripts.iterate_revisions(VERSIONS[-1], version or "base"))):
            step.module.upgrade()
    context.stamp(scripts, VERSIONS[-1])
