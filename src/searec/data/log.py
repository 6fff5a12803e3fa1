"""From the four tables of a dataset folder to a checked Log: every row either obeys the rules or is a reject.

The rules (design: the dataset folder): ids are known and not empty, keys and rows are unique, queries
and titles hold text, times are times between 1970 and now. All of it is whole-column work in Polars.
"""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from searec.data.events import EventWeights
from searec.data.schema import INTERACTIONS, ITEMS, SEARCHES, TABLES, USERS, Kind, Table, as_kind
from searec.data.tables import damaged, in_shards, local_folder, scan_table
from searec.data.text_settings import TextSettings
from searec.errors import DataError

REJECT_SCHEMA = {"file": pl.String, "row": pl.Int64, "rule": pl.String, "value": pl.String}
_SHOWN_REJECTS = 5
_SHOWN_MEMBERS = 5
_CLEAN_COPY = "mend them, or 'searec import parquet SRC OUT --drop-bad' writes a clean copy and rejects.parquet"
_NUMBER = "\ue000number"
"""Column of a row's number while rules are applied. No source has it: its first character is for private use."""
BROKEN_LIST = "\ue000broken "
"""Before the name of a column of lists: the text where a list could not be read, which is a reject; else null."""
NOT_JSON = " holds a list that is not JSON"
"""After the name of a column: the rule that such a list breaks."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Log:
    """The four tables, rows that break a rule left out, ids already internal ids (1..N, Int32).

    items, users: sorted by id (code points), so that row n holds internal id n whatever the order of files and rows.
    interactions: user, item, time (Int64 microseconds since 1970, UTC), event (Enum of the names that occur, sorted),
        weight (Float32, see `data.events`).
    searches: search_id, user, query, time, clicked (List(Int32)) and, where the table has it, shown (List(Int32), in
        the order of the page, null where an item is unknown).
    rejects: file, row (1-based data row), rule, value; one line for each broken rule.
    rows: rows read, by table.
    event_weights: the weights of events that `weight` comes from.
    text: how texts are read.
    """

    items: pl.DataFrame
    users: pl.DataFrame
    interactions: pl.DataFrame
    searches: pl.DataFrame
    rejects: pl.DataFrame
    rows: dict[str, int]
    event_weights: EventWeights = field(default_factory=EventWeights)
    text: TextSettings = field(default_factory=TextSettings)


def open_folder(folder: Path) -> dict[str, pl.LazyFrame]:
    """Return the tables of a folder on this machine, unread; columns and types are checked and made searec's.

    Raises:
        DataError: no such folder, a missing or damaged file, a missing column, a wrong type.
    """
    if not folder.is_dir():
        raise DataError(
            "no such dataset folder", where=folder, expected="a folder with " + ", ".join(t.file for t in TABLES)
        )
    return {table.name: scan_table(folder, table) for table in TABLES}


def read_folder(folder: Path, *, now: datetime | None = None) -> Log:
    """Read a dataset folder on this machine, rejects and all; they name the shard and the row within it.

    Args:
        folder: the dataset folder.
        now: times after this are rejects; the current time by default.

    Raises:
        DataError: what `open_folder` raises.
    """
    log = read_log(open_folder(folder), now=now, event_weights=EventWeights.read(folder))
    return dataclasses.replace(log, rejects=in_shards(log.rejects, folder), text=TextSettings.read(folder))


def write_table(frame: pl.LazyFrame | pl.DataFrame, path: Path) -> None:
    """Write one table as Parquet, rows in order, without holding a lazy one in memory.

    Args:
        frame: the table.
        path: the file to write.

    Raises:
        OSError: the disk is full.
    """
    with writing(path):
        frame.lazy().sink_parquet(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, which Polars calls a ComputeError, into the OSError it is.

    Raises:
        OSError: the disk is full.
    """
    try:
        yield
    except pl.exceptions.ComputeError as error:
        if disk_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def disk_full(error: Exception) -> bool:
    """Return whether an error, of Python or of Polars, says that the disk (or the user's share of it) is full."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return (isinstance(error, OSError) and error.errno in full) or any(
        f"(os error {number})" in str(error) for number in full
    )


@dataclass(frozen=True)
class _Rule:
    """One rule of a table.

    Attributes:
        name: what a row that breaks it is called.
        broken: true for a row that breaks it; null counts as broken.
        shown: the column whose value a reject shows.
    """

    name: str
    broken: pl.Expr
    shown: str


def read_log(
    tables: Mapping[str, pl.LazyFrame],
    files: Mapping[str, str] | None = None,
    *,
    now: datetime | None = None,
    event_weights: EventWeights | None = None,
) -> Log:
    """Apply every rule to the four tables.

    Args:
        tables: "items", "users", "interactions", "searches" with the columns of `schema.TABLES`, and those of
            `BROKEN_LIST`.
        files: the name to show for each table in rejects; `<table>.parquet` by default.
        now: times after this are rejects; the current time by default.
        event_weights: of the folder; the default table if None.

    Raises:
        DataError: a file that cannot be read to its end.
    """
    names = {table.name: (files or {}).get(table.name, table.file) for table in TABLES}
    rejects: dict[str, pl.DataFrame] = {}
    rows: dict[str, int] = {}

    def judged(table: Table, rules: Sequence[_Rule], *internal: pl.Expr) -> pl.DataFrame:
        frame = _whole(tables[table.name], table, names[table.name], *internal)
        rows[table.name] = frame.height
        lists = [name for name in frame.columns if name.startswith(BROKEN_LIST)]
        broken = [_Rule(n.removeprefix(BROKEN_LIST) + NOT_JSON, pl.col(n).is_not_null(), n) for n in lists]
        good, rejects[table.name] = _judged(frame, [*rules, *broken], names[table.name])
        return good

    # Items and users first: a bad one makes rejects of its events too.
    users = judged(USERS, _key_rules("user_id"))
    items = judged(ITEMS, [*_key_rules("item_id"), _Rule("empty title", _blank("title"), "title")])
    users, items = users.sort("user_id"), items.sort("item_id")
    user_code, item_code = pl.Enum(users["user_id"]), pl.Enum(items["item_id"])
    user, time = _internal("user_id", user_code), _time_rule(now or datetime.now(UTC))
    event_weights = event_weights or EventWeights()
    rules = [*_interaction_rules(time), *_weight_rules(tables[INTERACTIONS.name].collect_schema())]
    interactions = judged(INTERACTIONS, rules, user, _internal("item_id", item_code))
    lists = [name for name in ("clicked", "shown") if name in tables[SEARCHES.name].collect_schema()]
    internal = {name: _internal_lists(name, item_code) for name in lists}
    searches = judged(SEARCHES, _search_rules(time), user, *internal.values())
    micro = pl.col("timestamp").dt.timestamp("us").alias("time")
    return Log(
        items=items,
        users=users,
        interactions=_weighted(interactions.with_columns(micro), event_weights),
        searches=searches.select(
            "search_id",
            "user",
            "query",
            micro,
            *(pl.col(one.meta.output_name()).alias(n) for n, one in internal.items()),
        ),
        rejects=pl.concat([rejects[table.name] for table in TABLES]),
        rows=rows,
        event_weights=event_weights,
    )


def _judged(frame: pl.DataFrame, rules: Sequence[_Rule], file: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that obey all rules, without their numbers, and a reject for each rule that a row breaks."""
    broken = frame.select(*(rule.broken.fill_null(True).alias(rule.name) for rule in rules))
    bad = broken.select(pl.any_horizontal(rule.name for rule in rules)).to_series()
    if not bad.any():
        return frame.drop(_NUMBER), pl.DataFrame(schema=REJECT_SCHEMA)
    culprits, marks = frame.filter(bad), broken.filter(bad)
    rejects = []
    for rule in rules:
        rows = culprits.filter(marks[rule.name])
        number = pl.col(_NUMBER).cast(pl.Int64).alias("row")
        of_rule = rows.select(pl.lit(file).alias("file"), number, pl.lit(rule.name).alias("rule"))
        rejects.append(of_rule.with_columns(_shown(rows, rule.shown)))
    return frame.filter(~bad).drop(_NUMBER), pl.concat(rejects).sort("row", maintain_order=True)


def _key_rules(column: str) -> list[_Rule]:
    return [
        _Rule(f"empty {column}", _blank(column), column),
        _Rule(f"duplicate {column}", _repeated(column), column),
    ]


def _time_rule(now: datetime) -> _Rule:
    time = pl.col("timestamp")
    return _Rule("no valid time", time.is_null() | ~time.is_between(_EPOCH, now), "timestamp")


def _interaction_rules(time: _Rule) -> list[_Rule]:
    return [
        _Rule("unknown user", pl.col("user").is_null(), "user_id"),
        _Rule("unknown item", pl.col("item").is_null(), "item_id"),
        time,
        _Rule("empty event", _blank("event"), "event"),
        _Rule("duplicate row", _repeated("user", "item", "timestamp", "event"), "item_id"),
    ]


def _weight_rules(schema: pl.Schema) -> list[_Rule]:
    """The rule of the optional column of weights."""
    weight = pl.col("weight")
    is_wrong = ~(weight.is_finite() & (weight >= 0))
    return [_Rule("no valid weight", is_wrong, "weight")] if "weight" in schema else []


def _weighted(interactions: pl.DataFrame, event_weights: EventWeights) -> pl.DataFrame:
    """Events with their weight: that of their name, times their own where the table has that column."""
    names = interactions["event"].unique().sort()
    event = interactions["event"].cast(pl.Enum(names))
    of_names = pl.Series("weight", [event_weights.weight(name) for name in names], dtype=pl.Float32)
    weight = of_names.gather(event.to_physical())
    if "weight" in interactions.columns:
        weight = weight * interactions["weight"].cast(pl.Float32)
    return interactions.select("user", "item", "time", event, weight)


def _search_rules(time: _Rule) -> list[_Rule]:
    unknown = pl.col("internal_clicked").list.eval(pl.element().is_null()).list.any().fill_null(False)
    return [
        _Rule("unknown user", pl.col("user").is_null(), "user_id"),
        _Rule("empty query", _blank("query"), "query"),
        _Rule("unknown clicked item", unknown, "clicked"),
        time,
        _Rule("duplicate search_id", _repeated("search_id"), "search_id"),
        _Rule("empty search_id", _blank("search_id"), "search_id"),
    ]


def load_log(folder: Path | str, *, now: datetime | None = None) -> Log:
    """Read a dataset folder whose every row must obey the rules.

    Args:
        folder: the dataset folder or its URL.
        now: times after this break a rule; the current time by default.

    Raises:
        DataError: a broken rule, with file and row of the first cases; or what `open_folder` raises.
    """
    with local_folder(folder) as local:
        log = read_folder(local, now=now)
        refuse_rejects(log.rejects, local)
    return log


def refuse_rejects(rejects: pl.DataFrame, where: Path, remedy: str = _CLEAN_COPY) -> None:
    """Raise if there is any reject, showing the first few with file and row.

    Args:
        rejects: as in `Log`.
        where: the folder, for the message.
        remedy: what the message advises.

    Raises:
        DataError: there is a reject.
    """
    if rejects.is_empty():
        return
    rows = rejects.group_by("file", "row", maintain_order=True).agg("rule", "value")
    first = [
        f"{file} row {row}: " + ", ".join(map(_rule_and_value, rules, values))
        for file, row, rules, values in rows.head(_SHOWN_REJECTS).iter_rows()
    ]
    more = rows.height - len(first)
    raise DataError(
        broken_rows(rejects),
        where=where,
        got=" | ".join(first) + (f" | and {more} more" if more > 0 else ""),
        remedy=remedy,
    )


def _rule_and_value(rule: str, value: str | None) -> str:
    """On one line, whatever the value holds."""
    return f"{rule} ({'no value' if value is None else ' '.join(value.splitlines())})"


def broken_rows(rejects: pl.DataFrame) -> str:
    """Return how many rows break a rule, as the beginning of a message.

    Args:
        rejects: as in `Log`; a row has a line for each rule that it breaks.
    """
    rows = rejects.select(pl.struct("file", "row").n_unique()).item()
    return f"{rows:,} {'row breaks' if rows == 1 else 'rows break'} a rule of the dataset folder"


def _whole(frame: pl.LazyFrame, table: Table, file: str, *internal: pl.Expr) -> pl.DataFrame:
    """Read one table with exact types, its row numbers, and columns of internal ids."""
    schema = frame.collect_schema()
    known = [as_kind(c.name, schema[c.name], c.kind) for c in table.columns if c.name in schema]
    frame = frame.with_columns(known).with_row_index(_NUMBER, 1).with_columns(internal)
    if table in (INTERACTIONS, SEARCHES):
        read = (c.name for c in table.columns if c.required or (c.kind is Kind.NUMBER and c.name in schema))
        broken = (name for name in schema if name.startswith(BROKEN_LIST))
        needed = [_NUMBER, *read, *broken, *(e.meta.output_name() for e in internal)]
        frame = frame.select(needed)
    try:
        return frame.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(file, error) from error


def _internal(column: str, code: pl.Enum) -> pl.Expr:
    """Internal id (1..N) of a text id; null where unknown."""
    return (pl.col(column).cast(code, strict=False).to_physical().cast(pl.Int32) + 1).alias(column.removesuffix("_id"))


def _internal_lists(column: str, code: pl.Enum) -> pl.Expr:
    """Internal ids of a list of text ids; null members where unknown, an absent list is an empty one."""
    inner = pl.element().cast(code, strict=False).to_physical().cast(pl.Int32) + 1
    return pl.col(column).list.eval(inner).fill_null(pl.lit([], dtype=pl.List(pl.Int32))).alias(f"internal_{column}")


def _blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")


def _repeated(*columns: str) -> pl.Expr:
    """True for every row after the first with the same values, nulls aside."""
    key = pl.struct(*columns) if len(columns) > 1 else pl.col(*columns)
    repeated = key.map_batches(_seen_above, return_dtype=pl.Boolean)
    return repeated & pl.all_horizontal(pl.col(*columns).is_not_null())


def _seen_above(values: pl.Series) -> pl.Series:
    """True for every value after its first; where all hashes differ, which is soon seen, so do the values."""
    if values.hash().n_unique() == len(values):
        return pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    return ~values.is_first_distinct()


def _shown(frame: pl.DataFrame, column: str) -> pl.Series:
    """The value of a column as text; of a list of ids the members that are unknown."""
    if not isinstance(frame.schema[column], pl.List):
        return frame[column].cast(pl.String).alias("value")
    internal = f"internal_{column}"
    members = frame.select(_NUMBER, column, internal).explode(column, internal).filter(pl.col(internal).is_null())
    unknown = members.group_by(_NUMBER).agg(pl.col(column).fill_null("null").head(_SHOWN_MEMBERS).str.join(" "))
    return frame.select(_NUMBER).join(unknown, on=_NUMBER, how="left", maintain_order="left")[column].alias("value")
