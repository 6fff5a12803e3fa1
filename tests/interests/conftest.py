"""Minds for the chat server; and stores to test against: a file, and a real Redis server."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redis_server import RedisServer, redis_in
from searec.config import configure
from searec.interests.interest_graph import Edge, InterestGraph
from searec.store.interest_store import SECOND, Store, StoreSettings, open_store
from searec.text.chat import KEYS, Chat, ChatSettings

sys.path.insert(0, str(Path(__file__).parent))  # modules of these tests, importable under any import mode
BACKENDS = ("sqlite", "redis")
START = 1_700_000_000 * SECOND
_PREFIXES = itertools.count()


class Clock:
    """A clock that goes when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests share."""
    yield from redis_in(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A durable server that a test may kill and start again."""
    yield from redis_in(tmp_path, durable=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Where an empty store is: its URL and what its settings need."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'interests.db'}", {}
    return request.getfixturevalue("redis_server").url, {"prefix": f"test{next(_PREFIXES)}"}


@pytest.fixture
def stores(place: tuple[str, dict[str, Any]], clock: Clock) -> Iterator[Callable[..., Store]]:
    """Opens the same store, as another process would, with settings by name; `clock=None` for the real clock."""
    opened = []

    def make(*, clock: Any = clock, **values: Any) -> Store:
        url, needed = place
        opened.append(
            open_store(url, configure(StoreSettings, needed | values), rng=np.random.default_rng(0), clock=clock)
        )
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: Callable[..., Store]) -> Store:
    """An empty store on a clock that stands."""
    return stores()


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
    """`make_graph`, which a test module cannot import from here."""
    return make_graph


@pytest.fixture
def chats(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Chat]]:
    """Chats with the server, all over one folder of answers."""
    pytest.importorskip("openai")
    for name in (*KEYS, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    made: list[Chat] = []

    def make(model: str = "toy", **values: object) -> Chat:
        start = {"model": model, "base_url": server.url, "retries": 0, "timeout": 20.0}
        made.append(Chat(configure(ChatSettings, start | values), folder=tmp_path))
        return made[-1]

    yield make
    for chat in made:
        chat.close()
