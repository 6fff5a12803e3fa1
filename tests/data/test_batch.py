"""Batches against a naive assembly, one row at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from random_shop import random_tables
from searec.data.batch import Batch, Batcher, Needs
from searec.data.dataset import Dataset
from searec.data.split import NEVER, Requests, Split, requests_at

ALL = Needs(feed=3, searches=2, search_clicks=2, clicks=4, words=4, text=True)


@pytest.fixture(scope="module", params=range(3))
def log(request: pytest.FixtureRequest, make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(**random_tables(request.param))


def padded(rows: list[list[Any]], fill: Any = 0) -> list[list[Any]]:
    width = max([1, *map(len, rows)])
    return [row + [fill] * (width - len(row)) for row in rows]


def events(data: Dataset, stream: str, user: int, time: int) -> list[int]:
    """Positions of one user's events before a time, row by row."""
    table = getattr(data, stream)
    return [n for n in range(int(table.offsets[user]), int(table.offsets[user + 1])) if table.time[n] < time]


def naive(data: Dataset, requests: Requests, needs: Needs) -> dict[str, Any]:
    """The histories of a batch as lists; queries as lists of words."""
    out: dict[str, list[Any]] = {
        name: []
        for name in (
            "feed_item",
            "feed_time",
            "search_words",
            "search_click",
            "search_time",
            "click_item",
            "click_time",
            "words",
        )
    }
    for user, time, query in zip(requests.user.tolist(), requests.time.tolist(), requests.query.tolist(), strict=True):
        feed = events(data, "interactions", user, time)[-needs.feed :] if needs.feed else []
        searches = events(data, "searches", user, time)[-needs.searches :] if needs.searches else []
        click_history = events(data, "click_history", user, time)[-needs.clicks :] if needs.clicks else []
        out["feed_item"].append([int(data.interactions.item[n]) for n in feed])
        out["feed_time"].append([int(data.interactions.time[n]) for n in feed])
        out["search_words"].append(
            [data.queries.words.row(int(data.searches.query[n]))[: needs.words].tolist() for n in searches]
        )
        out["search_click"].append([data.searches.clicks.row(n)[: needs.search_clicks].tolist() for n in searches])
        out["search_time"].append([int(data.searches.time[n]) for n in searches])
        out["click_item"].append([int(data.click_history.item[n]) for n in click_history])
        out["click_time"].append([int(data.click_history.time[n]) for n in click_history])
        out["words"].append(data.queries.words.row(query)[: needs.words].tolist())
    return out


def spoken(batch: Batch, rows: torch.Tensor) -> list[Any]:
    """Rows of `batch.words` as lists of words, padding left out."""
    table = [[word for word in line if word] for line in batch.words.tolist()]
    return [[table[n] for n in row] if isinstance(row, list) else table[row] for row in rows.tolist()]


def same(data: Dataset, batch: Batch, requests: Requests, needs: Needs) -> None:
    expected = naive(data, requests, needs)
    for name in ("feed_item", "feed_time", "search_time", "click_item", "click_time"):
        assert getattr(batch, name).tolist() == padded(expected[name]), name
    clicks = [[click for click in session if click] for row in batch.search_click.tolist() for session in row]
    assert clicks == [session for row in padded(expected["search_click"], []) for session in row]
    assert batch.search_click.shape[2] == max(
        1, *(len(session) for row in [[[]], *expected["search_click"]] for session in row)
    ), "no wider than it must be"
    assert spoken(batch, batch.search_query) == padded(expected["search_words"], [])
    assert ((batch.search_query != 0).sum(1) == torch.tensor([len(row) for row in expected["search_time"]])).all()
    assert spoken(batch, batch.query) == expected["words"]
    assert batch.user.tolist() == requests.user.tolist()
    assert batch.target.tolist() == requests.target.tolist()
    assert batch.time.tolist() == requests.time.tolist()


@pytest.mark.parametrize("task", ["recommend", "search"])
@pytest.mark.parametrize(
    "needs",
    [
        ALL,
        Needs(feed=50, searches=50, search_clicks=9, clicks=50, words=50),
        Needs(searches=1, search_clicks=1, words=1),
    ],
    ids=["cut", "whole", "least"],
)
def test_a_batch_equals_a_naive_one(log: Dataset, task: Any, needs: Needs) -> None:
    requests = Split(log).train(task)
    assert len(requests) > 3
    same(log, Batcher(log, needs).batch(requests), requests, needs)
    everyone = requests_at(
        log, task, np.arange(1, 6), np.full(5, NEVER), query=np.array([1, 2, 3, 1, 2]) if task == "search" else None
    )
    same(log, Batcher(log, needs).batch(everyone), everyone, needs)


def test_a_batch_is_as_wide_as_its_longest_history(log: Dataset) -> None:
    split, batcher = Split(log), Batcher(log, Needs(feed=6, searches=6, clicks=6, words=3))
    requests = split.held_out("recommend", "test")
    for row in range(len(requests)):
        batch = batcher.batch(requests[row : row + 1])
        assert batch.search_query.shape[1] == max(1, int((batch.search_query != 0).sum()))
        assert batch.feed_item.shape[1] == max(1, int((batch.feed_item != 0).sum()))


def test_what_is_not_needed_is_left_out(log: Dataset) -> None:
    requests = Split(log).held_out("search", "test")
    batch = Batcher(log, Needs()).batch(requests)
    for name in ("feed_item", "search_query", "click_item", "words"):
        assert not getattr(batch, name).any()
    assert batch.query_text == ()
    assert Batcher(log, Needs(text=True)).batch(requests).query_text == tuple(requests.texts(log))


def test_each_distinct_query_stands_in_a_batch_once(log: Dataset) -> None:
    everyone = requests_at(log, "search", np.arange(1, 6), np.full(5, NEVER), query=np.ones(5, dtype=np.int32))
    batch = Batcher(log, ALL).batch(everyone)
    used = torch.cat((batch.query, batch.search_query.flatten())).unique()
    assert sorted({0, *used.tolist()}) == list(range(len(batch.words)))
    assert batch.query.unique().numel() == 1


def test_a_new_text_gives_the_words_of_the_stored_query(log: Dataset) -> None:
    users, never = np.array([1, 2, 3, 4]), np.full(4, NEVER)
    told = ["red lamp", "lamp red", "a very long query about a lamp", "red"]
    rows = np.array([log.queries.texts.to_list().index(text) + 1 for text in told], dtype=np.int32)
    new = ["RED zebra lamp", "lamp, red!", "a very zebra long query about a lamp", "Red"]
    batcher = Batcher(log, ALL)
    stored = batcher.batch(requests_at(log, "search", users, never, query=rows))
    fresh = batcher.batch(requests_at(log, "search", users, never, new_texts=new))
    assert spoken(fresh, fresh.query) == spoken(stored, stored.query)
    assert spoken(fresh, fresh.search_query) == spoken(stored, stored.search_query)
    assert fresh.query_text == tuple(new)
    unknown = batcher.batch(requests_at(log, "search", users[:1], never[:1], new_texts=["zebra"]))
    assert spoken(unknown, unknown.query) == [[]]


def test_no_request_gives_an_empty_batch(log: Dataset) -> None:
    nobody = np.zeros(0, dtype=np.int32)
    for texts in (None, []):
        batch = Batcher(log, ALL).batch(requests_at(log, "search", nobody, nobody.astype(np.int64), new_texts=texts))
        assert len(batch) == 0


def test_candidates_are_carried(log: Dataset) -> None:
    requests = Split(log).held_out("recommend", "test")
    lists = np.tile(np.arange(1, 5, dtype=np.int32), (len(requests), 1))
    batch = Batcher(log, ALL).batch(requests, lists)
    assert batch.candidates is not None
    assert batch.candidates.tolist() == lists.tolist()
    assert batch.with_candidates(None).candidates is None
    moved = batch.to("meta")
    assert moved.candidates is not None
    assert moved.candidates.device.type == moved.feed_item.device.type == "meta"
