"""Writes the event store as a dataset folder, to train on what happened: see docs/events.md."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from searec.data.events import CLICK, EventWeights, match_key
from searec.data.importing import REJECTS_FILE, refuse_out
from searec.data.log import REJECT_SCHEMA, load_log, open_folder, write_table
from searec.data.remote import read_text, refuse_url
from searec.data.schema import ITEMS, SEARCHES, TABLES, TIME, USERS
from searec.data.text_settings import TextSettings
from searec.errors import DataError
from searec.files import replacing
from searec.store.events import SEARCH, Event, ItemChange
from searec.store.upserts import Put, replaced

EVENTS_FILE = "events.json"
_PAGE = 20_000
_SCHEMA = {
    "number": pl.Int64(),
    "event_id": pl.String(),
    "user": pl.String(),
    "kind": pl.String(),
    "time": pl.Int64(),
    "item": pl.String(),
    "query": pl.String(),
    "search": pl.String(),
    "clicked": pl.List(pl.String),
    "shown": pl.List(pl.String),
}
_ROW = ["user_id", "item_id", "timestamp", "event"]


class Exported(Protocol):
    """What an export reads of an event store."""

    def all_events(self, *, after: int = 0, count: int = 10_000) -> list[Event]:
        """Return events by number.

        Args:
            after: the last number that is left out.
            count: events at most.
        """
        ...

    def items_since(self, number: int) -> list[ItemChange]:
        """Return items that have changed."""
        ...

    def all_users(self) -> dict[str, dict[str, object]]:
        """Return every user who was put."""
        ...


class _Tables(NamedTuple):
    items: pl.DataFrame
    users: pl.DataFrame
    interactions: pl.DataFrame
    searches: pl.DataFrame


def export(data_folder: Path | str, store: Exported, out: Path | str, *, now: datetime | None = None) -> dict[str, int]:
    """Write a dataset folder and everything in the store as a new dataset folder.

    A click with a known search of the same user becomes one of its clicked items; any other event is an interaction.
    Events that break a rule of the dataset folder are left out and listed in rejects.parquet, with their number as the
    row. Where `data_folder` is itself an export, only events after it are added.

    Args:
        data_folder: the dataset so far.
        store: the events, items and users since.
        out: the folder to write; replaced as a whole.
        now: times after this are rejects; the current time by default.

    Returns:
        items, users, interactions, searches: rows written. events: read from the store. clicked: of them, in searches.
        rejects: rules broken. number: up to which the store was read.

    Raises:
        DataError: the dataset folder breaks a rule, or OUT is something else. OUT is as it was.
        StorageError: the store cannot be read, or the disk is full. OUT is as it was.
    """
    refuse_url(data_folder)
    folder, out, now = Path(data_folder), Path(out), now or datetime.now(UTC)
    refuse_out(folder, out, EVENTS_FILE)
    weights = EventWeights.read(folder)
    load_log(folder, now=now)
    start = exported_up_to(folder)
    events = _read(store, start)  # before items and users, which are then at least as new
    changes = store.items_since(0)
    tables, rejects, clicked = _joined(_base(folder), events, changes, store.all_users(), now)
    number = start if events.is_empty() else int(events["number"][-1])
    with replacing(out) as beside:
        beside.mkdir()
        for table in TABLES:
            write_table(getattr(tables, table.name), beside / table.file)
        weights.write(beside)
        TextSettings.read(folder).write(beside)
        if rejects.height:
            write_table(rejects, beside / REJECTS_FILE)
        (beside / EVENTS_FILE).write_text(
            json.dumps({"number": number, "events": events.height}) + "\n", encoding="utf-8"
        )
        load_log(beside, now=now)
    counts = {table.name: getattr(tables, table.name).height for table in TABLES}
    return {**counts, "events": events.height, "clicked": clicked, "rejects": rejects.height, "number": number}


def exported_up_to(folder: Path | str) -> int:
    """Return the number up to which a dataset folder holds the events of a store; 0 if it was never exported.

    Raises:
        DataError: its events.json is something else.
    """
    path = f"{folder}/{EVENTS_FILE}"
    try:
        text = read_text(folder, EVENTS_FILE)
        if text is None:
            return 0
        number = json.loads(text)["number"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        number = error
    if type(number) is not int or number < 0:
        raise DataError(
            "not the mark of an export", where=path, got=repr(number), expected='{"number": N, "events": N}'
        )
    return number


def _read(store: Exported, after: int) -> pl.DataFrame:
    """Return the events above a number, by number."""
    pages = [pl.DataFrame(schema=_SCHEMA)]
    while page := store.all_events(after=after, count=_PAGE):
        pages.append(_frame(page))
        after = page[-1].number
    return pl.concat(pages)


def _frame(events: Sequence[Event]) -> pl.DataFrame:
    return pl.DataFrame({name: [getattr(event, name) for event in events] for name in _SCHEMA}, schema=_SCHEMA)


def _base(folder: Path) -> _Tables:
    """Return the tables of a folder; interactions and searches without other columns."""
    read = []
    for table, frame in zip(TABLES, open_folder(folder).values(), strict=True):
        names = frame.collect_schema().names()
        columns = [column.name for column in table.columns if column.name in names]
        read.append(frame.collect() if table in (ITEMS, USERS) else frame.select(columns).collect())
    return _Tables(*read)


def _joined(
    base: _Tables,
    events: pl.DataFrame,
    changes: Sequence[ItemChange],
    put_users: dict[str, dict[str, object]],
    now: datetime,
) -> tuple[_Tables, pl.DataFrame, int]:
    """Return the tables with everything added, the rejects, and how many clicks became part of a search."""
    put = [Put(change.item, change.about, change.number) for change in changes if change.about]
    items, bad_items = replaced(base.items, ITEMS, put)
    users, bad_users = replaced(base.users, USERS, [Put(user, about) for user, about in put_users.items()])
    rejects = [bad_items, bad_users]

    def leave_out(frame: pl.DataFrame, bad: pl.Series, rule: str, value: str) -> pl.DataFrame:
        rejects.append(_rejected(frame.filter(bad), rule, value))
        return frame.filter(~bad)

    events = events.with_columns(pl.col("time").cast(TIME).alias("timestamp"))
    good = leave_out(events, events["timestamp"] > now, "no valid time", "timestamp")
    feed, queries = good.filter(pl.col("kind") != SEARCH), good.filter(pl.col("kind") == SEARCH)
    feed = leave_out(feed, ~feed["item"].is_in(items["item_id"].implode()), "unknown item", "item")
    queries = leave_out(
        queries, queries["event_id"].is_in(base.searches["search_id"].implode()), "duplicate search_id", "event_id"
    )
    queries, bad_clicks = _clicked_in(queries, items["item_id"])
    rejects.append(bad_clicks)

    shown = pl.when(pl.col("shown").list.len() > 0).then("shown").alias("shown")  # null where nobody said
    searches = queries.select("query", "timestamp", "clicked", shown, search_id="event_id", user_id="user")
    if "shown" not in base.searches.columns and searches["shown"].is_null().all():
        searches = searches.drop("shown")
    searches = pl.concat([base.searches, searches], how="diagonal").with_columns(pl.col("clicked").fill_null([]))
    searches = searches.select(column.name for column in SEARCHES.columns if column.name in searches.columns)
    owner = searches.select("search_id", "user_id")
    of_clicks = [kind for kind in feed["kind"].unique() if match_key(kind) == CLICK]
    search_clicks = feed.filter(pl.col("kind").is_in(of_clicks)).join(
        owner, left_on=["search", "user"], right_on=["search_id", "user_id"], how="semi"
    )
    rest = feed.join(search_clicks.select("number"), on="number", how="anti", maintain_order="left")

    added = rest.select("number", "timestamp", user_id="user", item_id="item", event="kind").select("number", *_ROW)
    interactions = pl.concat([base.interactions, added], how="diagonal")
    twice = ~interactions.select(pl.struct(_ROW).is_first_distinct()).to_series() & interactions["number"].is_not_null()
    interactions = leave_out(interactions, twice, "duplicate row", "item_id").drop("number")
    if "weight" in interactions.columns:
        interactions = interactions.with_columns(pl.col("weight").fill_null(1.0))

    searches = _with_clicks(searches, search_clicks)
    seen = (
        events.select(pl.col("user").alias("user_id"))
        .unique(maintain_order=True)
        .join(users, on="user_id", how="anti", maintain_order="left")
    )
    users = pl.concat([users, seen], how="diagonal")
    mentioned = pl.concat([interactions["item_id"], searches["clicked"].explode().drop_nulls()]).unique()
    removed = pl.Series([change.item for change in changes if change.removed], dtype=pl.String)
    items = items.filter(~pl.col("item_id").is_in(removed.implode()) | pl.col("item_id").is_in(mentioned.implode()))
    return _Tables(items, users, interactions, searches), pl.concat(rejects), search_clicks.height


def _clicked_in(queries: pl.DataFrame, known: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return searches with the known items they were reported with, each once; and the others as rejects."""
    each = queries.select("number", "clicked").explode("clicked").drop_nulls()
    fine = each["clicked"].is_in(known.implode())
    known_clicks = (
        each.filter(fine).group_by("number", maintain_order=True).agg(pl.col("clicked").unique(maintain_order=True))
    )
    whole = queries.drop("clicked").join(known_clicks, on="number", how="left", maintain_order="left")
    return whole.with_columns(pl.col("clicked").fill_null([])), _rejected(
        each.filter(~fine), "unknown clicked item", "clicked"
    )


def _with_clicks(searches: pl.DataFrame, search_clicks: pl.DataFrame) -> pl.DataFrame:
    """Return searches with the items that were clicked in them afterwards, by time, each once."""
    clicks = (
        search_clicks.sort("timestamp", "number")
        .group_by("search", maintain_order=True)
        .agg(pl.col("item").alias("more"))
    )
    joined = searches.join(clicks, left_on="search_id", right_on="search", how="left", maintain_order="left")
    both = pl.concat_list("clicked", "more").list.unique(maintain_order=True)
    return joined.with_columns(pl.when(pl.col("more").is_null()).then("clicked").otherwise(both).alias("clicked")).drop(
        "more"
    )


def _rejected(frame: pl.DataFrame, rule: str, value: str) -> pl.DataFrame:
    """Return rejects of events: their number as the row."""
    shown = pl.col(value).cast(pl.String).alias("value")
    rejects = frame.select(
        pl.lit("events").alias("file"), pl.col("number").alias("row"), pl.lit(rule).alias("rule"), shown
    )
    return rejects.cast(REJECT_SCHEMA)  # type: ignore[arg-type]
