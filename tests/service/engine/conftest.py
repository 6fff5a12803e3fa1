"""Engines over a small shop."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_shop import Shop

from searec.pipeline.builder import open_pipeline
from searec.pipeline.pipeline import Pipeline
from searec.store.event_store import EventStore
from searec.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """An empty event store on SQLite."""
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened.events


@pytest.fixture
def engines(shop: Shop) -> Iterator[Callable[..., Pipeline]]:
    """Opens engines: runs for the feed and for search by model, then an event store, a reader, and settings by name."""
    opened: list[Pipeline] = []

    def make(
        recommend: tuple[str, ...] = (),
        search: tuple[str, ...] = (),
        events: Any = None,
        reader: Any = None,
        **given: Any,
    ) -> Pipeline:
        deployment = shop.deployment(recommend, search, **{"seconds": 20.0, **given})
        opened.append(open_pipeline(deployment, events, reader))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()
