"""OpenSearch User Behavior Insights (UBI 1.3): the queries and events of a search box, as JSON lines."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from searec.data.convert import as_text
from searec.data.events import EventWeights
from searec.data.formats.base import FILE, ROW, ImportOptions, Raw, completed, of_count, split_mapping
from searec.data.formats.object_lines import FAULT, LINE
from searec.data.formats.plain import ENDINGS as PLAIN
from searec.data.formats.plain import read_table
from searec.data.formats.text_files import TableFile
from searec.data.formats.ubi_events import USED, accounted, keyed, linked, outcomes, stored, uses_of
from searec.data.formats.ubi_rows import ENDINGS, NEITHER, staged
from searec.data.log import REJECT_SCHEMA
from searec.data.schema import ITEMS, USERS
from searec.errors import DataError, StorageError

_ABOUT = "\ue000about"
"""Column of descriptions from events; no column of a file has this name."""


def read_ubi(source: Path, options: ImportOptions) -> Raw:
    """The tables of UBI logs, unread.

    Args:
        source: a file of JSON lines, or a folder of them, queries and events mixed or apart; a folder may also hold
            items and users as plain files (Parquet, CSV or JSON lines).
        options: the mapping is "items" or "users" -> file, "items.column" or "users.column" -> its column,
            "actions.NAME" -> one of `ubi_events.USES`.

    Raises:
        SettingsError: a mapping of something that does not exist.
        DataError: no such file or folder, or a line that is broken.
    """
    options.refuse_unused("ubi", "list_separator", "separator", "encoding")
    uses = uses_of(options.mapping)
    plain = {target: source for target, source in options.mapping.items() if not target.startswith("actions.")}
    files, columns = split_mapping(plain, {table.name: [c.name for c in table.columns] for table in (ITEMS, USERS)})
    logs = _logs(source, files)
    room = Path(tempfile.mkdtemp(prefix="searec-ubi-"))
    try:
        given = _given(source, files, columns, room, options)
        raw = _raw(logs, given, uses, EventWeights(options.event_weights), room)
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
    logs: Sequence[Path],
    given: Mapping[str, tuple[Path, TableFile]],
    uses: Mapping[str, str],
    weights: EventWeights,
    room: Path,
) -> Raw:
    """The tables, from what is stored in the folder `room`."""
    lines = staged(logs, room)
    if not given and lines.head(1).collect().is_empty():
        raise DataError(
            "no queries and no events",
            where=logs[0].parent if len(logs) > 1 else logs[0],
            expected="UBI's, one JSON object a line",
        )
    notes: list[str] = []
    rows = keyed(lines, notes)
    events, searched = accounted(rows, uses, weights, room)
    tables = {"interactions": _interactions(rows, events), "searches": _searches(rows, events, searched, room)}
    files = {
        "items": logs[0],
        "interactions": logs[0],
        "searches": logs[0],
        **{name: path for name, (path, _) in given.items()},
    }
    became, counts = outcomes(lines, events, searched, tables)
    notes = counts + notes + _mended(lines)
    notes += [
        f"no {table.name} file: {table.name} are the ids seen in queries and events"
        for table in (ITEMS, USERS)
        if table.name not in given
    ]
    tables["items"] = _items(given.get(ITEMS.name), events, tables, notes)
    if USERS.name in given:
        seen = [tables["interactions"], tables["searches"]]
        tables["users"] = completed(given[USERS.name][1].frame, "user_id", seen)
    rejects = lines.filter(pl.col("kind") == NEITHER).select(file=FILE, row=ROW, rule=FAULT, value=LINE)
    read = dict.fromkeys((path.name for path in logs), 0)
    read |= dict(lines.group_by(FILE).len().collect(engine="streaming").iter_rows())
    read |= {path.name: file.records for path, file in given.values()}
    notes += [note for _, file in given.values() for note in file.notes]
    return Raw(
        tables,
        files,
        tuple(notes),
        pl.concat([rejects.cast(REJECT_SCHEMA), *(file.rejects.lazy() for _, file in given.values())]),  # type: ignore[arg-type]
        read=read,
        outcomes=became,
    )


def _mended(lines: pl.LazyFrame) -> list[str]:
    """A note on lines with half a surrogate pair."""
    halves = lines.filter(pl.col(FAULT).is_null() & pl.col(LINE).is_not_null())
    count, file, row = halves.select(pl.len(), pl.col(FILE, ROW).first()).collect(engine="streaming").row(0)
    if not count:
        return []
    what = "line holds" if count == 1 else "lines hold"
    return [f"{count:,} {what} half a character, replaced by \ufffd, such as line {row} of {file}"]


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
) -> dict[str, tuple[Path, TableFile]]:
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
            file = read_table(path, path.suffix, room, table, columns[table.name], options)
            frame = file.frame
            key, schema = table.columns[0].name, frame.collect_schema()
            text = as_text(pl.col(key), schema[key]) if key in schema else None
            if text is None:
                raise DataError(
                    f"missing column {key!r}",
                    where=path,
                    got=", ".join(schema),
                    remedy=f"--map {table.name}.{key}=COLUMN names another",
                )
            frame = frame.with_columns(text.alias(key))
            given[table.name] = path, replace(file, frame=frame if ROW in schema else frame.with_row_index(ROW, 1))
    return given


def _user() -> pl.Expr:
    return pl.coalesce("user_id", "linked", "client_id").alias("user_id")


def _interactions(rows: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    """Events that are interactions; those that repeat a whole one are left out."""
    alone = events.filter(pl.col("became") == "interaction").join(
        linked(rows), on="client_id", how="left", maintain_order="left"
    )
    alone = alone.select(_user(), "item_id", "timestamp", "event", FILE, ROW)
    return alone.unique(["user_id", "item_id", "timestamp", "event"], keep="first", maintain_order=True)


def _searches(rows: pl.LazyFrame, events: pl.LazyFrame, searched: pl.LazyFrame, room: Path) -> pl.LazyFrame:
    """One row for each id, user and words, in file order; clicks and results belong to the first words of an id."""
    early = ("time", "place")
    first = [pl.col(name).drop_nulls().first() for name in ("user_id", "client_id", "timestamp")]
    hits = pl.col("hits").drop_nulls()
    union = hits.explode().drop_nulls().unique(maintain_order=True)
    at = [pl.col(name).first() for name in ("search_id", FILE, ROW, "place")]
    by_time = searched.sort(early, nulls_last=True).group_by("key", "query", maintain_order=True)
    searches = by_time.agg(*first, *at, hits=hits.first(), union=union, lists=pl.col("hits").count())
    searches = searches.with_columns(
        hits=pl.when(pl.col("lists") > 1).then("union").otherwise("hits"),
        number=pl.col("place").cum_count().over("search_id").cast(pl.Int64),
        of_key=pl.col("place").cum_count().over("key").cast(pl.Int64),
    )
    clicked = _items_by_search(events.filter(pl.col("became") == "clicked in a search"), "clicked", early)
    seen = _items_by_search(events.filter(pl.col("became") == "shown by a search"), "seen", ("ordinal", *early))
    of_search = events.filter(pl.col("has_search").is_not_null() & (pl.col("became") != "interaction")).sort(
        early, nulls_last=True
    )
    whose = of_search.group_by("key", maintain_order=True).agg(value.name.prefix("event_") for value in first)
    for part in (clicked, seen, whose):
        of_first = part.with_columns(of_key=pl.lit(1, dtype=pl.Int64))
        searches = searches.join(of_first, on=["key", "of_key"], how="left")
    identified = [pl.coalesce(name, f"event_{name}").alias(name) for name in ("user_id", "client_id", "timestamp")]
    searches = searches.with_columns(identified).join(linked(rows), on="client_id", how="left").sort("place")
    shown = pl.when(pl.col("seen").is_null()).then("hits").when(pl.col("hits").is_null()).then("seen")
    all_shown = shown.otherwise(pl.concat_list("hits", "seen").list.unique(maintain_order=True))
    name = pl.when(pl.col("number") == 1).then("search_id").otherwise(pl.concat_str("search_id", pl.lit("#"), "number"))
    table = searches.select(
        name.alias("search_id"), _user(), "query", "timestamp", "clicked", all_shown.alias("shown"), FILE, ROW
    )
    table = stored(table, room / "searches.parquet")
    any_shown = table.select(pl.col("shown").is_not_null().any()).collect(engine="streaming").item()
    return table if any_shown else table.drop("shown")


def _items_by_search(events: pl.LazyFrame, name: str, order: Sequence[str]) -> pl.LazyFrame:
    """The items of each search's events, in order, each once."""
    once = events.sort(order, nulls_last=True).unique(["key", "item_id"], keep="first", maintain_order=True)
    return once.group_by("key", maintain_order=True).agg(pl.col("item_id").alias(name))


def _items(
    file: tuple[Path, TableFile] | None,
    events: pl.LazyFrame,
    tables: Mapping[str, pl.LazyFrame],
    notes: list[str],
) -> pl.LazyFrame:
    """The given catalogue and what was chosen beside it, else all chosen or shown. Titles from events, else the id."""
    given, named = (None, "") if file is None else (file[1].frame, file[0].name)
    seen = [tables["interactions"], tables["searches"].select(pl.col("clicked").explode().alias("item_id"))]
    if given is None:
        if "shown" in tables["searches"].collect_schema():
            seen.append(tables["searches"].select(pl.col("shown").explode().alias("item_id")))
        given = pl.LazyFrame(schema={ROW: pl.get_index_type(), "item_id": pl.String, "title": pl.String})
    schema = given.collect_schema()
    title = as_text(pl.col("title"), schema["title"]) if "title" in schema else None
    title = pl.lit(None, dtype=pl.String) if title is None else pl.when(title.str.strip_chars() != "").then(title)
    used = events.filter(
        pl.col("item_id").is_not_null() & pl.col("description").is_not_null() & pl.col("became").is_in(USED)
    )
    about = used.group_by("item_id").agg(pl.col("description").sort_by("place").first().alias(_ABOUT))
    items = completed(given.with_columns(title.alias("title")), "item_id", seen).join(
        about, on="item_id", how="left", maintain_order="left"
    )
    untitled, described = pl.col("title").is_null(), pl.col(_ABOUT).is_not_null()
    counts = items.select(
        (untitled & described).sum().alias("described"),
        (untitled & ~described).sum().alias("bare"),
        pl.col(ROW).is_null().sum().alias("added"),
    )
    with_words, bare, added = counts.collect(engine="streaming").row(0)
    if added and named:
        notes.append(of_count(added, "item", "items") + f" of events not in {named}: added")
    if with_words or bare:
        notes.append(
            f"titles: {of_count(with_words, 'item goes', 'items go')} by the description of events, {bare:,} by id"
        )
    return items.with_columns(title=pl.coalesce("title", _ABOUT, "item_id")).drop(_ABOUT)
