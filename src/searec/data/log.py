"""From the four tables of a dataset folder to a checked Log: every row either obeys the rules or is a reject.

The rules (design: the dataset folder): ids are known and not empty, keys and rows are unique, queries
and titles hold text, times are times between 1970 and now. All of it is whole-column work in Polars.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from searec.data.schema import INTERACTIONS, ITEMS, SEARCHES, TABLES, USERS, Table, as_kind, check_columns
from searec.errors import DataError

REJECT_SCHEMA = {"file": pl.String, "row": pl.Int64, "rule": pl.String, "value": pl.String}
_SHOWN_REJECTS = 5
_CLEAN_COPY = "mend them, or 'searec import parquet SRC OUT --drop-bad' writes a clean copy and rejects.parquet"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Log:
    """The four tables, rows that break a rule left out, ids already internal ids (1..N, Int32).

    items, users: as in the folder, in file order, so that row n holds internal id n.
    interactions: user, item, time (Int64 microseconds since 1970, UTC), event.
    searches: search_id, user, query, time, clicked (List(Int32)).
    rejects: file, row (1-based data row), rule, value; one line for each broken rule.
    rows: rows read, by table.
    """

    items: pl.DataFrame
    users: pl.DataFrame
    interactions: pl.DataFrame
    searches: pl.DataFrame
    rejects: pl.DataFrame
    rows: dict[str, int]


def open_folder(folder: Path | str) -> dict[str, pl.LazyFrame]:
    """The folder's tables, unread; columns and types are checked.

    Raises:
        DataError: no such folder, a missing or damaged file, a missing column, a wrong type.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            "no such dataset folder", where=folder, expected="a folder with " + ", ".join(t.file for t in TABLES)
        )
    tables = {}
    for table in TABLES:
        path = folder / table.file
        if not path.is_file():
            others = ", ".join(sorted(p.name for p in folder.iterdir())) or "an empty folder"
            remedy = "'searec import' makes a dataset folder from Parquet, CSV or JSON Lines"
            raise DataError("missing file", where=path, got=others, remedy=remedy)
        tables[table.name] = scan_parquet(path)
        check_columns(tables[table.name].collect_schema(), table, path)
    return tables


def scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file, unread.

    Raises:
        DataError: the file is truncated or is not Parquet.
    """
    try:
        frame = pl.scan_parquet(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(path, error) from error
    return frame


def damaged(path: Path | str, error: Exception) -> DataError:
    """The error for a file that cannot be read to its end."""
    what = "file is damaged or not Parquet" if str(path).endswith(".parquet") else "file is damaged"
    return DataError(what, where=path, got=str(error).splitlines()[0], remedy="write or copy the file again")


def write_table(frame: pl.LazyFrame | pl.DataFrame, path: Path) -> None:
    """Write one table as Parquet, rows in order, without holding a lazy one in memory.

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
    """Whether an error, of Python or of Polars, says that the disk (or the user's share of it) is full."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return (isinstance(error, OSError) and error.errno in full) or any(
        f"(os error {number})" in str(error) for number in full
    )


def read_log(
    tables: Mapping[str, pl.LazyFrame], files: Mapping[str, str] | None = None, *, now: datetime | None = None
) -> Log:
    """Apply every rule to the four tables.

    Args:
        tables: "items", "users", "interactions", "searches" with the columns of `schema.TABLES`.
        files: the name to show for each table in rejects; `<table>.parquet` by default.
        now: times after this are rejects; the current time by default.

    Raises:
        DataError: a file that cannot be read to its end.
    """
    now = now or datetime.now(UTC)
    names = {table.name: (files or {}).get(table.name, table.file) for table in TABLES}
    rejects: dict[str, pl.DataFrame] = {}
    rows: dict[str, int] = {}

    def keep(table: Table, frame: pl.DataFrame, rules: Mapping[str, pl.Expr], shown: Mapping[str, str]) -> pl.DataFrame:
        rows[table.name] = frame.height
        broken = frame.select("row", *(rule.fill_null(True).alias(name) for name, rule in rules.items()))
        bad = broken.select(pl.any_horizontal(*rules)).to_series()
        if not bad.any():
            return frame.drop("row")
        culprits, marks = frame.filter(bad), broken.filter(bad)
        file = pl.lit(names[table.name]).alias("file")
        number = pl.col("row").cast(pl.Int64)
        found = [
            culprits.filter(marks[name]).select(
                file, number, pl.lit(name).alias("rule"), _as_text(culprits, shown[name]).alias("value")
            )
            for name in rules
        ]
        rejects[table.name] = pl.concat(found).sort("row", maintain_order=True)
        return frame.filter(~bad).drop("row")

    users = keep(USERS, _whole(tables, USERS, names), *_key_rules("user_id"))
    item_rules, item_shown = _key_rules("item_id")
    item_rules["empty title"], item_shown["empty title"] = _blank("title"), "title"
    items = keep(ITEMS, _whole(tables, ITEMS, names), item_rules, item_shown)
    user_code, item_code = pl.Enum(users["user_id"]), pl.Enum(items["item_id"])

    bad_time = pl.col("timestamp").is_null() | ~pl.col("timestamp").is_between(_EPOCH, now)
    event_columns = ("user", "item", "timestamp", "event")
    interactions = keep(
        INTERACTIONS,
        _whole(tables, INTERACTIONS, names, _internal("user_id", user_code), _internal("item_id", item_code)),
        {
            "unknown user": pl.col("user").is_null(),
            "unknown item": pl.col("item").is_null(),
            "no valid time": bad_time,
            "empty event": _blank("event"),
            "duplicate row": _repeated(*event_columns),
        },
        {
            "unknown user": "user_id",
            "unknown item": "item_id",
            "no valid time": "timestamp",
            "empty event": "event",
            "duplicate row": "item_id",
        },
    )
    searches = keep(
        SEARCHES,
        _whole(tables, SEARCHES, names, _internal("user_id", user_code), _internal_lists("clicked", item_code)),
        {
            "unknown user": pl.col("user").is_null(),
            "empty query": _blank("query"),
            "unknown clicked item": pl.col("internal_clicked")
            .list.eval(pl.element().is_null())
            .list.any()
            .fill_null(False),
            "no valid time": bad_time,
            "duplicate search_id": _repeated("search_id"),
            "empty search_id": _blank("search_id"),
        },
        {
            "unknown user": "user_id",
            "empty query": "query",
            "unknown clicked item": "clicked",
            "no valid time": "timestamp",
            "duplicate search_id": "search_id",
            "empty search_id": "search_id",
        },
    )
    time = pl.col("timestamp").dt.timestamp("us").alias("time")
    return Log(
        items=items,
        users=users,
        interactions=interactions.select("user", "item", time, "event"),
        searches=searches.select("search_id", "user", "query", time, pl.col("internal_clicked").alias("clicked")),
        # Items and users first: a bad one makes rejects of its events too.
        rejects=pl.concat(
            [pl.DataFrame(schema=REJECT_SCHEMA), *(rejects[table.name] for table in TABLES if table.name in rejects)]
        ),
        rows=rows,
    )


def load_log(folder: Path | str, *, now: datetime | None = None) -> Log:
    """Read a dataset folder whose every row must obey the rules.

    Raises:
        DataError: a broken rule, with file and row of the first cases; or what `open_folder` raises.
    """
    log = read_log(open_folder(folder), now=now)
    refuse_rejects(log.rejects, Path(folder))
    return log


def refuse_rejects(rejects: pl.DataFrame, where: Path, remedy: str = _CLEAN_COPY) -> None:
    """Raise if there is any reject, showing the first few with file and row.

    Raises:
        DataError: as said.
    """
    if rejects.is_empty():
        return
    first = [f"{r['file']} row {r['row']}: {r['rule']} ({r['value']})" for r in rejects.head(_SHOWN_REJECTS).to_dicts()]
    more = rejects.height - len(first)
    raise DataError(
        f"{rejects.height} rows break a rule of the dataset folder",
        where=where,
        got=" | ".join(first) + (f" | and {more} more" if more > 0 else ""),
        remedy=remedy,
    )


def _whole(tables: Mapping[str, pl.LazyFrame], table: Table, names: Mapping[str, str], *extra: pl.Expr) -> pl.DataFrame:
    """Read one table with exact types, its row numbers, and extra columns made from it."""
    frame = tables[table.name]
    schema = frame.collect_schema()
    known = [as_kind(c.name, schema[c.name], c.kind) for c in table.columns if c.name in schema]
    frame = frame.with_columns(known).with_row_index("row", 1).with_columns(extra)
    if table in (INTERACTIONS, SEARCHES):
        needed = ["row", *(c.name for c in table.columns if c.required), *(e.meta.output_name() for e in extra)]
        frame = frame.select(needed)
    try:
        return frame.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(names[table.name], error) from error


def _internal(column: str, code: pl.Enum) -> pl.Expr:
    """Inside id (1..N) of a text id; null where unknown."""
    return (pl.col(column).cast(code, strict=False).to_physical().cast(pl.Int32) + 1).alias(column.removesuffix("_id"))


def _internal_lists(column: str, code: pl.Enum) -> pl.Expr:
    """Inside ids of a list of text ids; null members where unknown, an absent list is an empty one."""
    inner = pl.element().cast(code, strict=False).to_physical().cast(pl.Int32) + 1
    return pl.col(column).list.eval(inner).fill_null(pl.lit([], dtype=pl.List(pl.Int32))).alias(f"internal_{column}")


def _key_rules(column: str) -> tuple[dict[str, pl.Expr], dict[str, str]]:
    rules = {f"empty {column}": _blank(column), f"duplicate {column}": _repeated(column)}
    return rules, dict.fromkeys(rules, column)


def _blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")


def _repeated(*columns: str) -> pl.Expr:
    """True for every row after the first with the same values, nulls aside."""
    key = pl.struct(*columns) if len(columns) > 1 else pl.col(*columns)
    return ~key.is_first_distinct() & pl.all_horizontal(pl.col(*columns).is_not_null())


def _as_text(frame: pl.DataFrame, column: str) -> pl.Expr:
    if isinstance(frame.schema[column], pl.List):
        return pl.col(column).list.join(" ", ignore_nulls=True)
    return pl.col(column).cast(pl.String)
