"""Events, items, users, and the counter that numbers their changes."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    """Make the tables."""
    counter = op.create_table(
        "counter",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counter, [{"id": 1, "number": 0}])
    op.create_table(
        "events",
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
    )
    op.create_index("events_of_user", "events", ["user_id", "time", "number"])
    op.create_table(
        "items",
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("about", sa.JSON, nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    )
