"""Candidate lists and negatives: distinct, never clicked, hard where they are to be hard, the same every time."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from searec.data.candidates import Seen, candidate_lists, draw_unseen
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import DataError
from searec.text.analysis import words_of


def clicked(data: Dataset) -> dict[int, set[int]]:
    """Everything each user ever clicked, row by row."""
    return {
        user: set(
            data.click_history.item[data.click_history.offsets[user] : data.click_history.offsets[user + 1]].tolist()
        )
        for user in range(1, data.sizes.users + 1)
    }


def test_seen_knows_exactly_the_clicked_pairs(small_world: Dataset) -> None:
    seen, truth = Seen.ever(small_world), clicked(small_world)
    user, item = np.arange(1, small_world.sizes.users + 1)[:, None], np.arange(1, small_world.sizes.items + 1)[None, :]
    expected = [[int(i) in truth[int(u)] for i in item[0]] for u in user[:, 0]]
    assert seen.contains(user, item).tolist() == expected
    for one in (1, 7, small_world.sizes.users):
        assert set(seen.of_user(one).tolist()) == truth[one]
    nobody = Seen.of(np.zeros(0, np.int32), np.zeros(0, np.int32), 5)
    assert not nobody.contains(user, np.array([[1, 2]])).any()


@pytest.mark.parametrize("task", ["recommend", "search"])
@pytest.mark.parametrize("part", ["val", "test"])
def test_lists_hold_the_target_first_then_distinct_items_never_clicked(
    small_world: Dataset, task: Any, part: Any
) -> None:
    split, truth = Split(small_world), clicked(small_world)
    requests = split.held_out(task, part)
    lists = candidate_lists(split, task, part, n=50, seed=0)
    assert lists.shape == (len(requests), 51)
    assert lists[:, 0].tolist() == requests.target.tolist()
    for user, line in zip(requests.user.tolist(), lists.tolist(), strict=True):
        assert len(set(line)) == 51
        assert not truth[user] & set(line[1:])
        assert min(line) >= 1
        assert max(line) <= small_world.sizes.items


def test_lists_are_stored_and_read_again(small_world: Dataset) -> None:
    split = Split(small_world)
    first = np.array(candidate_lists(split, "recommend", "test", n=20, seed=5))
    [path] = small_world.folder.glob("candidates-recommend-test-*-20-5.npy")
    marked = first.copy()
    marked[0, 1:] = marked[0, 1]
    np.save(path, marked)
    assert (candidate_lists(split, "recommend", "test", n=20, seed=5) == marked).all(), "read, not drawn"
    path.unlink()
    assert (candidate_lists(split, "recommend", "test", n=20, seed=5) == first).all(), "drawn again, the same"


def test_another_seed_task_or_part_draws_others(small_world: Dataset) -> None:
    split = Split(small_world)
    base = candidate_lists(split, "recommend", "test", n=20, seed=0)
    assert (base != candidate_lists(split, "recommend", "test", n=20, seed=1)).any()
    assert (base[:, 1:] != candidate_lists(split, "recommend", "val", n=20, seed=0)[:, 1:]).any()


def test_recommendation_candidates_are_uniform(small_world: Dataset) -> None:
    lists = np.concatenate(
        [candidate_lists(Split(small_world), "recommend", "test", n=50, seed=seed)[:, 1:] for seed in range(8)]
    )
    counts = np.bincount(lists.ravel(), minlength=small_world.sizes.items + 1)[1:]
    expected = lists.size / small_world.sizes.items
    assert abs(counts - expected).max() < 6 * math.sqrt(expected)


def bm25_order(titles: list[str], query: str) -> list[int]:
    """Inside ids of the items that share a word with the query, best first by Lucene's BM25 (k1 1.5, b 0.75)."""
    documents = [words_of(title) for title in titles]
    mean = sum(map(len, documents)) / len(documents)
    scores = {}
    for item, document in enumerate(documents, start=1):
        score = 0.0
        for word in words_of(query):
            holding = sum(word in other for other in documents)
            tf = document.count(word)
            score += (
                math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
                * tf
                / (tf + 1.5 * (0.25 + 0.75 * len(document) / mean))
            )
        if score > 0:
            scores[item] = score
    return sorted(scores, key=lambda item: -scores[item])


# No two items that match "red lamp" score the same: each has another length.
TITLES = (
    ["red lamp " + "x " * n for n in range(6)]
    + ["lamp " + "y " * n for n in range(4)]
    + [f"plain {n}" for n in range(30)]
)


@pytest.fixture(scope="module")
def shop(make_data: Callable[..., Dataset]) -> Dataset:
    searches = [
        ("u", "x", 1, ["i30"]),
        ("u", "red lamp", 2, ["i02"]),
        ("u", "red lamp", 3, ["i00"]),
        ("u", "plain 7", 4, ["i31"]),
    ]
    searches += [("v", "zebra", n, [f"i{n}"]) for n in (20, 21, 22)]
    return make_data(
        items={f"i{n:02}": title for n, title in enumerate(TITLES)},
        users=["u", "v"],
        searches=searches,
        feed=[("u", "i05", 0)],
    )


def test_hard_negatives_are_the_best_matches_the_user_never_clicked(shop: Dataset) -> None:
    split = Split(shop)
    [line, _] = candidate_lists(split, "search", "val", n=5).tolist()
    order = bm25_order(TITLES, "red lamp")
    seen = clicked(shop)[1]
    assert line == [1, *[item for item in order if item not in seen][:5]], "u clicked i0 (the target), i2 and i5"
    assert len(order) == 10


def test_where_too_few_match_the_rest_is_drawn(shop: Dataset) -> None:
    split = Split(shop)
    order = [item for item in bm25_order(TITLES, "red lamp") if item not in clicked(shop)[1]]
    [line, other] = candidate_lists(split, "search", "val", n=15, seed=0).tolist()
    assert line[1 : 1 + len(order)] == order
    assert len(set(line)) == 16
    assert not set(line[1:]) & clicked(shop)[1]
    assert len(set(other)) == 16, "a query that matches nothing"
    [again, _] = candidate_lists(split, "search", "val", n=15, seed=1).tolist()
    assert again[: 1 + len(order)] == line[: 1 + len(order)]
    assert again != line, "what is drawn depends on the seed"


def test_just_enough_items_are_enough(shop: Dataset) -> None:
    """u clicked 5 of the 40 items, so 35 others are left: 7 that match and 28 to be drawn."""
    assert len(clicked(shop)[1]) == 5
    [line, _] = candidate_lists(Split(shop), "search", "val", n=35).tolist()
    assert len(set(line)) == 36


def test_a_tiny_catalogue_is_an_error(shop: Dataset) -> None:
    with pytest.raises(DataError, match="too few items are left"):
        candidate_lists(Split(shop), "search", "val", n=38)


# --- draw_unseen ---


def test_drawing_avoids_what_is_seen_and_kept() -> None:
    rng = np.random.default_rng(0)
    seen = Seen.of(np.array([1] * 8 + [2]), np.array([1, 2, 3, 4, 5, 6, 7, 8, 3]), 10)
    user = np.array([1, 2] * 200)
    drawn = draw_unseen(rng, seen, user, 4, excluded=np.tile([9, 0], (400, 1)))
    assert set(drawn[0::2].ravel().tolist()) == {10}, "one item is left for user 1, and it may be drawn again and again"
    assert set(drawn[1::2].ravel().tolist()) == {1, 2, 4, 5, 6, 7, 8, 10}
    one_by_one = draw_unseen(rng, seen, user[1::2], 8, excluded=np.tile([9, 0], (200, 1)), distinct=True)
    assert (np.sort(one_by_one, axis=1) == [1, 2, 4, 5, 6, 7, 8, 10]).all()


def test_drawing_follows_a_list_of_events() -> None:
    seen = Seen.of(np.array([1] * 3 + [2]), np.array([1, 2, 3, 7]), 10)
    user, events = np.array([1, 2] * 2000), np.array([1, 2, 3, 4, 4, 4, 5])
    drawn = draw_unseen(np.random.default_rng(0), seen, user, 2, events=events)
    assert np.bincount(drawn[0::2].ravel(), minlength=6)[[4, 5]] == pytest.approx([3000, 1000], rel=0.1)
    assert set(drawn[1::2].ravel().tolist()) == {1, 2, 3, 4, 5}
    nothing_left = draw_unseen(np.random.default_rng(0), seen, user[0::2], 2, events=events[:3])
    assert set(nothing_left.ravel().tolist()) == {4, 5, 6, 7, 8, 9, 10}, "others, where all events are the user's own"


def test_drawing_where_nothing_is_left_is_an_error() -> None:
    seen = Seen.of(np.ones(9, np.int32), np.arange(1, 10), 10)
    with pytest.raises(DataError, match="too few items are left"):
        draw_unseen(np.random.default_rng(0), seen, np.array([1]), 1, excluded=np.array([[10]]))
    with pytest.raises(DataError, match="expected: at least 2"):
        draw_unseen(np.random.default_rng(0), seen, np.array([1]), 2, distinct=True)


def test_drawing_is_repeated_by_its_generator() -> None:
    seen = Seen.of(np.array([1]), np.array([1]), 50)
    first, again, other = (
        draw_unseen(np.random.default_rng(seed), seen, np.ones(3, np.int32), 5) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
