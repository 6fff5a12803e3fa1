"""Tables of a source with the columns and types of the dataset folder."""

from pathlib import Path

import polars as pl

from searec.config import nearest
from searec.data.convert import as_lists, as_numbers, as_text, as_times, time_facts, unread_list
from searec.data.formats.base import FILE, ROW, ImportOptions, Raw
from searec.data.log import BROKEN_LIST
from searec.data.schema import ITEMS, USERS, Column, Kind, Table
from searec.errors import DataError

LIST_SEPARATOR = "|"
_EXACT = 2**53
"""From here on a Float64 does not hold every whole number."""


def conform(raw: Raw, table: Table, options: ImportOptions) -> tuple[pl.LazyFrame, list[str]]:
    """Return a raw table with the columns and types of the dataset folder, still unread, and notes on its values.

    Other columns stay for items and users.

    Args:
        raw: the source.
        table: which table of the dataset folder it is.
        options: what the user says about the source.

    Raises:
        DataError: a missing column, a type that cannot be converted, numeric times of unclear unit.
    """
    frame, where = raw.tables[table.name], raw.files[table.name]
    schema = frame.collect_schema()
    converted: list[pl.Expr] = []
    notes: list[str] = []
    for column in table.columns:
        if column.name in schema:
            converted.append(_convert(frame, column, where, raw, options, notes))
        elif column.required:
            raise DataError(
                f"missing column {column.name!r}",
                where=where,
                got=", ".join(schema.names()) or "no columns",
                expected=", ".join(c.name for c in table.columns if c.required),
                remedy=f"{nearest(column.name, schema.names())} --map {table.name}.{column.name}=COLUMN names another",
            )
    known = [column.name for column in table.columns]
    others = schema.names() if table in (ITEMS, USERS) else (FILE, ROW)
    return frame.select(*converted, *(name for name in others if name in schema and name not in known)), notes


def _convert(
    frame: pl.LazyFrame, column: Column, where: Path, raw: Raw, options: ImportOptions, notes: list[str]
) -> pl.Expr:
    dtype = frame.collect_schema()[column.name]
    value = pl.col(column.name)
    converted: pl.Expr | None
    if column.kind is Kind.TEXT:
        converted = as_text(value, dtype)
        if dtype.is_float():
            notes += _note_inexact(frame, column.name, where)
    elif column.kind is Kind.TIME:
        converted = _times(frame, column.name, dtype, where, raw, options, notes)
    elif column.kind is Kind.NUMBER:
        converted = as_numbers(value, dtype)
    else:
        converted = as_lists(value, dtype, options.list_separator or LIST_SEPARATOR)
        if converted is not None and column.required:
            converted = converted.fill_null(pl.lit([], dtype=pl.List(pl.String)))
    if converted is None:
        raise DataError(
            f"column {column.name!r} has the wrong type", where=where, got=dtype, expected=column.kind.value
        )
    return converted.alias(column.name)


def _times(
    frame: pl.LazyFrame,
    name: str,
    dtype: pl.DataType,
    where: Path,
    raw: Raw,
    options: ImportOptions,
    notes: list[str],
) -> pl.Expr | None:
    if options.time_format is not None:
        return as_times(name, dtype, options.time_unit or raw.unit, time_format=options.time_format)
    unit = options.time_unit or raw.unit
    facts = time_facts(frame, name, where, is_unit_given=unit is not None)
    if facts.rounded:
        rows = f"{facts.rounded:,} {'time is' if facts.rounded == 1 else 'times are'}"
        notes.append(
            f"{where.name}: {rows} written with an exponent, such as 1.70E+12: a spreadsheet has rounded them, and "
            "events that were hours or days apart have one time; export the file again with the times as text"
        )
    return as_times(name, dtype, unit or facts.unit, guessed=unit is None, facts=facts)


def _note_inexact(frame: pl.LazyFrame, name: str, where: Path) -> list[str]:
    large = pl.col(name).cast(pl.Float64).filter(pl.col(name).abs() >= _EXACT)
    count, example = frame.select(large.count().alias("n"), large.first().alias("x")).collect(engine="streaming").row(0)
    if not count:
        return []
    rows = f"{count:,} {'value' if count == 1 else 'values'}"
    return [
        f"{where.name}: {rows} of {name}, such as {example:.0f}, came as floating-point numbers of 2^53 or more, which "
        "do not hold every whole number: different ids may be one; write the ids as text or as whole numbers"
    ]


def broken_lists(raw: Raw, table: Table) -> list[pl.Expr]:
    """Return a column for `log.read_log` for each column of lists that no other rule checks and that came as text.

    Args:
        raw: the source.
        table: which of its tables, converted.
    """
    schema = raw.tables[table.name].collect_schema() if table.name in raw.tables else {}
    names = [c.name for c in table.columns if c.kind is Kind.TEXTS and not c.required]
    return [
        pl.when(unread_list(name)).then(pl.col(name).list.first()).alias(BROKEN_LIST + name)
        for name in names
        if schema.get(name) == pl.String
    ]
