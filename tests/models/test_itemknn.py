"""itemknn against cosines counted by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from searec.config import configure
from searec.data.batch import Batcher
from searec.data.counts import Counts
from searec.data.dataset import Dataset
from searec.data.split import NEVER, Split, requests_at
from searec.models.itemknn import ItemKNN, _strongest

# Two events a user, so nobody is held out; carl's second click comes after a search, and anna clicks a twice.
FEED = [
    ("anna", "a", 1),
    ("anna", "b", 2),
    ("anna", "a", 3),
    ("ben", "a", 1),
    ("ben", "b", 2),
    ("carl", "b", 1),
    ("dora", "d", 1),
]
SEARCHES = [("carl", "see", 2, ["c"]), ("dora", "see", 2, ["c"])]


@pytest.fixture(scope="module")
def shop(make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(
        items={letter: letter for letter in "abcd"}, users=["anna", "ben", "carl", "dora"], feed=FEED, searches=SEARCHES
    )


def scores(data: Dataset, user: str, **settings: Any) -> list[float]:
    """[items] scores of a user after everything."""
    model = ItemKNN(configure(ItemKNN.Config, {**ItemKNN.presets["paper"], **settings}), data.sizes)
    model.fit(data, Split(data, min_events=9))
    asked = requests_at(data, "recommend", data.users.to_internal([user]), np.array([NEVER]))
    return model.score(Batcher(data, model.needs).batch(asked))[0, 1:].tolist()


def naive(user: str, *, feed_only: bool = False, shrink: float = 0.0, repeats: bool = True) -> list[float]:
    clicks = {(who, item) for who, item, _ in FEED} | (
        set() if feed_only else {(who, item) for who, _, _, items in SEARCHES for item in items}
    )
    of = {item: {who for who, other in clicks if other == item} for item in "abcd"}
    history = [item for who, item, _ in FEED if who == user]
    history += [] if feed_only else [item for who, _, _, items in SEARCHES if who == user for item in items]
    history = history if repeats else sorted(set(history))
    out = []
    for v in "abcd":
        total = 0.0
        for i in history:
            both = len(of[i] & of[v])
            if i != v and both:
                total += both / (math.sqrt(len(of[i]) * len(of[v])) + shrink)
        out.append(total)
    return out


@pytest.mark.parametrize("user", ["anna", "carl", "dora"])
@pytest.mark.parametrize("settings", [{}, {"feed_only": True}, {"shrink": 2.5}, {"repeats": False}])
def test_scores_are_sums_of_cosines(shop: Dataset, user: str, settings: dict[str, Any]) -> None:
    assert scores(shop, user, **settings) == pytest.approx(naive(user, **settings))


def test_the_arithmetic_by_hand(shop: Dataset) -> None:
    # carl clicked b (with anna, ben) and c (with dora): a shares two of b's three; d shares one of c's two.
    assert scores(shop, "carl") == pytest.approx(
        [2 / math.sqrt(2 * 3), 1 / math.sqrt(2 * 3), 1 / math.sqrt(3 * 2), 1 / math.sqrt(2 * 1)]
    )


def test_only_the_newest_history_is_read(shop: Dataset) -> None:
    # Of anna's a, b, a the newest one and two: a alone, and then b as well.
    assert scores(shop, "anna", history=1) == pytest.approx([0, 2 / math.sqrt(6), 0, 0])
    assert scores(shop, "anna", history=2) == pytest.approx(naive("anna", repeats=False))


def test_only_the_strongest_neighbours_are_kept(shop: Dataset) -> None:
    # b's neighbours: a 2/sqrt(6), c 1/sqrt(6). With one kept, carl's b no longer speaks for c, nor c (which keeps d)
    # for b.
    assert scores(shop, "carl", neighbours=1) == pytest.approx([2 / math.sqrt(6), 0, 0, 1 / math.sqrt(2)])
    assert scores(shop, "carl", neighbours=9) == pytest.approx(naive("carl"))


def test_pairs_count_by_how_far_apart_their_last_clicks_are_and_in_which_order(shop: Dataset) -> None:
    # Last clicks in order: anna b, a; ben a, b; carl b, c; dora d, c. Lengths: a sqrt(2), b sqrt(3), c sqrt(2), d 1.
    near = {"window": 1, "backward": 0.5, "proximity": 1.0}
    a_to_b, b_to_a = 0.5 + 1, 1 + 0.5  # ben's order and anna's
    assert scores(shop, "ben", **near)[:2] == pytest.approx([b_to_a / math.sqrt(6), a_to_b / math.sqrt(6)])
    assert scores(shop, "dora", **near) == pytest.approx([0, 0.5 / math.sqrt(6), 1 / math.sqrt(2), 0.5 / math.sqrt(2)])


def test_far_pairs_count_less_and_those_beyond_the_window_not_at_all(make_data: Callable[..., Dataset]) -> None:
    feed = [("anna", letter, hour) for hour, letter in enumerate("abcd", 1)] + [("ben", "a", 1)]
    data = make_data(items={letter: letter for letter in "abcd"}, users=["anna", "ben"], feed=feed)
    far = scores(data, "ben", proximity=1.0)
    assert far == pytest.approx([0, 1 / math.sqrt(2), 1 / 2 / math.sqrt(2), 1 / 3 / math.sqrt(2)])
    assert scores(data, "ben", proximity=1.0, window=2) == pytest.approx([*far[:3], 0])


def test_older_clicks_of_the_history_count_less(shop: Dataset) -> None:
    # anna's a, b, a without repeats: a newest, b before it. S(a, b) is 2/sqrt(6), S(b, c) 1/sqrt(6).
    found = scores(shop, "anna", recency=1.0, repeats=False)
    assert found == pytest.approx([2 / math.sqrt(6) / 2, 2 / math.sqrt(6), 1 / math.sqrt(6) / 2, 0])


def test_recency_follows_from_clicks_a_user() -> None:
    few, many = (ItemKNN.sized(Counts(100, 50, clicks, 0))[0]["recency"] for clicks in (100, 100_000))
    assert (few, many) == (0.0, 1.5)


def test_strongest_equals_a_loop() -> None:
    rng = np.random.default_rng(0)
    row, column = (rng.integers(0, 6, 40) for _ in range(2))
    value = rng.integers(0, 5, 40).astype(float)
    found = {*zip(*(array.tolist() for array in _strongest(row, column, value, 3)), strict=True)}
    for one in range(6):
        best = sorted((-value[n], column[n]) for n in range(40) if row[n] == one)[:3]
        assert sorted((-v, c) for r, c, v in found if r == one) == sorted(set(best))


def test_rows_keep_no_item_twice(shop: Dataset) -> None:
    model = ItemKNN(configure(ItemKNN.Config, {}), shop.sizes)
    model.fit(shop, Split(shop))
    assert model.values.dtype == torch.float32
    for item in range(1, shop.sizes.items + 1):
        columns = model.columns[model.offsets[item] : model.offsets[item + 1]].tolist()
        assert item not in columns
        assert len(set(columns)) == len(columns)
