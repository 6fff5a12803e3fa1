"""Dataset: the log encoded once into memory-mapped arrays, cached by a fingerprint of its input."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.events import EventWeights
from searec.data.log import Log, load_log, write_table
from searec.data.ragged import Ints, Ragged, group
from searec.data.remote import is_url
from searec.data.schema import TABLES
from searec.data.tables import contents_digest, local_folder, remembered, shards
from searec.data.text_settings import AUTO, TextSettings
from searec.data.vocabulary import IdMap
from searec.errors import DataError
from searec.files import cache_folder, fingerprint, replacing
from searec.text.analyser import Analyser, analyser
from searec.text.analysis import FIELDS, item_fields, item_text
from searec.text.language import detect

FORMAT = 10
"""Version of the encoding; a change here makes every cached dataset be encoded anew."""

FEED, SEARCH = 0, 1
"""Where a click came from."""

FOREVER = np.iinfo(np.int64).max
"""The end of negative feedback that is never taken back."""


@dataclass(frozen=True)
class Sizes:
    """How many users, items, distinct queries, words and categories there are (ids run 1..N)."""

    users: int
    items: int
    queries: int
    words: int
    categories: int


@dataclass(frozen=True)
class Interactions:
    """Feed events of positive weight by user, oldest first; the events of user u are at offsets[u]:offsets[u + 1]."""

    offsets: Ints  # [U + 2]
    item: Ints  # [E]
    time: Ints  # [E] int64, microseconds since 1970
    event: Ints  # [E] index into Dataset.event_names
    weight: NDArray[np.float32]  # [E] above 0


@dataclass(frozen=True)
class Searches:
    """Search sessions by user, oldest first."""

    offsets: Ints  # [U + 2]
    query: Ints  # [S] query id
    time: Ints  # [S]
    clicks: Ragged  # [S] clicked items of each session
    shown: Ragged | None = None  # [S] items of each result page by position, 0 if unknown; None if the log has none


@dataclass(frozen=True)
class ClickHistory:
    """Every item the user clicked, in the feed or after a search, merged by time."""

    offsets: Ints  # [U + 2]
    item: Ints  # [E']
    time: Ints  # [E']
    source: Ints  # [E'] FEED or SEARCH
    weight: NDArray[np.float32]  # [E'] of the event; 1 of a click after a search


@dataclass(frozen=True)
class Dislikes:
    """Events of negative weight by user, oldest first. From `time` to `until` the user is not given the item."""

    offsets: Ints  # [U + 2]
    item: Ints  # [D]
    time: Ints  # [D] microseconds since 1970
    until: Ints  # [D] when the user first chose the item afterwards; FOREVER if never


Stream = TypeVar("Stream", Interactions, ClickHistory, Dislikes)


@dataclass(frozen=True)
class Queries:
    """The distinct query texts, sorted; row 0 of `words` is empty."""

    texts: pl.Series
    words: Ragged  # [Q + 1] word ids

    @functools.cached_property
    def ids(self) -> IdMap:
        """Return the query id of each text."""
        return IdMap("query", self.texts)


@dataclass(frozen=True)
class Dataset:
    """A checked, encoded dataset folder. Arrays are memory-mapped and read-only.

    `folder` is the cache folder that holds the arrays, and the candidate lists drawn for them.
    `event_names` are those of positive events; neutral ones (weight 0) are in the log alone.
    """

    folder: Path
    fingerprint: str
    sizes: Sizes
    event_names: tuple[str, ...]
    event_weights: EventWeights
    analyser: Analyser
    users: IdMap
    items: IdMap
    interactions: Interactions
    searches: Searches
    click_history: ClickHistory
    dislikes: Dislikes
    queries: Queries
    item_words: Ragged  # [I + 1] title, brand, categories, description
    item_fields: Ints  # [I + 1, 4] where the words of each of `text.analysis.FIELDS` end among the item's
    item_categories: Ragged  # [I + 1] broad to narrow
    category_names: IdMap

    @functools.cached_property
    def item_table(self) -> pl.DataFrame:
        """Return the items as given; row n is internal id n + 1."""
        return pl.read_parquet(self.folder / "items.parquet")

    @functools.cached_property
    def user_table(self) -> pl.DataFrame:
        """Return the users as given; row n is internal id n + 1."""
        return pl.read_parquet(self.folder / "users.parquet")

    @functools.cached_property
    def word_index(self) -> dict[str, int]:
        """Return the word id of each word."""
        words = pl.read_parquet(self.folder / "words.parquet")["word"]
        return {word: place for place, word in enumerate(words.to_list(), start=1)}

    def item_texts(self) -> list[str]:
        """Return [I] title, brand, categories and description of each item as one text."""
        return self.item_table.select(item_text(self.item_table.columns)).to_series().to_list()


def load(folder: Path | str, *, log: Log | None = None) -> Dataset:
    """Open a dataset folder; the first time, check and encode it.

    The encoding is stored under `files.cache_folder()`, keyed by the folder's contents. What a URL names is copied to
    this machine the first time, and again only where it has changed.

    Args:
        folder: the dataset folder or its URL (s3://, gs://, or a scheme of fsspec).
        log: the folder's log without rejects, where the caller has read it already.

    Raises:
        DataError: the folder breaks a rule (see `log.load_log`).
        StorageError: the cache cannot be written.
    """
    if is_url(folder) and (memory := remembered(str(folder))) is not None:
        key = _key(*memory)
        if _home(key).is_dir():
            return open_encoded(_home(key), key)
    with local_folder(folder) as local:
        return _load(local, log)


def _load(folder: Path, log: Log | None) -> Dataset:
    """`load` of a folder on this machine."""
    if not all(shards(folder, table) for table in TABLES):
        load_log(folder)  # names what is missing
    key = _key(contents_digest(folder), folder)
    home = _home(key)
    if not home.is_dir():
        log = log or load_log(folder)
        if not log.rows["items"] or not log.rows["users"]:
            raise DataError(
                "the dataset folder has no items or no users", where=folder, expected="at least one of each"
            )
        with replacing(home) as beside:
            write(log, beside)
    return open_encoded(home, key)


def _key(contents: str, settings: Path) -> str:
    """The fingerprint of a dataset: contents of its tables, and whatever else the encoding depends on.

    Args:
        contents: `tables.contents_digest`.
        settings: a folder with its settings files (`tables.SETTINGS_FILES`).
    """
    digests = EventWeights.read(settings).digest + TextSettings.read(settings).digest
    return fingerprint(f"searec dataset {FORMAT}{digests}", contents)


def _home(key: str) -> Path:
    return cache_folder() / "datasets" / key


def write(log: Log, folder: Path) -> None:
    """Encode a checked log into a folder of .npy and Parquet files.

    The bytes do not depend on the order of the log's rows: ids follow the order of their texts, and events of a user at
    one instant follow their item and event (interactions) or their search_id (searches); feed before search.

    Args:
        log: a log without rejects.
        folder: the folder to make.
    """
    folder.mkdir()
    queries = log.searches["query"].unique().sort()
    event_names, clicks = _write_events(log, queries, folder)
    _write_dislikes(log.interactions.filter(pl.col("weight") < 0), clicks, folder, log.users.height)
    del clicks

    item_texts = log.items.select(item_text(log.items.columns)).to_series()
    language = detect(item_texts) if log.text.language == AUTO else log.text.language
    of_texts = analyser(language).column(pl.col("text")).alias("word")
    fields = [item_fields(log.items.columns).get(name, pl.repeat(None, pl.len(), dtype=pl.String)) for name in FIELDS]
    by_field = [log.items.select(text=field).select(of_texts)["word"] for field in fields]
    item_words = pl.select(pl.concat_list(by_field)).to_series()
    query_words = queries.to_frame("text").select(of_texts)["word"]
    vocabulary = pl.concat([item_words.explode(), query_words.explode()]).drop_nulls().unique().sort()
    _save_rows(folder, "item_words", _coded_lists(item_words, vocabulary))
    ends = np.cumsum([lists.list.len().to_numpy() for lists in by_field], axis=0).T
    np.save(folder / "item_fields.npy", np.concatenate((np.zeros((1, len(FIELDS))), ends)).astype(np.int32))
    _save_rows(folder, "query_words", _coded_lists(query_words, vocabulary))

    if "categories" in log.items.columns:
        categories = log.items["categories"]
    else:
        categories = pl.Series([[]] * log.items.height, dtype=pl.List(pl.String))
    category_names = categories.explode().drop_nulls().unique().sort()
    _save_rows(folder, "item_categories", _coded_lists(categories, category_names))

    write_table(log.items, folder / "items.parquet")
    write_table(log.users, folder / "users.parquet")
    write_table(queries.to_frame("query"), folder / "queries.parquet")
    write_table(vocabulary.to_frame("word"), folder / "words.parquet")
    write_table(category_names.to_frame("category"), folder / "categories.parquet")
    sizes = Sizes(
        users=log.users.height,
        items=log.items.height,
        queries=len(queries),
        words=len(vocabulary),
        categories=len(category_names),
    )
    meta = {
        "format": FORMAT,
        "sizes": asdict(sizes),
        "event_names": event_names,
        "event_weights": dict(log.event_weights.changes),
        "language": language,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _write_events(log: Log, queries: pl.Series, folder: Path) -> tuple[list[str], pl.DataFrame]:
    """Write interactions, searches and the click history, each by user and time; return event names and the history."""
    users = log.users.height
    is_positive = log.interactions["weight"] > 0
    positive = log.interactions if is_positive.all() else log.interactions.filter(is_positive)
    event_names = positive["event"].unique().cast(pl.String).sort().to_list()
    event = _codes(positive["event"], event_names, pl.Int16) - 1
    feed = _in_order(positive.with_columns(event), "item", "event")
    _save_columns(folder, "interactions", feed, ("item", "time", "event", "weight"), users)
    del positive, event
    feed = feed.drop("event")

    query = _codes(log.searches["query"], queries, pl.Int32)
    searches = _in_order(log.searches.with_columns(query), "search_id").drop("search_id")
    _save_columns(folder, "searches", searches, ("query", "time"), users)
    for name in ("clicked", "shown"):
        if name in searches.columns:
            lists = searches[name].list.eval(pl.element().fill_null(0))
            values = lists.explode().drop_nulls().to_numpy().astype(np.int32)
            offsets = np.concatenate(([0], np.cumsum(lists.list.len().to_numpy(), dtype=np.int64)))
            _save_rows(folder, f"searches.{name}", Ragged(offsets, values))

    from_feed = feed.select("user", "time", "item", "weight", source=pl.lit(FEED, pl.Int8))
    of_search = (pl.lit(1.0, pl.Float32).alias("weight"), pl.lit(SEARCH, pl.Int8).alias("source"))
    from_search = searches.select("user", "time", pl.col("clicked").alias("item"), *of_search)
    from_search = from_search.explode("item").drop_nulls("item")
    del feed, searches  # ten million events need the room
    clicks = pl.concat([from_feed, from_search]).sort("user", "time", maintain_order=True)
    _save_columns(folder, "click_history", clicks, ("item", "time", "source", "weight"), users)
    return event_names, clicks


def _write_dislikes(negative: pl.DataFrame, clicks: pl.DataFrame, folder: Path, users: int) -> None:
    """Write events of negative weight by user and time, each with the time of the next click on its item."""
    chosen = (clicks if negative.height else clicks.clear()).select("user", "item", "time", until="time")
    dislikes = (
        negative.select("user", "item", "time")
        .sort("time", maintain_order=True)
        .join_asof(
            chosen.sort("time"),
            on="time",
            by=["user", "item"],
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns(pl.col("until").fill_null(FOREVER))
    )
    _save_columns(folder, "dislikes", _in_order(dislikes, "item"), ("item", "time", "until"), users)


def _in_order(frame: pl.DataFrame, *ties: str) -> pl.DataFrame:
    """Rows by user, time and the columns of `ties`; only rows of one user and time are sorted by the latter."""
    frame = frame.sort("user", "time", maintain_order=True)
    user, time = frame["user"].to_numpy(), frame["time"].to_numpy()
    is_as_before = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    rows = np.flatnonzero(np.append(is_as_before, False) | np.insert(is_as_before, 0, False))
    if not len(rows):
        return frame
    order = np.arange(len(user))
    tied = frame.select("user", "time", *ties)[rows].with_columns(pl.Series("row", rows))
    order[rows] = tied.sort("user", "time", *ties)["row"].to_numpy()
    return frame[order]


def _save_columns(folder: Path, name: str, frame: pl.DataFrame, columns: Sequence[str], users: int) -> None:
    """Save columns of a frame that is sorted by user, and the users' offsets."""
    np.save(folder / f"{name}.offsets.npy", _offsets(frame["user"], users + 1))
    for column in columns:
        np.save(folder / f"{name}.{column}.npy", frame[column].to_numpy())


def _save_rows(folder: Path, name: str, rows: Ragged) -> None:
    np.save(folder / f"{name}.offsets.npy", rows.offsets)
    np.save(folder / f"{name}.npy", rows.values)


def open_encoded(folder: Path, key: str) -> Dataset:
    """Open a folder that `write` made.

    Args:
        folder: the folder of arrays and tables.
        key: its fingerprint.

    Raises:
        DataError: it is damaged; removing it makes the next load encode anew.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        arrays = {
            path.name.removesuffix(".npy"): np.load(path, mmap_mode="r").view(np.ndarray)
            for path in folder.glob("*.npy")
        }
        return _assemble(folder, key, meta, arrays)
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise DataError(
            "the cached encoding is damaged", where=folder, got=error, remedy="remove that folder; it is made again"
        ) from error


def _assemble(folder: Path, key: str, meta: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> Dataset:
    def table(name: str, column: str) -> pl.Series:
        return pl.read_parquet(folder / f"{name}.parquet", columns=[column])[column]

    def ragged(name: str) -> Ragged:
        return Ragged(arrays[f"{name}.offsets"], arrays[name])

    def stream(kind: type[Stream], name: str) -> Stream:
        return kind(**{field.name: arrays[f"{name}.{field.name}"] for field in fields(kind)})

    return Dataset(
        folder=folder,
        fingerprint=key,
        sizes=Sizes(**meta["sizes"]),  # type: ignore[arg-type]
        event_names=tuple(meta["event_names"]),  # type: ignore[arg-type]
        event_weights=EventWeights(meta["event_weights"]),  # type: ignore[arg-type]
        analyser=analyser(str(meta["language"])),
        users=IdMap("user", table("users", "user_id")),
        items=IdMap("item", table("items", "item_id")),
        interactions=stream(Interactions, "interactions"),
        searches=Searches(
            arrays["searches.offsets"],
            arrays["searches.query"],
            arrays["searches.time"],
            ragged("searches.clicked"),
            ragged("searches.shown") if "searches.shown" in arrays else None,
        ),
        click_history=stream(ClickHistory, "click_history"),
        dislikes=stream(Dislikes, "dislikes"),
        queries=Queries(table("queries", "query"), ragged("query_words")),
        item_words=ragged("item_words"),
        item_fields=arrays["item_fields"],
        item_categories=ragged("item_categories"),
        category_names=IdMap("category", table("categories", "category")),
    )


def _codes(column: pl.Series, names: pl.Series | list[str], dtype: type[pl.DataType]) -> pl.Series:
    """1-based codes of a text column whose values are all in `names`."""
    return (column.cast(pl.Enum(names)).to_physical().cast(dtype) + 1).alias(column.name)


def _offsets(user: pl.Series, rows: int) -> Ints:
    """[rows + 1] CSR offsets of a sorted owner column with owners 0..rows-1."""
    return np.concatenate(([0], np.cumsum(np.bincount(user.to_numpy(), minlength=rows))))


def _coded_lists(lists: pl.Series, names: pl.Series) -> Ragged:
    """Ragged [rows + 1] of 1-based codes; row 0 is empty, row n is list n - 1. Null members are left out."""
    frame = pl.DataFrame({"owner": np.arange(1, len(lists) + 1), "value": lists}).explode("value").drop_nulls("value")
    codes = _codes(frame["value"], names, pl.Int32).to_numpy()
    return group(frame["owner"].to_numpy(), codes, len(lists) + 1)
