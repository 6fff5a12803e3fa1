"""Qilin: notes of a social network, requests of its feed and searches, as Parquet shards."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from searec.data.convert import as_text
from searec.data.formats.base import (
    FILE,
    ROW,
    ImportOptions,
    Outcome,
    Raw,
    named,
    of_count,
    reading,
    refuse_mapping,
    unlisted,
)
from searec.data.formats.markup import opening
from searec.data.log import REJECT_SCHEMA
from searec.errors import DataError

HOME = "https://huggingface.co/datasets/THUIR/Qilin"
_ACTIONS = ("click", "like", "collect", "share", "comment")
_RECOMMEND = ("recommendation_train", "recommendation_test")
_UNTITLED = " not among the notes: titled 'note' and the note's number"
_SEARCH = ("search_train", "search_test")
_NOTE = {"note_idx": "item_id", "note_title": "title", "note_content": "description"}
_NOTE_KEPT = (
    "note_type",
    "video_duration",
    "video_height",
    "video_width",
    "image_num",
    "content_length",
    "commercial_flag",
)
_LEVELS = ("taxonomy1_id", "taxonomy2_id", "taxonomy3_id")

_SHOWN = 80
_NO_QUERY = "left out as searches without a query"
_NO_RESULTS = "left out as searches without results, and so without a time"

_VALUE = r'(?:-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|null|true|false|"[^"\\]*")'
_OBJECT = rf'\{{\s*"\w+"\s*:\s*{_VALUE}(?:\s*,\s*"\w+"\s*:\s*{_VALUE})*\s*\}}'
_DETAILS = rf"^\s*\[\s*(?:{_OBJECT}(?:\s*,\s*{_OBJECT})*)?\s*\]\s*$"


def read_qilin(source: Path, options: ImportOptions) -> Raw:
    """The published parts, training and test together: searec splits by time itself.

    Args:
        source: a folder with a folder of Parquet shards, or one Parquet file, for each part.
        options: no mapping.

    Raises:
        SettingsError: a mapping.
        DataError: no such folder, a missing part or column, a file that cannot be read.
    """
    options.refuse_unused("qilin")
    refuse_mapping("qilin", options.mapping)
    parts = {name: _shards(source, name) for name in ("notes", "user_feat", *_RECOMMEND, *_SEARCH)}
    _refuse_missing(source, parts)
    notes = [f"no {name}: it is left out" for name in (*_RECOMMEND, *_SEARCH) if not parts[name]]

    feed, feed_faults = _requests(source, parts, _RECOMMEND, "rec_result_details_with_idx", "request_timestamp", {})
    query_columns = {"search_idx": "search_idx", "query": "query"}
    asking, search_faults = _requests(
        source, parts, _SEARCH, "search_result_details_with_idx", "search_timestamp", query_columns
    )
    counts = {path.relative_to(source).as_posix(): _height(path) for paths in parts.values() for path in paths}
    tables = {"interactions": _interactions(feed)}
    tables["searches"], said, left_out = _searches(asking, parts)
    notes += said
    with reading(source):
        clicks = tables["interactions"].select(FILE, ROW, "user_id", "item_id").collect(engine="streaming")
    left_out += _without_click(clicks, feed_faults, counts, parts)

    tables["items"], without = _items(source, parts["notes"], tables, clicks)
    if without:
        notes.append(of_count(without, "clicked note is", "clicked notes are") + _UNTITLED)
    if parts["user_feat"]:
        tables["users"], strangers, taken = _users(source, parts["user_feat"], tables, clicks)
        if strangers:
            notes.append(of_count(strangers, "user is", "users are") + " not in user_feat: no attributes are known")
        if taken:
            notes.append("user_feat has a column 'user_id' beside user_idx: it is left out")
    files = {
        "items": source / "notes",
        "users": source / "user_feat",
        "interactions": source / _RECOMMEND[0],
        "searches": source / _SEARCH[0],
    }
    return Raw(
        tables,
        {name: path for name, path in files.items() if name in tables},
        tuple(notes),
        rejects=pl.concat([feed_faults, search_faults]),
        repeats=True,
        read=counts,
        outcomes=tuple(left_out),
    )


def _height(path: Path) -> int:
    with reading(path):
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def _without_click(
    clicks: pl.DataFrame, faults: pl.LazyFrame, counts: Mapping[str, int], parts: Mapping[str, list[Path]]
) -> list[Outcome]:
    """Requests of the feed that led to nothing, by file."""
    bad = faults.select("file", "row").collect(engine="streaming")
    result = []
    for file in counts:
        if not any(file.startswith((f"{name}/", f"{name}.")) and parts[name] for name in _RECOMMEND):
            continue
        used = {*clicks.filter(pl.col(FILE) == file)[ROW].to_list(), *bad.filter(file=file)["row"].to_list()}
        if rows := counts[file] - len(used):
            first = next(row for row in range(1, counts[file] + 1) if row not in used)
            result.append(Outcome(file, "left out as requests in which nothing was clicked", rows, f"row {first}"))
    return result


def _shards(source: Path, part: str) -> list[Path]:
    folder = sorted((source / part).glob("*.parquet")) if (source / part).is_dir() else []
    return folder or [path for path in [source / f"{part}.parquet"] if path.is_file()]


def _refuse_missing(source: Path, parts: Mapping[str, list[Path]]) -> None:
    for needed in (("notes",), _RECOMMEND, _SEARCH):
        if not any(parts[name] for name in needed):
            here = sorted(path.name for path in source.iterdir())[:10] if source.is_dir() else ["no such folder"]
            got = ", ".join(here)
            expected = ", ".join(f"{name}/*.parquet" for name in parts)
            remedy = f"get it from {HOME}"
            raise DataError(
                f"no {' or '.join(needed)}",
                where=source,
                got=got or "an empty folder",
                expected=expected,
                remedy=remedy,
            )


def _scan(
    source: Path, paths: Sequence[Path], columns: Mapping[str, str], optional: Mapping[str, str] | None = None
) -> pl.LazyFrame:
    """The shards of a part, one after another, with `FILE` and `ROW`."""
    frames = []
    for path in paths:
        name = pl.lit(path.relative_to(source).as_posix()).alias(FILE)
        with reading(path):
            frame = pl.scan_parquet(path).with_row_index(ROW, 1).with_columns(name)
            frames.append(named(frame, columns, path, optional))
    return pl.concat(frames, how="diagonal_relaxed")


def _requests(
    source: Path,
    parts: Mapping[str, list[Path]],
    names: Sequence[str],
    details: str,
    time: str,
    more: Mapping[str, str],
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Requests of a kind with their results in order of position, and rejects for those whose results cannot be read.

    Returns:
        `FILE`, `ROW`, part, user_id, `more`, details: a list of note_idx, position, timestamp (text),
        actions (Float64).
    """
    frames = []
    for name in names:
        if parts[name]:
            frame = _scan(source, parts[name], {"user_idx": "user_id", details: "details", **more})
            read = _as_list(frame, time, parts[name][0])
            part = pl.lit(name.rsplit("_", 1)[1]).alias("part")
            text = (
                pl.col("details").str.slice(0, _SHOWN)
                if frame.collect_schema()["details"] == pl.String
                else pl.lit(None)
            )
            unread = (
                pl.when(pl.col("details").is_not_null() & read.is_null()).then(text).cast(pl.String).alias("unread")
            )
            frames.append(frame.with_columns(part, unread, read.fill_null([]).alias("details")))
    requests = pl.concat(frames, how="vertical_relaxed")
    bad = pl.col("unread").is_not_null()
    rule = pl.lit(f"{details} is no list").alias("rule")
    place = (pl.col(FILE).alias("file"), pl.col(ROW).cast(pl.Int64).alias("row"), rule, pl.col("unread").alias("value"))
    return requests.filter(~bad), requests.filter(bad).select(place).cast(REJECT_SCHEMA)  # type: ignore[arg-type]


def _as_list(frame: pl.LazyFrame, time: str, path: Path) -> pl.Expr:
    """The column `details`, a list of structs or its JSON text, sorted by position; null where it is neither.

    Raises:
        DataError: another type, or a field that is missing.
    """
    dtype = frame.collect_schema()["details"]
    fields = ("note_idx", "position", time, *_ACTIONS)
    value = pl.col("details")
    if dtype == pl.String:
        # Written by Python as JSON or as a literal: quotes and the sign for nothing differ.
        text = value.str.replace_all("'", '"', literal=True).str.replace_all(r"\b(?:NaN|nan|None)\b", "null")
        good = pl.when(text.str.contains(_DETAILS)).then(text)
        value = good.str.json_decode(pl.List(pl.Struct(dict.fromkeys(fields, pl.String))))
    elif not isinstance(dtype, pl.List) or not isinstance(dtype.inner, pl.Struct):
        raise DataError(
            "the results are no list",
            where=path,
            got=dtype,
            expected=f"a list of {', '.join(fields)}, or its JSON text",
        )
    else:
        known = {field.name: field.dtype for field in dtype.inner.fields}
        missing = [name for name in ("note_idx", "click", time) if name not in known]
        if missing:
            raise DataError(
                f"results lack {missing[0]!r}", where=path, got=", ".join(known), expected=", ".join(fields)
            )
    one = pl.element().struct.field
    there = dict.fromkeys(fields, pl.String()) if dtype == pl.String else known
    decoded = pl.struct(
        _id(one("note_idx"), there["note_idx"]).alias("item_id"),  # type: ignore[arg-type]
        one(time).cast(pl.String).alias("timestamp"),
        *(
            (one(name).cast(pl.Float64, strict=False) if name in there else pl.lit(None, dtype=pl.Float64)).alias(name)
            for name in _ACTIONS
        ),
        (
            one("position").cast(pl.Float64, strict=False) if "position" in there else pl.lit(None, dtype=pl.Float64)
        ).alias("position"),
    )
    made_list = value.list.eval(decoded)
    return made_list.list.eval(pl.element().sort_by(one("position"), nulls_last=True, maintain_order=True))


def _id(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    text = as_text(value, dtype)
    return value.cast(pl.String) if text is None else text.str.strip_suffix(".0")


def _interactions(feed: pl.LazyFrame) -> pl.LazyFrame:
    """What users clicked in the feed; liking, collecting, sharing or commenting on a note counts as a click."""
    results = feed.select(FILE, ROW, "user_id", "details").explode("details", empty_as_null=False).unnest("details")
    event = pl.coalesce(*(pl.when(pl.col(action) > 0).then(pl.lit(action)) for action in _ACTIONS))
    return (
        results.with_columns(event=event)
        .filter(pl.col("event").is_not_null())
        .select(FILE, ROW, pl.col("user_id").cast(pl.String), "item_id", "timestamp", "event")
    )


def _searches(asking: pl.LazyFrame, parts: Mapping[str, list[Path]]) -> tuple[pl.LazyFrame, list[str], list[Outcome]]:
    """One search a row, more where results were clicked at another time; rows without query or results are left out."""
    one = pl.element().struct.field
    blank = pl.col("query").cast(pl.String).fill_null("").str.strip_chars() == ""
    empty = pl.col("details").list.len() == 0
    times = pl.col("details").list.eval(one("timestamp")).list.drop_nulls()
    clicked_times = pl.col("details").list.eval(one("timestamp").filter(one("click") > 0)).list.drop_nulls()
    of_first = pl.col("details").list.eval(one("timestamp").drop_nulls().first().repeat_by(pl.len()).explode())
    asking = asking.with_columns(
        first=times.list.first(), late=(clicked_times.list.set_difference(of_first).list.len() > 0)
    )
    row = pl.concat_str(pl.lit("row "), pl.col(ROW).cast(pl.String)).first().alias("example")
    kinds = (pl.lit(_NO_QUERY), blank), (pl.lit(_NO_RESULTS), empty & ~blank)
    rule = pl.coalesce(pl.when(broken).then(text) for text, broken in kinds).alias("rule")
    with reading(next(paths[0] for name in _SEARCH if (paths := parts[name]))):
        left_out = (
            asking.group_by(FILE, rule, maintain_order=True).agg(pl.len(), row).drop_nulls("rule").collect().to_dicts()
        )
        parted, notes = _parted(asking.filter(~blank, ~empty, "late").collect(engine="streaming"))
    ids = pl.col("details").list.eval(one("item_id")).list.drop_nulls().list.unique(maintain_order=True)
    clicked = pl.col("details").list.eval(pl.element().filter(one("click") > 0).struct.field("item_id"))
    table = asking.filter(~blank, ~empty, ~pl.col("late")).select(
        FILE,
        ROW,
        _search_id(),
        pl.col("user_id").cast(pl.String),
        pl.col("query").cast(pl.String),
        pl.col("first").alias("timestamp"),
        clicked.list.unique(maintain_order=True).alias("clicked"),
        ids.alias("shown"),
    )
    outcomes = [Outcome(given[FILE], given["rule"], given["len"], given["example"]) for given in left_out]
    return (pl.concat([table, parted.lazy()]) if parted.height else table), notes, outcomes


def _parted(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Searches by the times at which their results were clicked, so that no click is older than it was; and a note.

    The results of the first time, and those of other times without a click, are one search.
    """
    if rows.is_empty():
        return rows, []
    of_row = [FILE, ROW, "search_id", "user_id", "query"]
    results = (
        rows.select(
            FILE,
            ROW,
            _search_id(),
            pl.col("user_id").cast(pl.String),
            pl.col("query").cast(pl.String),
            "first",
            "details",
        )
        .explode("details")
        .unnest("details")
        .with_columns(clicked=pl.col("click") > 0, at=pl.coalesce("timestamp", "first"))
    )
    moved = (pl.col("at") != pl.col("first")) & pl.col("clicked").any().over(FILE, ROW, "at")
    results = results.with_columns(moved=moved).with_columns(timestamp=pl.when("moved").then("at").otherwise("first"))
    item = pl.col("item_id")
    table = (
        results.group_by([*of_row, "timestamp"], maintain_order=True)
        .agg(
            clicked=item.filter("clicked").drop_nulls().unique(maintain_order=True),
            shown=item.drop_nulls().unique(maintain_order=True),
            moved=pl.col("moved").any(),
        )
        .sort(FILE, ROW, "moved", maintain_order=True)
        .with_columns(number=pl.int_range(1, pl.len() + 1).over(FILE, ROW))
    )
    name = pl.when(pl.col("number") == 1).then("search_id").otherwise(pl.format("{}-{}", "search_id", "number"))
    late = results.filter("moved", "clicked")
    note = (
        f"{late.height:,} clicks of searches are at another time than the first result, such as "
        f"{late['search_id'][0]!r}, note {late['item_id'][0]}: they are in a search of their own, at their time"
    )
    return table.select(FILE, ROW, name.alias("search_id"), "user_id", "query", "timestamp", "clicked", "shown"), [note]


def _search_id() -> pl.Expr:
    return pl.concat_str("part", pl.col("search_idx").cast(pl.String), separator="-").alias("search_id")


def _items(
    source: Path, shards: Sequence[Path], tables: Mapping[str, pl.LazyFrame], clicks: pl.DataFrame
) -> tuple[pl.LazyFrame, int]:
    """The notes, completed by those that events name; and how many these are."""
    levels = dict(zip(_LEVELS, _LEVELS, strict=True))
    frame = _scan(source, shards, _NOTE, {**levels, **{name: name for name in _NOTE_KEPT}})
    there = frame.collect_schema()
    labels = [_label(name, there[name], level) for level, name in enumerate(_LEVELS, start=1) if name in there]
    item = _id(pl.col("item_id"), there["item_id"])
    given = pl.col("title").cast(pl.String).str.strip_chars()
    title = pl.coalesce(
        pl.when(given != "").then(given), opening(pl.col("description").cast(pl.String)), "note " + item
    )
    categories = pl.concat_list(labels).list.drop_nulls() if labels else pl.lit([], dtype=pl.List(pl.String))
    notes = frame.with_columns(item_id=item, title=title, categories=categories).drop(_LEVELS, strict=False)
    with reading(source / "notes"):
        listed = notes.select("item_id").collect(engine="streaming").lazy()
    clicked = tables["searches"].select(item_id=pl.col("clicked")).explode("item_id", empty_as_null=False)
    with reading(source):
        lacking = unlisted(listed, "item_id", [clicks.lazy(), clicked])
    return pl.concat(
        [notes, lacking.lazy().with_columns(title="note " + pl.col("item_id"))], how="diagonal_relaxed"
    ), lacking.height


def _label(name: str, dtype: pl.DataType, level: int) -> pl.Expr:
    """A category's name; a bare number gets its level beside it, for the same number may occur on each."""
    text = as_text(pl.col(name), dtype)
    text = (pl.col(name).cast(pl.String) if text is None else text).str.strip_chars()
    number = text.str.contains(r"^\d+$")
    text = pl.when(text.str.to_lowercase().is_in(["", "nan", "none", "null"])).then(None).otherwise(text)
    return pl.when(number).then(pl.lit(f"{level}-") + text).otherwise(text)


def _users(
    source: Path, shards: Sequence[Path], tables: Mapping[str, pl.LazyFrame], clicks: pl.DataFrame
) -> tuple[pl.LazyFrame, int, bool]:
    """The users with their features but the dense ones, completed by those that events name.

    Also how many these are, and whether a column has a name that cannot stay.
    """
    with reading(shards[0]):
        names = list(dict.fromkeys(name for path in shards for name in pl.scan_parquet(path).collect_schema()))
    attributes = [name for name in names if name not in ("user_idx", "user_id") and not name.startswith("dense_feat")]
    users = _scan(source, shards, {"user_idx": "user_id"}, {name: name for name in attributes}).with_columns(
        pl.col("user_id").cast(pl.String)
    )
    with reading(source / "user_feat"):
        listed = users.select("user_id").collect(engine="streaming").lazy()
    with reading(source):
        strangers = unlisted(listed, "user_id", [clicks.lazy(), tables["searches"]])
    return pl.concat([users, strangers.lazy()], how="diagonal_relaxed"), strangers.height, "user_id" in names
