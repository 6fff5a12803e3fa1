"""The lines of UBI files (schema 1.3.0) by kind: a query, an event, a bulk-index action, or none of these."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import polars as pl

from searec.data.convert import as_times
from searec.data.formats.base import FILE, ROW, reading
from searec.data.log import write_table
from searec.errors import DataError

ENDINGS = tuple(f".{kind}{packed}" for kind in ("ndjson", "jsonl", "json") for packed in ("", ".gz"))
QUERY, EVENT, ACTION, NEITHER = "query", "event", "action", "neither"
_BULK = ("index", "create", "update", "delete")
_TEXTS = (
    "query_id",
    "client_id",
    "user_id",
    "user_query",
    "action_name",
    "message_type",
    "message",
    "timestamp",
    "query_response_id",
)
_OBJECT = pl.Struct({"object_id": pl.String, "object_id_field": pl.String, "description": pl.String})
_ATTRIBUTES = pl.Struct({"object": _OBJECT, "position": pl.Struct({"ordinal": pl.String})})
_FIELDS = {
    **dict.fromkeys(_TEXTS, pl.String()),
    "query_response_hit_ids": pl.List(pl.String),
    "event_attributes": _ATTRIBUTES,
}
# `_source` holds the document in a line of a scroll or of elasticdump. Any field else is not read, whatever its type.
_SCHEMA = {**_FIELDS, **dict.fromkeys(_BULK, pl.String()), "_source": pl.Struct(_FIELDS)}
_PLACES = {
    **{name: (name,) for name in _TEXTS},
    "hits": ("query_response_hit_ids",),
    "item_id": ("event_attributes", "object", "object_id"),
    "object_id_field": ("event_attributes", "object", "object_id_field"),
    "description": ("event_attributes", "object", "description"),
    "ordinal": ("event_attributes", "position", "ordinal"),
}
_MAY_BE_BLANK = ("timestamp", "hits", "action_name")


def staged(paths: Sequence[Path], room: Path) -> pl.LazyFrame:
    """Read every line of the files once, in order, and store them as Parquet.

    Columns: kind; the names of `_PLACES`, blank ones null (ordinal is a float); time, the timestamp, numbers as ms;
    place, which grows from line to line over all files; `FILE` and `ROW`.

    Args:
        paths: the files.
        room: the folder for the Parquet files.

    Raises:
        DataError: a line that is broken, with its number.
        OSError: the disk is full.
    """
    for number, path in enumerate(paths):
        lines_used = room / f"{number:06}.parquet"
        with reading(path):
            try:
                write_table(_rows(path).with_columns(place=pl.lit(number << 40) + pl.col(ROW)), lines_used)
            except pl.exceptions.PolarsError:
                _refuse_shapes(path)
                raise
    return pl.scan_parquet([room / f"{number:06}.parquet" for number in range(len(paths))])


def _rows(path: Path) -> pl.LazyFrame:
    frame = pl.scan_ndjson(path, schema=_SCHEMA, row_index_name=ROW, row_index_offset=1)
    read = {name: pl.coalesce(_at(place), _at(("_source", *place))) for name, place in _PLACES.items()}
    texts = {
        name: value if name in _MAY_BE_BLANK else pl.when(value.str.strip_chars() != "").then(value)
        for name, value in read.items()
    }
    bulk = pl.any_horizontal(pl.col(_BULK).is_not_null())
    has_query = read["user_query"].is_not_null() | read["query_response_id"].is_not_null() | read["hits"].is_not_null()
    kind = (
        pl.when(read["action_name"].is_null() & has_query)
        .then(pl.lit(QUERY))
        .when(read["action_name"].is_not_null() | read["item_id"].is_not_null())
        .then(pl.lit(EVENT))
        .when(bulk)
        .then(pl.lit(ACTION))
        .otherwise(pl.lit(NEITHER))
    )
    rows = frame.select(
        kind.alias("kind"), pl.col(ROW).cast(pl.Int64), *(value.alias(name) for name, value in texts.items())
    )
    time = cast("pl.Expr", as_times("timestamp", pl.String(), "ms"))
    return rows.with_columns(
        pl.col("ordinal").cast(pl.Float64, strict=False),
        time.alias("time"),
        pl.lit(path.name).alias(FILE),
    )


def _at(place: Sequence[str]) -> pl.Expr:
    value = pl.col(place[0])
    for name in place[1:]:
        value = value.struct.field(name)
    return value


def _refuse_shapes(path: Path) -> None:
    """Raise for the first line with a field of another shape than UBI's, if there is one."""
    shapes: dict[tuple[str, ...], type] = {("query_response_hit_ids",): list, ("event_attributes",): dict}
    shapes |= {("event_attributes", name): dict for name in ("object", "position")}
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                return  # a broken line; that has an error of its own
            for place, shape in shapes.items():
                value = row.get("_source") or row if isinstance(row, dict) else None
                for name in place:
                    value = value.get(name) if isinstance(value, dict) else None
                if value is not None and not isinstance(value, shape):
                    expected = "a JSON array" if shape is list else "a JSON object"
                    raise DataError(
                        f"{'.'.join(place)} has another shape than UBI's",
                        where=f"{path} line {number}",
                        got=repr(value)[:80],
                        expected=expected,
                    )
