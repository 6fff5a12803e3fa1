"""What one task does for the other, by searches: figures worked out by hand, and the page that shows them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from searec.data.dataset import Dataset
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import RunError
from searec.evaluation.result import Evaluation
from searec.evaluation.transfer import ALONE, TOGETHER, Transfer, by_searches, cells, transfer
from searec.reports.transfer_page import render, verdict

USERS = 48
SEARCHES = (0, 1, 4, 5, 10, 25)
"""Of a user, in turn, before the request."""


@pytest.fixture(scope="module")
def split(make_data: Callable[..., Dataset]) -> Split:
    """Users with three feed clicks, the last of which is the request.

    User n has searched SEARCHES[n % 6] times before it, once after.
    """
    items = {f"i{n}": f"thing {n}" for n in range(9)}
    users = [f"u{n}" for n in range(USERS)]
    feed = [(user, f"i{place}", 1000.0 * place) for user in users for place in (1, 2, 3)]
    searches = [
        (user, "thing", 2000.0 + second, []) for n, user in enumerate(users) for second in range(1, SEARCHES[n % 6] + 1)
    ]
    return Split(
        make_data(
            items=items, users=users, feed=feed, searches=[*searches, *((user, "thing", 3000.0, []) for user in users)]
        )
    )


def scored(
    split: Split, rank: Callable[[int], float], task: Task = "recommend", label: str = "x", model: str = "unisar"
) -> Evaluation:
    """Ranks by the number of searches before the request."""
    asked = split.held_out("recommend", "test")
    users = split.data.users.to_external(asked.user)
    ranks = [rank(SEARCHES[int(user[1:]) % 6]) for user in users]
    scores = pl.DataFrame(
        {"user_id": users, "time": asked.time, "target": asked.target, "rank": ranks, "slice:sparse": True}
    )
    types = {"time": pl.Int64, "target": pl.Int32, "rank": pl.Float64}
    return Evaluation(label, model, task, "sampled", "test", scores.cast(types), {}, {}, {}, 1.0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(split: Split) -> Transfer:
    """Together is better for those who search often, worse for those who never do, and the same for the others."""
    together = scored(split, lambda n: 1.0 if n >= 10 else 3.0 if n == 0 else 2.0)
    alone = scored(split, lambda n: 1.0 if n == 0 else 2.0)
    return transfer(
        split, [together], {"recommend": [alone]}, learnt={"recommend": (60, 48)}, without="nothing of search is learnt"
    )


def test_groups_are_by_what_lies_before_the_request(split: Split) -> None:
    grouped = by_searches(scored(split, float.__add__.__get__(1.0)), split)
    assert grouped.slices == ["no search", "1 to 4", "5 to 9", "10 to 19", "20 or more"]
    counts = {name: int(grouped.scores[f"slice:{name}"].sum()) for name in grouped.slices}
    assert counts == {"no search": 8, "1 to 4": 16, "5 to 9": 8, "10 to 19": 8, "20 or more": 8}
    ranks = grouped.scores.group_by(pl.col("rank").alias("rank")).agg(pl.col("^slice:.*$").any())
    assert ranks.filter(pl.col("rank") == 26.0).select("slice:20 or more", "slice:no search").row(0) == (True, False)


def test_the_differences_are_those_worked_out_by_hand(found: Transfer) -> None:
    (table,) = found.comparison.tables
    assert (table.baseline, table.requests, found.model) == (ALONE, USERS, "unisar")
    alone, together, groups = cells(table)
    second, third = 1 / np.log2(3), 0.5
    gain = {
        "no search": third - 1.0,
        "1 to 4": 0.0,
        "5 to 9": 0.0,
        "10 to 19": 1.0 - second,
        "20 or more": 1.0 - second,
    }
    for name, (one, both) in groups.items():
        assert both.difference is not None and one.difference is None
        assert both.difference.mean == pytest.approx(gain[name])
    whole = (8 * (third - 1.0) + 16 * (1.0 - second)) / USERS
    assert together.difference is not None
    assert together.difference.mean == pytest.approx(whole) == pytest.approx(together.mean - alone.mean)
    told = {name: verdict(both.difference) for name, (_, both) in groups.items() if both.difference}
    assert told["no search"] == "negative transfer"
    assert told["1 to 4"] == told["5 to 9"] == "not shown to differ"
    assert told["10 to 19"] == told["20 or more"] == "together is better"
    plain = found.as_json()
    assert plain["learnt"] == {"recommend": {ALONE: 60, TOGETHER: 48}}


def test_tasks_that_are_not_done_alone_are_left_out(split: Split) -> None:
    one = scored(split, lambda n: 1.0)
    searched = scored(split, lambda n: 1.0, task="search")
    found = transfer(split, [one, searched], {"recommend": [one]}, learnt={}, without="")
    assert [table.task for table in found.comparison.tables] == ["recommend"]


def test_other_models_and_other_requests_are_refused(split: Split) -> None:
    one = scored(split, lambda n: 1.0)
    with pytest.raises(RunError, match=r"transfer is of one model; got: sasrec, unisar"):
        transfer(split, [one], {"recommend": [scored(split, lambda n: 1.0, model="sasrec")]}, learnt={}, without="")
    moved = Evaluation(**{**vars(one), "scores": one.scores.with_columns(pl.col("time") + 1)})
    with pytest.raises(RunError, match="other requests"):
        by_searches(moved, split)


def test_the_page_shows_every_group_and_asks_nothing_of_the_network(found: Transfer) -> None:
    page = render(found, created=datetime(2026, 1, 2, tzinfo=UTC))
    assert page == render(found, created=datetime(2026, 1, 2, tzinfo=UTC))
    for text in (
        "no search",
        "20 or more",
        "nothing of search is learnt",
        "60 of this task alone, and 48 together",
        "not shown to differ",
    ):
        assert text in page
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page


def test_text_is_escaped(split: Split) -> None:
    one = scored(split, lambda n: 1.0, model="<b>")
    page: Any = render(
        transfer(split, [one], {"recommend": [one]}, learnt={}, without="a & b"),
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert "<b>:" not in page and "&lt;b&gt;" in page and "a &amp; b" in page
