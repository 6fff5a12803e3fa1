"""Each leak planted in a small log is found, with the event it comes from; an honest pipeline has none."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from four_users import LOG, RANDOM_LOG, START, US
from searec.data.candidates import candidate_lists
from searec.data.dataset import Dataset
from searec.data.leakage.checks import (
    bounds,
    candidate_leaks,
    count_leaks,
    cutoff_leaks,
    data_leaks,
    list_leaks,
    negative_leaks,
    request_leaks,
    split_leaks,
)
from searec.data.leakage.cutoff import ABOUT, NOTHING, TIMES, Cutoff
from searec.data.leakage.findings import Finding, Leaks
from searec.data.split import NEVER, Requests, Split, requests_at
from searec.errors import LeakError
from searec.models.itemknn import ItemKNN
from searec.models.popular import Popular

BOTH: Any = ("recommend", "search")
FEED: Any = ("recommend",)
HUNT: Any = ("search",)

# For recommendation anna may be learned from up to 30 s and dora up to 50 s, for search anna up to 20 s; ben has too
# few events.


@pytest.fixture(scope="module")
def log(make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(**LOG)


def at(second: float) -> int:
    return START + int(second * US)


def told(finding: Finding) -> list[tuple[str, int, str, float, str]]:
    """The rows of a finding: table, position, user, second, items."""
    return [(row.table, row.position, row.user, (row.time - START) / US, "".join(row.items)) for row in finding.rows]


def asked(data: Dataset, task: Any, user: str, second: float, item: str) -> Requests:
    inside = data.users.to_internal([user])
    return requests_at(data, task, inside, np.array([at(second)]), target=data.items.to_internal([item]))


# --- histories and targets ---


@pytest.mark.parametrize(
    ("stream", "row"),
    [
        ("feed_end", ("interactions", 2, "anna", 30, "c")),  # the target itself
        ("search_end", ("searches", 3, "anna", 35, "bc")),
        ("click_end", ("interactions", 2, "anna", 30, "c")),
    ],
)
def test_a_history_past_its_target_is_named_with_the_newer_event(log: Dataset, stream: str, row: Any) -> None:
    requests = Split(log).held_out("recommend", "val")
    assert request_leaks(log, requests, "val") == []
    ends = getattr(requests, stream).copy()
    ends[0] += 1
    [found] = request_leaks(log, dataclasses.replace(requests, **{stream: ends}), "val requests")
    assert told(found) == [row]
    assert found.severity == "error" and found.where == "val requests, request 0 of user 'anna'"
    assert found.expected == "events of that user before 2023-05-01T00:00:30.000000"


@pytest.mark.parametrize(("user", "end", "row"), [("anna", 5, (4, "ben", 10, "a")), ("dora", 5, (4, "ben", 10, "a"))])
def test_another_users_event_is_named_though_it_is_older(log: Dataset, user: str, end: int, row: Any) -> None:
    requests = asked(log, "recommend", user, 99, "f")
    [found] = request_leaks(log, dataclasses.replace(requests, feed_end=np.array([end])), "requests")
    assert told(found) == [("interactions", *row)]


def test_a_training_target_of_the_test_period_is_named(log: Dataset) -> None:
    limit = bounds(Split(log), FEED)[1]
    [found] = request_leaks(log, asked(log, "recommend", "anna", 40, "d"), "training requests", limit)
    assert told(found) == [("interactions", 3, "anna", 40, "d")]
    assert (
        "1 training targets lie in the validation or test period" in found.what
        and "before 2023-05-01T00:00:30" in found.expected
    )
    [found] = request_leaks(log, asked(log, "search", "anna", 35, "b"), "training requests", limit)
    assert told(found) == [("searches", 3, "anna", 35, "bc")] and found.rows[0].query == "z"
    assert request_leaks(log, asked(log, "recommend", "anna", 30, "c"), "at the very time", limit) != []
    assert request_leaks(log, asked(log, "recommend", "anna", 20, "b"), "before it", limit) == []


def test_a_split_that_forgets_its_cutoff_is_found(log: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_leaks(Split(log), BOTH).findings == ()
    monkeypatch.setattr(Split, "cutoff", lambda self, tasks: np.full(5, NEVER))
    leaks = split_leaks(Split(log), FEED)
    assert told(leaks.errors[0]) == [("interactions", 2, "anna", 30, "c")]
    assert [one.where.split(",")[0] for one in leaks.errors] == [
        "training requests",
        "last training clicks",
        "last training clicks in the feed",
    ]
    assert len(split_leaks(Split(log), FEED, last=False).errors) == 1
    assert len(split_leaks(Split(log), FEED, last=True, feed_only=True).errors) == 1
    with pytest.raises(
        LeakError, match=r"training targets.*\(2 other leaks beside it\).*'anna'.*what to do: train on split.train"
    ):
        leaks.refuse()


# --- negatives and candidates ---


def test_negatives_that_were_chosen_later_are_a_warning_with_their_share(log: Dataset) -> None:
    """Two of the three requests are anna's. She may be given c and d alone, and chose both after her cut-off."""
    [found] = negative_leaks(Split(log), FEED).findings
    assert found.severity == "warning" and found.count == 2
    assert "(2 pairs, 66.667% of the draws)" in found.what
    assert told(found) == [("interactions", 2, "anna", 30, "c"), ("interactions", 3, "anna", 40, "d")]
    Leaks({}, (found,)).refuse()  # a warning stops nothing
    assert negative_leaks(Split(log, min_events=9), FEED).findings == ()


def test_candidate_lists_hold_the_target_and_nothing_chosen(checkerboard: Any) -> None:
    data, split = checkerboard.data, Split(checkerboard.data)
    lists = np.array(candidate_lists(split, "recommend", "test"))
    assert candidate_leaks(split).findings == () and candidate_leaks(split).checked["candidates"] >= lists.size

    requests = split.held_out("recommend", "test")
    planted = lists.copy()
    first = int(data.click_history.offsets[requests.user[3]])
    planted[3, 7] = data.click_history.item[first]
    [found] = list_leaks(split, "recommend", "test", planted, "lists").findings
    assert found.severity == "warning" and found.count == 1 and "0.063%" in found.what
    assert (found.rows[0].user, found.rows[0].time) == (
        data.users.to_external(requests.user[3:4])[0],
        int(data.click_history.time[first]),
    )

    for place, item, what in (
        (0, lists[2, 1], "of other targets"),
        (5, lists[2, 0], "the target once more"),
        (5, 0, "no items"),
    ):
        planted = lists.copy()
        planted[2, place] = item
        errors = list_leaks(split, "recommend", "test", planted, "lists").errors
        assert len(errors) == 1 and what in errors[0].what
    assert "other requests" in list_leaks(split, "recommend", "test", lists[1:], "lists").errors[0].what


# --- counts ---


def test_a_count_of_a_later_click_names_item_and_click(log: Dataset) -> None:
    model = Popular(Popular.Config(), log.sizes)
    model.fit(log, Split(log))
    assert model.leaks(Split(log)) == Leaks({"counts of items": 12}, ())
    counts = model.counts[0].numpy().copy()
    d, e = log.items.to_internal(["d", "e"])
    counts[d] += 1
    [found] = count_leaks(Split(log), FEED, counts, "popular").findings
    assert told(found) == [("interactions", 3, "anna", 40, "d")] and found.count == 1
    assert "item 'd': 1 clicks" in found.where and found.expected.startswith("0 clicks")
    counts[d] -= 1
    counts[e] += 1
    [found] = count_leaks(Split(log), FEED, counts, "popular").findings
    assert found.rows == () and "item 'e': 2 clicks" in found.where
    counts[e] -= 2
    assert count_leaks(Split(log), FEED, counts, "popular").findings == (), "fewer are no leak"


def test_a_model_that_counts_everything_is_found_in_each_task(log: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Popular(Popular.Config(), log.sizes)
    with monkeypatch.context() as patch:
        patch.setattr(Split, "cutoff", lambda self, tasks: np.full(5, NEVER))
        model.fit(log, Split(log))
    feed, search = model.leaks(Split(log)).errors
    # For recommendation c: anna 30, 35 and dora 50; ben's counts. It is counted 4 times, and may be once.
    assert told(feed) == [
        ("interactions", 2, "anna", 30, "c"),
        ("searches", 3, "anna", 35, "bc"),
        ("interactions", 8, "dora", 50, "c"),
    ]
    assert "item 'c': 4 clicks" in feed.where and feed.expected.startswith("1 clicks")
    assert "popular, search" in search.where


# --- cut-offs ---


def test_a_cutoff_tells_what_was_read(log: Dataset) -> None:
    cutoff = Cutoff.of(Split(log), FEED)
    read, learned = cutoff.on(log)
    assert read.tolist() == learned.tolist() == [NOTHING, at(30), at(20) + 1, NOTHING, at(50)], (
        "ben's ends after his last event"
    )
    assert cutoff.newest == at(50) and cutoff.about == {"tasks": ["recommend"], "min_events": 3, "unseen": 0.0}
    assert Cutoff.by_hand([], []).newest is None


def test_what_was_made_with_a_later_cutoff_names_the_first_event_it_may_have_read(log: Dataset) -> None:
    for tasks in (FEED, HUNT, BOTH):
        assert cutoff_leaks(Split(log), tasks, Cutoff.of(Split(log), BOTH), "codes") == []
    read, learned = cutoff_leaks(Split(log), FEED, Cutoff.of(Split(log, min_events=5), FEED), "codes")
    assert told(read) == told(learned) == [("interactions", 2, "anna", 30, "c")]
    assert "(2 users)" in read.what and "user 'anna': events before 2023-05-01T00:00:45.000001 were read" in read.where
    assert read.expected == "events before 2023-05-01T00:00:30.000000"
    [found, _] = cutoff_leaks(Split(log), BOTH, Cutoff.of(Split(log), FEED), "codes")
    assert told(found) == [("interactions", 1, "anna", 20, "b")], (
        "for the feed alone anna may be read up to 30 s, for both up to 20 s"
    )
    [found, _] = cutoff_leaks(Split(log), FEED, Cutoff.of(Split(log), HUNT), "codes")
    assert told(found) == [("interactions", 7, "dora", 50, "b")]


def test_of_unseen_users_nothing_may_be_learned(log: Dataset) -> None:
    split = Split(log, unseen=0.7)
    unseen = [name for name, known in zip(log.users.texts, split.known[1:], strict=True) if not known]
    assert unseen
    [found] = cutoff_leaks(split, FEED, Cutoff.of(Split(log), FEED), "codes")
    assert "learned from" in found.what and found.rows[0].user in unseen and "kept from training" in found.expected
    assert cutoff_leaks(split, FEED, Cutoff.of(split, FEED), "codes") == []


def test_a_cutoff_is_kept_and_a_changed_one_refused(log: Dataset, tmp_path: Path) -> None:
    cutoff = Cutoff.of(Split(log), BOTH)
    cutoff.save(tmp_path)
    again = Cutoff.load(tmp_path)
    assert (
        again.digest == cutoff.digest and again.about == cutoff.about and np.array_equal(again.on(log), cutoff.on(log))
    )
    table = pl.read_parquet(tmp_path / TIMES)
    for name in ("read", "learned"):
        table.with_columns(pl.col(name) - 1).write_parquet(tmp_path / TIMES)
        with pytest.raises(LeakError, match=r"changed after it was made.*expected: [0-9a-f]{32}.*make it again"):
            Cutoff.load(tmp_path)
    table.with_columns(pl.col("user_id").reverse()).write_parquet(tmp_path / TIMES)
    with pytest.raises(LeakError, match="changed"):
        Cutoff.load(tmp_path)
    table.write_parquet(tmp_path / TIMES)
    about = json.loads((tmp_path / ABOUT).read_text())
    for name, value, message in (
        ("tasks", ["search"], "changed"),
        ("data", "0" * 32, "changed"),
        ("format", 0, "damaged"),
    ):
        (tmp_path / ABOUT).write_text(json.dumps({**about, name: value}))
        with pytest.raises(LeakError, match=message):
            Cutoff.load(tmp_path)
    (tmp_path / ABOUT).write_text("[")
    with pytest.raises(LeakError, match="damaged"):
        Cutoff.load(tmp_path)
    (tmp_path / ABOUT).unlink()
    with pytest.raises(LeakError, match=r"no cut-off tells what it was made of.*make it again"):
        Cutoff.load(tmp_path)


def test_what_helped_counts_as_learned_from(log: Dataset) -> None:
    own, other = Cutoff.of(Split(log), FEED), Cutoff.by_hand(["dora", "zoe", "anna"], [at(50), at(99), at(35) + 1])
    both = own.with_(other, log, "student")
    assert both.on(log)[1].tolist() == [NOTHING, at(35) + 1, at(20) + 1, NOTHING, at(50)]
    assert np.array_equal(both.on(log)[0], own.on(log)[0]) and both.about["student"]["digest"] == other.digest
    [found] = cutoff_leaks(Split(log), FEED, both, "interests")
    assert told(found) == [("interactions", 2, "anna", 30, "c")]
    [found] = cutoff_leaks(Split(log), FEED, other, "interests")
    assert "made of other data" in found.what


# --- what is found, in words ---


def test_findings_are_told_in_words_and_as_json(log: Dataset) -> None:
    leaks = Leaks({"requests": 3}) + Leaks(
        {"requests": 4}, tuple(cutoff_leaks(Split(log), FEED, Cutoff.of(Split(log), HUNT), "codes x"))
    )
    assert leaks.checked == {"requests": 7}
    text = leaks.render()
    assert "leaks: 2 errors and 0 warnings; looked at" in text
    assert "interactions of 'dora' at 2023-05-01T00:00:50.000000 of 'b' (position 7)" in text
    row = json.loads(json.dumps(leaks.as_json()))["findings"][0]["rows"][0]
    assert row == {
        "table": "interactions",
        "position": 7,
        "user": "dora",
        "time": at(50),
        "items": ["b"],
        "query": None,
    }


# --- random logs ---


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables=RANDOM_LOG, min_events=st.integers(2, 4), unseen=st.sampled_from([0.0, 0.4]))
def test_an_honest_pipeline_has_no_leak(
    make_data: Callable[..., Dataset], tables: Any, min_events: int, unseen: float
) -> None:
    data = make_data(items=LOG["items"], users=["u0", "u1", "u2"], **tables)
    split = Split(data, min_events=min_events, unseen=unseen)
    assert data_leaks(split).errors == ()
    for tasks in (FEED, HUNT, BOTH):
        assert cutoff_leaks(split, tasks, Cutoff.of(split, tasks), "x") == []
    for kind, options in (
        (Popular, {}),
        (ItemKNN, {}),
        (ItemKNN, {"neighbours": 2, "shrink": 3.0}),
        (ItemKNN, {"feed_only": True}),
    ):
        model = kind(kind.Config(**options), data.sizes)
        model.fit(data, split)
        assert model.leaks(split).errors == ()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables=RANDOM_LOG)
def test_a_pipeline_without_a_cutoff_leaks_whenever_something_is_held_out(
    make_data: Callable[..., Dataset], tables: Any
) -> None:
    data = make_data(items=LOG["items"], users=["u0", "u1", "u2"], **tables)
    split, open_ = Split(data), Split(data, min_events=10**6)
    limit = bounds(split, FEED)[0]
    user = np.repeat(np.arange(4), np.diff(data.click_history.offsets))
    later = {int(one) for one in data.click_history.item[data.click_history.time >= limit[user]]}
    model = Popular(Popular.Config(), data.sizes)
    model.fit(data, open_)
    found = [one for one in model.leaks(split).errors if "recommend" in one.where]
    assert bool(found) == bool(later) == bool(cutoff_leaks(split, FEED, Cutoff.of(open_, FEED), "x"))
    for one in found:
        row = one.rows[0]
        assert row.time >= limit[data.users.to_internal([row.user])[0]]
