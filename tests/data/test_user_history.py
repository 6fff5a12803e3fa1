"""Batches of pasts against the batches of the same users by the dataset's own way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from random_shop import random_tables
from searec.data.batch import Batch, Batcher, Needs
from searec.data.dataset import Dataset
from searec.data.split import NEVER, requests_at
from searec.data.user_history import UserHistory, batch_of

NEEDS = (
    Needs(rec=3, src=2, src_clicks=2, trail=4, words=4, text=True),
    Needs(trail=50),
    Needs(rec=5, src=5, src_clicks=1, queries=True),
    Needs(rec=50, src=50, words=8),
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
    for name in ("user", "time", "rec_item", "rec_time", "src_click", "src_time", "trail_item", "trail_time", "target"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.query_text == expected.query_text
    assert spoken(found, found.src_query) == spoken(expected, expected.src_query)
    assert spoken(found, found.query) == spoken(expected, expected.query)


def test_new_searches_follow_the_known_ones(data: Dataset) -> None:
    own = UserHistory.of(data, 1, newest=50)
    later = UserHistory(
        user=1,
        src_query=np.append(own.src_query, [0, 0]),
        src_text=("old lamp", "red"),
        src_time=np.append(own.src_time, [NEVER - 2, NEVER - 1]),
        src_click=(*own.src_click, np.array([2]), np.array([], dtype=np.int32)),
    )
    batch = batch_of(data, [later], Needs(src=3, words=4, queries=True), "recommend")
    assert [batch.texts[row] for row in batch.src_query[0].tolist()][-2:] == ["old lamp", "red"]
    assert batch.src_click[0, -2:, 0].tolist() == [2, 0]
    assert batch_of(data, [later], Needs(src=1, queries=True), "recommend").texts == ("", "red")


def test_nobody_is_an_empty_past(data: Dataset) -> None:
    past = UserHistory.of(data, 0, newest=50)
    assert not past
    batch = batch_of(data, [past], Needs(rec=3, src=3, trail=3, words=3), "recommend")
    assert not any(getattr(batch, name).any() for name in ("user", "rec_item", "src_query", "src_click", "trail_item"))
