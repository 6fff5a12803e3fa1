"""Leave-one-out in time: who is asked what, and nothing newer than its request is ever seen."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from four_users import LOG, RANDOM_LOG, START, US
from searec.data.dataset import FEED, SEARCH, Dataset
from searec.data.split import NEVER, Requests, Split, check_no_leak, requests_at
from searec.errors import LeakError


@pytest.fixture(scope="module")
def log(make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(**LOG)


def seconds(time: np.ndarray) -> list[float]:
    """Microseconds back to the seconds of the log above."""
    return [(int(value) - START) / US for value in time]


def told(data: Dataset, requests: Requests) -> list[tuple[str, float, str | None, str, str, int, str]]:
    """Each request as user, second, query, target, and the visible feed items, number of sessions, and trail items."""
    rows = []
    for n in range(len(requests)):
        user = int(requests.user[n])
        feed = data.interactions.item[data.interactions.offsets[user] : requests.feed_end[n]]
        click_history = data.click_history.item[data.click_history.offsets[user] : requests.click_end[n]]
        query = data.queries.texts[int(requests.query[n]) - 1] if requests.query[n] else None
        target = data.items.to_external(requests.target[n : n + 1])[0]
        sessions = int(requests.search_end[n] - data.searches.offsets[user])
        [when] = seconds(requests.time[n : n + 1])
        rows.append(
            (
                data.users.texts[user - 1],
                when,
                query,
                target,
                "".join(data.items.to_external(feed)),
                sessions,
                "".join(data.items.to_external(click_history)),
            )
        )
    return rows


def test_last_event_is_test_and_the_one_before_validation(log: Dataset) -> None:
    split = Split(log)
    assert told(log, split.held_out("recommend", "test")) == [
        ("anna", 40, None, "d", "abc", 4, "eabfacbc"),
        ("dora", 50, None, "c", "a", 0, "a"),  # the other event at 50 s is not older
    ]
    assert told(log, split.held_out("recommend", "val")) == [
        ("anna", 30, None, "c", "ab", 3, "eabfa"),
        ("dora", 50, None, "b", "a", 0, "a"),
    ]


def test_a_search_is_held_out_if_it_was_clicked_and_its_first_click_is_the_target(log: Dataset) -> None:
    split = Split(log)
    assert told(log, split.held_out("search", "test")) == [("anna", 35, "z", "b", "abc", 3, "eabfac")]
    # At 20 s anna also clicked b in the feed: not older than the search, so not seen.
    assert told(log, split.held_out("search", "val")) == [("anna", 20, "y", "f", "a", 2, "ea")]


def test_users_with_too_few_events_are_held_out_when_asked(log: Dataset) -> None:
    assert [row[0] for row in told(log, Split(log, min_events=2).held_out("recommend", "test"))] == [
        "anna",
        "ben",
        "dora",
    ]
    assert len(Split(log, min_events=5).held_out("recommend", "test")) == 0


def test_cutoff_is_the_earliest_validation_event_of_the_tasks(log: Dataset) -> None:
    split = Split(log)
    anna, ben, carl, dora = log.users.to_internal(["anna", "ben", "carl", "dora"])

    def cut(*tasks: Any) -> list[float]:
        return seconds(split.cutoff(tasks)[[anna, dora]])

    assert cut("recommend") == [30, 50]
    assert cut("search")[0] == 20
    assert split.cutoff(("search",))[dora] == NEVER
    assert cut("recommend", "search") == cut("search", "recommend") == [20, 50]
    assert (split.cutoff(("recommend", "search"))[[ben, carl]] == NEVER).all()


def test_train_requests(log: Dataset) -> None:
    split = Split(log)
    assert told(log, split.train("recommend", ("recommend",))) == [
        ("anna", 10, None, "a", "", 1, "e"),  # a search came before
        ("anna", 20, None, "b", "a", 2, "ea"),
        ("ben", 20, None, "b", "a", 1, "ac"),  # ben is not held out: all his events teach; his first has no history
    ]
    assert [row[:4] for row in told(log, split.train("recommend"))] == [("anna", 10, None, "a"), ("ben", 20, None, "b")]
    assert [row[:4] for row in told(log, split.train("search", ("search",)))] == [("ben", 15, "x", "c")], (
        "anna's first has no history"
    )


def test_every_click_of_a_search_is_a_training_request(make_data: Callable[..., Dataset]) -> None:
    searches = [("anna", "x", 1, ["a"]), ("anna", "y", 2, ["b", "c"]), ("anna", "z", 3, ["d"]), ("anna", "z", 4, ["e"])]
    data = make_data(items=LOG["items"], users=["anna"], searches=searches, feed=[("anna", "f", 0.5)])
    requests = Split(data).train("search")
    assert data.items.to_external(requests.target) == ["a", "b", "c"]
    assert requests.texts(data) == ["x", "y", "y"]


def test_sequences_are_the_newest_training_click_of_each_user(log: Dataset) -> None:
    split = Split(log)
    assert [row[:2] + row[3:5] for row in told(log, split.sequences(("recommend",), feed_only=True))] == [
        ("anna", 20, "b", "a"),
        ("ben", 20, "b", "a"),
    ]
    click_history = told(log, split.sequences(("recommend",), feed_only=False))
    assert [(row[0], row[1], row[3], row[6]) for row in click_history] == [
        ("anna", 20, "a", "ea"),
        ("ben", 20, "b", "ac"),
    ]


def test_a_sequence_has_a_click_to_read(make_data: Callable[..., Dataset]) -> None:
    """Two clicks at the same time teach a causal model nothing, whatever was searched before."""
    data = make_data(
        items=LOG["items"], users=["anna"], feed=[("anna", "a", 10), ("anna", "b", 10)], searches=[("anna", "x", 5, [])]
    )
    for feed_only in (True, False):
        assert len(Split(data).sequences(("recommend",), feed_only=feed_only)) == 0


def test_train_clicks(log: Dataset) -> None:
    user, item, source = Split(log).train_clicks(("recommend", "search"))
    told_clicks = list(zip(log.users.to_external(user), log.items.to_external(item), source.tolist(), strict=True))
    assert told_clicks == [
        ("anna", "e", SEARCH),
        ("anna", "a", FEED),
        ("ben", "a", FEED),
        ("ben", "c", SEARCH),
        ("ben", "b", FEED),
        ("dora", "a", FEED),
    ]


def test_requests_can_be_picked(log: Dataset) -> None:
    asked = requests_at(log, "search", np.array([1, 2, 3]), np.full(3, NEVER), new_texts=["p", "q", "r"])
    assert asked[np.array([2, 0])].texts(log) == ["r", "p"]
    assert asked[np.array([False, True, False])].user.tolist() == [2]
    assert len(asked[1:]) == 2
    assert asked.feed_end.tolist() == log.interactions.offsets[2:5].tolist(), "after everything in the log"


@pytest.mark.parametrize("stream", ["feed_end", "search_end", "click_end"])
@pytest.mark.parametrize("step", [1, -9], ids=["newer event", "another user's event"])
def test_a_planted_leak_is_refused(log: Dataset, stream: str, step: int) -> None:
    requests = Split(log).held_out("recommend", "val")[:1]
    check_no_leak(log, requests)
    planted = dataclasses.replace(requests, **{stream: getattr(requests, stream) + step})
    with pytest.raises(
        LeakError,
        match=r"not older than its target.*user 'anna', request 0.*expected: events before 2023-05-01T00:00:30",
    ):
        check_no_leak(log, planted)


def test_history_past_the_user_or_the_log_is_refused(log: Dataset) -> None:
    after_all = requests_at(log, "recommend", np.array([1, 4]), np.full(2, NEVER))
    check_no_leak(log, after_all)
    for row, stream in ((0, "feed_end"), (0, "click_end"), (1, "feed_end"), (1, "search_end"), (1, "click_end")):
        ends = getattr(after_all, stream).copy()
        ends[row] += 1
        with pytest.raises(LeakError, match=f"request {row}"):
            check_no_leak(log, dataclasses.replace(after_all, **{stream: ends}))


def test_an_event_at_the_very_time_is_a_leak(log: Dataset) -> None:
    requests = Split(log).held_out("recommend", "test")
    dora = requests[1:2]
    with pytest.raises(LeakError):
        check_no_leak(log, dataclasses.replace(dora, feed_end=dora.feed_end + 1))


# --- against a naive implementation on random logs ---


def naive_ends(data: Dataset, user: int, time: int) -> tuple[int, int, int]:
    """Where the history ends, counting row by row."""
    ends = []
    for stream in (data.interactions, data.searches, data.click_history):
        end = int(stream.offsets[user])
        for position in range(int(stream.offsets[user]), int(stream.offsets[user + 1])):
            if stream.time[position] < time:
                end += 1
        ends.append(end)
    return tuple(ends)  # type: ignore[return-value]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables=RANDOM_LOG)
def test_requests_see_exactly_what_is_older(make_data: Callable[..., Dataset], tables: dict[str, Any]) -> None:
    data = make_data(items=LOG["items"], users=["u0", "u1", "u2"], **tables)
    split = Split(data)
    both = ("recommend", "search")
    asked = [split.held_out(task, part) for task in both for part in ("val", "test")]
    trained = [(split.train(task, tasks), tasks) for task in both for tasks in ((task,), both)]
    trained += [
        (split.sequences(tasks, feed_only=feed_only), tasks)
        for tasks in (("recommend",), both)
        for feed_only in (True, False)
    ]
    for requests in [*asked, *(requests for requests, _ in trained)]:
        check_no_leak(data, requests)
        found = list(
            zip(requests.feed_end.tolist(), requests.search_end.tolist(), requests.click_end.tolist(), strict=True)
        )
        assert found == [
            naive_ends(data, int(user), int(time)) for user, time in zip(requests.user, requests.time, strict=True)
        ]
    for requests, tasks in trained:
        assert (requests.time < split.cutoff(tasks)[requests.user]).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables=RANDOM_LOG)
def test_held_out_and_cutoffs_equal_a_loop_over_users(
    make_data: Callable[..., Dataset], tables: dict[str, Any]
) -> None:
    data = make_data(items=LOG["items"], users=["u0", "u1", "u2"], **tables)
    split = Split(data)
    feed = {
        user: sorted((e for e in tables["feed"] if e[0] == user), key=lambda e: (e[2], e[1]))
        for user in ("u0", "u1", "u2")
    }
    searches = {
        user: [
            event
            for _, _, event in sorted((event[2], f"s{n}", event) for n, event in enumerate(tables["searches"]))
            if event[0] == user and event[3]
        ]
        for user in feed
    }
    for part, back in (("test", 1), ("val", 2)):
        requests = split.held_out("recommend", part)
        expected = [(user, events[-back][1]) for user, events in feed.items() if len(events) >= 3]
        assert (
            list(zip(data.users.to_external(requests.user), data.items.to_external(requests.target), strict=True))
            == expected
        )
        requests = split.held_out("search", part)
        expected = [
            (user, events[-back][3][0], events[-back][1]) for user, events in searches.items() if len(events) >= 3
        ]
        assert (
            list(
                zip(
                    data.users.to_external(requests.user),
                    data.items.to_external(requests.target),
                    requests.texts(data),
                    strict=True,
                )
            )
            == expected
        )
    for tasks in (("recommend",), ("search",), ("recommend", "search")):
        limits = split.cutoff(tasks)
        for user, clicks in feed.items():
            held = [
                events[-2][2]
                for task, events in (("recommend", clicks), ("search", searches[user]))
                if task in tasks and len(events) >= 3
            ]
            assert limits[data.users.to_internal([user])[0]] == (START + min(held) * US if held else NEVER)
