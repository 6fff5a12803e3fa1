"""A global split: nothing after one time is learned from, and what comes after it is measured."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from four_users import LOG, RANDOM_LOG, START, US
from searec.data.candidates import candidate_lists
from searec.data.dataset import Dataset
from searec.data.global_split import split_time
from searec.data.leakage.checks import bounds, cutoff_leaks, data_leaks, request_leaks, split_leaks
from searec.data.leakage.cutoff import Cutoff
from searec.data.split import Requests, Split, check_no_leak, requests_at
from searec.errors import DataError, SettingsError
from searec.evaluation.slices import slices
from searec.models.itemknn import ItemKNN
from searec.models.popular import Popular
from searec.pipeline.run_folder import split_config, split_from

USERS = ("u0", "u1", "u2")
PARTS: Any = ("val", "test")
FEED: Any = ("recommend",)
TASKS: Any = ("recommend", "search")


@pytest.fixture(scope="module")
def log(make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(**LOG)


def at(second: float) -> int:
    return START + int(second * US)


def described(data: Dataset, requests: Requests) -> list[tuple[str, float, str, str, int]]:
    """User, second, target, visible clicks and number of visible searches of each request."""
    rows = []
    for n, user in enumerate(requests.user.tolist()):
        clicks = data.click_history.item[data.click_history.offsets[user] : requests.click_end[n]]
        rows.append(
            (
                data.users.texts[user - 1],
                (int(requests.time[n]) - START) / US,
                data.items.to_external(requests.target[n : n + 1])[0],
                "".join(data.items.to_external(clicks)),
                int(requests.search_end[n] - data.searches.offsets[user]),
            )
        )
    return rows


# --- the time ---


def test_a_quantile_counts_feed_and_searches_together(log: Dataset) -> None:
    """In seconds: 5 10 10 10 15 15 20 20 20 30 35 40 45 50 50."""
    times = {quantile: (split_time(log, quantile) - START) / US for quantile in (0.1, 0.5, 0.6, 0.7, 0.99)}
    assert times == {0.1: 10, 0.5: 20, 0.6: 30, 0.7: 35, 0.99: 50}
    assert split_time(log, "0.6") == split_time(log, 0.6)


@pytest.mark.parametrize(
    "text",
    [
        "2023-05-01T00:00:20",
        "2023-05-01T00:00:20Z",
        "20230501T000020Z",
        "2023-05-01 02:00:20.000000+02:00",
        " 2023-05-01T00:00:20 ",
    ],
)
def test_a_time_is_read_to_the_microsecond(log: Dataset, text: str) -> None:
    assert split_time(log, text) == at(20)


def test_a_time_that_is_resolved_stays_as_it_is(log: Dataset) -> None:
    assert split_time(log, at(20)) == at(20)
    assert split_time(log, None) is None


@pytest.mark.parametrize("bad", ["0", "1", "1.5", "-0.2", "nan", "yesterday", "", 0, 1.0, "2024-13-01"])
def test_what_is_neither_a_quantile_nor_a_time_is_refused(log: Dataset, bad: Any) -> None:
    with pytest.raises(SettingsError, match=r"bad split time.*between 0 and 1, or an ISO 8601 time"):
        split_time(log, bad)


# --- parts ---


def test_each_half_after_the_time_has_one_request_for_each_user_and_task(log: Dataset) -> None:
    """From 20 s there are 20 20 20 30 35 40 45 50 50: validation until 35 s."""
    split = Split(log, split_at=at(20))
    assert split.test_at == at(35)
    assert described(log, split.held_out("recommend", "val")) == [
        ("anna", 30, "c", "eabfa", 3),
        ("ben", 20, "b", "ac", 1),  # two events are enough
    ]
    assert described(log, split.held_out("recommend", "test")) == [
        ("anna", 40, "d", "eabfacbc", 4),
        ("dora", 50, "c", "a", 0),
    ]
    assert described(log, split.held_out("search", "val")) == [("anna", 20, "f", "ea", 2)]
    assert described(log, split.held_out("search", "test")) == [("anna", 35, "b", "eabfac", 3)]


def test_training_ends_at_the_time_for_everybody(log: Dataset) -> None:
    split = Split(log, split_at=at(20))
    for tasks in (("recommend",), TASKS):
        assert (split.cutoff(tasks) == at(20))[[0, 1, 2, 4]].all(), "carl has no event at all"
        user, item, _ = split.train_clicks(tasks)
        clicks = list(zip(log.users.to_external(user), log.items.to_external(item), strict=True))
        assert clicks == [("anna", "e"), ("anna", "a"), ("ben", "a"), ("ben", "c"), ("dora", "a")]
    assert [row[:3] for row in described(log, split.train("recommend"))] == [("anna", 10, "a")]


def test_a_new_user_with_one_event_is_a_request_and_nothing_is_known_of_him(make_data: Callable[..., Dataset]) -> None:
    feed = [("anna", "a", 1), ("anna", "b", 2), ("anna", "a", 5), ("ben", "c", 9)]
    data = make_data(items=LOG["items"], users=["anna", "ben"], feed=feed)
    split = Split(data, split_at=at(5))
    assert described(data, split.held_out("recommend", "test")) == [("ben", 9, "c", "", 0)]
    assert split.known.tolist() == [True, True, False]
    groups = {part: slices(split, split.held_out("recommend", part)) for part in PARTS}
    kinds = ("new-user", "known-user", "new-item", "known-item")
    assert [bool(groups["test"][kind][0]) for kind in kinds] == [True, False, True, False]
    assert [bool(groups["val"][kind][0]) for kind in kinds] == [False, True, False, True]
    assert "new-user" not in slices(Split(data, min_events=2), Split(data, min_events=2).held_out("recommend", "val"))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (5, "outside of the log.*got: 2023-05-01T00:00:05.000000Z.*after 2023-05-01T00:00:05.000000Z and up to"),
        (51, "outside of the log"),
        (50, "nothing to validate on.*no click from 2023-05-01T00:00:50.000000Z and before 2023-05-01T00:00:50"),
    ],
)
def test_a_time_that_leaves_a_part_empty_is_refused(log: Dataset, second: float, message: str) -> None:
    with pytest.raises((SettingsError, DataError), match=message):
        Split(log, split_at=at(second))


def test_a_log_without_clicks_on_one_side_is_refused(make_data: Callable[..., Dataset]) -> None:
    searches = [("anna", "x", second, []) for second in (1, 2, 8, 9, 10)]
    feed = [("anna", "a", second) for second in (5, 6)]
    data = make_data(items=LOG["items"], users=["anna"], feed=feed, searches=searches)
    with pytest.raises(DataError, match=r"nothing to train on.*no click before.*what to do: choose a later split time"):
        Split(data, split_at=at(3))
    with pytest.raises(DataError, match=r"nothing to validate on.*choose an earlier split time"):
        Split(data, split_at=at(7))
    with pytest.raises(DataError, match="nothing to test on"):
        Split(data, split_at=at(6))
    empty = make_data(items=LOG["items"], users=["anna"])
    with pytest.raises(SettingsError, match="outside of the log"):
        Split(empty, split_at=at(3))
    with pytest.raises(SettingsError, match="no event to split at"):
        split_time(empty, 0.5)


# --- what is stored ---


def test_a_split_is_rebuilt_from_its_config(log: Dataset) -> None:
    for split in (Split(log), Split(log, split_at=at(20)), Split(log, unseen=0.3, split_at=at(20))):
        assert split_from(log, split_config(split)) == split
    assert split_config(Split(log)) == {"min_events": 3}


def test_candidates_of_different_splits_are_stored_apart(make_data: Callable[..., Dataset]) -> None:
    log = make_data(**{**LOG, "items": {letter: f"thing {letter}" for letter in "abcdefghij"}})
    splits = [Split(log), Split(log, split_at=at(20)), Split(log, split_at=at(15))]
    for split in splits * 2:
        lists = candidate_lists(split, "recommend", "test", seed=5)
        assert (lists[:, 0] == split.held_out("recommend", "test").target).all()
    assert len({split.requests_key for split in splits}) == 3


# --- leaks ---


@pytest.mark.parametrize("stream", ["feed_end", "search_end", "click_end"])
def test_a_history_past_its_request_is_found(log: Dataset, stream: str) -> None:
    requests = Split(log, split_at=at(20)).held_out("recommend", "val")
    assert request_leaks(log, requests, "val") == []
    planted = dataclasses.replace(requests, **{stream: getattr(requests, stream) + np.array([1, 0])})
    [finding] = request_leaks(log, planted, "val")
    assert finding.where == "val, request 0 of user 'anna'" and finding.rows[0].time >= at(30)


def test_nothing_from_the_split_on_may_be_a_target_of_any_user(log: Dataset) -> None:
    """Ben has no test request and dora no validation request; the time binds both."""
    split = Split(log, split_at=at(20))
    read, learned = bounds(split, TASKS)
    assert (read == at(20)).all()
    assert learned[log.users.to_internal(["ben", "dora"])].tolist() == [at(20), at(20)]
    user = log.users.to_internal(["ben"])
    late = requests_at(log, "recommend", user, np.array([at(20)]), target=log.items.to_internal(["b"]))
    [finding] = request_leaks(log, late, "training requests", learned)
    assert "1 training targets lie in the validation or test period" in finding.what
    assert (finding.rows[0].user, finding.rows[0].items) == ("ben", ("b",))


def test_a_request_before_the_split_lowers_the_bound(log: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit looks at the held-out requests too, not at the time alone."""
    split, early = Split(log, split_at=at(20)), requests_at(log, "recommend", np.array([1]), np.array([at(10)]))
    monkeypatch.setattr(Split, "held_out", lambda self, task, part: early)
    assert bounds(split, FEED)[0].tolist() == [at(20), at(10), at(20), at(20), at(20)]
    assert any("training targets" in one.what for one in split_leaks(split, FEED).errors)


def test_the_cutoff_names_the_split(log: Dataset) -> None:
    cutoff = Cutoff.of(Split(log, split_at=at(20)), FEED)
    assert cutoff.about == {"tasks": ["recommend"], "min_events": 3, "unseen": 0.0, "split_at": at(20)}
    assert cutoff.newest == at(20)
    assert cutoff.digest != Cutoff.of(Split(log), FEED).digest
    [read, learned] = cutoff_leaks(Split(log, split_at=at(15)), FEED, cutoff, "codes")
    assert read.rows[0].time == at(15) and "before 2023-05-01T00:00:15" in learned.expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(tables=RANDOM_LOG, quantile=st.floats(0.2, 0.8), unseen=st.sampled_from([0.0, 0.4]))
def test_an_honest_pipeline_has_no_leak_and_one_of_leave_one_out_has(
    make_data: Callable[..., Dataset], tables: dict[str, Any], quantile: float, unseen: float
) -> None:
    data = make_data(items=LOG["items"], users=USERS, **tables)
    try:
        split = Split(data, unseen=unseen, split_at=split_time(data, quantile))
    except (DataError, SettingsError):
        assume(False)
    assert data_leaks(split).errors == ()
    for tasks in (FEED, TASKS):
        assert cutoff_leaks(split, tasks, Cutoff.of(split, tasks), "x") == []
    for kind in (Popular, ItemKNN):
        model = kind(kind.Config(), data.sizes)
        model.fit(data, split)
        assert model.leaks(split).errors == ()
    open_ = Split(data, min_events=10**6)
    model = Popular(Popular.Config(), data.sizes)
    model.fit(data, open_)
    assert model.leaks(split).errors and cutoff_leaks(split, FEED, Cutoff.of(open_, FEED), "x")


# --- against a loop over users, on random logs ---


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(tables=RANDOM_LOG, quantile=st.floats(0.05, 0.95), unseen=st.sampled_from([0.0, 0.4]))
def test_parts_equal_a_loop_over_users(
    make_data: Callable[..., Dataset], tables: dict[str, Any], quantile: float, unseen: float
) -> None:
    data = make_data(items=LOG["items"], users=USERS, **tables)
    times = sorted([event[2] for event in (*tables["feed"], *tables["searches"])])
    assume(times)
    moment = times[int(quantile * len(times))]
    assert split_time(data, quantile) == at(moment)
    later = [time for time in times if time >= moment]
    middle = later[len(later) // 2]
    events = {
        "recommend": [(user, time, item) for user, item, time in tables["feed"]],
        "search": [(user, time, clicked[0]) for user, _, time, clicked in tables["searches"] if clicked],
    }
    spans = {"val": (moment, middle), "test": (middle, 10**9)}
    expected = {
        (task, part): [
            (user, last[0], {event[2] for event in inside if event[1] == last[0]})
            for user in USERS
            if (inside := [event for event in events[task] if event[0] == user and low <= event[1] < high])
            for last in [(max(event[1] for event in inside),)]
        ]
        for task in TASKS
        for part, (low, high) in spans.items()
    }
    clicked = [event[1] for task in TASKS for event in events[task]]
    is_usable = all(any(expected[task, part] for task in TASKS) for part in PARTS) and min(clicked) < moment
    if not is_usable or moment == times[0]:
        with pytest.raises((DataError, SettingsError)):
            Split(data, split_at=at(moment))
        return
    split = Split(data, unseen=unseen, split_at=at(moment))
    for (task, part), rows in expected.items():
        requests = split.held_out(task, part)
        check_no_leak(data, requests)
        got = described(data, requests)
        assert [row[:2] for row in got] == [row[:2] for row in rows]
        assert all(row[2] in targets for row, (_, _, targets) in zip(got, rows, strict=True))
        for user, second, _, clicks, searches in got:
            assert searches == sum(event[0] == user and event[2] < second for event in tables["searches"])
            feed = [item for name, item, time in tables["feed"] if name == user and time < second]
            found = [
                item for name, _, time, items in tables["searches"] if name == user and time < second for item in items
            ]
            assert sorted(clicks) == sorted(feed + found), "also what came after the split"
    for tasks in (("recommend",), ("search",), TASKS):
        read = [split.train(task, tasks) for task in tasks]
        read += [split.sequences(tasks, feed_only=feed_only) for feed_only in (True, False)]
        assert all((requests.time < at(moment)).all() for requests in read)
        user, item, _ = split.train_clicks(tasks)
        pairs = [(name, thing) for name, thing, time in tables["feed"] if time < moment]
        pairs += [(name, thing) for name, _, time, things in tables["searches"] if time < moment for thing in things]
        hidden = {data.users.texts[place] for place in range(3) if not split.known[place + 1]}
        assert sorted(zip(data.users.to_external(user), data.items.to_external(item), strict=True)) == sorted(
            pair for pair in pairs if pair[0] not in hidden
        )
    old = {event[0] for event in (*tables["feed"], *tables["searches"]) if event[2] < moment}
    assert set(data.users.to_external(np.flatnonzero(~split.new_users))) == old
