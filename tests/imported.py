"""What an import has written, for tests of importers."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl


def utc(*parts: int) -> datetime:
    """A time in UTC, from year, month, day and so on."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def table(out: Path, name: str) -> pl.DataFrame:
    """A table of a dataset folder, as written."""
    return pl.read_parquet(out / f"{name}.parquet")
