"""A dataset folder as UBI 1.3: queries and events as bulk-index lines for OpenSearch, the rest as JSON lines."""

from collections.abc import Mapping

import polars as pl

from searec.data.formats.ubi_events import INTERACTION

LOG_FILE = "ubi_queries_events.ndjson"
APPLICATION = "searec"
_UTC = "%Y-%m-%dT%H:%M:%S%.6fZ"


def write_ubi(tables: Mapping[str, pl.LazyFrame], name: str) -> dict[str, pl.LazyFrame]:
    """Return the lines of each file of a dataset folder, by file name.

    A search is a query row whose hits are the items shown, and a click event for each clicked item, at its time; an
    interaction is an event without a query. A position counts from 1; 0 where it is not known.

    Args:
        tables: the folder's tables.
        name: not used by this format.
    """
    searches, interactions = tables["searches"], tables["interactions"]
    lines = [_queries(searches), _clicks(searches), _interactions(interactions)]
    files = {LOG_FILE: pl.concat(lines)}
    for table in ("items", "users"):
        schema = tables[table].collect_schema()
        columns = [pl.col(n).bin.encode("base64") if dtype == pl.Binary else pl.col(n) for n, dtype in schema.items()]
        files[f"{table}.ndjson"] = tables[table].select(pl.struct(columns).struct.json_encode().alias("line"))
    return files


def _queries(searches: pl.LazyFrame) -> pl.LazyFrame:
    fields = [
        pl.lit(APPLICATION).alias("application"),
        pl.col("search_id").alias("query_id"),
        pl.col("user_id").alias("client_id"),
        pl.col("user_id"),
        pl.col("query").alias("user_query"),
        pl.col("timestamp").dt.to_string(_UTC),
    ]
    plain = pl.struct(fields).struct.json_encode()
    if "shown" not in searches.collect_schema():
        return searches.select(_indexed("ubi_queries", plain))
    whole = pl.struct(*fields, pl.col("shown").alias("query_response_hit_ids")).struct.json_encode()
    return searches.select(_indexed("ubi_queries", pl.when(pl.col("shown").is_null()).then(plain).otherwise(whole)))


def _clicks(searches: pl.LazyFrame) -> pl.LazyFrame:
    clicks = searches.select("search_id", "user_id", "timestamp", item_id="clicked").explode(
        "item_id", empty_as_null=False, keep_nulls=False
    )
    place = pl.lit(0, dtype=pl.Int64)
    if "shown" in searches.collect_schema():
        shown = searches.select(
            "search_id",
            place=pl.int_ranges(1, pl.col("shown").list.len().fill_null(0).cast(pl.Int64) + 1),
            item_id="shown",
        )
        shown = (
            shown.explode("place", "item_id", empty_as_null=False, keep_nulls=False)
            .group_by("search_id", "item_id")
            .agg(pl.col("place").min())
        )
        clicks = clicks.join(shown, on=["search_id", "item_id"], how="left", maintain_order="left")
        place = pl.col("place").fill_null(0)
    event = _event(pl.lit("click"), place, pl.col("search_id").alias("query_id"))
    return clicks.select(_indexed("ubi_events", event))


def _interactions(interactions: pl.LazyFrame) -> pl.LazyFrame:
    event = _event(pl.col("event"), pl.lit(0), pl.lit(INTERACTION).alias("message_type"))
    return interactions.select(_indexed("ubi_events", event))


def _event(action: pl.Expr, place: pl.Expr, more: pl.Expr) -> pl.Expr:
    about = pl.struct(object=pl.struct(object_id="item_id"), position=pl.struct(ordinal=place))
    fields = [
        pl.lit(APPLICATION).alias("application"),
        action.alias("action_name"),
        pl.col("user_id").alias("client_id"),
        pl.col("user_id"),
        pl.col("timestamp").dt.to_string(_UTC),
        about.alias("event_attributes"),
        more,
    ]
    return pl.struct(fields).struct.json_encode()


def _indexed(index: str, document: pl.Expr) -> pl.Expr:
    """A bulk action and its document, as two lines."""
    return pl.concat_str(pl.lit('{"index": {"_index": "' + index + '"}}\n'), document).alias("line")
