"""Profiles: what is in the window, in order, and nothing that is not strictly older."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.data.schema import DAY
from searec.data.split import NEVER
from searec.errors import DataError
from searec.interests.profile import profiles

SECONDS = DAY / 1e6
ITEMS: dict[str, Any] = {"a": {"title": "A", "categories": ["X", "Y"]}, "b": {"title": "B", "categories": []}}


@pytest.fixture(scope="module")
def data(make_data: Callable[..., Dataset]) -> Dataset:
    searches = [
        ("u1", "old", 0.0, []),
        ("u1", "twice", 5 * SECONDS, ["b"]),
        ("u1", "new", 39 * SECONDS, []),
        ("u1", "twice", 40 * SECONDS, []),
    ]
    return make_data(items=ITEMS, users=["u1", "u2"], feed=[("u1", "a", 41 * SECONDS)], searches=searches)


def one(data: Dataset, at: int, **limits: int) -> Any:
    return next(profiles(data, data.users.to_internal(["u1"]), np.array([at]), **limits))


def test_queries_of_the_last_days_newest_first_each_once(data: Dataset) -> None:
    start = int(data.searches.time[0])
    found = one(data, NEVER)
    assert found.at == start + 41 * DAY + 1
    assert [(query.text, query.time - start) for query in found.queries] == [("twice", 40 * DAY), ("new", 39 * DAY)]
    assert found.earlier == ("old",)
    assert [(click.title, click.categories, (click.time - start) // DAY) for click in found.clicks] == [
        ("A", ("X", "Y"), 41),
        ("B", (), 5),
    ]
    assert [query.text for query in one(data, NEVER, days=60).queries] == ["twice", "new", "old"]
    assert [query.text for query in one(data, NEVER, days=60, queries=1).queries] == ["twice"]
    assert one(data, NEVER, days=60, queries=1).earlier == ("new", "old")
    assert len(one(data, NEVER, clicks=1).clicks) == 1


def test_what_is_as_new_as_the_time_is_not_read(data: Dataset) -> None:
    start = int(data.searches.time[0])
    found = one(data, start + 40 * DAY)
    assert [query.text for query in found.queries] == ["new"]
    assert found.earlier == ("twice", "old")
    assert [click.title for click in found.clicks] == ["B"]
    assert one(data, start).queries == one(data, start).clicks == ()


def test_a_user_who_did_nothing_has_an_empty_profile(data: Dataset) -> None:
    found = next(profiles(data, data.users.to_internal(["u2"]), np.array([NEVER])))
    assert (found.user, found.at, found.queries, found.clicks, found.attributes) == ("u2", 0, (), (), {})


def test_attributes_are_told_by_name(small_world: Dataset) -> None:
    found = next(profiles(small_world, np.array([1]), np.array([NEVER])))
    assert set(found.attributes) == {"age_group", "gender", "city"}
    assert found.attributes["gender"] == small_world.user_table["gender"][0]


def test_one_time_a_user_is_asked_for(data: Dataset) -> None:
    with pytest.raises(DataError, match="one time a user"):
        next(profiles(data, np.array([1, 2]), np.array([NEVER])))
