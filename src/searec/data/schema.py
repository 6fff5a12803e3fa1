"""The dataset folder: its four tables, their columns and rules, and the axis letters used everywhere.

Axes: B batch, L history length, N candidates, D width, K codes or steps, C codebook size, V vocabulary.
Inside searec users, items, queries, words and categories are integers 1..N; 0 pads.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import polars as pl

from searec.errors import DataError

Task = Literal["recommend", "search"]
Part = Literal["train", "val", "test"]
TASKS: tuple[Task, ...] = ("recommend", "search")
OTHERS = 99
"""Items that a target is ranked among in the sampled protocol."""
DAY = 86_400_000_000
"""Microseconds of a day."""

TIME = pl.Datetime("us", "UTC")


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    TIME = "time, UTC"
    TEXTS = "list of texts"
    NUMBER = "number"


@dataclass(frozen=True)
class Column:
    """One column searec knows; a table may carry others, which are kept and not read."""

    name: str
    kind: Kind
    required: bool = True


@dataclass(frozen=True)
class Table:
    """One file of the dataset folder."""

    name: str
    columns: tuple[Column, ...]
    optional: bool = False

    @property
    def file(self) -> str:
        """Return the name of the file."""
        return f"{self.name}.parquet"


ITEMS = Table(
    "items",
    (
        Column("item_id", Kind.TEXT),
        Column("title", Kind.TEXT),
        Column("description", Kind.TEXT, required=False),
        Column("brand", Kind.TEXT, required=False),
        Column("categories", Kind.TEXTS, required=False),
    ),
)
USERS = Table("users", (Column("user_id", Kind.TEXT),))
INTERACTIONS = Table(
    "interactions",
    (
        Column("user_id", Kind.TEXT),
        Column("item_id", Kind.TEXT),
        Column("timestamp", Kind.TIME),
        Column("event", Kind.TEXT),
        Column("weight", Kind.NUMBER, required=False),
    ),
)
SEARCHES = Table(
    "searches",
    (
        Column("search_id", Kind.TEXT),
        Column("user_id", Kind.TEXT),
        Column("query", Kind.TEXT),
        Column("timestamp", Kind.TIME),
        Column("clicked", Kind.TEXTS),
        Column("shown", Kind.TEXTS, required=False),
    ),
)
TABLES: tuple[Table, ...] = (ITEMS, USERS, INTERACTIONS, SEARCHES)

_TEXT_TYPES = (pl.String, pl.Categorical, pl.Enum)


def _fits(dtype: pl.DataType, kind: Kind) -> bool:
    if kind is Kind.TEXT:
        return isinstance(dtype, _TEXT_TYPES)
    if kind is Kind.TIME:
        return isinstance(dtype, (pl.Datetime, pl.Date))
    if kind is Kind.NUMBER:
        return dtype.is_numeric()
    return isinstance(dtype, pl.List) and isinstance(dtype.inner, (*_TEXT_TYPES, pl.Null))


def check_columns(schema: pl.Schema, table: Table, where: Path | str) -> None:
    """Refuse a table that lacks a required column or has a known column of the wrong type.

    Args:
        schema: the table's columns and types.
        table: which table it should be.
        where: the file that an error names.

    Raises:
        DataError: naming the file, the column, the type found and the type expected.
    """
    for column in table.columns:
        if column.name not in schema:
            if column.required:
                raise DataError(
                    f"missing column {column.name!r}",
                    where=where,
                    got=", ".join(schema.names()) or "no columns",
                    expected=", ".join(c.name for c in table.columns if c.required),
                    remedy="rename the column, or use 'searec import' with --map",
                )
        elif not _fits(schema[column.name], column.kind):
            raise DataError(
                f"column {column.name!r} has the wrong type",
                where=where,
                got=schema[column.name],
                expected=column.kind.value,
                remedy="'searec import' converts numbers to ids and numbers or texts to times",
            )


def as_kind(name: str, dtype: pl.DataType, kind: Kind) -> pl.Expr:
    """Return the column cast to searec's exact type: String, microseconds UTC, List(String) or Float64.

    Args:
        name: of the column.
        dtype: its type.
        kind: what it holds.
    """
    column = pl.col(name)
    if kind is Kind.TEXT:
        return column.cast(pl.String)
    if kind is Kind.TEXTS:
        return column.cast(pl.List(pl.String))
    if kind is Kind.NUMBER:
        return column.cast(pl.Float64)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone not in (None, "UTC"):
        return column.dt.convert_time_zone("UTC").cast(TIME)
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC") if not _is_utc(dtype) else column.cast(TIME)


def _is_utc(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC"
