"""The tables of events, catalog, keys, deployments, interests and jobs."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def _number(**options: Any) -> "sa.Column[int]":
    return sa.Column("number", sa.BigInteger, nullable=False, **options)


def _text(name: str, **options: Any) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, **options)


def upgrade() -> None:
    """Make the tables."""
    counter = op.create_table("counter", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), _number())
    op.bulk_insert(counter, [{"id": 1, "number": 0}, {"id": 2, "number": 0}])
    op.create_table(
        "events",
        _text("event_id", primary_key=True),
        _text("user_id", nullable=False),
        _text("kind", nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        _text("item_id"),
        _text("query"),
        _text("search_id"),
        sa.Column("clicked", sa.JSON, nullable=False),
        sa.Column("shown", sa.JSON, nullable=False),
        _number(unique=True),
    )
    op.create_index("events_of_user", "events", ["user_id", "time", "number"])
    op.create_table(
        "items",
        _text("item_id", primary_key=True),
        sa.Column("about", sa.JSON, nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        _number(unique=True),
    )
    op.create_table(
        "users",
        _text("user_id", primary_key=True),
        sa.Column("attributes", sa.JSON, nullable=False),
        _number(unique=True),
    )
    op.create_table(
        "api_keys",
        _text("name", primary_key=True),
        _text("role", nullable=False),
        _text("public", nullable=False, unique=True),
        sa.Column("hashed", sa.LargeBinary, nullable=False),
        _number(unique=True),
    )
    op.create_table(
        "deployments",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("config", sa.JSON, nullable=False),
    )
    op.create_table(
        "interests",
        _text("user_id", primary_key=True),
        sa.Column("written_at", sa.BigInteger, nullable=False),
        sa.Column("stale", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("served", sa.LargeBinary, nullable=False),
    )
    op.create_index("interests_by_age", "interests", ["stale", "written_at"])
    op.create_table(
        "interest_graphs", _text("user_id", primary_key=True), sa.Column("graph", sa.LargeBinary, nullable=False)
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        _text("user_id", nullable=False, unique=True),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        _text("reason", nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("faults", sa.Integer, nullable=False, server_default="0"),
        sa.Column("alone", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("token", sa.BigInteger),
        _text("worker"),
        _text("again"),
        _text("error"),
    )
    op.create_index("jobs_by_time", "jobs", ["state", "until"])
    ready = sa.text("state = 0")
    op.create_index("jobs_ready", "jobs", ["priority", "id"], sqlite_where=ready, postgresql_where=ready)
