"""A real service over a small world, as a process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "http"))  # for `stand_in`
sys.path.insert(0, str(Path(__file__).parent))  # for `shopfront`

from shopfront import TINY, Locked, Shop, serving


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """60 users and 300 items; popular, itemknn and bm25 with figures, and a serendipity run of one epoch."""
    from searec.data.dataset import load
    from searec.data.synthetic.simulate import World, simulate
    from searec.experiments import run_comparison, run_training

    home = tmp_path_factory.mktemp("page")
    folder = simulate(
        home / "shop", World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)
    )
    data = load(folder)
    for name, options, tasks in (
        ("popular", {}, ("recommend",)),
        ("itemknn", {}, ("recommend",)),
        ("bm25", {}, ("search",)),
        ("serendipity", TINY, ("recommend",)),
    ):
        run = run_training.train(name, data, home / "runs" / name, **options)
        for task in tasks:
            run_comparison.evaluate(run, task=task, protocol="full")
    return Shop(folder, home / "runs")


@pytest.fixture(scope="session")
def service(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service without keys."""
    home = tmp_path_factory.mktemp("service")
    runs = [
        "--recommend",
        shop.run("itemknn"),
        "--recommend",
        shop.run("serendipity"),
        "--recommend",
        shop.run("popular"),
    ]
    stores = ["--store", f"sqlite:///{home / 'store.db'}", "--set", "rate=0", "--set", "seconds=20"]
    with serving([str(shop.data), *runs, "--search", shop.run("bm25"), *stores], home / "log.txt") as url:
        yield url


@pytest.fixture(scope="session")
def locked(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """A service that wants a key."""
    from searec.store.store import Store

    home = tmp_path_factory.mktemp("locked")
    url = f"sqlite:///{home / 'events.db'}"
    with Store(url) as store:
        read, write = store.keys.add("reader", "read"), store.keys.add("writer", "write")
    with serving(
        [str(shop.data), "--recommend", shop.run("itemknn"), "--store", url, "--set", "rate=0"], home / "log.txt"
    ) as address:
        yield Locked(address, read, write)
