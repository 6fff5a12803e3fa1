"""The simulated world: rules kept, seeds repeat, and every dial moves what it says it moves."""

import functools
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from searec.config import configure
from searec.data.log import load_log
from searec.data.schema import TABLES
from searec.data.synthetic.simulate import SAMPLE, TRUTH_FILE, WORLD_FILE, World, sample_folder, simulate
from searec.data.synthetic.world_items import build_shop, read_tree
from searec.data.synthetic.world_words import COMPLEMENTS, ERRANDS, SHOP
from searec.errors import DataError, SettingsError
from searec.files import write_text
from searec.text.analysis import split_words

BASE = {"users": 500, "items": 1_200, "clicks": 12.0, "searches": 16.0, "families": 3, "types": 4, "truth": True}


def tables_of(folder: Path) -> dict[str, pl.DataFrame]:
    names = [table.file for table in TABLES] + [TRUTH_FILE] * (folder / TRUTH_FILE).exists()
    return {name.removesuffix(".parquet"): pl.read_parquet(folder / name) for name in names}


@functools.cache
def _world(dials: tuple[tuple[str, object], ...]) -> dict[str, pl.DataFrame]:
    with tempfile.TemporaryDirectory() as room:
        folder = simulate(Path(room) / "world", configure(World, {**BASE, **dict(dials)}))
        load_log(folder)  # refuses any row that breaks a rule
        return tables_of(folder)


def world(**dials: object) -> dict[str, pl.DataFrame]:
    """The tables of a small world with these dials, checked by load_log."""
    return _world(tuple(sorted(dials.items())))


def clicks(tables: dict[str, pl.DataFrame], where: str) -> pl.DataFrame:
    """user_id, timestamp, item_id, department, kind (product type) of each click of the feed or of search."""
    if where == "feed":
        rows = tables["interactions"]
    else:
        rows = tables["searches"].explode("clicked").rename({"clicked": "item_id"}).drop_nulls("item_id")
    kinds = tables["items"].select(
        "item_id", department=pl.col("categories").list.first(), kind=pl.col("categories").list.last()
    )
    return rows.join(kinds, on="item_id", maintain_order="left")


def shares(column: pl.Series) -> dict[str, float]:
    return dict(column.value_counts(normalize=True).iter_rows())


# --- what every world keeps ---


EXTREMES = [
    {},
    {"users": 1, "items": 132, "seed": 3, "reveal": 0.0},
    {"departments": 3, "families": 1, "types": 1, "items": 3, "reveal": 0.0},
    {"sparse_share": 1.0, "overlap": 0.0, "noise_share": 1.0},
    {"sparse_share": 0.0, "overlap": 1.0, "reveal": 0.0, "follow_share": 1.0, "noise_share": 0.0},
    {"drift": 1.0, "unclicked_share": 1.0, "typo_share": 1.0, "skew": 0.0, "profile": 0.0},
    {"days": 2, "clicks": 3.0, "searches": 10.0, "skew": 3.0, "profile": 5.0, "interests": 1},
]


@pytest.mark.parametrize("dials", EXTREMES, ids=str)
def test_times_are_within_the_days_and_strictly_increase_for_each_user(dials: dict[str, object]) -> None:
    tables = world(**dials)
    days = configure(World, {**BASE, **dials}).days
    both = pl.concat([tables[name].select("user_id", "timestamp") for name in ("interactions", "searches")]).sort(
        "user_id", "timestamp"
    )
    assert both.n_unique() == both.height
    assert both["timestamp"].dtype == pl.Datetime("us", "UTC")
    assert both["timestamp"].dt.date().min() >= date(2024, 1, 1)
    assert (both["timestamp"].dt.date().max() - date(2024, 1, 1)).days < days
    for name in ("interactions", "searches"):
        steps = (
            tables[name]
            .select(pl.col("timestamp").diff().over("user_id").drop_nulls().dt.total_microseconds())
            .to_series()
        )
        assert (steps > 0).all()


@pytest.mark.parametrize("dials", EXTREMES, ids=str)
def test_a_user_clicks_an_item_once_in_the_feed_or_in_search(dials: dict[str, object]) -> None:
    tables = world(**dials)
    both = pl.concat([clicks(tables, where).select("user_id", "item_id") for where in ("feed", "search")])
    assert both.n_unique() == both.height


def test_ids_names_and_columns() -> None:
    tables = world()
    assert tables["users"]["user_id"].to_list() == [f"u{n}" for n in range(1, 501)]
    assert tables["items"]["item_id"].to_list() == [f"i{n}" for n in range(1, 1_201)]
    assert tables["searches"]["search_id"].to_list() == [f"s{n}" for n in range(1, tables["searches"].height + 1)]
    assert tables["users"].columns == ["user_id", "age_group", "gender", "city"]
    assert tables["items"].columns == ["item_id", "title", "description", "brand", "categories", "price"]
    assert tables["items"]["categories"].list.len().unique().to_list() == [3]
    assert tables["items"]["price"].min() > 0
    assert set(tables["interactions"]["event"]) == {"click", "cart", "purchase"}


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "block_users", property(lambda _: 70))
    tables = tables_of(simulate(tmp_path / "out", configure(World, {**BASE, "users": 200})))
    assert tables["users"]["user_id"].to_list() == [f"u{n}" for n in range(1, 201)]
    assert tables["searches"]["search_id"].to_list() == [f"s{n}" for n in range(1, tables["searches"].height + 1)]
    assert tables["interactions"]["user_id"].n_unique() == 200  # every user has at least three clicks
    assert tables["interactions"]["user_id"].rle_id().max() == 199  # and their rows lie together
    load_log(tmp_path / "out")


# --- seeds ---


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    settings = [configure(World, {**BASE, "seed": seed}) for seed in (5, 5, 6)]
    one, two, other = (simulate(tmp_path / str(n), w) for n, w in enumerate(settings))
    for name in [table.file for table in TABLES] + [TRUTH_FILE, WORLD_FILE]:
        assert (one / name).read_bytes() == (two / name).read_bytes()
    for name, table in tables_of(one).items():
        assert not table.equals(tables_of(other)[name])


def test_the_packaged_sample_is_what_its_settings_make(tmp_path: Path) -> None:
    made, packaged = tables_of(simulate(tmp_path / "sample", SAMPLE)), tables_of(sample_folder())
    assert made.keys() == packaged.keys()
    for name, table in made.items():
        assert table.equals(packaged[name]), name
    assert (sample_folder() / WORLD_FILE).read_bytes() == (tmp_path / "sample" / WORLD_FILE).read_bytes()
    assert sum(path.stat().st_size for path in sample_folder().iterdir()) < 400_000
    log = load_log(sample_folder())
    assert (log.users.height, log.items.height) == (800, 600)


# --- words ---


def test_the_tree_and_its_words() -> None:
    departments, families = read_tree(SHOP, 99, 99, 99)
    types = [name for family in families for name in family.types]
    assert (len(departments), len(families)) == (World().departments, 66)
    assert [len(f.types) for f in families if not 4 <= len(f.types) <= 5] == []
    assert 270 <= len(types) == len(set(types))
    assert all(len(name.split()) <= 3 for name in types)
    assert all(len(d.brands) == 9 for d in departments)
    assert all(" " not in word and "-" not in word for f in families for word in f.adjectives)
    named = {name for line in COMPLEMENTS.strip().splitlines() for name in line.replace(" > ", ", ").split(", ")}
    assert named <= set(types)


def test_titles_hold_brand_and_type_and_queries_one_to_five_words() -> None:
    tables = world()
    parts = tables["items"].with_columns(kind=pl.col("categories").list.last().str.to_lowercase())
    good = pl.col("title").str.starts_with(pl.col("brand")) & pl.col("title").str.contains(pl.col("kind"), literal=True)
    assert parts.select(good.all()).item()
    counts = tables["searches"].select(split_words(pl.col("query")).list.len()).to_series()
    assert counts.min() == 1
    assert counts.max() == 5
    assert tables["searches"]["query"].n_unique() > 1_000


def test_queries_are_made_of_words_of_the_item_they_lead_to() -> None:
    tables = world(typo_share=0.0)
    first = tables["searches"].with_columns(item_id=pl.col("clicked").list.first()).join(tables["items"], on="item_id")
    words = first.select(query=split_words(pl.col("query")), title=split_words(pl.col("title")))
    found = (
        words.select(pl.col("query").list.set_intersection("title").list.len() == pl.col("query").list.n_unique())
        .to_series()
        .mean()
    )
    assert 0.90 < found < 0.96  # all but the 7 % that name the family instead


def test_complements_go_both_to_written_and_to_neighbouring_types() -> None:
    shop = build_shop(World(items=300), np.random.default_rng(0))
    names = shop.words.gather(shop.type_name).to_list()
    assert [names[t] for t in shop.complements[names.index("tent")]] == ["sleeping bag", "camping mat"]
    assert [names[t] for t in shop.complements[names.index("loafers")]] == [
        "running shoes",
        "sneakers",
    ]  # the ring of its family
    assert (shop.item_type[shop.partner] == shop.complements[shop.item_type, 0]).all()


# --- dials ---


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_sparse_share_is_the_share_of_users_with_fewer_than_ten_searches(share: float) -> None:
    tables = world(sparse_share=share)
    counts = (
        tables["users"].join(tables["searches"].group_by("user_id").len(), on="user_id", how="left")["len"].fill_null(0)
    )
    assert (counts < 10).mean() == pytest.approx(share, abs=0.08)  # 500 users: three standard errors are 0.065


def test_clicks_and_searches_are_the_means_asked_for() -> None:
    tables = world(clicks=20.0, searches=30.0, sparse_share=0.0, users=800)
    assert tables["interactions"].height / 800 == pytest.approx(20, rel=0.15)
    assert tables["searches"].height / 800 == pytest.approx(30, rel=0.15)


def unrelated(tables: dict[str, pl.DataFrame]) -> float:
    """Share of queries none of whose words is in the title of an item whose type the user clicked."""
    both = pl.concat(
        [clicks(tables, "feed").select("user_id", "kind"), clicks(tables, "search").select("user_id", "kind")]
    ).unique()
    vocabulary = (
        tables["items"]
        .select(kind=pl.col("categories").list.last(), word=split_words(pl.col("title")))
        .explode("word")
        .unique()
    )
    known = both.join(vocabulary, on="kind").select("user_id", "word").unique()
    asked = tables["searches"].select("search_id", "user_id", word=split_words(pl.col("query"))).explode("word")
    return 1 - asked.join(known, on=["user_id", "word"]).select("search_id").n_unique() / tables["searches"].height


def test_noise_share_raises_queries_unrelated_to_the_user() -> None:
    low, middle, high = (unrelated(world(noise_share=share, unclicked_share=0.0)) for share in (0.0, 0.4, 0.8))
    assert low < 0.06
    assert low + 0.1 < middle
    assert middle + 0.1 < high
    tables = world(noise_share=0.4)
    found = shares(tables["truth"]["intent"])
    assert found["errand"] + found["other department"] == pytest.approx(0.4, abs=0.04)
    assert tables["searches"]["query"].is_in(ERRANDS).mean() == pytest.approx(found["errand"])


def test_noise_lies_outside_the_departments_of_the_feed() -> None:
    tables = world(follow_share=0.0, unclicked_share=0.0)
    feed = clicks(tables, "feed").select("user_id", "department").unique().with_columns(fed=pl.lit(True))
    found = (
        clicks(tables, "search")
        .join(tables["truth"], on="search_id")
        .join(feed, on=["user_id", "department"], how="left")
    )
    fed = dict(found.group_by("intent").agg(pl.col("fed").fill_null(False).mean()).iter_rows())
    assert fed["other department"] < 0.05  # only where a small catalogue ran out of new items
    assert fed["outside"] < 0.05
    assert fed["interest"] > 0.8


def test_drift_parts_early_from_late_interests() -> None:
    def overlap(drift: float) -> float:
        rows = clicks(
            world(drift=drift, clicks=30.0, days=360, items=3_000, follow_share=0.0, needs=0.0, reveal=0.0), "feed"
        )
        late = pl.col("timestamp").dt.date() >= date(2024, 8, 1)
        kinds = rows.group_by("user_id").agg(
            early=pl.col("kind").filter(~late).unique(), late=pl.col("kind").filter(late).unique()
        )
        kinds = kinds.filter((pl.col("early").list.len() > 2) & (pl.col("late").list.len() > 2))
        shared = pl.col("early").list.set_intersection("late").list.len()
        least = pl.min_horizontal(pl.col("early").list.len(), pl.col("late").list.len())
        return float(kinds.select((shared / least).mean()).item())

    still, slow, fast = overlap(0.0), overlap(0.2), overlap(1.0)
    assert still > 0.7
    assert still - 0.2 > slow > fast + 0.05


def cosine(tables: dict[str, pl.DataFrame]) -> float:
    """Mean over users of the cosine between the departments of their feed clicks and of their search clicks."""
    counted = [clicks(tables, where).group_by("user_id", "department").len(where) for where in ("feed", "search")]
    both = counted[0].join(counted[1], on=["user_id", "department"], how="full", coalesce=True).fill_null(0)
    both = both.cast({"feed": float, "search": float})
    by_user = both.group_by("user_id").agg(
        dot=(pl.col("feed") * pl.col("search")).sum(),
        norm=(pl.col("feed").pow(2).sum() * pl.col("search").pow(2).sum()).sqrt(),
    )
    return float(by_user.filter(pl.col("norm") > 0).select((pl.col("dot") / pl.col("norm")).mean()).item())


def test_overlap_sets_how_alike_search_and_feed_are() -> None:
    apart, half, alike = (cosine(world(overlap=share, noise_share=0.0, reveal=0.0)) for share in (0.0, 0.5, 1.0))
    assert apart < 0.1
    assert 0.3 < half < 0.7
    assert alike > 0.7
    assert "interest" not in shares(world(overlap=0.0, noise_share=0.0, reveal=0.0)["truth"]["intent"])


def test_a_returning_search_does_come_back_later() -> None:
    tables = world(reveal=0.4)
    returning = tables["truth"].filter("returns").select("search_id", kind="type")
    asked = tables["searches"].join(returning, on="search_id").select("search_id", "user_id", "timestamp", "kind")
    feed = clicks(tables, "feed").select("user_id", pl.col("kind").str.to_lowercase(), later="timestamp")
    pairs = asked.join(feed, on=["user_id", "kind"]).filter(pl.col("later") > pl.col("timestamp"))
    assert (
        pairs["search_id"].n_unique() > 0.9 * asked.height
    )  # the rest had their item redrawn, for the user knew them all


def test_follow_share_puts_complements_after_each_other() -> None:
    shop = build_shop(configure(World, BASE), np.random.default_rng(0))
    names = shop.words.gather(shop.type_name).str.to_titlecase().str.to_lowercase()
    rule = pl.DataFrame(
        {"before": pl.concat([names, names]), "kind": names.gather(shop.complements.T.ravel())}
    ).unique()

    def found(share: float) -> float:
        rows = clicks(world(follow_share=share, items=3_000), "feed").with_columns(pl.col("kind").str.to_lowercase())
        pairs = (
            rows.with_columns(before=pl.col("kind").shift(1).over("user_id"))
            .drop_nulls("before")
            .select("before", "kind")
        )
        return pairs.join(rule, on=["before", "kind"]).height / pairs.height

    none, some, much = found(0.0), found(0.4), found(0.8)
    assert none < 0.12
    assert 0.32 < some < 0.5
    assert much > 0.58


def test_half_of_the_clicks_that_follow_are_on_the_exact_partner() -> None:
    def found(share: float) -> float:
        tables = world(follow_share=share, items=3_000)
        shop = build_shop(
            configure(World, {**BASE, "items": 3_000}), np.random.default_rng(np.random.SeedSequence(0).spawn(1)[0])
        )
        assert shop.items.equals(tables["items"])
        item = tables["interactions"]["item_id"].str.slice(1).cast(pl.Int64).to_numpy() - 1
        same_user = (
            (tables["interactions"]["user_id"] == tables["interactions"]["user_id"].shift(1))
            .fill_null(False)
            .to_numpy()[1:]
        )
        return float((shop.partner[item[:-1]] == item[1:])[same_user].mean())

    assert found(0.0) < 0.01
    assert 0.2 < found(0.8) < 0.4  # half of 0.8, less clicks that carry a search or open a new chain


def test_skew_gathers_clicks_on_few_items() -> None:
    def head(skew: float) -> float:
        rows = world(skew=skew, items=4_000, users=1_500)["interactions"]
        counts = rows["item_id"].value_counts()["count"].sort(descending=True)
        return float(counts.head(400).sum() / counts.sum())

    flat, middle, steep = head(0.0), head(0.8), head(1.5)
    assert flat < 0.25
    assert flat + 0.05 < middle < steep - 0.05


def test_profile_decides_the_departments() -> None:
    def distance(profile: float) -> float:
        tables = world(profile=profile, users=1_500)
        rows = clicks(tables, "feed").join(tables["users"], on="user_id")
        women, men = (shares(rows.filter(gender=gender)["department"]) for gender in ("female", "male"))
        return sum(abs(women.get(name, 0) - men.get(name, 0)) for name in women | men) / 2

    assert distance(0.0) < 0.1
    assert distance(1.0) > 0.25


def test_unclicked_share_is_of_the_searches_for_products() -> None:
    for share in (0.0, 0.5):
        tables = world(unclicked_share=share)
        products = tables["searches"].join(tables["truth"], on="search_id").filter(pl.col("intent") != "errand")
        assert (products["clicked"].list.len() == 0).mean() == pytest.approx(share, abs=0.05)


def test_typo_share_misspells_product_types() -> None:
    def misspelt(share: float) -> float:
        tables = world(typo_share=share)
        known = set(tables["items"].select(split_words(pl.col("title")).explode().unique()).to_series())
        known |= {word for family in read_tree(SHOP, 11, 6, 5)[1] for word in family.broad.split()}
        known |= {word for errand in ERRANDS for word in errand.split()}
        words = (
            tables["searches"]
            .select(split_words(pl.col("query")).list.eval(~pl.element().is_in(sorted(known))).list.any())
            .to_series()
        )
        return float(words.mean())

    assert misspelt(0.0) == 0
    # 0.5 of the 92.5 % that are no errand, and of these the 93 % that name a type
    assert misspelt(0.5) == pytest.approx(0.5 * 0.925 * 0.93, abs=0.05)


def test_what_a_user_clicks_next_is_predictable_from_their_past() -> None:
    """The type of the last click is among the user's earlier ones far more often than among another user's."""
    rows = clicks(world(drift=0.0, clicks=20.0), "feed")
    by_user = rows.group_by("user_id", maintain_order=True).agg(
        past=pl.col("kind").slice(0, pl.len() - 1), last=pl.col("kind").last()
    )
    hit = pl.col("past").list.contains(pl.col("last"))
    assert by_user.select(hit.mean()).item() > 0.45
    assert by_user.with_columns(pl.col("last").shift(1)).drop_nulls("last").select(hit.mean()).item() < 0.2


# --- errors ---


def test_too_few_items_for_the_tree(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least 132, one for each product type"):
        simulate(tmp_path / "out", configure(World, {**BASE, "items": 131}))
    assert list(tmp_path.iterdir()) == []


def test_a_world_must_end_in_the_past(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ends in the future"):
        simulate(tmp_path / "out", configure(World, {**BASE, "start": "2200-01-01"}))


@pytest.mark.parametrize(
    "dials", [{"clicks": 2.9}, {"searches": 9}, {"noise_share": 1.1}, {"departments": 12}, {"user": 3}]
)
def test_bad_settings_are_refused(dials: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        configure(World, dials)


def test_a_folder_of_something_else_is_left_alone_and_an_older_world_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = configure(World, {**BASE, "users": 20})
    simulate(out, small)
    simulate(out, configure(World, {**BASE, "users": 10, "truth": False}))
    assert pl.read_parquet(out / "users.parquet").height == 10
    assert not (out / TRUTH_FILE).exists()
    write_text(out / "notes.txt", "mine")
    with pytest.raises(DataError, match=r"notes\.txt"):
        simulate(out, small)
    assert pl.read_parquet(out / "users.parquet").height == 10


# --- result pages ---


def test_result_pages_are_clicked_by_examination_times_relevance_and_leave_the_feed_as_it_is(tmp_path: Path) -> None:
    small = {**BASE, "departments": 3, "families": 1, "types": 2, "items": 60, "reveal": 0.0, "shown": 6}
    biased, alike, plain = (
        simulate(tmp_path / name, configure(World, {**small, **dials}))
        for name, dials in (("biased", {}), ("alike", {"position_bias": 0.0}), ("plain", {"shown": 0}))
    )
    assert "shown" not in pl.read_parquet(plain / "searches.parquet").columns
    assert (biased / "interactions.parquet").read_bytes() == (plain / "interactions.parquet").read_bytes()
    truth = pl.read_parquet(biased / "truth_relevance.parquet")
    for folder, exponent in ((biased, 1.0), (alike, 0.0)):
        load_log(folder)
        searches = pl.read_parquet(folder / "searches.parquet")
        lists = searches.filter(pl.col("shown").list.len() > 0)
        assert (lists["clicked"].list.set_difference(lists["shown"]).list.len() == 0).all()
        results = lists.with_columns(position=pl.int_ranges(1, pl.col("shown").list.len() + 1)).explode(
            "shown", "position"
        )
        results = results.with_columns(is_clicked=pl.col("shown").is_in(pl.col("clicked")))
        results = results.join(truth, left_on=["query", "shown"], right_on=["query", "item_id"])
        found = results.group_by("position").agg(pl.col("is_clicked").sum(), pl.col("relevance").sum()).sort("position")
        ratio = (found["is_clicked"] / found["relevance"]).to_numpy()
        assert ratio == pytest.approx(np.arange(1.0, 7.0) ** -exponent, rel=0.2)
