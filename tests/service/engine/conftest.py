"""Engines over a small shop."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_shop import Shop

from searec.config import configure
from searec.pipeline.builder import open_pipeline
from searec.pipeline.pipeline import Pipeline, PipelineSettings
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
        config = configure(PipelineSettings, {"seconds": 20.0, **given})
        opened.append(open_pipeline(shop.deployment(recommend, search), events, reader, config))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()
