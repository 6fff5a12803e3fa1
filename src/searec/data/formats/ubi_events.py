"""What becomes of each line of a UBI log: a search, a part of one, an interaction, or nothing."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from searec.data.events import EventWeights
from searec.data.formats.base import FILE, ROW, Outcome
from searec.data.formats.ubi_rows import ACTION, EVENT, QUERY
from searec.data.log import write_table
from searec.errors import SettingsError

CLICKED, FEED, SHOWN, SEARCH, NONE = USES = ("clicked", "interactions", "shown", "search", "none")
"""What an action may be taken for: clicked in its search (an interaction if it has none), an interaction in any case,
shown in its search, a search whose words are the event's message, or nothing."""
IMPRESSION, FEEDBACK = "impression", "user_feedback"
"""Actions that are not read by their weight: what was shown, and a judgement whose message says which."""
INTERACTION = "INTERACTION"
"""The message_type of events without a query that searec wrote, which are interactions whatever their action."""
USED = ("clicked in a search", "shown by a search", "interaction", "search")

_QUERY_MESSAGE = "QUERY"  # the standard's message_type of an event whose message is what the user searches for
_NO_ITEMS = ("click_location", "filter_data", "sort_event")  # object_id_field of objects of the page
_JUDGED_BAD, _JUDGED_GOOD = r"(?i)\b(?:no|not relevant|irrelevant|false)\b", r"(?i)\b(?:yes|relevant|true)\b"
_BAD, _GOOD = "relevance_no", "relevance_yes"
_BULK = "left out as bulk actions, which name an index"
_WORDLESS = "left out as queries without words"
_REPEATED_QUERY = "merged into the search of the same id and words"
_REPEATED_EVENT = "merged into the interaction that they repeat"
_RULES = {
    "clicked in a search": "merged into their search as clicks",
    "shown by a search": "merged into their search as items shown",
    "repeats the words of its query": "merged into the query whose words they repeat",
    "search without words": "left out as searches without words",
    "no item": "left out as events without an item",
    "shown outside a search": "left out as impressions outside a search",
    "left out": "left out as events that say nothing of an item",
}
"""What became of an event -> the rule, for events that are in no row of a table."""


def uses_of(mapping: Mapping[str, str]) -> dict[str, str]:
    """Return what the user says that actions mean, by action in lower case.

    Args:
        mapping: of the import; "actions.NAME" -> one of `USES`.

    Raises:
        SettingsError: a use that does not exist.
    """
    uses = {}
    for target, use in mapping.items():
        if target.startswith("actions."):
            if use not in USES:
                raise SettingsError(f"unknown use of {target!r}", where="--map", got=use, expected=" or ".join(USES))
            uses[target.removeprefix("actions.").lower()] = use
    return uses


def stored(frame: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """Return a frame that is read often, from a file.

    Args:
        frame: the frame.
        path: the file to write.
    """
    write_table(frame, path)
    return pl.scan_parquet(path)


def linked(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return client_id and `linked`, the user, of each client who is one user's wherever a user is named."""
    pairs = rows.select("client_id", linked="user_id").drop_nulls().unique()
    return (
        pairs.group_by("client_id")
        .agg(pl.col("linked").first(), pl.len())
        .filter(pl.col("len") == 1)
        .select("client_id", "linked")
    )


def keyed(rows: pl.LazyFrame, notes: list[str]) -> pl.LazyFrame:
    """Return queries and events with search_id, and `key`, which also parts the users of one query_id.

    A search goes by its query_id, or without one by where it stands.

    Args:
        rows: as `ubi_rows.staged` gives them.
        notes: gets a note on query ids that several clients use.
    """
    place = pl.concat_str([FILE, pl.col(ROW).cast(pl.String)], separator=" ")
    rows = rows.filter(pl.col("kind").is_in([QUERY, EVENT])).with_columns(search_id=pl.coalesce("query_id", place))
    client = pl.coalesce("client_id", "user_id")
    several = (client.min() != client.max()) | (pl.col("user_id").min() != pl.col("user_id").max())
    shared = (
        rows.filter(pl.col("query_id").is_not_null())
        .group_by("query_id")
        .agg(several.alias("several"))
        .filter("several")
        .select("query_id")
        .sort("query_id")
        .collect(engine="streaming")
    )
    if shared.is_empty():
        return rows.with_columns(key="search_id")
    part = rows.join(shared.lazy(), on="query_id", how="semi", maintain_order="left")
    user = pl.col("user_id").drop_nulls()
    of_query = part.group_by("query_id", "client_id").agg(
        of_query=pl.when(user.n_unique() == 1).then(user.first()),
    )
    owner = pl.coalesce("user_id", "of_query", "linked", "client_id")
    owners = (
        part.join(of_query, on=["query_id", "client_id"], how="left", maintain_order="left")
        .join(linked(rows), on="client_id", how="left", maintain_order="left")
        .with_columns(owner=owner)
        .sort(pl.col("kind") != QUERY, "time", "place", nulls_last=True)
        .with_columns(owner=pl.coalesce("owner", pl.col("owner").drop_nulls().first().over("query_id")))
        .select("place", "query_id", "owner")
        .collect()
    )
    parted = owners.group_by("query_id").agg(pl.col("owner").n_unique()).filter(pl.col("owner") > 1)["query_id"].sort()
    if len(parted):
        notes.append(
            f"{len(parted):,} query_id {'is' if len(parted) == 1 else 'are'} used by several users, such as "
            f"{parted[0]!r}: the queries and clicks of each are searches of their own"
        )
    rows = rows.join(owners.lazy().select("place", "owner"), on="place", how="left", maintain_order="left")
    return rows.with_columns(key=pl.concat_str("search_id", "owner", separator="\x1f", ignore_nulls=True))


def accounted(
    rows: pl.LazyFrame, uses: Mapping[str, str], weights: EventWeights, room: Path
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Return every event with its use in `became`, and the searches: query rows with words, and events in place of one.

    Args:
        rows: as `keyed` gives them.
        uses: as `uses_of` gives them.
        weights: of events; what is negative is an interaction, what is neutral is left out.
        room: the folder for files.
    """
    queries = rows.filter((pl.col("kind") == QUERY) & pl.col("user_query").is_not_null()).with_columns(
        query="user_query"
    )
    events = _named(rows.filter(pl.col("kind") == EVENT), uses)
    actions = events.select("event").unique().collect(engine="streaming")["event"].drop_nulls().to_list()
    declared = {action: use for action in actions if (use := _use(action, uses, weights)) is not None}
    by_name = pl.col("event").replace_strict(declared, default=None, return_dtype=pl.String)
    by_message = pl.when(pl.col("message_type") == _QUERY_MESSAGE).then(pl.lit(SEARCH))
    events = events.with_columns(use=pl.coalesce(by_name, by_message, pl.lit(CLICKED)))
    events = events.join(_marked(queries, "has_row"), on="key", how="left", maintain_order="left")
    item = pl.col("item_id").is_not_null() & ~pl.col("object_id_field").is_in(_NO_ITEMS).fill_null(False)
    written = item & (pl.col("message_type") == INTERACTION).fill_null(False) & pl.col("query_id").is_null()
    said = (pl.col("use") == SEARCH) & pl.col("message").is_not_null() & ~written
    alone = said & pl.col("has_row").is_null()
    searched = pl.concat([queries, events.filter(alone).with_columns(query="message")], how="diagonal")
    events = events.join(_marked(searched, "has_search"), on="key", how="left", maintain_order="left")
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
    return stored(events.with_columns(became=became), room / "events.parquet"), stored(
        searched, room / "searched.parquet"
    )


def _named(events: pl.LazyFrame, uses: Mapping[str, str]) -> pl.LazyFrame:
    """Events with the name of their kind in `event`: the action, or what the message of a judgement says."""
    if FEEDBACK in uses:
        return events.with_columns(event="action_name")
    message = pl.col("message")
    bad, good = message.str.contains(_JUDGED_BAD), message.str.contains(_JUDGED_GOOD)
    judged = pl.when(bad).then(pl.lit(_BAD)).when(good).then(pl.lit(_GOOD)).otherwise("action_name")
    is_feedback = pl.col("action_name").str.to_lowercase() == FEEDBACK
    return events.with_columns(event=pl.when(is_feedback).then(judged).otherwise("action_name"))


def _use(action: str, uses: Mapping[str, str], weights: EventWeights) -> str | None:
    """The use of an action; None where it says that an item was chosen, or that nobody knows."""
    name = action.lower()
    if name in uses:
        return uses[name]
    if name == IMPRESSION:
        return SHOWN
    if name == FEEDBACK:
        return NONE
    sign = weights.sign(action)
    return FEED if sign < 0 else NONE if sign == 0 else None


def _marked(searches: pl.LazyFrame, name: str) -> pl.LazyFrame:
    return searches.select("key").unique().with_columns(pl.lit(True).alias(name))


def account(events: pl.LazyFrame) -> pl.DataFrame:
    """Return how many events of each file and kind became what: became, `FILE`, event, len, and the first `line`."""
    line = pl.concat_str(pl.lit("line "), pl.col(ROW).cast(pl.String)).sort_by("place").first().alias("line")
    return (
        events.group_by("became", FILE, "event")
        .agg(pl.len(), line)
        .sort("became", FILE, "len", "event", descending=[False, False, True, False])
        .collect(engine="streaming")
    )


def outcomes(
    rows: pl.LazyFrame, events: pl.LazyFrame, searched: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame]
) -> tuple[tuple[Outcome, ...], list[str]]:
    """Return what became of lines that are in no row of a table, and notes on those that are.

    Args:
        rows: all lines.
        events: events with `became`.
        searched: lines that are searches, several of which may be one.
        tables: "interactions" and "searches" of the import.
    """
    counted = account(events)
    result: list[Outcome] = []
    for became, rule in _RULES.items():
        for (file,), group in counted.filter(became=became).group_by(FILE, maintain_order=True):
            example = f"{group['line'][0]}: {group['event'][0]}"
            result.append(Outcome(str(file), f"{rule} ({_listed(group)})", int(group["len"].sum()), example))
    line = pl.concat_str(pl.lit("line "), pl.col(ROW).cast(pl.String)).sort_by("place").first()
    lines = rows.with_columns(wordless=(pl.col("kind") == QUERY) & pl.col("user_query").is_null())
    by_kind = lines.group_by(FILE, "kind", "wordless").agg(pl.len(), line.alias("line")).collect(engine="streaming")
    for rule, chosen in ((_BULK, pl.col("kind") == ACTION), (_WORDLESS, pl.col("wordless"))):
        result += [
            Outcome(row[FILE], rule, row["len"], row["line"]) for row in by_kind.filter(chosen).sort(FILE).to_dicts()
        ]
    merged = (
        (_REPEATED_QUERY, searched, tables["searches"]),
        (_REPEATED_EVENT, events.filter(pl.col("became") == "interaction"), tables["interactions"]),
    )
    for rule, all_lines, table in merged:
        rest = all_lines.select(FILE, ROW, "place").join(table.select(FILE, ROW), on=[FILE, ROW], how="anti")
        by_file = rest.group_by(FILE).agg(pl.len(), line.alias("line")).sort(FILE).collect(engine="streaming")
        result += [Outcome(row[FILE], rule, row["len"], row["line"]) for row in by_file.to_dicts()]
    return tuple(result), _notes(by_kind, counted)


def _notes(by_kind: pl.DataFrame, counted: pl.DataFrame) -> list[str]:
    lines = dict(by_kind.group_by("kind").agg(pl.col("len").sum()).iter_rows())
    kinds = ", ".join(
        f"{lines.get(kind, 0):,} {name}"
        for kind, name in ((QUERY, "queries"), (EVENT, "events"), (ACTION, "bulk actions"))
    )
    totals = dict(counted.group_by("became").agg(pl.col("len").sum()).iter_rows())
    notes = [f"{sum(lines.values()):,} lines: {kinds}"]
    notes.append("of the events: " + ", ".join(f"{totals.get(name, 0):,} {name}" for name in USED))
    for became, what in (("interaction", "interactions"), ("search", "searches")):
        if totals.get(became):
            notes.append(f"events read as {what}: {_listed(counted.filter(became=became))}")
    return notes


def _listed(counted: pl.DataFrame) -> str:
    """The actions and their counts, the most frequent first."""
    by_event = counted.group_by("event").agg(pl.col("len").sum()).sort("len", "event", descending=[True, False])
    return ", ".join(f"{name or 'no action'} {count:,}" for name, count in by_event.iter_rows())
