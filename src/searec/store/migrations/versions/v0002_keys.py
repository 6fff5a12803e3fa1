"""Keys of the service, and what it is told to serve."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "api_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("public", sa.Text, nullable=False, unique=True),
        sa.Column("hashed", sa.LargeBinary, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    )
    op.create_table(
        "deployments",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("config", sa.JSON, nullable=False),
    )
