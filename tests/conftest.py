"""What every test stands on: a cache folder of its own, one thread.

Hand-made dataset folders and a small checkerboard world.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import polars as pl
import pytest
import torch

from searec.data.dataset import Dataset, load
from searec.data.schema import TIME

sys.path.insert(0, str(Path(__file__).parent))  # for `chat_server`, under any import mode

import transformers_server
from chat_server import Reply, Server, listening
from shared_folders import shared_folder
from store_fixtures import (  # noqa: F401  fixtures
    backend,
    clock,
    events,
    graph,
    module_postgres,
    new_url,
    own_postgres,
    own_redis,
    postgres_server,
    store,
    store_url,
    stores,
)

START = datetime(2023, 5, 1, tzinfo=UTC)
BLOCKS, FEED_ITEMS, FILLERS, USERS_A_BLOCK = 2, 8, 112, 8
SOUGHT = (
    ("coffee grinder", "garden hose", "winter gloves", "guitar strings", "baby stroller", "fishing rod"),
    ("laptop charger", "yoga mat", "wall clock", "dog collar", "bicycle pump", "paint brush"),
)
"""What each block of users searches for; the item's title holds the query's words."""

Event = tuple[str, str, float] | tuple[str, str, float, str]
"""A feed event: user, item, seconds since `START`, and what it is, "click" by default."""
Search = tuple[str, str, float, Sequence[str]]
"""A search: user, query, seconds since `START`, clicked items."""


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    hypothesis.settings.register_profile("no deadline", deadline=None)  # a loaded machine is slow now and then
    hypothesis.settings.load_profile("no deadline")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests press Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of this session, and of the programs its tests start."""
    before = os.environ.get("SEAREC_CACHE")
    folder = tmp_path_factory.mktemp("cache")
    os.environ["SEAREC_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SEAREC_CACHE"]
    else:
        os.environ["SEAREC_CACHE"] = before


def write_folder(
    folder: Path,
    *,
    items: Mapping[str, str | Mapping[str, Any]],
    users: Iterable[str],
    feed: Iterable[Event] = (),
    searches: Iterable[Search] = (),
) -> Path:
    """Write a dataset folder by hand.

    Args:
        items: item id -> title, or its columns (title, description, brand, categories).
        feed, searches: events, see `Event` and `Search`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"item_id": item, **({"title": about} if isinstance(about, str) else about)} for item, about in items.items()
    ]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "items.parquet")
    pl.DataFrame({"user_id": list(users)}, schema={"user_id": pl.String}).write_parquet(folder / "users.parquet")
    clicks = [(user, item, START + timedelta(seconds=when), *(kind or ["click"])) for user, item, when, *kind in feed]
    types = {"user_id": pl.String, "item_id": pl.String, "timestamp": TIME, "event": pl.String}
    pl.DataFrame(clicks, schema=types, orient="row").write_parquet(folder / "interactions.parquet")
    asked = [
        (f"s{n}", user, query, START + timedelta(seconds=when), list(clicked))
        for n, (user, query, when, clicked) in enumerate(searches)
    ]
    types = {
        "search_id": pl.String,
        "user_id": pl.String,
        "query": pl.String,
        "timestamp": TIME,
        "clicked": pl.List(pl.String),
    }
    pl.DataFrame(asked, schema=types, orient="row").write_parquet(folder / "searches.parquet")
    return folder


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`write_folder` into a new folder each time."""
    return lambda **tables: write_folder(tmp_path_factory.mktemp("data") / "shop", **tables)


@pytest.fixture(scope="session")
def make_data(make_folder: Callable[..., Path]) -> Callable[..., Dataset]:
    """`write_folder` into a new folder, then load it."""
    return lambda **tables: load(make_folder(**tables))


@dataclass(frozen=True)
class Checkerboard:
    """A world with a known answer: each user clicks and finds all of his block's items but a few, and those come last.

    withheld: the test target of each user in each task; (task, user id) -> item id. Other users of the block have it in
    their training events, and no user of another block ever clicks it.
    """

    folder: Path
    data: Dataset
    withheld: Mapping[tuple[str, str], str]


def checkerboard_tables(*, scramble: bool = False) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    """The tables for `write_folder`, rows by time, and the withheld items.

    Each user: 6 feed clicks and 4 searches of one click, mixed; then a search and a click at one time (validation), and
    again (test). With `scramble` those last four are of other items, at the same times and for the same queries.
    """
    feed_items = [[f"feed{block}{n}" for n in range(FEED_ITEMS)] for block in range(BLOCKS)]
    found_items = [[f"find{block}{n}" for n in range(len(SOUGHT[block]))] for block in range(BLOCKS)]
    items = {item: f"thing {item}" for block in feed_items for item in block}
    items |= {
        item: f"{query} deluxe"
        for ids, queries in zip(found_items, SOUGHT, strict=True)
        for item, query in zip(ids, queries, strict=True)
    }
    items |= {f"filler{n}": f"filler {n}" for n in range(FILLERS)}
    users = [f"u{n}" for n in range(BLOCKS * USERS_A_BLOCK)]
    feed: list[Event] = []
    searches: list[Search] = []
    withheld = {}
    for number, user in enumerate(users):
        block, place = number % BLOCKS, number // BLOCKS
        clicks = [feed_items[block][(place + 3 * step) % FEED_ITEMS] for step in range(FEED_ITEMS)]
        finds = [(place + 5 * step) % len(found_items[block]) for step in range(len(found_items[block]))]
        for minute, kind in zip((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 20, 30, 30), "FSFFSFSFSF" + "SFSF", strict=True):
            late = scramble and minute >= 20
            if kind == "F":
                item = clicks.pop(0)
                feed.append((user, f"filler{number}" if late else item, 60 * minute))
            else:
                place_found = finds.pop(0)
                clicked = f"filler{50 + number}" if late else found_items[block][place_found]
                searches.append((user, SOUGHT[block][place_found], 60 * minute, [clicked]))
        withheld["recommend", user] = feed[-1][1]
        withheld["search", user] = searches[-1][3][0]
    feed.sort(key=lambda event: event[2])
    searches.sort(key=lambda event: event[2])
    return {"items": items, "users": [*users, "newcomer"], "feed": feed, "searches": searches}, withheld


@pytest.fixture(scope="session")
def checkerboard(make_folder: Callable[..., Path]) -> Checkerboard:
    """The checkerboard world: 16 users and one without events, 16 feed items, 12 searched items.

    112 items that nobody clicks.
    """
    tables, withheld = checkerboard_tables()
    folder = make_folder(**tables)
    return Checkerboard(folder, load(folder), withheld)


@pytest.fixture(scope="session")
def rewritten(make_data: Callable[..., Dataset]) -> Dataset:
    """The checkerboard with other items in every held-out event."""
    return make_data(**checkerboard_tables(scramble=True)[0])


@pytest.fixture(scope="session")
def checkerboard_with(make_data: Callable[..., Dataset]) -> Callable[[list[Event]], Dataset]:
    """The checkerboard with more feed clicks."""

    def made(feed: list[Event]) -> Dataset:
        tables = checkerboard_tables()[0]
        return make_data(**{**tables, "feed": [*tables["feed"], *feed]})

    return made


def grown_tables(*, items: bool = True) -> dict[str, Any]:
    """The checkerboard in another order and a day later, with a new user and, if `items`, a new and a removed item."""
    tables = checkerboard_tables()[0]
    tables["items"] = dict(reversed(list(tables["items"].items())))
    if items:
        del tables["items"]["filler111"]
        tables["items"]["0new"] = "thing feed00"
    tables["users"] = ["0 new user", *reversed(tables["users"])]
    late = 60 * 60 * 24
    tables["feed"] += [(f"u{n}", f"filler{60 + n}", late + n) for n in range(16)]
    tables["feed"] += [("0 new user", item, late + 20 + n) for n, item in enumerate(("feed00", "feed01", "feed02"))]
    tables["searches"] += [("0 new user", "zebra mat", late + 30, ["filler3"])]
    return tables


@pytest.fixture(scope="session")
def grown(make_data: Callable[..., Dataset]) -> Dataset:
    """The checkerboard a day later: 16 new clicks, a new user, item 0new like feed00, no filler111, another order."""
    return make_data(**grown_tables())


@pytest.fixture(scope="session")
def more_events(make_data: Callable[..., Dataset]) -> Dataset:
    """The same with the items of the checkerboard."""
    return make_data(**grown_tables(items=False))


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A simulated shop: 60 users, 300 items, about 700 feed clicks and 600 searches."""
    from searec.data.synthetic.simulate import World, simulate

    dials = World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)
    return load(
        shared_folder(tmp_path_factory, "small-world", lambda folder: simulate(folder / "world", dials)) / "world"
    )


@pytest.fixture
def searec(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command in this process; exit code, standard output, standard error."""
    from searec.cli import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["searec", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                main()
                raise SystemExit(0)
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return run


@pytest.fixture(scope="session")
def chat_address() -> Iterator[dict[str, Any]]:
    """Where the chat server of this session listens."""
    for name in ("uvicorn", "fastapi"):
        pytest.importorskip(name)
    with listening() as state:
        yield state


@pytest.fixture
def server(chat_address: dict[str, Any]) -> Server:
    """An OpenAI-compatible server as if nobody had asked it yet."""
    chat_address["server"] = Server(chat_address["url"])
    return chat_address["server"]


@pytest.fixture
def reply() -> type[Reply]:
    """What it answers with."""
    return Reply


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A real language model behind transformers' server: its name, and its address."""
    if transformers_server.MISSING:
        pytest.skip(f"not installed: {', '.join(transformers_server.MISSING)}")
    with transformers_server.serving(tmp_path_factory.mktemp("lm") / "tiny") as served:
        yield served
