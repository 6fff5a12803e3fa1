"""Joins items and users of the event store with the tables of a dataset folder."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from searec.data.log import REJECT_SCHEMA
from searec.data.schema import Kind, Table

_TEXTS = pl.List(pl.String)
_PLACE = "\0place"
"""A column for the order of rows, of a name that no column of a table has."""
RESERVED = ("row",)
"""Columns that reading a dataset folder adds by itself."""


class Put(NamedTuple):
    """A row of the store: its id, its columns, and the number of the change (0 where there is none)."""

    id: str
    columns: Mapping[str, Any]
    number: int = 0


def replaced(base: pl.DataFrame, table: Table, rows: Sequence[Put]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the base table with rows of these ids replaced and others added at the end; and the rejects.

    A column that only the new rows have is added: of their type where they agree on one, else as JSON text. A value
    that does not fit a column is null, and a reject.

    Args:
        base: a table of the dataset folder.
        table: its description.
        rows: of the store.
    """
    key = table.columns[0].name
    names = dict.fromkeys([*base.columns, *(column for row in rows for column in row.columns)])
    known = {column.name: pl.String() if column.kind is Kind.TEXT else _TEXTS for column in table.columns}
    numbers = pl.Series("row", [row.number for row in rows], dtype=pl.Int64)
    series_list, rejects = [], [pl.DataFrame(schema=REJECT_SCHEMA)]
    for column in names:
        values = [row.id if column == key else row.columns.get(column) for row in rows]
        target = known.get(column) or base.schema.get(column) or _agreed(values)
        if target.is_integer() and any(isinstance(value, float) and not value.is_integer() for value in values):
            target = pl.Float64()
        if target == pl.String and column not in base.columns and column not in known:
            values = [
                value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for value in values
            ]
        fits = [_fits(value, target) if column in known else True for value in values]
        if column in RESERVED:
            fits = [False] * len(values)
        series = _series(column, [value if fit else None for value, fit in zip(values, fits, strict=True)], target)
        lost = series.is_null() & pl.Series([value is not None for value in values], dtype=pl.Boolean)
        if lost.any():
            shown = pl.Series("value", [json.dumps(value, ensure_ascii=False) for value in values], dtype=pl.String)
            lost_rows = pl.DataFrame({"row": numbers, "value": shown}).filter(lost)
            file, rule = (
                pl.lit(table.name).alias("file"),
                pl.lit(
                    f"column {column!r} " + ("has a name that is taken" if column in RESERVED else f"is no {target}")
                ).alias("rule"),
            )
            rejects.append(lost_rows.select(file, "row", rule, "value"))
        if column not in RESERVED:
            series_list.append(series)
    new = pl.DataFrame(series_list)
    base = base.with_columns(
        pl.col(series.name).cast(series.dtype) for series in series_list if series.name in base.columns
    )
    ids = new.get_column(key)
    places = base.select(key).with_row_index(_PLACE).join(new.select(key), on=key, how="semi")
    unchanged = base.with_row_index(_PLACE).filter(~pl.col(key).is_in(ids.implode()))
    first = new.join(places, on=key, how="left", maintain_order="left").with_columns(
        pl.col(_PLACE).fill_null(pl.lit(2**32 - 1)).cast(pl.UInt32)
    )
    whole = (
        pl.concat([unchanged, first.select(_PLACE, *new.columns)], how="diagonal")
        .sort(_PLACE, maintain_order=True)
        .drop(_PLACE)
    )
    return whole.select(series.name for series in series_list), pl.concat(rejects)


def _series(name: str, values: list[Any], target: pl.DataType) -> pl.Series:
    """Return the values as a column, null where one does not fit."""
    try:
        return pl.Series(name, values, dtype=target, strict=False)
    except (
        pl.exceptions.PolarsError,
        TypeError,
        ValueError,
        OverflowError,
    ):  # types that Polars cannot even try, as a text for a struct
        return pl.Series(name, [None] * len(values), dtype=target)


def _fits(value: Any, target: pl.DataType) -> bool:
    if value is None or target == pl.String:
        return value is None or isinstance(value, str)
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _agreed(values: Sequence[Any]) -> pl.DataType:
    """Return the type that all values have; text where there is none."""
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {int, float}:
        return pl.Float64() if float in kinds else pl.Int64()
    if kinds == {bool}:
        return pl.Boolean()
    if kinds == {list} and all(_fits(value, _TEXTS) for value in values if value is not None):
        return _TEXTS
    return pl.String()
