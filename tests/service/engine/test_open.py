"""Opening a service: what it starts with, what events do to interests, and what is forgotten."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_shop import Shop

from searec.errors import SettingsError
from searec.interests.interest_graph import Edge, InterestGraph
from searec.pipeline.deployment import write_deployment
from searec.pipeline.types import Request
from searec.service.lifecycle import Service, open_service
from searec.store.connection import this_clock
from searec.store.event_store import EventStore
from searec.store.event_writer import EventWriter
from searec.store.events import Event
from searec.store.store import Store

EDGES = (
    Edge(source="q", target="d", relation="hypernym", signal="query"),
    Edge(source="d", target="lamp", relation="hyponym"),
)


def config(shop: Shop, room: Path, *recommend: str, **settings: Any) -> dict[str, Any]:
    deployment = room / "deployment.json"
    write_deployment(shop.deployment(recommend), deployment)
    return {
        "deployment": str(deployment),
        "store": f"sqlite:///{room / 'store.db'}",
        "settings": {"seconds": 20, **settings},
    }


@contextmanager
def opened(told: dict[str, Any]) -> Iterator[tuple[Service, EventWriter, EventStore]]:
    front, recorder, events, keyring = open_service(told)
    assert keyring is None
    try:
        yield front, recorder, events
    finally:
        front.close()
        recorder.close()
        events.close()


def test_events_mark_interests_stale(shop: Shop, tmp_path: Path) -> None:
    told = config(shop, tmp_path, "itemknn")
    with opened(told) as (_, recorder, _), Store(told["store"]) as store:
        store.interests.write([InterestGraph(user, this_clock(), EDGES) for user in ("u1", "u2")])
        item = shop.data.items.texts[0]
        recorder.append([Event(event_id="e", user="u1", kind="click", time=this_clock(), item=item)]).result()
        for _ in range(500):
            kept = store.interests.read("u1")
            assert kept is not None
            if kept.stale:
                break
            threading.Event().wait(0.01)
        else:
            raise AssertionError("the interests are still taken for fresh")
        for _ in range(500):
            if store.jobs.counts().queued:
                break
            threading.Event().wait(0.01)
        (job,) = store.jobs.lease("worker", 5, 60.0)
        assert job.user == "u1"
        recorder.append([Event(event_id="e2", user="u1", kind="click", time=this_clock(), item=item)]).result()
        recorder.close()
        assert store.jobs.complete(job, InterestGraph("u1", this_clock(), EDGES))
        assert store.jobs.counts().queued == 1, "what came while the worker thought is thought about too"
        other = store.interests.read("u2")
        assert other is not None
        assert not other.stale


def test_forgetting_reaches_every_store(shop: Shop, tmp_path: Path) -> None:
    told = config(shop, tmp_path)
    with opened(told) as (front, recorder, events), Store(told["store"]) as store:
        store.interests.write([InterestGraph("someone", this_clock(), EDGES)])
        recorder.append([Event(event_id="e", user="someone", kind="search", time=this_clock(), query="lamp")]).result()
        assert front.forget("someone") == 1
        assert store.interests.read("someone") is None
        assert not events.of_users(["someone"])


def test_starts_with_what_was_swapped_in_unless_the_command_has_changed(shop: Shop, tmp_path: Path) -> None:
    told = config(shop, tmp_path, "itemknn")
    with opened(told) as (front, _, _):
        assert front.deployed()["recommend"] == [shop.runs["itemknn"]]
        number = front.deploy({"recommend": [shop.runs["sasrec"]]})
        assert [line.label for line in front.pipeline.views.served_runs()] == ["sasrec"]
        before = front.pipeline
        with pytest.raises(SettingsError, match="does not support"):
            front.deploy({"recommend": [shop.runs["bm25"]]})
        assert front.pipeline is before
        assert front.deployed()["number"] == number
    with opened(told) as (front, _, _):
        assert front.deployed()["recommend"] == [shop.runs["sasrec"]]
    with opened(config(shop, tmp_path, "itemknn", "sasrec")) as (front, _, _):
        assert len(front.deployed()["recommend"]) == 2
        assert front.recommend(Request(user="u1")).result().items


def test_unknown_settings_and_deployments_name_the_nearest(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'quota'"):
        open_service(config(shop, tmp_path, quotas=1))
    with opened(config(shop, tmp_path)) as (front, _, _), pytest.raises(SettingsError, match="'recommend'"):
        front.deploy({"recomend": []})
