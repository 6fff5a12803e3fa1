"""Amazon reviews of 2014, 2018 and 2023, with the queries of Ai et al. (2017) or queries built by their rule."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from searec.data.convert import TimeUnit, as_lists
from searec.data.formats.base import ROW, ImportOptions, Outcome, Raw, named, of_count, reading, refuse_mapping
from searec.data.formats.fields import read_fields
from searec.data.formats.markup import opening, plain_text
from searec.data.formats.objects import FAULT, MENDED, faults, object_lines, scan_objects
from searec.data.formats.queries import draw, path_query
from searec.data.log import REJECT_SCHEMA
from searec.data.schema import INTERACTIONS, ITEMS
from searec.errors import DataError

HOME = "https://amazon-reviews-2023.github.io/ (2023), https://cseweb.ucsd.edu/~jmcauley/datasets.html (2014, 2018)"
_OBJECTS = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
_TABLES = (".csv", ".csv.gz")
_OLD = {"reviewerID": "user_id", "asin": "item_id", "unixReviewTime": "timestamp"}
_NEW = {"user_id": "user_id", "parent_asin": "item_id", "timestamp": "timestamp"}
_META = (
    "asin",
    "parent_asin",
    "title",
    "description",
    "features",
    "brand",
    "store",
    "price",
    "main_category",
    "main_cat",
    "category",
    "categories",
)
_CATEGORIES = ("category", "categories")
_WHOLE = pl.col("user_id").is_not_null() & pl.col("timestamp").is_not_null()
"""True for a review that can be a search."""
_BROKEN_TITLE = "getTime()"
"""Found in titles of 2018 that hold a page's script in place of a title."""

_PAIR = r"^(?<user_id>\S+)_(?<number>\d+)\s+\S+\s+(?<item_id>\S+)\s+(?<relevance>\d+)\s*$"


@dataclass(frozen=True)
class _Queries:
    """The queries behind reviews.

    by: the columns to join reviews on: item_id, and user_id where the pairs are published.
    lists: those columns and `queries`, a list.
    reviews: how many reviews have one.
    """

    by: tuple[str, ...]
    lists: pl.DataFrame
    reviews: int


def read_amazon(source: Path, options: ImportOptions) -> Raw:
    """The reviews and items of one category, and its searches.

    Args:
        source: a folder with a review file and its meta file, and perhaps query_text.txt.gz, train.qrels.gz
            and test.qrels.gz.
        options: the mapping of "interactions" and "items" may name the two files, where the folder holds several.

    Raises:
        SettingsError: another mapping.
        DataError: no such folder, a missing file, a file that cannot be read.
    """
    options.refuse_unused("amazon")
    refuse_mapping("amazon", options.mapping, (INTERACTIONS.name, ITEMS.name))
    files = {name: _find(source, name, options.mapping.get(name)) for name in (INTERACTIONS.name, ITEMS.name)}
    notes: list[str] = []
    bad: list[pl.DataFrame] = []
    outcomes: list[Outcome] = []
    read: dict[str, int] = {}
    reviews, unit = _reviews(files["interactions"], bad, read, notes)
    with reading(files["interactions"]):
        wrong = pl.col(ROW).filter(pl.col(FAULT).is_not_null()), pl.col(FAULT).drop_nulls()
        counts = pl.len().alias("len"), _WHOLE.sum().alias("whole")
        seen = reviews.group_by("item_id").agg(*wrong, *counts).collect(engine="streaming")
    bad.append(faults(seen.explode(ROW, FAULT), files["interactions"]))
    read.setdefault(files["interactions"].name, int(seen["len"].sum()))
    if not read[files["interactions"].name]:
        raise DataError("no reviews", where=files["interactions"], remedy=f"get it from {HOME}")
    reviews = reviews.filter(pl.col(FAULT).is_null()).drop(FAULT)
    reviewed = seen.select("item_id").filter(pl.col("item_id").str.strip_chars() != "")

    items, built, said = _items(files["items"], reviewed, bad, outcomes, read)
    notes += said
    published = _find_queries(source)
    if published:
        queries, said = _published(source, published, reviews, files["interactions"], bad, outcomes, read)
        notes += said
    else:
        built = _telling(built, notes)
        of_items = seen.join(built, on="item_id", how="semi")["whole"].sum()
        queries = _Queries(("item_id",), built, int(of_items))
        notes.append(
            "no query_text.txt.gz: queries are built from the items' categories by the rule of Ai et al. (2017)"
        )
    searches = _searches(reviews, queries)
    notes.append(
        of_count(queries.reviews, "review with a query stands", "reviews with a query stand")
        + " as an interaction and as a search"
    )
    return Raw(
        {"items": items, "interactions": reviews.with_columns(event=pl.lit("review")), "searches": searches},
        {**files, "searches": files["interactions"]},
        tuple(notes),
        rejects=pl.concat([pl.DataFrame(schema=REJECT_SCHEMA), *bad]).lazy(),
        unit=unit,
        repeats=True,
        read=read,
        outcomes=tuple(outcomes),
    )


def _telling(built: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Queries built from categories, without those that are the same for every item."""
    if built.height < 2:
        return built
    shared = built.explode("queries").group_by("queries").len().filter(pl.col("len") == built.height)["queries"].sort()
    notes += [
        f"every item with a path of categories has the query {query!r}: it does not say which item a user looked for "
        "and makes no search"
        for query in shared
    ]
    queries = built.with_columns(pl.col("queries").list.set_difference(pl.lit(shared.implode())) if len(shared) else [])
    return queries.filter(pl.col("queries").list.len() > 0)


def _find(source: Path, table: str, given: str | None) -> Path:
    meta = table == ITEMS.name
    endings = _OBJECTS if meta else _OBJECTS + _TABLES
    there = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else []
    fit = [path for path in there if path.name.endswith(endings) and path.name.startswith("meta_") == meta]
    if given is not None:
        fit = [path for path in there if path.name == given]
    if len(fit) == 1:
        return fit[0]
    names = ", ".join(path.name for path in fit or there) or ("nothing" if source.is_dir() else "no folder")
    raise DataError(
        f"{'several' if fit else 'no'} {'meta' if meta else 'review'} {'files' if fit else 'file'}",
        where=source,
        got=names,
        expected="one meta_CATEGORY.json.gz or .jsonl.gz"
        if meta
        else "one reviews_CATEGORY.json.gz, CATEGORY.json.gz, .jsonl.gz or .csv",
        remedy=f"--map {table}=FILE says which" if fit else f"get it from {HOME}",
    )


def _reviews(
    path: Path, bad: list[pl.DataFrame], read: dict[str, int], notes: list[str]
) -> tuple[pl.LazyFrame, TimeUnit]:
    """`ROW`, user_id, item_id, timestamp, `FAULT`; and the unit of the times. Adds to the lists what a CSV tells."""
    if path.name.endswith(_TABLES):
        return _ratings(path, bad, read, notes)
    lines = object_lines(path)
    with reading(path):
        objects = scan_objects(lines, [*_OLD, *_NEW]).filter(pl.col(FAULT).is_null())
        first = objects.drop(ROW, FAULT, MENDED).head(1).collect()
    there = {name for name in first.columns if first[name].len() and first[name][0] is not None}
    for columns, unit in ((_NEW, "ms"), (_OLD, "s")):
        if there.issuperset(columns):
            objects = scan_objects(lines, list(columns))
            return objects.select(ROW, *(pl.col(name).alias(to) for name, to in columns.items()), FAULT), unit  # type: ignore[return-value]
    expected = f"lines with {', '.join(_OLD)}, or with {', '.join(_NEW)}"
    raise DataError(
        "the first line is no review",
        where=path,
        got=", ".join(sorted(there)) or "none of the fields",
        expected=expected,
    )


def _ratings(
    path: Path, bad: list[pl.DataFrame], read: dict[str, int], notes: list[str]
) -> tuple[pl.LazyFrame, TimeUnit]:
    """A CSV of ratings only.

    2023's has a header; 2014's are user, item, rating, time and 2018's item, user, rating, time.
    """
    with reading(path):
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            head = file.readline().decode(errors="replace").strip("\ufeff\r\n ").split(",")
        has_header = "user_id" in head
        order = ["user_id", "item_id"] if path.name.startswith("ratings_") else ["item_id", "user_id"]
        names = [*order, "rating", "timestamp"]
        if not has_header and len(head) != len(names):
            raise DataError("not a file of ratings", where=path, got=f"{len(head)} columns", expected=", ".join(names))
        fields = read_fields(path, ",", None if has_header else names)
        frame = named(fields.frame, _NEW, path) if has_header else fields.frame.drop("rating")
    bad.append(fields.rejects)
    read[path.name] = fields.records
    notes += fields.notes
    fault = pl.lit(None, dtype=pl.String).alias(FAULT)
    return frame.with_columns(fault), "ms" if has_header else "s"


def _items(
    path: Path, reviewed: pl.DataFrame, bad: list[pl.DataFrame], outcomes: list[Outcome], read: dict[str, int]
) -> tuple[pl.LazyFrame, pl.DataFrame, list[str]]:
    """The reviewed items, queries built from their categories (item_id, queries), and notes. Adds to the lists."""
    asin = pl.coalesce("parent_asin", "asin").alias("item_id")
    meta = object_lines(path)
    with reading(path):
        lines = scan_objects(meta, _META).select(ROW, asin, FAULT, MENDED, *_CATEGORIES)
        lines = lines.join(
            reviewed.lazy().with_columns(is_reviewed=True), on="item_id", how="left", maintain_order="left"
        )
        slim = [pl.when("is_reviewed").then(name).alias(name) for name in _CATEGORIES]
        known = lines.with_columns(slim).collect(engine="streaming")
    read[path.name] = known.height
    bad.append(faults(known, path))
    known = known.filter(pl.col(FAULT).is_null())
    there = known.filter("is_reviewed")
    first = there.unique("item_id", keep="first", maintain_order=True)
    for rule, rest in (
        ("left out as items without a review", known.filter(pl.col("is_reviewed").is_null())),
        ("left out as lines that name an item again", there.join(first.select(ROW), on=ROW, how="anti")),
    ):
        if rest.height:
            example = f"line {rest[ROW][0]}: {rest['item_id'][0] or 'no id'}"
            outcomes.append(Outcome(path.name, rule, rest.height, example))
    lacking = reviewed.join(first, on="item_id", how="anti").sort("item_id")
    notes = []
    if lacking.height:
        items = of_count(lacking.height, "reviewed item is", "reviewed items are")
        notes.append(f"{items} not in {path.name}: titled 'item' and the item's id")
    if halves := first.filter(MENDED).height:
        notes.append(f"{of_count(halves, 'line', 'lines')} of {path.name} with half a character, replaced by \ufffd")
    objects = scan_objects(meta, _META, first.select(ROW))
    main = plain_text(pl.coalesce(pl.when(_text("main_category")).then("main_category"), "main_cat"))
    said = plain_text(as_lists(pl.col("description"), pl.String(), "\0").list.join(" ", ignore_nulls=True))  # type: ignore[union-attr]
    praised = plain_text(as_lists(pl.col("features"), pl.String(), "\0").list.join(" ", ignore_nulls=True))  # type: ignore[union-attr]
    title = plain_text(pl.when(~pl.col("title").str.contains(_BROKEN_TITLE, literal=True)).then("title"))
    labels = (
        _paths().list.eval(pl.element().explode(empty_as_null=False)).list.drop_nulls().list.unique(maintain_order=True)
    )
    labels = pl.when(labels.list.len() > 0).then(labels).when(main.is_not_null()).then(pl.concat_list(main))
    table = objects.with_columns(
        asin, title.alias("title"), pl.coalesce(said, praised).alias("description"), labels.alias("categories")
    )
    replacement = pl.coalesce(
        opening(pl.col("description")), pl.col("categories").list.last(), "item " + pl.col("item_id")
    )
    table = table.select(
        ROW,
        "item_id",
        pl.coalesce("title", replacement).alias("title"),
        "description",
        plain_text(pl.coalesce(pl.when(_text("brand")).then("brand"), "store")).alias("brand"),
        "categories",
        pl.when(_text("price")).then("price").alias("price"),
        main.alias("main_category"),
    )
    table = pl.concat([table, lacking.lazy().with_columns(title="item " + pl.col("item_id"))], how="diagonal")
    built = _paths().list.eval(pl.when(pl.element().list.len() > 1).then(path_query(pl.element()))).list.drop_nulls()
    queries = first.select("item_id", built.list.unique(maintain_order=True).alias("queries")).filter(
        pl.col("queries").list.len() > 0
    )
    return table, queries, notes


def _text(name: str) -> pl.Expr:
    """True where a column holds more than white space."""
    return pl.col(name).str.strip_chars() != ""


def _paths() -> pl.Expr:
    """An item's paths of categories, broad to narrow: 2014 has several, 2018 and 2023 one; null if none."""
    text = pl.coalesce("categories", "category")
    text = pl.when(text.str.starts_with("[[")).then(text).when(text.str.starts_with("[")).then("[" + text + "]")
    paths = text.str.json_decode(pl.List(pl.List(pl.String)))
    return paths.list.eval(pl.element().list.eval(plain_text(pl.element())).list.drop_nulls())


def _find_queries(source: Path) -> dict[str, Path]:
    """The published query files, if they are there; all or none."""
    names = ("query_text.txt", "train.qrels", "test.qrels")
    there = {name: source / (name + end) for name in names for end in ("", ".gz") if (source / (name + end)).is_file()}
    if there and len(there) < len(names):
        missing = next(name for name in names if name not in there)
        expected = ", ".join(f"{name}.gz" for name in names)
        raise DataError("missing file", where=source / f"{missing}.gz", expected=expected)
    return there


def _published(
    source: Path,
    files: Mapping[str, Path],
    reviews: pl.LazyFrame,
    reviews_file: Path,
    bad: list[pl.DataFrame],
    outcomes: list[Outcome],
    read: dict[str, int],
) -> tuple[_Queries, list[str]]:
    """The queries of each user and item that the qrels name. Adds to the lists what becomes of lines."""
    with reading(files["query_text.txt"]):
        texts = pl.scan_lines(files["query_text.txt"], name="query", row_index_name="number").collect()
    name = files["query_text.txt"].name
    read[name] = int((texts["query"].str.strip_chars() != "").sum())
    if read[name]:
        outcomes.append(Outcome(name, "merged into the searches of their pairs in the qrels", read[name], "line 1"))
    texts = texts.select(pl.col("number").cast(pl.Int64), pl.col("query").str.strip_chars())
    pairs = []
    for name in ("train.qrels", "test.qrels"):
        with reading(files[name]):
            lines = pl.scan_lines(files[name], row_index_name=ROW, row_index_offset=1).filter(
                pl.col("line").str.strip_chars() != ""
            )
            parts = pl.col("line").str.extract_groups(_PAIR)
            table = lines.with_columns(parts.alias("parts")).unnest("parts").collect(engine="streaming")
        table = table.with_columns(pl.col("number").cast(pl.Int64)).join(
            texts, on="number", how="left", maintain_order="left"
        )
        unread, unknown = pl.col("number").is_null(), pl.col("query").is_null()
        rule = (
            pl.when(unread)
            .then(pl.lit("not a line of qrels"))
            .when(unknown)
            .then(pl.lit("unknown query"))
            .alias("rule")
        )
        wrong = table.select(
            pl.lit(files[name].name).alias("file"), pl.col(ROW).alias("row"), rule, pl.col("line").alias("value")
        )
        bad.append(wrong.drop_nulls("rule").cast(REJECT_SCHEMA))  # type: ignore[arg-type]
        relevant = pl.col("relevance").cast(pl.Int64) > 0
        read[files[name].name] = table.height
        sound = table.filter(rule.is_null())
        for what, of_kind in (
            ("merged into the searches of their user and item", relevant & (pl.col("query") != "")),
            (
                "left out as pairs that are not relevant, or whose query has no words",
                ~relevant | (pl.col("query") == ""),
            ),
        ):
            rows = sound.filter(of_kind)
            if rows.height:
                outcomes.append(Outcome(files[name].name, what, rows.height, f"line {rows[ROW][0]}: {rows['line'][0]}"))
        pairs.append(table.filter(relevant, pl.col("query") != ""))
    by = ("user_id", "item_id")
    lists = pl.concat(pairs).unique([*by, "number"]).sort("number").group_by(by).agg(pl.col("query").alias("queries"))
    with reading(reviews_file):
        paired = reviews.filter(_WHOLE).join(lists.lazy(), on=by, how="semi")
        count, used = paired.select(pl.len(), pl.struct(by).n_unique().alias("used")).collect(engine="streaming").row(0)
    idle = lists.height - used
    texts_file = files["query_text.txt"].name
    notes = [f"queries are those of {texts_file} ({source.name}), for the users and items of the qrels"]
    if idle:
        notes.append(
            of_count(idle, "pair", "pairs") + " of user and item in the qrels without a review: no search is made of it"
        )
    return _Queries(by, lists, count), notes


def _searches(reviews: pl.LazyFrame, queries: _Queries) -> pl.LazyFrame:
    """A search for each review with a query; of several queries one is drawn by the row of the review."""
    paired = reviews.filter(_WHOLE).join(queries.lists.lazy(), on=queries.by, how="inner", maintain_order="left")
    place = (draw(pl.col(ROW)) % pl.col("queries").list.len()).cast(pl.Int64)
    return paired.select(
        ROW,
        pl.concat_str("user_id", "item_id", "timestamp", separator="-").alias("search_id"),
        "user_id",
        pl.col("queries").list.get(place).alias("query"),
        "timestamp",
        pl.concat_list("item_id").alias("clicked"),
    )
