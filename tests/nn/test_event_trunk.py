"""The timeline against a naive one, what each of its positions is taught, and that nothing looks ahead."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from random_shop import random_tables
from searec.data.batch import Batch, Batcher, Needs
from searec.data.dataset import Dataset
from searec.data.split import NEVER, requests_at
from searec.nn.event_trunk import FEED_CLICK, SEARCH, SEARCH_CLICK, EventTrunk, Timeline, gaps

SECOND = 1_000_000


@pytest.fixture(scope="module", params=range(3))
def data(request: pytest.FixtureRequest, make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(**random_tables(request.param))


def whole_batch(data: Dataset) -> Batch:
    users = np.arange(1, data.sizes.users + 1, dtype=np.int32)
    requests = requests_at(data, "recommend", users, np.full(len(users), NEVER))
    return Batcher(data, Needs(feed=50, searches=50, search_clicks=5, words=4)).batch(requests)


def naive(data: Dataset, batch: Batch, user: int) -> list[tuple[int, int, int, int]]:
    """(time, kind, item, words) of a user's events: searches first at equal times, each before its clicks."""
    events: list[tuple[int, int, int, int]] = []
    for at in range(int(data.searches.offsets[user]), int(data.searches.offsets[user + 1])):
        time = int(data.searches.time[at])
        events.append((time, SEARCH, 0, int(data.searches.query[at])))
        events += [(time, SEARCH_CLICK, item, 0) for item in data.searches.clicks.row(at).tolist()]
    feed = range(int(data.interactions.offsets[user]), int(data.interactions.offsets[user + 1]))
    events += [(int(data.interactions.time[at]), FEED_CLICK, int(data.interactions.item[at]), 0) for at in feed]
    return sorted(events, key=lambda event: event[0])


@pytest.mark.parametrize("length", [100, 7, 1])
def test_timeline_is_what_a_naive_merge_gives(data: Dataset, length: int) -> None:
    batch = whole_batch(data)
    timeline = Timeline.of(batch, length)
    for row in range(len(batch)):
        expected = naive(data, batch, row + 1)[-length:]
        count = int(timeline.present[row].sum())
        found = [
            (int(timeline.time[row, at]), int(timeline.kind[row, at]), int(timeline.item[row, at]), query)
            for at in range(count)
            for query in [int(batch.query_id[timeline.query[row, at].long()])]
        ]
        assert found == expected
        assert not timeline.present[row, count:].any()


def test_each_state_is_taught_the_next_click_if_it_is_newer(data: Dataset) -> None:
    timeline = Timeline.of(whole_batch(data), 100)
    following, is_known = timeline.next_clicks()
    for row in range(len(following)):
        events = [(int(time), int(item)) for time, item in zip(timeline.time[row], timeline.item[row], strict=True)][
            : int(timeline.present[row].sum())
        ]
        for place in range(timeline.item.shape[1]):
            later = [event for event in events[place:] if event[1]]
            before = events[place - 1][0] if 0 < place <= len(events) else -1
            known = bool(later) and later[0][0] > before
            assert bool(is_known[row, place]) == known
            if known:
                assert int(following[row, place]) == later[0][1]


def test_found_clicks_belong_to_their_search(data: Dataset) -> None:
    timeline = Timeline.of(whole_batch(data), 100)
    row, place, item = timeline.found_clicks()
    assert len(row) == int((timeline.kind == SEARCH_CLICK).sum()) > 0
    for user, at, clicked in zip(row.tolist(), place.tolist(), item.tolist(), strict=True):
        assert timeline.kind[user, at] == SEARCH
        here = [
            int(timeline.item[user, later])
            for later in range(at + 1, timeline.kind.shape[1])
            if timeline.kind[user, later] == SEARCH_CLICK and not (timeline.kind[user, at + 1 : later] == SEARCH).any()
        ]
        assert clicked in here


def test_a_query_follows_the_last_event(data: Dataset) -> None:
    timeline = Timeline.of(whole_batch(data), 100)
    count = timeline.present.sum(1)
    query = torch.arange(1, len(count) + 1, dtype=torch.int32)
    time = torch.full((len(count),), NEVER)
    longer = timeline.with_query(query, time)
    row = torch.arange(len(count))
    assert (longer.present.sum(1) == count + 1).all()
    assert (longer.query[row, count] == query).all() and (longer.kind[row, count] == SEARCH).all()
    newest = timeline.time.gather(1, (count - 1).clamp(min=0)[:, None])[:, 0]
    assert (longer.time[row, count] == newest).all(), "a request without a time is not ages later"


def test_no_state_reads_what_is_newer(data: Dataset) -> None:
    torch.manual_seed(0)
    trunk = EventTrunk(width=8, layers=2, heads=2, inner=16, dropout=0.0, length=100).eval()
    timeline = Timeline.of(whole_batch(data), 100)
    content = torch.randn(*timeline.item.shape, 8)
    states = trunk(content, timeline)
    place = 5
    changed = content.clone()
    changed[:, place:] = torch.randn_like(changed[:, place:])
    other = trunk(changed, timeline)
    torch.testing.assert_close(states[:, : place + 1], other[:, : place + 1])
    here = timeline.present[:, place]
    assert here.any() and not torch.allclose(states[here, place + 1], other[here, place + 1])


def test_gaps_double_from_a_second_on() -> None:
    time = torch.tensor([[0, 0, 1, 3, 7, 7 + (1 << 40)]]) * SECOND
    assert gaps(time).tolist() == [[0, 0, 0, 1, 2, 23]]
