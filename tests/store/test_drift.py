"""Drift, with vectors whose cosines are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import ProfileQuery
from searec.store.drift import DriftSettings, Watcher, drift, explained, graph_texts
from searec.store.store import Store

PLACES = {"nike air": 0, "sports shoes": 1, "caps": 2, "tents": 3}
NEW = 1_700_000_000_000_000 + 1


def encode(texts: Sequence[str]) -> Any:
    """Each known text is an axis; "0.6 caps" has cosine 0.6 with "caps" and none with any other."""
    vectors = np.zeros((len(texts), 8))
    for row, text in enumerate(texts):
        share, _, name = text.partition(" ") if text[0].isdigit() else ("1", "", text)
        vectors[row, PLACES.get(name, 7)] = float(share)
        vectors[row, 6] = np.sqrt(1 - float(share) ** 2)
    return vectors


def asked(*texts: str, time: int = NEW) -> list[ProfileQuery]:
    """Queries, oldest first."""
    return [ProfileQuery(text, time + number) for number, text in enumerate(texts)]


def test_a_query_is_explained_by_the_nearest_text() -> None:
    queries = encode(["0.6 caps", "0.8 nike air", "gardening"])
    assert explained(queries, encode(["nike air", "sports shoes", "caps"])) == pytest.approx([0.6, 0.8, 0.0])
    assert explained(queries, np.zeros((0, 8))) == pytest.approx([-1, -1, -1])
    assert explained(-np.eye(2)[:1], np.eye(2)[:1]) == pytest.approx([-1.0])


def test_signals_demands_and_interests_explain(graph: Any) -> None:
    assert graph_texts(graph("u", "caps", "tents")) == ["nike air", "sports shoes", "caps", "tents"]
    for text in ("nike air", "sports shoes", "caps"):
        found = drift(graph("u", "caps"), asked(f"0.6 {text}", text), encode)
        assert found is not None and found.explained == pytest.approx((0.6 + 1) / 2) and not found.drifted


@pytest.mark.parametrize(
    ("queries", "mean", "drifted"),
    [
        (["caps", "0.2 caps"], 0.6, False),
        (["0.6 caps", "0.3 caps"], 0.45, True),
        (["gardening", "garden hose"], 0.0, True),
        (
            ["gardening", "caps", "tents", "nike air", "0.8 caps", "sports shoes"],
            0.96,
            False,
        ),  # the first is the sixth newest
        (["caps", "caps", "caps", "gardening"], 0.5, False),  # equal ones count once
    ],
)
def test_the_mean_over_the_newest_decides(graph: Any, queries: list[str], mean: float, drifted: bool) -> None:
    found = drift(graph("u", "caps", "tents"), list(reversed(asked(*queries))), encode, DriftSettings(threshold=0.5))
    assert found is not None and (found.explained, found.drifted) == (pytest.approx(mean), drifted)


def test_too_few_new_queries_say_nothing(graph: Any) -> None:
    made = graph("u", "caps")
    assert drift(made, asked("gardening"), encode) is None
    assert drift(made, asked("gardening", "gardening"), encode) is None
    assert drift(made, asked("gardening", "hoses", time=made.at - 2), encode) is None, "known when the graph was made"
    assert drift(made, asked("gardening"), encode, DriftSettings(least=1)) is not None
    found = drift(InterestGraph("u", made.at), asked("gardening", "hoses"), encode)
    assert found is not None and found.drifted, "an empty graph explains nothing"


def test_who_has_drifted_is_stale_and_enqueued(store: Store, graph: Any) -> None:
    watcher = Watcher(store, encode)
    store.interests.write([graph("u", "caps"), graph("v", "caps")])
    found = watcher.note("v", asked("caps", "nike air"))
    assert found is not None and not found.drifted and store.jobs.counts().queued == 0
    found = watcher.note("u", asked("gardening", "hoses"))
    assert found is not None and found.drifted
    kept = store.interests.read("u")
    assert kept is not None and kept.stale and kept.interests()[0].text == "caps", "still readable"
    (job,) = store.jobs.lease("w", 10, 60)
    assert (job.user, job.reason) == ("u", "drift")
    assert store.jobs.complete(job, graph("u", "tents", at=NEW + 5))
    assert watcher.note("u", asked("gardening", "hoses")) is None, "known to the new graph"
    assert store.jobs.counts().queued == 0


def test_drift_while_a_refresh_is_under_way_runs_once_more(store: Store, graph: Any) -> None:
    store.interests.write([graph("u", "caps")])
    store.jobs.enqueue(["u"], "requested")
    (job,) = store.jobs.lease("w", 10, 60)
    Watcher(store, encode).note("u", asked("gardening", "hoses"))
    assert store.jobs.complete(job, graph("u", "tents"))
    assert [job.reason for job in store.jobs.lease("w", 10, 60)] == ["drift"]


def test_nothing_is_encoded_for_who_is_refreshed_anyway(store: Store, clock: Any, graph: Any) -> None:
    def refuse(texts: Sequence[str]) -> Any:
        raise AssertionError

    watcher = Watcher(store, refuse)
    assert watcher.note("nobody", asked("a", "b")) is None
    store.interests.write([graph("u", "caps")])
    clock.forward(8 * 86_400)
    assert watcher.note("u", asked("a", "b")) is None
    assert [(job.user, job.reason) for job in store.jobs.lease("w", 10, 60)] == [("nobody", "missing"), ("u", "stale")]
