"""Known answers of `check`, with the arithmetic beside them."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from searec.data.check import check, render
from searec.data.log import REJECT_SCHEMA, Log
from searec.errors import SettingsError

DAY = 86_400_000_000
START = int(datetime(2023, 1, 30, tzinfo=UTC).timestamp()) * 1_000_000

ITEMS = [
    ("mug", ["home", "kitchen"]),  # 1
    ("pan", ["home", "kitchen"]),  # 2
    ("rug", ["home", "floor"]),  # 3
    ("axe", ["home", "garden"]),  # 4
    ("ode", None),  # 5, no event and no label
]


def log_of(
    interactions: list[tuple[int, int, float, str]],
    searches: list[tuple[int, str, float, list[int]]],
    *,
    users: int = 3,
    rejects: list[tuple[str, int, str, str]] | None = None,
) -> Log:
    """A Log from (user, item, day, event) and (user, query, day, clicked)."""
    events = pl.DataFrame(
        interactions, schema={"user": pl.Int32, "item": pl.Int32, "time": pl.Float64, "event": pl.String}, orient="row"
    )
    shape: dict[str, Any] = {"user": pl.Int32, "query": pl.String, "time": pl.Float64, "clicked": pl.List(pl.Int32)}
    found = (
        pl.DataFrame(searches, schema=shape, orient="row")
        .with_row_index("search_id")
        .with_columns(pl.col("search_id").cast(pl.String))
    )
    time = (pl.col("time") * DAY).cast(pl.Int64) + START
    titles, categories = zip(*ITEMS, strict=True)
    return Log(
        items=pl.DataFrame({"item_id": titles, "title": titles, "categories": categories}),
        users=pl.DataFrame({"user_id": [f"u{n}" for n in range(users)]}),
        interactions=events.with_columns(time, weight=pl.lit(1.0, pl.Float32)),
        searches=found.select("search_id", "user", "query", time, "clicked"),
        rejects=pl.DataFrame(rejects or [], schema=REJECT_SCHEMA, orient="row"),
        rows={"items": 5, "users": users, "interactions": len(interactions), "searches": len(searches)},
    )


@pytest.fixture
def log() -> Log:
    return log_of(
        interactions=[
            (1, 1, 0, "click"),
            (1, 3, 1, "view"),
            (1, 1, 2, "click"),  # user 1 has item 1 again
            (2, 4, 3, "click"),  # at the same instant as the search that clicked it
            (2, 3, 10, "click"),
        ],
        searches=[
            (1, "pan", 1, [2]),  # at the instant of an interaction with another item: a tie, not recorded twice
            (1, "pan", 4, []),
            (2, "axe", 3, [4]),
        ],
    )


def test_counts(log: Log) -> None:
    report = check(log)
    assert report.counts == {
        "users": 3,
        "items": 5,
        "interactions": 5,
        "searches": 3,
        "distinct queries": 2,
        "searches with a click": 2,
        "clicks in searches": 2,
    }
    assert report.events == {"click": 4, "view": 1}
    assert (report.first, report.last) == ("2023-01-30T00:00:00+00:00", "2023-02-09T00:00:00+00:00")
    assert report.months == [
        {"month": "2023-01", "interactions": 2, "searches": 1},
        {"month": "2023-02", "interactions": 3, "searches": 2},
    ]


def test_sparsity_counts_users_without_searches_too() -> None:
    searches = [(1, "q", float(n), [1]) for n in range(12)] + [(2, "q", float(n), []) for n in range(9)]
    sparsity = check(log_of([], searches, users=4)).sparsity
    assert sparsity.none == 0.5  # users 3 and 4
    assert sparsity.few == 0.75  # 0, 0 and 9
    assert sparsity.many == 0.25  # 12
    assert sparsity.mean == 21 / 4
    assert (sparsity.quantiles["min"], sparsity.quantiles["max"]) == (0, 12)
    assert sparsity.quantiles["median"] == 0  # the lower one of 0 and 9


def test_overlap_by_hand(log: Log) -> None:
    # user 1: search {home 1, kitchen 1}; feed {home 3, kitchen 2, floor 1}: (3 + 2) / (sqrt 2 * sqrt 14)
    # user 2: search {home 1, garden 1}; feed {home 2, garden 1, floor 1}: (2 + 1) / (sqrt 2 * sqrt 6)
    one, two = 5 / math.sqrt(28), 3 / math.sqrt(12)
    overlap = check(log).overlap
    assert overlap.users == 2
    assert overlap.median == pytest.approx((one + two) / 2)
    assert overlap.quarter == pytest.approx(min(one, two) + abs(one - two) / 4)
    assert overlap.none == 0
    # second label: user 1 kitchen against {kitchen 2, floor 1} = 2 / sqrt 5; user 2 garden against {garden, floor} =
    # 1 / sqrt 2
    narrow = check(log, level=2).overlap
    assert narrow.median == pytest.approx((2 / math.sqrt(5) + 1 / math.sqrt(2)) / 2)
    # at the first label all items are alike, so "broadest" is the second
    assert check(log, level=1).overlap.median == pytest.approx(1.0)
    assert check(log, level="broadest").overlap == narrow


def test_overlap_of_nothing_shared_and_of_no_one() -> None:
    apart = check(log_of([(1, 3, 0, "click")], [(1, "q", 1, [1])]), level=2).overlap
    assert (apart.users, apart.none, apart.median) == (1, 1.0, 0.0)
    unlabelled = check(log_of([(1, 5, 0, "click")], [(1, "q", 1, [1])])).overlap
    assert (unlabelled.users, unlabelled.median, unlabelled.none) == (0, None, None)


@pytest.mark.parametrize("level", [0, -1, "narrow"])
def test_a_bad_level_is_refused(log: Log, level: object) -> None:
    with pytest.raises(SettingsError, match="level"):
        check(log, level=level)  # type: ignore[arg-type]


def test_findings(log: Log) -> None:
    findings = check(log).findings
    assert findings.twice == 1 / 2  # of two searches with a click, the one for the axe
    assert findings.repeats == 1 / 5
    assert findings.ties == 4 / 8  # day 1 of user 1 and day 3 of user 2, two events each
    assert findings.late_items == 0  # items 1..4 are first seen on days 0, 1, 1 and 3 of 10
    assert findings.items_unused == 1 / 5
    assert findings.users_unused == 1 / 3


def test_a_click_had_from_the_feed_at_another_instant_is_not_recorded_twice() -> None:
    assert check(log_of([(1, 3, 1, "click"), (2, 3, 2, "click")], [(1, "rug", 2, [3])])).findings.twice == 0


def test_late_items() -> None:
    findings = check(
        log_of([(1, 1, 0, "click"), (1, 2, 9.5, "click"), (1, 1, 10, "click")], [(2, "q", 8.0, [3])])
    ).findings
    assert findings.late_items == 1 / 3  # item 2 of 1, 2 and 3


def test_an_empty_log_has_a_report() -> None:
    report = check(log_of([], [], users=0))
    assert report.first is None and report.months == [] and report.overlap.users == 0
    assert "overlap" in render(report)


def test_text_and_json_show_rejects_with_file_and_row() -> None:
    rejects = [("searches.parquet", row, "empty query", "") for row in (7, 9)] + [
        ("items.parquet", 2, "empty title", "")
    ]
    report = check(log_of([(1, 1, 0, "click")], [(1, "q", 1, [2])], rejects=rejects))
    text = render(report)
    assert "searches.parquet row 7: empty query" in text
    plain = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert plain["rejects"] == [
        {"file": "searches.parquet", "rule": "empty query", "rows": 2},
        {"file": "items.parquet", "rule": "empty title", "rows": 1},
    ]
    assert plain["overlap"]["users"] == 1


def test_text_says_that_all_is_well_and_is_aligned(log: Log) -> None:
    text = render(check(log))
    assert "every row obeys them" in text
    block = text.split("counts\n")[1].split("\n\n")[0].splitlines()
    assert len(block) == 7 and len({len(line) for line in block}) == 1


def test_many_months_are_summarised_and_their_sums_stay() -> None:
    for years, unit, periods in ((2, "month", 24), (30, "year", 30), (300, "decade", 31)):
        feed = [(1, 1, 7.0 * week, "click") for week in range(52 * years)]
        report = check(log_of(feed, []))
        [block] = [part for part in render(report).split("\n\n") if part.startswith(f"by {unit}:")]
        counts = [int(line.split()[1].replace(",", "")) for line in block.splitlines()[1:]]
        assert len(counts) in (periods, periods + 1)
        assert sum(counts) == 52 * years
        assert len(report.months) >= 12 * years - 12, "the JSON report has them all"


def test_users_who_clicked_nearly_everything_are_named() -> None:
    feed = [(1, item, item, "click") for item in range(1, 5)] + [(2, 1, 0.0, "click")] * 6
    report = check(log_of(feed, [(1, "ode", 9.0, [5])]))
    assert len(report.clicked_all) == 1
    assert (
        f"1 user has clicked nearly every item and cannot be ranked among sampled candidates: {report.clicked_all[0]!r}"
        in (render(report))
    )
