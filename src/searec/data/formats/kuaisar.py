"""KuaiSAR (arXiv 2306.07705): the feed and the search box of a short-video app, five CSV files.

A click of the feed is an interaction, the results of one search session are a search. Words are numbers: 20 becomes
the word "w20", in captions and queries alike. docs/formats.md tells what becomes of each column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from searec.config import nearest
from searec.data.convert import as_times
from searec.data.formats.base import ROW, ImportOptions, Outcome, Raw, of_count, reading, refuse_mapping
from searec.data.formats.kuaisar_fields import (
    as_id,
    as_name,
    as_number,
    as_words,
    is_unread,
    read_records,
    without_padding,
)
from searec.data.formats.text_files import Room, TableFile
from searec.data.log import REJECT_SCHEMA
from searec.errors import DataError

WHERE_TO_GET = (
    "https://zenodo.org/records/8181109 (KuaiSAR_v2.zip, or KuaiSAR.zip for the small set; CC BY-NC-SA 4.0), unpacked"
)
FEED, SEARCH, ITEMS, USERS, FOLLOWS = (
    "rec_inter.csv",
    "src_inter.csv",
    "item_features.csv",
    "user_features.csv",
    "social_network.csv",
)
LEVELS = tuple(f"{level}_level_category" for level in ("first", "second", "third", "fourth"))
COLUMNS = {
    FEED: ("user_id", "item_id", "timestamp", "time", "click"),
    SEARCH: (
        "user_id",
        "search_session_id",
        "search_session_timestamp",
        "search_session_time",
        "keyword",
        "item_id",
        "click_cnt",
    ),
    ITEMS: ("item_id", "caption", *(f"{level}_name" for level in LEVELS)),
    USERS: ("user_id",),
    FOLLOWS: ("user_id", "user_follow_id"),
}
_AS_GIVEN = (pl.col("user_id").alias("given_user"), pl.col("item_id").alias("given_item"))
_NAMELESS = "item " + pl.col("item_id")
_CAPTIONLESS = "no caption: titled by the narrowest category, else 'item' and the item's number"
_WORDS = "\ue000words"
"""Column of captions in words; no column of a file has this name."""


@dataclass(frozen=True)
class _Passed:
    """What one pass over a file of events tells: ids it names, rows that are none, counts, and what became of rows."""

    users: pl.DataFrame
    items: pl.DataFrame
    rejects: pl.DataFrame
    counts: dict[str, int]
    outcomes: tuple[Outcome, ...]


def read_kuaisar(source: Path, options: ImportOptions) -> Raw:
    """The folder's tables, unread but for their ids.

    Args:
        source: the unpacked folder, or the one above it.
        options: no mapping; names of files and columns are the published ones.

    Raises:
        SettingsError: any mapping.
        DataError: no such folder, file or column, or a file that cannot be read.
    """
    options.refuse_unused("kuaisar")
    refuse_mapping("kuaisar", options.mapping)
    files = _find(source)
    room = Room()
    tables_of = {name: _open(path, COLUMNS[name], room.path) for name, path in files.items()}
    scans = {name: file.frame for name, file in tables_of.items()}
    with reading(files[ITEMS]):
        known, wordless, bad_items = _item_pass(scans[ITEMS], files[ITEMS])
    no_item = () if known.filter(pl.col("item_id") == "0").height else ("0",)

    feed, search = _feed(scans[FEED], no_item), _results(scans[SEARCH], no_item)
    with reading(files[FEED]):
        fed = _feed_pass(feed, scans[FEED], files[FEED])
    with reading(files[SEARCH]):
        files_found, again = _search_pass(search, files[SEARCH])
    (follows, of_pairs), known_users = _follows(scans, files), _known_users(scans[USERS], files[USERS])
    users = [fed.users, files_found.users, *([] if follows is None else [follows.select("user_id")])]
    new_users, new_items = _lacking(known_users, users), _lacking(known, [fed.items, files_found.items])

    notes = [
        *(note for file in tables_of.values() for note in file.notes),
        *_taken(scans, follows),
        _note(
            fed.counts["local"] + files_found.counts["local"],
            "row has",
            "rows have",
            "no timestamp; the Beijing time is taken",
        ),
        _note(
            len(again),
            "further query",
            "further queries",
            f"under a session number of the same user in {SEARCH}: each a search of its own",
        ),
        _note(len(new_items), "item", "items", f"of events not in {ITEMS}: titled 'item' and the item's number"),
        _note(len(new_users), "user", "users", f"of events not in {USERS}: added"),
        _note(wordless, "item has", "items have", _CAPTIONLESS),
    ]
    tables = {
        "items": pl.concat([_items(scans[ITEMS]), new_items.lazy().with_columns(title=_NAMELESS)], how="diagonal"),
        "users": pl.concat([_users(scans[USERS], follows), new_users.lazy()], how="diagonal"),
        "interactions": _interactions(feed),
        "searches": _searches(search, again),
    }
    paths = {"items": files[ITEMS], "users": files[USERS], "interactions": files[FEED], "searches": files[SEARCH]}
    uneven = [file.rejects for file in tables_of.values()]
    rejects = pl.concat([bad_items, fed.rejects, files_found.rejects, *uneven])
    return Raw(
        tables,
        paths,
        tuple(note for note in notes if note),
        rejects.lazy() if len(rejects) else None,
        read={files[name].name: file.records for name, file in tables_of.items()},
        outcomes=(*fed.outcomes, *files_found.outcomes, *of_pairs),
        room=room,
    )


def _taken(scans: Mapping[str, pl.LazyFrame], follows: pl.DataFrame | None) -> list[str]:
    """Notes on columns whose names searec uses for others."""
    taken = {ITEMS: ("title", "categories"), USERS: () if follows is None else ("follows",)}
    return [
        f"column {name!r} of {file} has a name that searec uses and is left out"
        for file, names in taken.items()
        for name in names
        if name in scans[file].collect_schema()
    ]


def _find(source: Path) -> dict[str, Path]:
    """The files by their published names (.csv or .csv.gz), in the folder or in the one folder below it with them."""
    if source.suffix == ".zip" and source.is_file():
        raise DataError("SRC is not unpacked", where=source, remedy=f"unzip {source.name}, then name the folder")
    if not source.is_dir():
        raise DataError("no such folder", where=source, expected="KuaiSAR as published", remedy=WHERE_TO_GET)
    below = sorted(path for path in source.iterdir() if path.is_dir())
    holding = [folder for folder in (source, *below) if _file(folder, FEED)]
    if len(holding) > 1 and holding[0] != source:
        got = ", ".join(folder.name for folder in holding)
        raise DataError(f"several folders with a {FEED}", where=source, got=got, remedy="name one of them as SRC")
    folder = holding[0] if holding else source
    files = {name: path for name in COLUMNS if (path := _file(folder, name))}
    lacking = [name for name in COLUMNS if name not in files and name != FOLLOWS]
    if lacking:
        raise DataError(
            f"missing file {lacking[0]}",
            where=folder,
            got=", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder",
            expected=", ".join(COLUMNS) + f" ({FOLLOWS} may be left out), each as .csv or .csv.gz",
            remedy=f"the data is at {WHERE_TO_GET}",
        )
    return files


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _open(path: Path, needed: tuple[str, ...], room: Path) -> TableFile:
    """One file, every column text, with its row numbers."""
    file = read_records(path, room)
    for name in needed:
        if name not in file.names:
            expected = "the columns as published: " + ", ".join(needed)
            raise DataError(
                f"missing column {name!r}",
                where=path,
                got=", ".join(file.names),
                expected=expected,
                remedy=nearest(name, file.names),
            )
    return file


def _feed(scan: pl.LazyFrame, no_item: tuple[str, ...]) -> "_Rows":
    """Rows that are clicks, or that may be."""
    sound_rows = (ROW, "timestamp", "time", "click")
    rows = scan.select(
        *sound_rows, *_AS_GIVEN, user_id=as_id("user_id"), item_id=as_id("item_id", no_item), clicked=as_number("click")
    )
    rows = _timed(rows.filter(pl.col("clicked").is_null() | (pl.col("clicked") > 0)), "timestamp", "time")
    rules = {
        "no valid click": (pl.col("clicked").is_null(), "click"),
        "unknown user": (pl.col("user_id").is_null(), "given_user"),
        "unknown item": (pl.col("item_id").is_null(), "given_item"),
        "no valid time": (pl.col("at").is_null(), "given"),
    }
    return _Rows(rows, rules)


def _results(scan: pl.LazyFrame, no_item: tuple[str, ...]) -> "_Rows":
    """Rows of search, one a result; a row without an item is a search that showed none."""
    sound_rows = (ROW, "keyword", "search_session_timestamp", "search_session_time", "click_cnt")
    rows = scan.select(
        *sound_rows,
        *_AS_GIVEN,
        user_id=as_id("user_id"),
        session=as_id("search_session_id"),
        query=as_words("keyword"),
        item_id=as_id("item_id", no_item),
        clicked=as_number("click_cnt") > 0,
    )
    rows = _timed(rows, "search_session_timestamp", "search_session_time").with_columns(
        second=pl.col("at").cast(pl.Int64) // 1_000_000
    )
    rules = {
        "no valid click_cnt": (pl.col("clicked").is_null(), "click_cnt"),
        "unknown clicked item": (pl.col("clicked") & pl.col("item_id").is_null(), "given_item"),
        "unknown user": (pl.col("user_id").is_null(), "given_user"),
        "empty search_session_id": (pl.col("session").is_null(), "session"),
        "empty query": (pl.col("query").is_null(), "keyword"),
        "no valid time": (pl.col("at").is_null(), "given"),
    }
    return _Rows(rows, rules)


_SEARCH = ("user_id", "session", "query", "second")
"""What makes rows one search: a session has one query; the same number with another query or time is another."""


def _timed(rows: pl.LazyFrame, stamp: str, local: str) -> pl.LazyFrame:
    """`at` in UTC from milliseconds, else from Beijing time; `local` where the latter; `given` is the original text."""
    number = as_number(stamp)
    number = pl.when(number > 0).then(number)
    text = pl.when(number.is_null()).then(pl.col(local).str.strip_chars())
    beijing = text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    here = (beijing - pl.duration(hours=8)).dt.replace_time_zone("UTC")
    rows = rows.with_columns(at=number, here=here)
    utc = pl.coalesce(as_times("at", pl.Float64(), "ms"), "here")
    return rows.with_columns(at=utc, local=pl.col("at").is_null() & utc.is_not_null(), given=pl.coalesce(stamp, local))


@dataclass(frozen=True)
class _Rows:
    """Rows of a file, and its rules: name -> (true where broken, the column that breaks it); the first counts."""

    rows: pl.LazyFrame
    rules: Mapping[str, tuple[pl.Expr, str]]

    @property
    def broken(self) -> pl.Expr:
        return pl.any_horizontal(rule.fill_null(False) for rule, _ in self.rules.values())

    @property
    def sound(self) -> pl.LazyFrame:
        return self.rows.filter(~self.broken)

    def rejects(self, path: Path, sound: int) -> pl.DataFrame:
        """Rejects as in `log.REJECT_SCHEMA`; all rows are read only where fewer than all are `sound`."""
        if self.rows.select(pl.len()).collect(engine="streaming").item() == sound:
            return pl.DataFrame(schema=REJECT_SCHEMA)
        rule = pl.coalesce(pl.when(rule).then(pl.lit(name)) for name, (rule, _) in self.rules.items())
        value = pl.coalesce(
            pl.when(rule).then(pl.col(shown).cast(pl.String).fill_null("")) for rule, shown in self.rules.values()
        )
        bad = self.rows.filter(self.broken)
        return bad.select(file=pl.lit(path.name), row=pl.col(ROW).cast(pl.Int64), rule=rule, value=value).collect(
            engine="streaming"
        )


def _feed_pass(feed: _Rows, scan: pl.LazyFrame, path: Path) -> _Passed:
    sound = feed.sound
    key = ["user_id", "item_id", "at"]
    once = (
        sound.group_by(key)
        .agg(pl.len(), pl.col(ROW).max())
        .select(pl.len(), pl.col(ROW).filter(pl.col("len") > 1).min())
    )
    counts = sound.select(pl.len(), pl.col("local").sum())
    number = as_number("click")
    unclicked = scan.filter(number.is_not_null() & ~(number > 0)).select(pl.len(), pl.col(ROW).min())
    users, items, count, distinct, rest = _at_once(
        _ids(sound, "user_id"), _ids(sound, "item_id"), counts, once, unclicked
    )
    clicks, local = count.row(0)
    different, again = distinct.row(0)
    outcomes = [
        *_outcome(path, "left out as views without a click", *rest.row(0)),
        *_outcome(path, "merged into the click that they repeat", clicks - different, again),
    ]
    return _Passed(users, items, feed.rejects(path, clicks), {"local": local}, tuple(outcomes))


def _search_pass(search: _Rows, path: Path) -> tuple[_Passed, pl.DataFrame]:
    """Also the searches after the first under one session number: their key, and `number` from 2 on."""
    sound = search.sound
    first_rows = sound.group_by(_SEARCH).agg(pl.col(ROW).min(), pl.col(ROW).max().alias("last"))
    counts = sound.select(pl.len(), pl.col("local").sum())
    users, items, count, searches = _at_once(_ids(sound, "user_id"), _ids(sound, "item_id"), counts, first_rows)
    results, local = count.row(0)
    further = searches.filter(pl.col("last") > pl.col(ROW))["last"].min()
    outcomes = _outcome(path, "merged into the search of their session", results - searches.height, further)
    again = searches.filter(pl.struct("user_id", "session").is_duplicated()).sort(ROW)
    again = again.select(*_SEARCH, number=pl.int_range(1, pl.len() + 1).over("user_id", "session")).filter(
        pl.col("number") > 1
    )
    return _Passed(users, items, search.rejects(path, results), {"local": local}, tuple(outcomes)), again


def _outcome(path: Path, rule: str, count: int, row: object) -> list[Outcome]:
    """One outcome, or none where there are no rows."""
    return [Outcome(path.name, rule, count, f"row {row}")] if count else []


def _at_once(*frames: pl.LazyFrame) -> list[pl.DataFrame]:
    """Several results from one reading of the file they share."""
    return pl.collect_all(frames, engine="streaming")


def _ids(rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
    return rows.select(name).unique()


def _interactions(feed: _Rows) -> pl.LazyFrame:
    clicks = feed.sound.select(ROW, "user_id", "item_id", timestamp="at", event=pl.lit("click"))
    return clicks.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)


def _searches(search: _Rows, again: pl.DataFrame) -> pl.LazyFrame:
    searches = search.sound.group_by(_SEARCH, maintain_order=True).agg(
        pl.col(ROW).first(),
        timestamp=pl.col("at").max(),  # milliseconds, where a row has them
        clicked=pl.col("item_id").filter("clicked"),
        shown=pl.col("item_id"),
    )
    name = pl.concat_str("user_id", "session", separator="-")
    if len(again):
        searches = searches.join(again.lazy(), on=_SEARCH, how="left", maintain_order="left")
        name = pl.concat_str(name, "number", separator="-", ignore_nulls=True)
    once = pl.col("clicked", "shown").list.drop_nulls().list.unique(maintain_order=True)
    return searches.select(ROW, "user_id", "query", "timestamp", once, search_id=name)


def _item_pass(scan: pl.LazyFrame, path: Path) -> tuple[pl.DataFrame, int, pl.DataFrame]:
    """The ids of the file, how many of its items have no caption, and rows whose caption cannot be read."""
    rows = scan.select(ROW, "caption", item_id=as_id("item_id"))
    captioned = _Rows(rows, {"no list of words": (is_unread("caption"), "caption")})
    none = pl.col("caption").str.strip_chars(" []").fill_null("") == ""
    known, counts = _at_once(rows.select("item_id"), rows.select(none.sum(), (~captioned.broken).sum().alias("sound")))
    wordless, sound = counts.row(0)
    return known, wordless, captioned.rejects(path, sound)


def _items(scan: pl.LazyFrame) -> pl.LazyFrame:
    """Items in order of the file."""
    there = scan.collect_schema().names()
    names = [name for level in LEVELS for name in (f"{level}_name", f"{level}_name_en", f"{level}_id")]
    named = [
        pl.coalesce(as_name(name) for name in (f"{level}_name_en", f"{level}_name") if name in there)
        for level in LEVELS
    ]
    sound_rows = [
        without_padding(name)
        for name in there
        if name not in (ROW, "item_id", "caption", "title", "categories", *names)
    ]
    words = as_words("caption")
    rows = scan.filter(~is_unread("caption")).select(
        ROW,
        *sound_rows,
        words.alias(_WORDS),
        item_id=as_id("item_id"),
        categories=pl.concat_arr(named).cast(pl.List(pl.String)).list.drop_nulls(),
    )
    title = pl.coalesce(_WORDS, pl.col("categories").list.last(), _NAMELESS)
    return rows.with_columns(title=title).drop(_WORDS)


def _known_users(scan: pl.LazyFrame, path: Path) -> pl.DataFrame:
    with reading(path):
        return scan.select(as_id("user_id").alias("user_id")).collect()


def _users(scan: pl.LazyFrame, follows: pl.DataFrame | None) -> pl.LazyFrame:
    """Users of the file, with those they follow."""
    users = scan.with_columns(as_id("user_id").alias("user_id"))
    users = users if follows is None else users.drop("follows", strict=False)
    return users if follows is None else users.join(follows.lazy(), on="user_id", how="left", maintain_order="left")


def _lacking(known: pl.DataFrame, seen: list[pl.DataFrame]) -> pl.DataFrame:
    """Ids in `seen` that are not in `known`, one column each, in order."""
    ids = pl.concat(seen).unique().drop_nulls()
    return ids.join(known, on=known.columns, how="anti").sort(known.columns)


def _follows(scans: Mapping[str, pl.LazyFrame], files: Mapping[str, Path]) -> tuple[pl.DataFrame | None, list[Outcome]]:
    """`follows`, the users each user follows, or None without the file; and what became of its pairs."""
    if FOLLOWS not in files:
        return None, []
    with reading(files[FOLLOWS]):
        given = scans[FOLLOWS].select(ROW, user_id=as_id("user_id"), follows=as_id("user_follow_id")).collect()
    whole = given.drop_nulls()
    pairs = whole.unique(["user_id", "follows"], keep="first", maintain_order=True)
    rules = {
        "merged into their user as users who are followed": pairs,
        "left out as pairs that repeat another": whole.join(pairs.select(ROW), on=ROW, how="anti"),
        "left out as pairs without both users": given.join(whole.select(ROW), on=ROW, how="anti"),
    }
    outcomes = [
        outcome
        for rule, rows in rules.items()
        for outcome in _outcome(files[FOLLOWS], rule, rows.height, rows[ROW].min())
    ]
    return pairs.group_by("user_id", maintain_order=True).agg("follows"), outcomes


def _note(count: int, one: str, many: str, rest: str) -> str:
    return f"{of_count(count, one, many)} {rest}" if count else ""
