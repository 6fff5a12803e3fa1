"""The lines of UBI files (schema 1.3.0) by kind: a query, an event, a bulk-index action, or none of these."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import polars as pl

from searec.data.convert import as_times, time_facts
from searec.data.formats.base import FILE, ROW, reading
from searec.data.formats.object_lines import FAULT, LINE, decoded, scan_lines
from searec.data.log import write_table

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
_HITS = ("query_response_hit_ids", "query_response_object_ids")
"""The items that a query returned: the name of UBI 1.x, and that of logs of the plugin's first versions."""
_FIELDS: dict[str, pl.DataType] = {
    **dict.fromkeys(_TEXTS, pl.String()),
    **dict.fromkeys(_HITS, pl.List(pl.String)),
    "event_attributes": _ATTRIBUTES,
}
# `_source` holds the document in a line of a scroll or of elasticdump. Any field else is not read, whatever its type.
_SCHEMA: dict[str, pl.DataType] = {**_FIELDS, **dict.fromkeys(_BULK, pl.String()), "_source": pl.Struct(_FIELDS)}
_PLACES = {
    **{name: (name,) for name in (*_TEXTS, *_HITS)},
    "item_id": ("event_attributes", "object", "object_id"),
    "object_id_field": ("event_attributes", "object", "object_id_field"),
    "description": ("event_attributes", "object", "description"),
    "ordinal": ("event_attributes", "position", "ordinal"),
}
_MAY_BE_BLANK = ("timestamp", "action_name")
_NEITHER_RULE = "neither query nor event"


def staged(paths: Sequence[Path], room: Path) -> pl.LazyFrame:
    """Read every line of the files once, in order, and store them as Parquet.

    Columns: kind; the names of `_PLACES`, blank ones null (ordinal is a float), the items returned as `hits`; time,
    the timestamp, numbers as ms; place, which grows from line to line over all files; `FILE` and `ROW`; `FAULT` and
    `LINE`, the rule that a line of the kind `NEITHER` breaks and its beginning.

    Args:
        paths: the files.
        room: the folder for the Parquet files.

    Raises:
        DataError: a file that cannot be read to its end or is not UTF-8.
        OSError: the disk is full.
    """
    for number, path in enumerate(paths):
        with reading(path):
            rows = _rows(path).with_columns(place=pl.lit(number << 40) + pl.col(ROW))
            write_table(rows, room / f"{number:06}.parquet")
    rows = pl.scan_parquet([room / f"{number:06}.parquet" for number in range(len(paths))])
    facts = time_facts(rows, "timestamp", paths[0], is_unit_given=True)
    time = cast("pl.Expr", as_times("timestamp", pl.String(), "ms", facts=facts))
    return rows.with_columns(time.alias("time"))


def _rows(path: Path) -> pl.LazyFrame:
    frame = decoded(scan_lines(path), _SCHEMA)
    read = {name: pl.coalesce(_at(place), _at(("_source", *place))) for name, place in _PLACES.items()}
    hits = pl.coalesce(read.pop(name) for name in _HITS).alias("hits")
    texts = {
        name: value if name in _MAY_BE_BLANK else pl.when(value.str.strip_chars() != "").then(value)
        for name, value in read.items()
    }
    bulk = pl.any_horizontal(pl.col(_BULK).is_not_null())
    has_query = read["user_query"].is_not_null() | read["query_response_id"].is_not_null() | hits.is_not_null()
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
        kind.alias("kind"),
        pl.col(ROW).cast(pl.Int64),
        hits,
        *(value.alias(name) for name, value in texts.items()),
        FAULT,
        LINE,
    )
    neither = pl.col("kind") == NEITHER
    return rows.with_columns(
        pl.col("ordinal").cast(pl.Float64, strict=False),
        pl.lit(path.name).alias(FILE),
        pl.when(neither).then(pl.col(FAULT).fill_null(pl.lit(_NEITHER_RULE))).alias(FAULT),
    )


def _at(place: Sequence[str]) -> pl.Expr:
    value = pl.col(place[0])
    for name in place[1:]:
        value = value.struct.field(name)
    return value
