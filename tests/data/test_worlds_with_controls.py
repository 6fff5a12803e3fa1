"""Worlds with controls: twins share what they must, dials hit what they ask for, and the truth is as written."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from searec.config import configure
from searec.data.log import load_log
from searec.data.synthetic.simulate import CLICK_TRUTH, TRUTH_FILE, USER_TRUTH, World, simulate
from searec.data.synthetic.world_queries import INTENTS
from searec.errors import SettingsError

BASE: dict[str, Any] = {"users": 1_500, "items": 1_000, "clicks": 6.0, "reveal": 0.3, "truth": True}
FEED = ("items", "users", "interactions")
ARCS: dict[str, Any] = {"users": 1_200, "clicks": 10.0, "archetypes": 80, "reveal": 0.0}


@functools.cache
def _made(dials: tuple[tuple[str, Any], ...]) -> tuple[dict[str, pl.DataFrame], dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as room:
        folder = simulate(Path(room) / "world", configure(World, {**BASE, **dict(dials)}))
        load_log(folder)  # refuses any row that breaks a rule
        files = sorted(folder.glob("*.parquet"))
        return {p.stem: pl.read_parquet(p) for p in files}, {p.stem: p.read_bytes() for p in files}


def tables(**dials: Any) -> dict[str, pl.DataFrame]:
    return _made(tuple(sorted(dials.items())))[0]


def contents(**dials: Any) -> dict[str, bytes]:
    return _made(tuple(sorted(dials.items())))[1]


def kinds(world: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """user_id, item_id, timestamp, kind (product type) of each feed click, and how many the user has after it."""
    types = world["items"].select("item_id", kind=pl.col("categories").list.last().str.to_lowercase())
    rows = world["interactions"].join(types, on="item_id", maintain_order="left")
    return rows.with_columns(left=pl.len().over("user_id") - 1 - pl.int_range(pl.len()).over("user_id"))


def own_searches(world: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """user_id, timestamp, intent and kind of each search that is no foreign one."""
    rows = world["searches"].join(world["truth"], on="search_id", maintain_order="left")
    return rows.filter(pl.col("intent") != "foreign").rename({"type": "kind"})


def revealed(world: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Each feed click with `revealed`: its type occurs before, but only in the user's searches."""
    feed = kinds(world)
    first = feed.group_by("user_id", "kind").agg(first=pl.col("timestamp").min())
    searched = own_searches(world).group_by("user_id", "kind").agg(searched=pl.col("timestamp").min())
    rows = feed.join(first, on=["user_id", "kind"], maintain_order="left")
    rows = rows.join(searched, on=["user_id", "kind"], how="left", maintain_order="left")
    new, known = pl.col("timestamp") == pl.col("first"), pl.col("searched") < pl.col("timestamp")
    return rows.with_columns(revealed=(new & known).fill_null(False))


# --- reveal ---


@pytest.mark.parametrize("share", [0.0, 0.15, 0.3, 0.45])
def test_reveal_is_the_share_of_last_clicks_whose_type_only_searches_announce(share: float) -> None:
    world = tables(reveal=share)
    rows = revealed(world)
    for left in (0, 1):
        assert rows.filter(left=left)["revealed"].mean() == pytest.approx(share, abs=0.02)
    assert rows["revealed"].mean() == pytest.approx(share, abs=0.05)
    assert world["truth_clicks"]["revealed"].equals(rows["revealed"])
    assert world["truth"]["returns"].sum() == rows["revealed"].sum()


def test_worlds_of_other_reveal_share_feed_and_targets_but_not_searches() -> None:
    one, other = contents(reveal=0.0), contents(reveal=0.45)
    assert [name for name in FEED if one[name] != other[name]] == []
    assert one["searches"] != other["searches"]
    same = ("search_id", "user_id", "timestamp")
    assert tables(reveal=0.0)["searches"].select(same).equals(tables(reveal=0.45)["searches"].select(same))


def test_what_is_revealed_in_one_world_is_revealed_in_those_of_more() -> None:
    less, more = (revealed(tables(reveal=share)).filter(left=0)["revealed"] for share in (0.15, 0.45))
    assert (less <= more).all()


def test_disjoint_intents_say_nothing_of_the_feed() -> None:
    world = tables(reveal=0.0, overlap=0.0, noise_share=0.0)
    fed = kinds(world).select("user_id", "kind").unique()
    searched = own_searches(world)
    shared = searched.join(fed, on=["user_id", "kind"], how="semi").height / searched.height
    assert shared < 0.02  # clicks that follow another may leave their department
    assert set(searched["intent"]) == {"outside"}


def test_more_than_the_feed_allows_is_refused_with_what_it_allows(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected: at most 0\.[4-7]"):
        simulate(tmp_path / "world", configure(World, {**BASE, "reveal": 0.9}))


def test_needs_raises_the_share_of_new_types() -> None:
    def new(share: float) -> float:
        world = tables(needs=share, reveal=0.0, drift=0.0)
        first = kinds(world).with_columns(first=pl.int_range(pl.len()).over("user_id", "kind") == 0)
        return float(first.filter(left=0)["first"].mean())  # type: ignore[arg-type]

    assert new(0.0) + 0.2 < new(0.5) < new(1.0) - 0.05


# --- noise ---


def test_noise_is_flagged_and_is_of_the_share_asked_for() -> None:
    for share in (0.0, 0.3):
        intent = own_searches(tables(noise_share=share))["intent"]
        assert intent.is_in(["errand", "other department"]).mean() == pytest.approx(share, abs=0.03)


# --- inject ---


@pytest.mark.parametrize("count", [1, 4, 8])
def test_inject_adds_that_many_foreign_searches_beside_each_and_nothing_else(count: int) -> None:
    before, after = tables(), tables(inject=count)
    assert [
        name for name in (*FEED, "truth_clicks", "truth_users") if contents()[name] != contents(inject=count)[name]
    ] == []
    foreign = pl.col("search_id").str.contains("-")
    assert after["searches"].filter(~foreign).equals(before["searches"])
    beside = after["searches"].filter(foreign).with_columns(own=pl.col("search_id").str.split("-").list.first())
    sizes = beside.group_by("own", "user_id").len()
    assert sizes["len"].unique().to_list() == [count]
    owners = before["searches"].select(own="search_id", user_id="user_id")
    assert sizes.height == owners.height == sizes.join(owners, on=["own", "user_id"], how="semi").height
    assert (after["truth"].filter(foreign)["intent"] == "foreign").all()
    assert not (after["truth"].filter(~foreign)["intent"] == "foreign").any()


def test_foreign_searches_lie_next_to_their_search_among_the_feed() -> None:
    """So a request sees a foreign search if and only if it sees the search beside it."""
    world = tables(inject=4)
    feed = (
        world["interactions"].select("user_id", "timestamp").with_columns(place=pl.int_range(pl.len()).over("user_id"))
    )
    searches = (
        world["searches"]
        .sort("timestamp")
        .join_asof(feed.sort("timestamp"), on="timestamp", by="user_id", check_sortedness=False)
    )
    places = searches.with_columns(
        own=pl.col("search_id").str.split("-").list.first(), place=pl.col("place").fill_null(-1)
    )
    assert (places.group_by("own").agg(pl.col("place").n_unique())["place"] == 1).all()


def test_foreign_searches_are_others_and_click_nothing_that_the_user_clicks() -> None:
    world = tables(inject=2)
    foreign = world["searches"].filter(pl.col("search_id").str.contains("-"))
    own = tables()["searches"]
    same = foreign.join(own, on=["user_id", "query"], how="semi").height / foreign.height
    by_chance = foreign.with_columns(pl.col("user_id").shuffle(seed=0)).join(own, on=["user_id", "query"], how="semi")
    assert same < by_chance.height / foreign.height + 0.02
    assert set(foreign["query"]) <= set(own["query"])
    clicks = pl.concat(
        [
            world["interactions"].select("user_id", "item_id"),
            world["searches"].select("user_id", item_id="clicked").explode("item_id").drop_nulls(),
        ]
    )
    assert clicks.n_unique() == clicks.height


def test_foreign_searches_of_less_are_among_those_of_more() -> None:
    less, more = (tables(inject=count)["searches"].drop("clicked") for count in (1, 4))
    assert less.join(more, on=less.columns, how="anti").height == 0


def test_a_model_without_search_reads_the_same(tmp_path: Path) -> None:
    """Its history, its targets and its training clicks do not change with the number of foreign searches."""
    from searec.data.batch import Batcher, Needs
    from searec.data.dataset import load
    from searec.data.split import Split

    seen = []
    for count in (0, 4):
        data = load(simulate(tmp_path / str(count), configure(World, {**BASE, "users": 200, "inject": count})))
        split = Split(data)
        batch = Batcher(data, Needs(feed=50)).batch(split.held_out("recommend", "test"))
        train = data.interactions.item[: len(data.interactions.item)]
        seen.append((batch.user, batch.time, batch.feed_item, batch.feed_time, batch.target, train))
    for one, other in zip(*seen, strict=True):
        assert np.array_equal(one, other)


# --- archetypes ---


def members(world: dict[str, pl.DataFrame]) -> pl.DataFrame:
    counts = world["searches"].group_by("user_id").len()
    users = world["truth_users"].join(counts, on="user_id", how="left", maintain_order="left")
    return users.with_columns(rich=pl.col("len").fill_null(0) >= 10)


def test_sparse_members_show_three_events_of_the_feed_and_one_search_at_most() -> None:
    world = tables(**ARCS)
    users = members(world)
    assert users["rich"].mean() == pytest.approx(0.4, abs=0.05)
    clicks = kinds(world).group_by("user_id").len("clicks")
    sparse = users.filter(~pl.col("rich")).join(clicks, on="user_id")
    assert set(sparse["clicks"]) == {4}  # the last one is the test target
    assert set(sparse["len"].fill_null(0)) == {0, 1}


def test_arcs_are_closed_by_last_clicks_and_seen_before_in_rich_histories_alone() -> None:
    world = tables(**ARCS)
    rows = kinds(world).with_columns(source=world["truth_clicks"]["source"]).join(members(world), on="user_id")
    arcs = rows.filter(source="arc")
    assert arcs.select(pl.col("bought").list.contains(pl.col("kind")).all()).item()
    assert rows.filter(left=0).select((pl.col("source") == "arc").mean()).item() == pytest.approx(0.6, abs=0.04)
    assert arcs.filter(pl.col("left") > 1)["rich"].all()
    opened = own_searches(world).filter(intent="arc").join(members(world), on="user_id")
    assert opened.select(pl.col("searched").list.contains(pl.col("kind")).all()).item()
    pairs = opened.join(arcs.select("user_id", pl.col("timestamp").alias("closed")), on="user_id")
    assert pairs.filter(pl.col("closed") > pl.col("timestamp"))["search_id"].n_unique() == opened.height


def affinity(world: dict[str, pl.DataFrame], rows: pl.DataFrame) -> float:
    """How much oftener two users of one archetype share a type in `rows` than two of different ones."""
    both = rows.join(world["truth_users"].select("user_id", "archetype"), on="user_id")
    both = both.select("user_id", "archetype", "kind").unique()
    pairs = both.join(both, on="kind", suffix="_other").filter(pl.col("user_id") < pl.col("user_id_other"))
    sizes = both.select("user_id", "archetype").unique().group_by("archetype").len()["len"].to_numpy().astype(float)
    within = (sizes * (sizes - 1)).sum() / 2
    across = sizes.sum() * (sizes.sum() - 1) / 2 - within
    same = pairs.filter(pl.col("archetype") == pl.col("archetype_other")).height
    return (same / within) / ((pairs.height - same) / across)


def test_only_searches_tell_the_archetype_of_a_rich_user() -> None:
    world = tables(**ARCS)
    rich = members(world).filter("rich").select("user_id")
    searches = own_searches(world).filter(pl.col("kind").is_not_null()).join(rich, on="user_id")
    clicks = kinds(world).with_columns(source=world["truth_clicks"]["source"]).join(rich, on="user_id")
    assert affinity(world, searches) > 2
    assert affinity(world, clicks.filter(pl.col("source") != "arc")) < 1.2
    about_clicks = pl.col("intent") == "interest"  # of a type clicked before, perhaps in an arc
    assert affinity(world, searches.filter(~pl.col("intent").is_in(["arc", "signature"]) & ~about_clicks)) < 1.2
    assert affinity(world, clicks.filter(source="arc")) > 5


def test_the_clicks_of_sparse_members_tell_their_archetype() -> None:
    world = tables(**ARCS)
    sparse = members(world).filter(~pl.col("rich")).select("user_id")
    assert affinity(world, kinds(world).filter(pl.col("left") > 1).join(sparse, on="user_id")) > 5


def test_shuffled_arcs_have_nothing_to_do_with_the_archetype() -> None:
    own, shuffled = tables(**ARCS), tables(**ARCS, shuffle_arcs=True)
    for world, high in ((own, True), (shuffled, False)):
        arcs = kinds(world).with_columns(source=world["truth_clicks"]["source"]).filter(source="arc")
        assert affinity(world, arcs) > 5 if high else affinity(world, arcs) < 1.3
    users = ("user_id", "archetype")
    assert own["truth_users"].select(users).equals(shuffled["truth_users"].select(users))
    # Whatever closes no arc is the same click.
    columns = [world["interactions"].with_columns(source=world["truth_clicks"]["source"]) for world in (own, shuffled)]
    same = columns[0].join(columns[1], on=["user_id", "timestamp"], maintain_order="left").filter(source="signature")
    assert (same["item_id"] == same["item_id_right"]).mean() > 0.9  # an arc may have taken the item


# --- all ---


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    world = configure(World, {**BASE, **ARCS, "users": 300, "reveal": 0.05, "inject": 2})
    one, two = (simulate(tmp_path / str(n), world) for n in range(2))
    assert {p.name for p in one.iterdir()} >= {TRUTH_FILE, CLICK_TRUTH, USER_TRUTH}
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


@pytest.mark.parametrize(
    "dials",
    [
        {"users": 1, "inject": 2, "reveal": 0.0},
        {"departments": 3, "families": 1, "types": 1, "items": 3, "reveal": 0.0, "inject": 8},
        {"sparse_share": 1.0, "overlap": 1.0, "noise_share": 1.0, "reveal": 0.1},
        {"sparse_share": 0.0, "follow_share": 1.0, "needs": 1.0, "unclicked_share": 1.0, "reveal": 0.1, "inject": 8},
        {"days": 2, "skew": 3.0, "interests": 1, "reveal": 0.1, "inject": 8},
        {"archetypes": 1, "sparse_share": 1.0, "reveal": 0.0, "inject": 1},
    ],
    ids=str,
)
def test_extreme_worlds_keep_the_rules(dials: dict[str, Any]) -> None:
    world = tables(**dials)
    both = pl.concat([world[name].select("user_id", "timestamp") for name in ("interactions", "searches")])
    assert both.n_unique() == both.height
    clicks = pl.concat(
        [
            world["interactions"].select("user_id", "item_id"),
            world["searches"].select("user_id", item_id="clicked").explode("item_id").drop_nulls(),
        ]
    )
    assert clicks.n_unique() == clicks.height
    assert set(world["truth"]["intent"]) <= set(INTENTS)
    assert world["interactions"].height == world["truth_clicks"].height
