"""Fixtures of the store: on SQLite and on a real PostgreSQL server in turn, and a real Redis server for the cache."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postgres_server import PostgresServer, postgres
from redis_server import RedisServer, redis_in
from searec.config import configure
from searec.interests.interest_graph import Edge, InterestGraph
from searec.store.connection import StoreSettings
from searec.store.event_store import EventStore
from searec.store.job_queue import SECOND
from searec.store.store import Store

START = 1_700_000_000 * SECOND


class Clock:
    """A clock that goes when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server that all tests share."""
    yield from postgres()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that a test may kill and start again."""
    yield from postgres()


@pytest.fixture(scope="module")
def module_postgres() -> Iterator[PostgresServer]:
    """A server that the tests of a module may kill and start again."""
    yield from postgres()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill and start again."""
    yield from redis_in(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of an empty store of a name, on each backend in turn."""

    def make(name: str) -> str:
        if backend == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        return str(request.getfixturevalue("postgres_server").empty_database(name))

    return make


@pytest.fixture
def store_url(new_url: Callable[[str], str]) -> str:
    """Where an empty store is to be, on each backend in turn."""
    return new_url("store")


@pytest.fixture
def stores(store_url: str, clock: Clock) -> Iterator[Callable[..., Store]]:
    """Opens the same store, as another process would, with settings by name; `clock=None` for the real clock."""
    opened: list[Store] = []

    def make(*, clock: Any = clock, cache: str | None = None, **values: Any) -> Store:
        chosen = configure(StoreSettings, values)
        opened.append(Store(store_url, chosen, cache=cache, rng=np.random.default_rng(0), clock=clock))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: Callable[..., Store]) -> Store:
    """An empty store on a clock that stands still."""
    return stores()


@pytest.fixture
def events(stores: Callable[..., Store]) -> EventStore:
    """An empty event store."""
    return stores(clock=None).events


def make_graph(
    user: str, *interests: str, at: int = START, demand: str = "sports shoes", confidence: float = 0.8
) -> InterestGraph:
    """A graph of one query, one demand and these interests, each less sure than the one before."""
    up = Edge(source="nike air", target=demand, relation="hypernym", signal="query", confidence=confidence)
    wide = [
        Edge(source=demand, target=text, relation="co-hyponym", confidence=0.9 - place / 100)
        for place, text in enumerate(interests)
    ]
    return InterestGraph(user, at, (up, *wide), {"reasoner": "test", "version": "1"})


@pytest.fixture
def graph() -> Callable[..., InterestGraph]:
    """`make_graph`, as a fixture."""
    return make_graph
