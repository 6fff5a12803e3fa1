"""OpenSearch User Behavior Insights (UBI 1.3): the queries and events of a search box, as JSON lines."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from searec.data.convert import as_text
from searec.data.formats.base import FILE, ROW, ImportOptions, Raw, completed, split_mapping
from searec.data.formats.plain import ENDINGS as PLAIN
from searec.data.formats.plain import read_table
from searec.data.formats.ubi_rows import ACTION, ENDINGS, EVENT, NEITHER, QUERY, staged
from searec.data.log import REJECT_SCHEMA, write_table
from searec.data.schema import ITEMS, USERS
from searec.errors import DataError, SettingsError, StorageError

CLICKED, FEED, SHOWN, SEARCH, NONE = USES = ("clicked", "interactions", "shown", "search", "none")
"""What an action may be taken for: clicked in its search (an interaction if it has none), an interaction in any case,
shown in its search,
a search whose words are the event's message, or nothing."""
KNOWN = {
    "impression": SHOWN,
    **dict.fromkeys(("404_redirect", "brand_filter", "declined_product", "dislike", "global_click", "page_exit"), NONE),
    **dict.fromkeys(("product_hover", "product_sort", "remove_from_cart", "type_filter", "view_search_results"), NONE),
}
"""Actions that do not say that a user chose an item, by what they are taken for; any other with an object does."""
INTERACTION = "INTERACTION"
"""The message_type of events without a query that searec wrote, which are interactions whatever their action."""
_QUERY_MESSAGE = "QUERY"  # the standard's message_type of an event whose message is what the user searches for
_NO_ITEMS = ("click_location", "filter_data", "sort_event")  # object_id_field of objects of the page
_USED = ("clicked in a search", "shown by a search", "interaction", "search")
_EXPLAINED = {
    "repeats the words of its query": "events repeat the words of their query",
    "search without words": "events are searches without words",
    "no item": "events have no item and are left out",
    "shown outside a search": "impressions belong to no search and are left out",
    "left out": "events do not say that an item was chosen and are left out",
}


def read_ubi(source: Path, options: ImportOptions) -> Raw:
    """The tables of UBI logs, unread.

    Args:
        source: a file of JSON lines, or a folder of them, queries and events mixed or apart; a folder may also hold
            items and users as plain files (Parquet, CSV or JSON lines).
        options: the mapping is "items" or "users" -> file, "items.column" or "users.column" -> its column,
            "actions.NAME" -> one of `USES`.

    Raises:
        SettingsError: a mapping of something that does not exist.
        DataError: no such file or folder, or a line that is broken.
    """
    options.refuse_unused("ubi", "list_separator", "separator", "encoding")
    uses = _uses(options.mapping)
    plain = {target: source for target, source in options.mapping.items() if not target.startswith("actions.")}
    files, columns = split_mapping(plain, {table.name: [c.name for c in table.columns] for table in (ITEMS, USERS)})
    logs = _logs(source, files)
    room = Path(tempfile.mkdtemp(prefix="searec-ubi-"))
    try:
        given = _given(source, files, columns, room, options)
        raw = _raw(logs, given, uses, room)
    except BaseException as error:
        shutil.rmtree(room, ignore_errors=True)
        if isinstance(error, OSError):
            raise StorageError(
                "cannot write", where=room, got=error, remedy="free some space, or let TMPDIR name another folder"
            ) from error
        raise
    weakref.finalize(raw, shutil.rmtree, room, ignore_errors=True)
    return raw


def _raw(
    logs: Sequence[Path], given: Mapping[str, tuple[Path, pl.LazyFrame]], uses: Mapping[str, str], room: Path
) -> Raw:
    """The tables, from what is kept in the folder `room`."""
    rows = staged(logs, room)
    if not given and rows.head(1).collect().is_empty():
        raise DataError(
            "no queries and no events",
            where=logs[0].parent if len(logs) > 1 else logs[0],
            expected="UBI's, one JSON object a line",
        )
    events, searched = _accounted(rows, uses, room)
    notes = _notes(rows, events)
    tables = {"interactions": _interactions(rows, events, notes), "searches": _searches(rows, events, searched, room)}
    searches = {
        "items": logs[0],
        "interactions": logs[0],
        "searches": logs[0],
        **{name: path for name, (path, _) in given.items()},
    }
    notes += [
        f"no {table.name} file: {table.name} are the ids seen in queries and events"
        for table in (ITEMS, USERS)
        if table.name not in given
    ]
    tables["items"] = _items(given[ITEMS.name][1] if ITEMS.name in given else None, events, tables, notes)
    if USERS.name in given:
        tables["users"] = completed(given[USERS.name][1], "user_id", [tables["interactions"], tables["searches"]])
    bad = rows.filter(pl.col("kind") == NEITHER)
    rejects = bad.select(
        file=FILE, row=ROW, rule=pl.lit("neither query nor event"), value=pl.lit(None, dtype=pl.String)
    )
    return Raw(tables, searches, tuple(notes), rejects.cast(REJECT_SCHEMA))  # type: ignore[arg-type]


def _uses(mapping: Mapping[str, str]) -> dict[str, str]:
    uses = dict(KNOWN)
    for target, use in mapping.items():
        if target.startswith("actions."):
            if use not in USES:
                raise SettingsError(f"unknown use of {target!r}", where="--map", got=use, expected=" or ".join(USES))
            uses[target.removeprefix("actions.").lower()] = use
    return uses


def _logs(source: Path, files: Mapping[str, str]) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError("no such file or folder", where=source, expected="JSON lines of UBI queries and events")
    others = {
        *files.values(),
        *(table.name + ending for table in (ITEMS, USERS) for endings in PLAIN.values() for ending in endings),
    }
    logs = [
        path
        for path in sorted(source.iterdir())
        if path.name.endswith(ENDINGS) and path.name not in others and path.is_file()
    ]
    if not logs:
        got = ", ".join(sorted(path.name for path in source.iterdir())) or "an empty folder"
        raise DataError(
            "no UBI files",
            where=source,
            got=got,
            expected="queries and events as .ndjson, .jsonl or .json, or these with .gz",
        )
    return logs


def _given(
    source: Path,
    files: Mapping[str, str],
    columns: Mapping[str, Mapping[str, str]],
    room: Path,
    options: ImportOptions,
) -> dict[str, tuple[Path, pl.LazyFrame]]:
    """The files of items and users beside the logs, unread, their ids as text."""
    folder = source if source.is_dir() else source.parent
    given = {}
    for table in (ITEMS, USERS):
        named = [table.name + ending for endings in PLAIN.values() for ending in endings] if source.is_dir() else []
        named = [files[table.name]] if table.name in files else named
        there = [folder / name for name in named if (folder / name).is_file()]
        if len(there) > 1:
            got = ", ".join(path.name for path in there)
            raise DataError(
                f"two files for {table.name!r}", where=folder, got=got, remedy=f"--map {table.name}=FILE says which"
            )
        if not there and (table.name in files or columns[table.name]):
            raise DataError(
                "missing file",
                where=folder / files.get(table.name, table.name),
                remedy=f"--map {table.name}=FILE names another",
            )
        for path in there:
            frame = read_table(path, path.suffix, room, table, columns[table.name], options).frame
            key, schema = table.columns[0].name, frame.collect_schema()
            text = as_text(pl.col(key), schema[key]) if key in schema else None
            if text is None:
                raise DataError(
                    f"missing column {key!r}",
                    where=path,
                    got=", ".join(schema),
                    remedy=f"--map {table.name}.{key}=COLUMN names another",
                )
            given[table.name] = path, frame.with_columns(text.alias(key))
    return given


def _accounted(rows: pl.LazyFrame, uses: Mapping[str, str], room: Path) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Every event with its use in `became`, and the searches: query rows with words, and events that replace one.

    A search goes by its query_id, or without one by where it stands.
    """
    place = pl.concat_str([FILE, pl.col(ROW).cast(pl.String)], separator=" ")
    rows = rows.with_columns(search_id=pl.coalesce("query_id", place))
    queries = rows.filter((pl.col("kind") == QUERY) & pl.col("user_query").is_not_null()).with_columns(
        query="user_query"
    )
    declared = pl.col("action_name").str.to_lowercase().replace_strict(uses, default=None, return_dtype=pl.String)
    by_message = pl.when(pl.col("message_type") == _QUERY_MESSAGE).then(pl.lit(SEARCH))
    events = rows.filter(pl.col("kind") == EVENT).with_columns(use=pl.coalesce(declared, by_message, pl.lit(CLICKED)))
    events = events.join(_marked(queries, "has_row"), on="search_id", how="left", maintain_order="left")
    item = pl.col("item_id").is_not_null() & ~pl.col("object_id_field").is_in(_NO_ITEMS).fill_null(False)
    written = item & (pl.col("message_type") == INTERACTION).fill_null(False) & pl.col("query_id").is_null()
    said = (pl.col("use") == SEARCH) & pl.col("message").is_not_null() & ~written
    alone = said & pl.col("has_row").is_null()
    searched = pl.concat([queries, events.filter(alone).with_columns(query="message")], how="diagonal")
    events = events.join(_marked(searched, "has_search"), on="search_id", how="left", maintain_order="left")
    in_search = pl.col("has_search").is_not_null()
    became = (
        pl.when(written)
        .then(pl.lit("interaction"))
        .when(alone)
        .then(pl.lit("search"))
        .when(said)
        .then(pl.lit("repeats the words of its query"))
        .when(pl.col("use") == SEARCH)
        .then(pl.lit("search without words"))
        .when(~item)
        .then(pl.lit("no item"))
        .when(pl.col("use") == NONE)
        .then(pl.lit("left out"))
        .when((pl.col("use") == SHOWN) & in_search)
        .then(pl.lit("shown by a search"))
        .when(pl.col("use") == SHOWN)
        .then(pl.lit("shown outside a search"))
        .when((pl.col("use") == CLICKED) & in_search)
        .then(pl.lit("clicked in a search"))
        .otherwise(pl.lit("interaction"))
    )
    return _kept(events.with_columns(became=became), room / "events.parquet"), _kept(
        searched, room / "searched.parquet"
    )


def _kept(frame: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """A frame that is read often, from a file."""
    write_table(frame, path)
    return pl.scan_parquet(path)


def _marked(searches: pl.LazyFrame, name: str) -> pl.LazyFrame:
    return searches.select("search_id").unique().with_columns(pl.lit(True).alias(name))


def account(events: pl.LazyFrame) -> pl.DataFrame:
    """How many events of each action became what: became, action_name, len."""
    return (
        events.group_by("became", "action_name")
        .len()
        .sort("became", "len", "action_name", descending=[False, True, False])
        .collect(engine="streaming")
    )


def _notes(rows: pl.LazyFrame, events: pl.LazyFrame) -> list[str]:
    """What became of every line, with counts."""
    lines = dict(rows.group_by("kind").len().collect(engine="streaming").iter_rows())
    queries = rows.filter(pl.col("kind") == QUERY)
    wordless = pl.col("user_query").is_null().sum()
    key = pl.struct("query_id", "user_query").filter(
        pl.col("user_query").is_not_null() & pl.col("query_id").is_not_null()
    )
    empty, repeated = queries.select(wordless, key.len() - key.n_unique()).collect(engine="streaming").row(0)
    kinds = ", ".join(
        f"{lines.get(kind, 0):,} {name}"
        for kind, name in ((QUERY, "queries"), (EVENT, "events"), (ACTION, "bulk actions"))
    )
    notes = [f"{sum(lines.values()):,} lines: {kinds}"]
    if repeated:
        notes.append(f"{repeated:,} queries repeat the id and words of another: they are one search")
    if empty:
        notes.append(f"{empty:,} queries have no words and are no searches: what was chosen from them are interactions")
    counted = account(events)
    counts_by_use = counted.group_by("became").agg(pl.col("len").sum())
    totals = dict(counts_by_use.iter_rows())
    what = ", ".join(f"{totals.get(name, 0):,} {name}" for name in _USED)
    notes.append(f"of the events: {what}")
    for became, text in _EXPLAINED.items():
        of_use = counted.filter(became=became)
        if of_use.height:
            actions = ", ".join(f"{name} {count:,}" for name, count in of_use.select("action_name", "len").iter_rows())
            notes.append(f"{totals[became]:,} {text} ({actions})")
    return notes


def _user(linked: str = "linked") -> pl.Expr:
    return pl.coalesce("user_id", linked, "client_id").alias("user_id")


def _linked(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The user of each client who is known to be one user's: those rows of it that name nobody are that user's too."""
    pairs = rows.select("client_id", linked="user_id").drop_nulls().unique()
    return (
        pairs.group_by("client_id")
        .agg(pl.col("linked").first(), pl.len())
        .filter(pl.col("len") == 1)
        .select("client_id", "linked")
    )


def _interactions(rows: pl.LazyFrame, events: pl.LazyFrame, notes: list[str]) -> pl.LazyFrame:
    own_events = events.filter(pl.col("became") == "interaction").join(
        _linked(rows), on="client_id", how="left", maintain_order="left"
    )
    own_events = own_events.select(_user(), "item_id", "timestamp", pl.col("action_name").alias("event"), FILE, ROW)
    once = own_events.unique(["user_id", "item_id", "timestamp", "event"], keep="first", maintain_order=True)
    count, distinct = pl.concat([own_events.select(pl.len()), once.select(pl.len())]).collect(engine="streaming")["len"]
    if count > distinct:
        notes.append(f"{count - distinct:,} interactions repeat a whole event: they are kept once")
    return once


def _searches(rows: pl.LazyFrame, events: pl.LazyFrame, searched: pl.LazyFrame, room: Path) -> pl.LazyFrame:
    """One row for each id and words, in file order; clicks and results belong to the first words of an id."""
    early = ("time", "place")
    first = [pl.col(name).drop_nulls().first() for name in ("user_id", "client_id", "timestamp")]
    hits = pl.col("hits").drop_nulls()
    union = hits.explode().drop_nulls().unique(maintain_order=True)
    at = [pl.col(name).first() for name in (FILE, ROW, "place")]
    by_time = searched.sort(early, nulls_last=True).group_by("search_id", "query", maintain_order=True)
    searches = by_time.agg(*first, *at, hits=hits.first(), union=union, lists=pl.col("hits").count())
    searches = searches.with_columns(
        hits=pl.when(pl.col("lists") > 1).then("union").otherwise("hits"),
        number=pl.col("place").cum_count().over("search_id").cast(pl.Int64),
    )
    clicked = _items_by_search(events.filter(pl.col("became") == "clicked in a search"), "clicked", early)
    seen = _items_by_search(events.filter(pl.col("became") == "shown by a search"), "seen", ("ordinal", *early))
    own_events = events.filter(pl.col("has_search").is_not_null() & (pl.col("became") != "interaction")).sort(
        early, nulls_last=True
    )
    whose = own_events.group_by("search_id", maintain_order=True).agg(value.name.prefix("event_") for value in first)
    for part in (clicked, seen, whose):
        searches = searches.join(
            part.with_columns(number=pl.lit(1, dtype=pl.Int64)), on=["search_id", "number"], how="left"
        )
    identified = [pl.coalesce(name, f"event_{name}").alias(name) for name in ("user_id", "client_id", "timestamp")]
    searches = searches.with_columns(identified).join(_linked(rows), on="client_id", how="left").sort("place")
    shown = pl.when(pl.col("seen").is_null()).then("hits").when(pl.col("hits").is_null()).then("seen")
    all_shown = shown.otherwise(pl.concat_list("hits", "seen").list.unique(maintain_order=True))
    name = pl.when(pl.col("number") == 1).then("search_id").otherwise(pl.concat_str("search_id", pl.lit("#"), "number"))
    columns_of = searches.select(
        name.alias("search_id"), _user(), "query", "timestamp", "clicked", all_shown.alias("shown"), FILE, ROW
    )
    counts_by_use = _kept(columns_of, room / "searches.parquet")
    said = counts_by_use.select(pl.col("shown").is_not_null().any()).collect(engine="streaming").item()
    return counts_by_use if said else counts_by_use.drop("shown")


def _items_by_search(events: pl.LazyFrame, name: str, order: Sequence[str]) -> pl.LazyFrame:
    """The items of each search's events, in order, each once."""
    once = events.sort(order, nulls_last=True).unique(["search_id", "item_id"], keep="first", maintain_order=True)
    return once.group_by("search_id", maintain_order=True).agg(pl.col("item_id").alias(name))


def _items(
    given: pl.LazyFrame | None, events: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame], notes: list[str]
) -> pl.LazyFrame:
    """The given catalogue and what was chosen beside it, else all chosen or shown. Titles from events, else the id."""
    seen = [tables["interactions"], tables["searches"].select(pl.col("clicked").explode().alias("item_id"))]
    if given is None:
        if "shown" in tables["searches"].collect_schema():
            seen.append(tables["searches"].select(pl.col("shown").explode().alias("item_id")))
        given = pl.LazyFrame(schema={"item_id": pl.String, "title": pl.String})
    schema = given.collect_schema()
    title = as_text(pl.col("title"), schema["title"]) if "title" in schema else None
    title = pl.lit(None, dtype=pl.String) if title is None else pl.when(title.str.strip_chars() != "").then(title)
    counts_by_use = events.filter(
        pl.col("item_id").is_not_null() & pl.col("description").is_not_null() & pl.col("became").is_in(_USED)
    )
    about = counts_by_use.group_by("item_id").agg(about=pl.col("description").sort_by("place").first())
    items = completed(given.with_columns(title.alias("title")), "item_id", seen).join(
        about, on="item_id", how="left", maintain_order="left"
    )
    untitled = pl.col("title").is_null()
    described = pl.col("about").is_not_null()
    said, bare = (
        items.select(said=(untitled & described).sum(), bare=(untitled & ~described).sum())
        .collect(engine="streaming")
        .row(0)
    )
    if said or bare:
        notes.append(f"titles: {said:,} items go by the description of their events, {bare:,} by their id")
    return items.with_columns(title=pl.coalesce("title", "about", "item_id")).drop("about")
