"""The tables of the event store, the same on SQLite and PostgreSQL, and how they are brought up to date."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from searec.errors import DependencyError, StorageError

VERSIONS = ("0001", "0002")
"""Of the schema, oldest first; each is a file of `migrations/versions`."""
VERSION_TABLE = "searec_events_version"
_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x5EA_2EC_E7E9
"""Names the advisory lock of PostgreSQL that is held while the schema changes."""

schema = sa.MetaData()
# One row. Whoever writes adds to it first and so holds its lock until the commit: numbers go up in the order of the commits.
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


def version_of(db: Connection, where: str) -> str | None:
    """The version of the schema; None for an empty database.

    Raises:
        StorageError: the tables are somebody else's, or of a newer version than this code knows.
    """
    found = set(sa.inspect(db).get_table_names())
    if VERSION_TABLE not in found:
        others = (
            found if db.dialect.name == "sqlite" else found & set(schema.tables)
        )  # a server's database may serve others too
        if others:
            raise StorageError(
                "not a store of events",
                where=where,
                got=f"tables {', '.join(sorted(others))}",
                expected=f"a table {VERSION_TABLE}, or none of these",
                remedy="give another file or database; a new file is made if it is missing",
            )
        return None
    version = db.execute(sa.text(f"SELECT max(version_num) FROM {VERSION_TABLE}")).scalar()
    if version is not None and version not in VERSIONS:
        raise StorageError(
            "the store of events is newer than this searec",
            where=where,
            got=f"schema {version}",
            expected=f"schema {VERSIONS[-1]} or older",
            remedy="install the newer searec, or give another file or database",
        )
    return None if version is None else str(version)


def bring_up_to_date(db: Connection, where: str, to: str = VERSIONS[-1]) -> None:
    """Make or change the tables, within the transaction that `db` is in, which on SQLite must hold the write lock.

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
        raise DependencyError("Alembic is not installed", remedy="pip install 'searec[service]'") from error
    if db.dialect.name == "postgresql":
        db.execute(sa.text("SET LOCAL statement_timeout = 0"))
        db.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = version_of(db, where)  # again, under the lock: another process may have been here
    if version == to:
        return
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(db, opts={"version_table": VERSION_TABLE})
    with Operations.context(context):
        for step in reversed(list(scripts.iterate_revisions(to, version or "base"))):
            step.module.upgrade()
    context.stamp(scripts, to)
