"""Batches of pasts against the batches of the same users by the dataset's own way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from random_shop import random_tables
from searec.data.batch import Batch, Batcher, Needs
from searec.data.dataset import Dataset
from searec.data.ragged import Ragged
from searec.data.split import NEVER, requests_at
from searec.data.user_history import UserHistory, batch_of

NEEDS = (
    Needs(feed=3, searches=2, search_clicks=2, clicks=4, words=4, text=True),
    Needs(clicks=50),
    Needs(feed=5, searches=5, search_clicks=1, queries=True),
    Needs(feed=50, searches=50, words=8),
    Needs(),
)


@pytest.fixture(scope="module", params=range(3))
def data(request: pytest.FixtureRequest, make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(**random_tables(request.param, "thing {} lamp"))


def spoken(batch: Batch, rows: torch.Tensor) -> list[Any]:
    """Words and texts behind rows of the query table, which may stand in another order."""
    words = [[int(word) for word in line if word] for line in batch.words]
    return [
        (words[row], batch.texts[row] if batch.texts else "", int(batch.query_id[row]))
        for row in rows.flatten().tolist()
    ]


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("task", ["recommend", "search"])
def test_is_what_the_batcher_makes(data: Dataset, needs: Needs, task: Any) -> None:
    users = np.arange(1, data.sizes.users + 1, dtype=np.int32)
    queries = ["red lamp", "never asked", "red", "lamp", "lamp red"] if task == "search" else []
    asked = requests_at(data, task, users, np.full(len(users), NEVER), new_texts=queries or None)
    expected = Batcher(data, needs).batch(asked)
    found = batch_of(data, [UserHistory.of(data, int(user), newest=50) for user in users], needs, task, queries)
    for name in (
        "user",
        "time",
        "feed_item",
        "feed_time",
        "search_click",
        "search_time",
        "click_item",
        "click_time",
        "target",
    ):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.query_text == expected.query_text
    assert spoken(found, found.search_query) == spoken(expected, expected.search_query)
    assert spoken(found, found.query) == spoken(expected, expected.query)


def test_new_searches_follow_the_known_ones(data: Dataset) -> None:
    own = UserHistory.of(data, 1, newest=50)
    later = UserHistory(
        user=1,
        search_query=np.append(own.search_query, [0, 0]),
        search_text=("old lamp", "red"),
        search_time=np.append(own.search_time, [NEVER - 2, NEVER - 1]),
        search_click=Ragged.joined([own.search_click, Ragged.of([np.array([2]), np.array([], dtype=np.int32)])]),
    )
    batch = batch_of(data, [later], Needs(searches=3, words=4, queries=True), "recommend")
    assert [batch.texts[row] for row in batch.search_query[0].tolist()][-2:] == ["old lamp", "red"]
    assert batch.search_click[0, -2:, 0].tolist() == [2, 0]
    assert batch_of(data, [later], Needs(searches=1, queries=True), "recommend").texts == ("", "red")


def test_nobody_is_an_empty_past(data: Dataset) -> None:
    history = UserHistory.of(data, 0, newest=50)
    assert not history
    batch = batch_of(data, [history], Needs(feed=3, searches=3, clicks=3, words=3), "recommend")
    assert not any(
        getattr(batch, name).any() for name in ("user", "feed_item", "search_query", "search_click", "click_item")
    )
