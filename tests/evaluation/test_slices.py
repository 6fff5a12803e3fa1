"""The slices by hand, on a log of six users."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.evaluation.slices import history, interest_similarity, slices

ITEMS = {
    "lamp": ["home", "light"],
    "bulb": ["home", "light"],
    "sofa": ["home"],
    "rod": ["sport"],
    "ball": ["sport"],
    "bare": None,
    "new": ["home"],
}
# Each user's last feed click is the test target.
FEED = [
    *[
        ("anna", item, n) for n, item in enumerate(["lamp", "bulb", "sofa", "lamp"], start=20)
    ],  # clicked the lamp before
    *[("ben", item, n) for n, item in enumerate(["lamp", "sofa", "new"], start=20)],  # nobody trained on the new one
    *[("carl", item, n) for n, item in enumerate(["rod", "ball", "bulb"], start=20)],
    *[("dora", item, n) for n, item in enumerate(["lamp", "rod", "sofa"], start=20)],
    *[("emil", item, n) for n, item in enumerate(["lamp", "lamp", "bulb", "bulb", "rod"], start=20)],
]
SEARCHES = [
    ("anna", "light", 1, ["bulb"]),  # anna's feed: home 3, light 2; search: home 1, light 1
    ("ben", "sport", 1, ["rod", "ball"]),  # home against sport: 0
    ("carl", "x", 1, ["bare"]),  # no category on the search side
    ("dora", "x", 1, []),
    ("dora", "x", 2, []),
    ("emil", "light", 1, ["lamp"]),
    ("emil", "late", 24, ["sofa"]),  # at the very time of the target: not seen
]
CLOSE = (3 * 1 + 2 * 1) / (math.sqrt(3**2 + 2**2) * math.sqrt(2))


@pytest.fixture(scope="module")
def log(make_data: Callable[..., Dataset]) -> Dataset:
    items = {item: {"title": item, "categories": categories} for item, categories in ITEMS.items()}
    return make_data(items=items, users=["anna", "ben", "carl", "dora", "emil", "frida"], feed=FEED, searches=SEARCHES)


@pytest.fixture(scope="module")
def found(log: Dataset) -> dict[str, list[str]]:
    split = Split(log)
    requests = split.held_out("recommend", "test")
    users = log.users.to_external(requests.user)
    assert users == ["anna", "ben", "carl", "dora", "emil"]
    return {
        name: [user for user, inside in zip(users, mask, strict=True) if inside]
        for name, mask in slices(split, requests, sparse_below=2).items()
    }


def test_similarity_is_the_cosine_of_category_counts(log: Dataset) -> None:
    value = interest_similarity(log, Split(log).held_out("recommend", "test"))
    assert value[:2].tolist() == pytest.approx([CLOSE, 0])
    assert np.isnan(value[2:4]).all(), "carl found nothing that has a category, dora found nothing"
    assert value[4] == pytest.approx(1)  # four of home and of light against one of each


def test_sparse_and_rich_count_sessions_before_the_target(found: dict[str, list[str]]) -> None:
    assert found["sparse"] == ["anna", "ben", "carl", "emil"]
    assert found["rich"] == ["dora"]


def test_similarity_is_cut_at_the_median_of_those_who_have_both(found: dict[str, list[str]]) -> None:
    assert found["low-similarity"] == ["ben"]
    assert found["high-similarity"] == ["anna", "emil"], "the median itself is high"


def test_cold(found: dict[str, list[str]]) -> None:
    # before the target: anna 4 clicks, ben 4, carl 3, dora 2, emil 5
    assert found["cold-user"] == ["anna", "ben", "carl", "dora"]
    # training clicks end before the validation click: bulb, rod, ball and lamp are trained on, sofa by nobody and the
    # new one neither
    assert found["cold-item"] == ["ben", "dora"]


def test_repeat_and_new(found: dict[str, list[str]]) -> None:
    assert found["repeat"] == ["anna"]
    assert found["new"] == ["ben", "carl", "dora", "emil"]


def test_history_is_what_came_before(log: Dataset) -> None:
    items, owner = history(log, Split(log).held_out("recommend", "test"))
    assert [log.items.to_external(items[owner == row]) for row in (1, 4)] == [
        ["rod", "ball", "lamp", "sofa"],
        ["lamp", "lamp", "lamp", "bulb", "bulb"],
    ]


def test_slices_part_the_requests(small_world: Dataset) -> None:
    split = Split(small_world)
    for task in ("recommend", "search"):
        requests = split.held_out(task, "test")
        masks = slices(split, requests)
        for one, other in (("sparse", "rich"), ("repeat", "new")):
            assert (masks[one] ^ masks[other]).all()
        assert not (masks["low-similarity"] & masks["high-similarity"]).any()
        sessions = [
            int(
                (
                    small_world.searches.time[small_world.searches.offsets[u] : small_world.searches.offsets[u + 1]] < t
                ).sum()
            )
            for u, t in zip(requests.user, requests.time, strict=True)
        ]
        assert masks["sparse"].tolist() == [count < 10 for count in sessions]


def test_no_categories_and_no_requests_are_no_fault(make_data: Callable[..., Dataset]) -> None:
    data = make_data(items={"a": "a", "b": "b"}, users=["u"], feed=[("u", "a", 1), ("u", "b", 2), ("u", "a", 3)])
    split = Split(data)
    masks = slices(split, split.held_out("recommend", "test"))
    assert (masks["repeat"].tolist(), masks["low-similarity"].tolist(), masks["high-similarity"].tolist()) == (
        [True],
        [False],
        [False],
    )
    assert all(len(mask) == 0 for mask in slices(split, split.held_out("search", "test")).values())
