"""ENR, CNR and serendipity: against a plain loop, at each level, in a window of days."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.data.schema import DAY
from searec.data.split import Requests, requests_at
from searec.data.taxonomy import Taxonomy
from searec.evaluation.exposure import Touched
from searec.metrics import Results
from searec.metrics.exposure import ClickNovelty, ExposureNovelty, Serendipity

ITEMS: dict[str, Any] = {
    "bed": {"title": "a", "categories": ["Pets", "Dogs", "Dog bed"]},
    "leash": {"title": "b", "categories": ["Pets", "Dogs", "Leash"]},
    "bowl": {"title": "c", "categories": ["Pets", "Cats"]},
    "crime": {"title": "d", "categories": ["Books", "Crime"]},
    "plain": {"title": "e", "categories": []},
}
SECONDS = DAY / 1e6


@pytest.fixture(scope="module")
def data(make_data: Callable[..., Dataset]) -> Dataset:
    """u1 clicked a bed ten days before the end and found crime a day before; u2 did nothing before the end."""
    feed = [("u1", "bed", 0.0), ("u1", "plain", 10 * SECONDS), ("u2", "bowl", 10 * SECONDS)]
    return make_data(items=ITEMS, users=["u1", "u2"], feed=feed, searches=[("u1", "murder", 9 * SECONDS, ["crime"])])


def asked(data: Dataset) -> Requests:
    users = data.users.to_internal(["u1", "u2"])
    return requests_at(data, "recommend", users, data.interactions.time[data.interactions.offsets[users + 1] - 1])


@pytest.mark.parametrize(
    ("level", "days", "novel"),
    [
        ("narrow", None, {"leash", "bowl"}),
        (2, None, {"bowl"}),
        (1, None, set()),
        ("narrow", 5.0, {"bed", "leash", "bowl"}),
        (1, 5.0, {"bed", "leash", "bowl"}),
        (1, 0.5, {"bed", "leash", "bowl", "crime"}),
    ],
)
def test_novel_is_what_shares_no_category_with_earlier_clicks(
    data: Dataset, level: Any, days: float | None, novel: set[str]
) -> None:
    requests = asked(data)
    touched = Touched.of(data, requests, level=level, days=days)
    items = np.tile(np.array([0, *data.items.to_internal(list(ITEMS))]), (2, 1))
    found = touched.novel_lists(items)
    assert {name for name, new in zip(("-", *ITEMS), found[0], strict=True) if new} == novel
    assert {name for name, new in zip(("-", *ITEMS), found[1], strict=True) if new} == {"bed", "leash", "bowl", "crime"}


def test_novel_is_what_a_plain_loop_says(checkerboard: Any) -> None:
    data: Dataset = checkerboard.data
    requests = asked_everyone(data)
    taxonomy = Taxonomy.of(data)
    touched = Touched.of(data, requests)
    generator = np.random.default_rng(0)
    top = generator.integers(0, data.sizes.items + 1, (len(requests), 7))
    found = touched.novel_lists(top)
    for row, user in enumerate(requests.user):
        before = data.click_history.item[data.click_history.offsets[user] : requests.click_end[row]]
        known = {int(c) for item in before for c in taxonomy.narrow.row(int(item))}
        expected = [
            bool(len(taxonomy.narrow.row(i))) and not known & set(taxonomy.narrow.row(i).tolist())
            for i in top[row].tolist()
        ]
        assert found[row].tolist() == expected
    target = np.where(np.arange(len(top)) % 2, top[:, 3], 0)
    by_hand = [
        float(t in [i for i, new in zip(line, row, strict=True) if new]) if t else 0.0
        for line, row, t in zip(top.tolist(), found.tolist(), target.tolist(), strict=True)
    ]
    depth = top.shape[1]
    results = Results(np.ones(len(top)), target, top, novel=found & (top > 0))
    assert Serendipity(depth).values(results).tolist() == by_hand
    enr = ExposureNovelty(depth).values(results)
    assert enr[0] == pytest.approx(sum(found[0]) / np.count_nonzero(top[0]))


def asked_everyone(data: Dataset) -> Requests:
    users = np.arange(1, data.sizes.users + 1)
    return requests_at(data, "recommend", users, data.click_history.time[data.click_history.offsets[users + 1] - 1])


def test_click_novelty_of_nobody_is_none() -> None:
    lists, novel = np.array([[1, 2], [1, 2], [1, 2], [1, 2]]), np.array([[True, False]] * 4)

    def cnr(targets: list[int], k: int = 2) -> float:
        return ClickNovelty(k).total(Results(np.ones(4), np.array(targets), lists, novel=novel))

    assert cnr([3, 3, 3, 3]) == 0.0
    assert cnr([1, 1, 2, 3]) == pytest.approx(2 / 3)
    assert cnr([1, 1, 2, 3], k=1) == 1.0
