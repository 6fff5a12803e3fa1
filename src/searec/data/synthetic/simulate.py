"""Simulate a dataset folder: a shop, its users, their feed clicks and their searches, from a World's dials."""

import importlib.resources
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from searec.config import as_dict
from searec.data.schema import INTERACTIONS, SEARCHES, TABLES, USERS
from searec.data.synthetic.world import SAMPLE, World
from searec.data.synthetic.world_arcs import ARCS
from searec.data.synthetic.world_blocks import Truth, blocks
from searec.data.synthetic.world_events import EVENTS, Block
from searec.data.synthetic.world_feed import SOURCES
from searec.data.synthetic.world_items import Ints, Shop, join_words
from searec.data.synthetic.world_pages import true_relevance
from searec.data.synthetic.world_queries import INTENTS
from searec.data.synthetic.world_tables import profile_table, search_ids, user_ids
from searec.errors import DataError, SettingsError
from searec.files import replacing, write_json
from searec.progress import progress

__all__ = ["SAMPLE", "World", "sample_folder", "simulate"]

WORLD_FILE, TRUTH_FILE = "world.json", "truth.parquet"
CLICK_TRUTH, USER_TRUTH, PAGE_TRUTH = "truth_clicks.parquet", "truth_users.parquet", "truth_relevance.parquet"
_TIME = pa.timestamp("us", tz="UTC")
_SCHEMAS = {
    USERS.file: pa.schema([(name, pa.string()) for name in ("user_id", "age_group", "gender", "city")]),
    INTERACTIONS.file: pa.schema(
        [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", _TIME), ("event", pa.string())]
    ),
    SEARCHES.file: pa.schema(
        [
            ("search_id", pa.string()),
            ("user_id", pa.string()),
            ("query", pa.string()),
            ("timestamp", _TIME),
            ("clicked", pa.list_(pa.string())),
        ]
    ),
    TRUTH_FILE: pa.schema(
        [("search_id", pa.string()), ("intent", pa.string()), ("type", pa.string()), ("returns", pa.bool_())]
    ),
    PAGE_TRUTH: pa.schema([("query", pa.string()), ("item_id", pa.string()), ("relevance", pa.float64())]),
    CLICK_TRUTH: pa.schema(
        [("user_id", pa.string()), ("item_id", pa.string()), ("source", pa.string()), ("revealed", pa.bool_())]
    ),
    USER_TRUTH: pa.schema(
        [
            ("user_id", pa.string()),
            ("archetype", pa.int64()),
            ("searched", pa.list_(pa.string())),
            ("bought", pa.list_(pa.string())),
        ]
    ),
}


def sample_folder() -> Path:
    """The packaged sample, a dataset folder: what `simulate` writes for `SAMPLE`."""
    return Path(str(importlib.resources.files("searec") / "data" / "sample"))


def simulate(out: Path | str, world: World) -> Path:
    """Write a world as a dataset folder: the four tables and world.json; return the folder.

    Users are made a block at a time, so memory does not grow with their number (about half a GiB). Rows are by user and
    time; times are UTC, strictly increasing within a user, and a user clicks an item once, in the feed or in search (a
    click for which a small catalogue has no new item left is dropped). With `world.truth` truth.parquet holds for each
    search its intent (`world_queries.INTENTS`), its product type and whether it returns in a feed click; in worlds
    with controls truth_clicks.parquet holds for each feed click its source (`world_feed.SOURCES`) and whether a search
    revealed it, truth_users.parquet each user's archetype and arcs (product types). With `world.shown` searches hold
    their result pages, and truth_relevance.parquet how relevant each item of the searched type is to each query.
    An older simulated folder at `out` is replaced.

    Args:
        out: the folder.
        world: the settings.

    Raises:
        SettingsError: fewer items than product types, a world that ends in the future, or
            more `reveal` than the feed allows.
        DataError: `out` holds something that is no simulated folder.
        StorageError: the disk is full or refuses the write; `out` is as it was.
    """
    out = Path(out)
    _refuse_future(world)
    _refuse_other_content(out)
    world_blocks = blocks(world)
    shop, words = world_blocks.shop, world_blocks.words

    with replacing(out) as folder:
        folder.mkdir()
        shop.items.write_parquet(folder / "items.parquet", compression="zstd")
        first_user, first_search = 1, 1
        with _tables(folder, world) as write, progress("simulating users", world.users) as advance:
            for block, truth in world_blocks:
                users = len(block.age)
                tables = _as_tables(world, shop, words, block, first_user=first_user, first_search=first_search)
                for name, table in tables:
                    write[name].write_table(table)
                if world.truth:
                    write[CLICK_TRUTH].write_table(_click_truth(shop, block, truth, first_user))
                    write[USER_TRUTH].write_table(_user_truth(shop, words, truth, first_user))
                first_user, first_search = first_user + users, first_search + int((block.foreign == 0).sum())
                advance(users, "")
        write_json(folder / WORLD_FILE, as_dict(world))
    return out


def _refuse_future(world: World) -> None:
    end = np.datetime64(world.start, "s") + np.timedelta64(world.days, "D")
    if end > np.datetime64("now", "s"):
        raise SettingsError(
            "the world ends in the future",
            where="settings 'start' and 'days'",
            got=str(end.astype("datetime64[D]")),
            expected="an end before today",
            remedy="start earlier or take fewer days",
        )


def _refuse_other_content(out: Path) -> None:
    known = {WORLD_FILE, TRUTH_FILE, CLICK_TRUTH, USER_TRUTH, PAGE_TRUTH, *(table.file for table in TABLES)}
    if out.exists():
        others = sorted({p.name for p in out.iterdir()} - known) if out.is_dir() else [out.name]
        if others:
            raise DataError(
                "will not replace what no simulation wrote",
                where=out,
                got=", ".join(others[:5]),
                expected="a new or empty folder, or an older simulated one",
                remedy="choose another folder",
            )


def _schemas(world: World) -> dict[str, pa.Schema]:
    """The columns of each file that a world has."""
    left_out = {PAGE_TRUTH} if not world.shown else set()
    schemas = {name: schema for name, schema in _SCHEMAS.items() if name not in left_out}
    if world.shown:
        schemas[SEARCHES.file] = schemas[SEARCHES.file].append(pa.field("shown", pa.list_(pa.string())))
    return {name: schema for name, schema in schemas.items() if world.truth or not name.startswith("truth")}


@contextmanager
def _tables(folder: Path, world: World) -> Iterator[dict[str, pq.ParquetWriter]]:
    """An open writer for each table that grows by blocks, by file name."""
    with ExitStack() as open_files:
        yield {
            name: open_files.enter_context(pq.ParquetWriter(folder / name, schema, compression="zstd"))
            for name, schema in _schemas(world).items()
        }


def _as_tables(
    world: World, shop: Shop, words: pl.Series, block: Block, *, first_user: int, first_search: int
) -> Iterator[tuple[str, pa.Table]]:
    """The block's rows for each file."""
    start = np.datetime64(world.start, "us")
    people = _texts(user_ids(first_user, len(block.age)))
    items = _texts(shop.items["item_id"])
    search_id = _texts(search_ids(block, first_search))

    yield USERS.file, profile_table(block, first_user).to_arrow().cast(_SCHEMAS[USERS.file])
    yield (
        INTERACTIONS.file,
        pa.table(
            [
                people.take(pa.array(block.user)),
                items.take(pa.array(block.item)),
                _times(start, block.time),
                pa.array(EVENTS).take(pa.array(block.event)),
            ],
            schema=_SCHEMAS[INTERACTIONS.file],
        ),
    )
    lists = [(block.clicked_first, block.clicked)]
    if block.shown is not None and block.shown_first is not None:
        lists.append((block.shown_first, block.shown))
    columns = [
        search_id,
        people.take(pa.array(block.search_user)),
        _texts(join_words(words, block.words).str.to_lowercase()),
        _times(start, block.search_time),
        *(pa.ListArray.from_arrays(pa.array(at.astype(np.int32)), items.take(pa.array(of))) for at, of in lists),
    ]
    yield SEARCHES.file, pa.table(columns, schema=_schemas(world)[SEARCHES.file])
    if world.truth and world.shown:
        yield PAGE_TRUTH, true_relevance(shop, words, block).to_arrow().cast(_SCHEMAS[PAGE_TRUTH])
    if world.truth:
        name = np.where(block.intent_type >= 0, shop.type_name[block.intent_type], 0)
        columns = [
            search_id,
            pa.array(INTENTS).take(pa.array(block.intent)),
            _texts(words.gather(name)),
            pa.array(block.returns),
        ]
        yield TRUTH_FILE, pa.table(columns, schema=_SCHEMAS[TRUTH_FILE])


def _click_truth(shop: Shop, block: Block, truth: Truth, first_user: int) -> pa.Table:
    """The block's rows of truth_clicks.parquet."""
    people, items = _texts(user_ids(first_user, len(block.age))), _texts(shop.items["item_id"])
    source = pa.array(SOURCES).take(pa.array(truth.feed.source))
    columns = [people.take(pa.array(block.user)), items.take(pa.array(block.item)), source]
    return pa.table([*columns, pa.array(truth.revealed(block))], schema=_SCHEMAS[CLICK_TRUTH])


def _user_truth(shop: Shop, words: pl.Series, truth: Truth, first_user: int) -> pa.Table:
    """The block's rows of truth_users.parquet; without archetypes -1 and no arcs."""
    users = len(truth.people.age)
    columns = [_texts(user_ids(first_user, users))]
    if truth.members is None:
        none: list[list[str]] = [[]] * users
        return pa.table([*columns, pa.array([-1] * users), pa.array(none), pa.array(none)], schema=_SCHEMAS[USER_TRUTH])
    arcs = [
        pa.ListArray.from_arrays(
            pa.array(np.arange(users + 1, dtype=np.int32) * ARCS), _texts(words.gather(shop.type_name[types.ravel()]))
        )
        for types in (truth.members.searched, truth.members.bought)
    ]
    return pa.table([*columns, pa.array(truth.members.archetype), *arcs], schema=_SCHEMAS[USER_TRUTH])


def _texts(series: pl.Series) -> Any:
    return series.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def _times(start: np.datetime64, microseconds: Ints) -> Any:
    return pa.array(start + microseconds.astype("timedelta64[us]"), type=pa.timestamp("us")).cast(_TIME)
