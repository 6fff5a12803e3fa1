"""MovieLens: ratings of films, and the users' own tags as searches; sets without tags get searches by a rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from searec.data.formats.base import (
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
from searec.data.formats.csv_text import read_csv_file
from searec.data.formats.queries import draw, path_query
from searec.data.formats.text_files import Room, TableFile
from searec.errors import DataError

HOME = "https://grouplens.org/datasets/movielens/"
SEARCH_SHARE = 5
"""Of the ratings of a set without tags one in this many is made a search."""

_FIELDS = ("user_id", "item_id", "rating", "timestamp")
_NO_GENRE = ("", "(no genres listed)", "unknown")
_FLAGS = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56+"}
_OCCUPATIONS = (
    *(
        "other",
        "academic/educator",
        "artist",
        "clerical/admin",
        "college/grad student",
        "customer service",
        "doctor/health care",
    ),
    *(
        "executive/managerial",
        "farmer",
        "homemaker",
        "K-12 student",
        "lawyer",
        "programmer",
        "retired",
        "sales/marketing",
        "scientist",
    ),
    *("self-employed", "technician/engineer", "tradesman/craftsman", "unemployed", "writer"),
)


@dataclass(frozen=True)
class _Set:
    """One published set, unread. ratings and tags carry `ROW`.

    ratings: user_id, item_id, timestamp, in seconds as text.
    films: item_id, title, categories, and what else the set says of films.
    users: user_id and attributes.
    tags: user_id, item_id, query, timestamp.
    files: the file of each; "links" where there are any.
    read: records of each file, by its name.
    outcomes: what became of records that are in no row.
    notes: what was decided for the user.
    rejects: records that are no row.
    room: the temporary folder of the tables.
    """

    ratings: pl.LazyFrame
    films: pl.LazyFrame
    users: pl.LazyFrame | None
    tags: pl.LazyFrame | None
    files: dict[str, Path]
    read: dict[str, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejects: list[pl.DataFrame] = field(default_factory=list)
    room: Room | None = None


def read_movielens(source: Path, options: ImportOptions) -> Raw:
    """Read a published MovieLens set: 100k, 1m, 10m, 20m, 25m, 32m, latest or latest-small, by the files it has.

    Args:
        source: the unpacked folder.
        options: no mapping.

    Raises:
        SettingsError: a mapping.
        DataError: no such folder, a missing file or column, a file that cannot be read.
    """
    options.refuse_unused("movielens")
    refuse_mapping("movielens", options.mapping)
    published = _open(source)
    _refuse_empty(published)
    notes = published.notes
    unknown = unlisted(published.films, "item_id", _seen(published, "item_id"))
    tables = {
        "items": pl.concat(
            [published.films, unknown.lazy().with_columns(title="film " + pl.col("item_id"))], how="diagonal"
        )
    }
    if unknown.height:
        name = published.files["items"].name
        notes.append(
            of_count(unknown.height, "film is", "films are")
            + f" rated or tagged and not in {name}: titled 'film' and the film's number"
        )
    if published.users is not None:
        strangers = unlisted(published.users, "user_id", _seen(published, "user_id"))
        tables["users"] = pl.concat([published.users, strangers.lazy()], how="diagonal")
        if strangers.height:
            notes.append(
                of_count(strangers.height, "user is", "users are")
                + f" in no line of {published.files['users'].name}: no attributes are known"
            )

    files = {name: path for name, path in published.files.items() if name not in ("tags", "links")}
    outcomes = list(published.outcomes)
    rating = published.ratings.with_columns(event=pl.lit("rating"))
    if published.tags is not None:
        files["searches"] = published.files["tags"]
        with reading(files["searches"]):
            tables["searches"], left_out = _from_tags(published.tags, files["searches"].name)
        tables["interactions"] = rating
        outcomes += left_out
    else:
        files["searches"] = published.files["interactions"]
        led = rating.join(_queries(published.films), on="item_id", how="left", maintain_order="left").with_columns(
            _searched()
        )
        tables["interactions"] = led.filter(pl.col("query").is_null()).drop("query")
        simulated = led.filter(pl.col("query").is_not_null())
        tables["searches"] = _searches(simulated, "rating")
        with reading(files["searches"]):
            count = simulated.select(pl.len()).collect(engine="streaming").item()
        notes.append(
            f"the set has no tags: one rating in {SEARCH_SHARE} ({count:,}) is used as a simulated search that led to "
            "its film; half of these queries are words of the title, half are genres"
        )
    return Raw(
        tables,
        files,
        tuple(notes),
        pl.concat(published.rejects).lazy() if published.rejects else None,
        unit="s",
        repeats=True,
        read=published.read,
        outcomes=tuple(outcomes),
        room=published.room,
    )


def _refuse_empty(published: _Set) -> None:
    """Refuse a set whose ratings, films or users are not there: a file that was cut short."""
    for name, what in (("interactions", "ratings"), ("items", "films"), ("users", "users")):
        path = published.files.get(name)
        if path is not None and not published.read[path.name]:
            raise DataError(
                f"no {what}", where=path, got="a file without a record", remedy=f"unpack the set again, from {HOME}"
            )


def _open(source: Path) -> _Set:
    kinds = {"u.data": _open_100k, "ratings.dat": _open_dat, "ratings.csv": _open_csv}
    there = [name for name in kinds if (source / name).is_file()]
    if len(there) != 1:
        raise DataError(
            "two MovieLens sets in one folder" if there else "no MovieLens set",
            where=source,
            got=", ".join(there or sorted(path.name for path in source.iterdir())[:10] if source.is_dir() else ())
            or "nothing",
            expected="an unpacked set with u.data (100k), ratings.dat (1m, 10m) or ratings.csv (20m and later)",
            remedy=f"unpack one set from {HOME}",
        )
    return kinds[there[0]](source)


def _open_100k(source: Path) -> _Set:
    files = _files(source, interactions="u.data", items="u.item", users="u.user")
    notes: list[str] = []
    films = _lines(files["items"], "|", ("item_id", "title", "release_date", "video_release_date", "imdb_url", "flags"))
    films = _small(files["items"], films, notes, "flags")
    flags = pl.col("flags").str.split("|")
    marked = [
        pl.when(flags.list.get(place, null_on_oob=True) == "1").then(pl.lit(genre))
        for place, genre in enumerate(_FLAGS)
    ]
    films = films.with_columns(categories=_genres(pl.concat_list(marked))).drop("flags", "video_release_date")
    users = _lines(files["users"], "|", ("user_id", "age", "gender", "occupation", "zip_code"))
    users = _small(files["users"], users, notes, "zip_code")
    ratings = _lines(files["interactions"], "\t", _FIELDS).drop("rating")
    return _Set(ratings, films, users, None, files, _counts(files, ratings, films, users), notes=notes)


def _open_dat(source: Path) -> _Set:
    there = [name for name in ("users", "tags") if (source / f"{name}.dat").is_file()]
    files = _files(source, interactions="ratings.dat", items="movies.dat", **{name: f"{name}.dat" for name in there})
    notes: list[str] = []
    films = _small(files["items"], _lines(files["items"], "::", ("item_id", "title", "genres")), notes, "genres")
    users = tags = None
    if "users" in files:
        known = _lines(files["users"], "::", ("user_id", "gender", "age_group", "occupation", "zip_code"))
        known = _small(files["users"], known, notes, "zip_code")
        jobs = {str(code): name for code, name in enumerate(_OCCUPATIONS)}
        users = known.with_columns(pl.col("age_group").replace(_AGES), pl.col("occupation").replace(jobs))
    if "tags" in files:
        # A tag may hold the separator: the time is what stands behind the last one.
        ends = pl.col("rest").str.extract_groups(r"^(?<query>.*)::(?<timestamp>[^:]*)$")
        tags = (
            _lines(files["tags"], "::", ("user_id", "item_id", "rest"))
            .with_columns(ends.alias("ends"))
            .unnest("ends")
            .drop("rest")
        )
    ratings = _lines(files["interactions"], "::", _FIELDS).drop("rating")
    read = _counts(files, ratings, films, users, tags)
    return _Set(ratings, _with_genres(films), users, tags, files, read, notes=notes)


def _open_csv(source: Path) -> _Set:
    also = [name for name in ("tags", "links") if (source / f"{name}.csv").is_file()]
    files = _files(source, interactions="ratings.csv", items="movies.csv", **{name: f"{name}.csv" for name in also})
    ids = {"userId": "user_id", "movieId": "item_id", "timestamp": "timestamp"}
    columns = {
        "interactions": ids,
        "items": {"movieId": "item_id", "title": "title", "genres": "genres"},
        "tags": {**ids, "tag": "query"},
        "links": {"movieId": "item_id", "imdbId": "imdb_id", "tmdbId": "tmdb_id"},
    }
    room = Room()
    opened = {name: _csv(path, columns[name], room) for name, path in files.items()}
    films = _with_genres(_small(files["items"], opened["items"].frame))
    outcomes: list[Outcome] = []
    if "links" in opened:
        path = files["links"]
        links = _small(path, opened["links"].frame)
        first = links.unique("item_id", keep="first", maintain_order=True)
        outcomes = _of_links(path.name, links, first, films)
        films = films.join(first.drop(ROW), on="item_id", how="left", maintain_order="left")
    return _Set(
        opened["interactions"].frame,
        films,
        None,
        opened["tags"].frame if "tags" in opened else None,
        files,
        {files[name].name: file.records for name, file in opened.items()},
        outcomes,
        [note for file in opened.values() for note in file.notes],
        [file.rejects for file in opened.values()],
        room,
    )


def _of_links(file: str, links: pl.LazyFrame, first: pl.LazyFrame, films: pl.LazyFrame) -> list[Outcome]:
    """What became of the lines of links.csv."""
    joined = first.join(films.select("item_id"), on="item_id", how="semi")
    rules = {
        "merged into their film": joined,
        "left out as further lines of a film": links.join(first.select(ROW), on=ROW, how="anti"),
        "left out as lines of films that the set lacks": first.join(joined.select(ROW), on=ROW, how="anti"),
    }
    return [outcome for rule, rows in rules.items() for outcome in _outcome(file, rule, rows)]


def _outcome(file: str, rule: str, rows: pl.LazyFrame) -> list[Outcome]:
    """One outcome, or none where there are no rows."""
    count, row = rows.select(pl.len(), pl.col(ROW).min()).collect(engine="streaming").row(0)
    return [Outcome(file, rule, count, f"row {row}")] if count else []


def _counts(files: Mapping[str, Path], *frames: pl.LazyFrame | None) -> dict[str, int]:
    """Records of each file, in the order ratings, films, users, tags, links."""
    names = ("interactions", "items", "users", "tags", "links")
    read = {}
    for name, frame in zip(names, frames, strict=False):
        if frame is not None:
            with reading(files[name]):
                read[files[name].name] = frame.select(pl.len()).collect(engine="streaming").item()
    return read


def _seen(published: _Set, key: str) -> list[pl.LazyFrame]:
    """The ids in the ratings and in the tags."""
    seen = []
    for name, frame in (("interactions", published.ratings), ("tags", published.tags)):
        if frame is not None:
            with reading(published.files[name]):
                seen.append(frame.select(key).unique().collect(engine="streaming").lazy())
    return seen


def _small(path: Path, frame: pl.LazyFrame, notes: list[str] | None = None, last: str = "") -> pl.LazyFrame:
    """Films or users, read; a note on lines that end before the field `last`."""
    with reading(path):
        table = frame.collect()
    short = table.filter(pl.col(last).is_null()) if last else table.clear()
    if notes is not None and short.height:
        lines = f"{short.height:,} {'line ends' if short.height == 1 else 'lines end'}"
        notes.append(f"{path.name}: {lines} before the last field, such as line {short[ROW][0]}: the rest is empty")
    return table.lazy()


def _files(source: Path, **names: str) -> dict[str, Path]:
    for name in names.values():
        if not (source / name).is_file():
            raise DataError(
                "missing file",
                where=source / name,
                expected=", ".join(names.values()),
                remedy=f"unpack the set again, from {HOME}",
            )
    return {table: source / name for table, name in names.items()}


def _lines(path: Path, separator: str, fields: tuple[str, ...]) -> pl.LazyFrame:
    """A text file without header as columns of text and `ROW`, the number of the line; what a line lacks is null.

    The last field is the rest of the line. The film files of the older sets are Latin-1; they are small.
    """
    with reading(path):
        source: Path | bytes = path
        if path.name in ("u.item", "movies.dat"):
            source = _as_utf8(path.read_bytes())
        line = pl.scan_lines(source, row_index_name=ROW, row_index_offset=1)
    text = pl.col("line").str.strip_prefix("\ufeff")
    parts = text.str.splitn(separator, len(fields)).struct.rename_fields(list(fields))
    return line.filter(text.str.strip_chars() != "").select(ROW, parts.alias("parts")).unnest("parts")


def _as_utf8(data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1").encode()
    return data


def _csv(path: Path, columns: Mapping[str, str], room: Room) -> TableFile:
    file = read_csv_file(path, room.path, ",", None)
    frame = file.frame if ROW in file.frame.collect_schema() else file.frame.with_row_index(ROW, 1)
    return replace(file, frame=named(frame, columns, path))


def _with_genres(films: pl.LazyFrame) -> pl.LazyFrame:
    return films.with_columns(categories=_genres(pl.col("genres").str.split("|"))).drop("genres")


def _genres(names: pl.Expr) -> pl.Expr:
    return names.list.drop_nulls().list.filter(~pl.element().is_in(_NO_GENRE))


def _from_tags(tags: pl.LazyFrame, file: str) -> tuple[pl.LazyFrame, list[Outcome]]:
    """Each tag as a search; tags without text and tags that stand twice are left out."""
    tags = tags.with_columns(pl.col("query").str.strip_chars())
    blank = (pl.col("query") == "") | (pl.col("query").is_null() & pl.col("timestamp").is_not_null())
    same = ("user_id", "item_id", "query", "timestamp")
    worded = tags.filter(~blank.fill_null(False)).collect(engine="streaming")
    present = worded.unique(same, keep="first", maintain_order=True)
    again = worded.join(present.select(ROW), on=ROW, how="anti")
    return _searches(present.lazy(), "tag"), [
        *_outcome(file, "left out as tags without text", tags.filter(blank.fill_null(False))),
        *_outcome(file, "merged into the tag that they repeat", again.lazy()),
    ]


def _searches(events: pl.LazyFrame, kind: str) -> pl.LazyFrame:
    return events.select(
        ROW,
        (pl.lit(f"{kind}-") + pl.col(ROW).cast(pl.String)).alias("search_id"),
        "user_id",
        "query",
        "timestamp",
        pl.concat_list("item_id").alias("clicked"),
    )


def _queries(films: pl.LazyFrame) -> pl.LazyFrame:
    """What one might type to find each film: item_id, by_title, by_genre; null where there are no such words."""
    title = pl.col("title").str.replace_all(r"\s*\([^)]*\)", "")
    words = pl.coalesce(
        path_query(pl.concat_list(title)), pl.when(title.str.contains(r"[\p{L}\p{N}]")).then(title.str.to_lowercase())
    )
    films = films.unique("item_id", keep="first", maintain_order=True)
    return films.select("item_id", words.alias("by_title"), path_query(pl.col("categories")).alias("by_genre"))


def _searched() -> pl.Expr:
    """The query of the ratings drawn to be searches, null for the others; the draw is by the row of the rating."""
    number = draw(pl.col(ROW))
    by_title = number // SEARCH_SHARE % 2 == 0
    query = pl.when(by_title).then(pl.coalesce("by_title", "by_genre")).otherwise(pl.coalesce("by_genre", "by_title"))
    return pl.when(number % SEARCH_SHARE == 0).then(query).alias("query")
