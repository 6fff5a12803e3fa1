"""Stretches of timelines hold every training event once, and none that is held out.

Where a stretch begins amid events of one time, the older of them are in no stretch.
"""

from collections.abc import Callable

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.data.timelines import timelines


@pytest.fixture(scope="module")
def data(make_data: Callable[..., Dataset]) -> Dataset:
    rng = np.random.default_rng(0)
    users = [f"u{n}" for n in range(6)]
    times = iter(rng.permutation(1000).tolist())
    feed = [(users[rng.integers(5)], f"i{rng.integers(9)}", float(next(times))) for _ in range(60)]
    searches = [(users[rng.integers(5)], "lamp", float(next(times)), ["i1", "i2"]) for _ in range(20)]
    return make_data(items={f"i{n}": f"thing {n}" for n in range(9)}, users=users, feed=feed, searches=searches)


@pytest.mark.parametrize("tasks", [TASKS, ("recommend",)])
@pytest.mark.parametrize("length", [1000, 7])
def test_every_training_event_is_in_one_stretch(data: Dataset, tasks: tuple[Task, ...], length: int) -> None:
    split = Split(data)
    requests = timelines(split, tasks, length)
    cutoff = split.cutoff(tasks)
    for user in range(1, data.sizes.users + 1):
        feed = data.interactions.time[data.interactions.offsets[user] : data.interactions.offsets[user + 1]]
        rows = np.arange(data.searches.offsets[user], data.searches.offsets[user + 1])
        asked = np.repeat(data.searches.time[rows], 1 + data.searches.clicks.lengths[rows])
        known = np.sort(np.concatenate((feed, asked)))
        known = known[known < cutoff[user]]
        ends = np.sort(requests.time[requests.user == user])
        assert len(ends) == -(-len(known) // length)
        if len(known):
            assert ends[-1] == known[-1] + 1 <= cutoff[user]
            first, held = 0, []
            for end in ends:  # what a request of this time shows of the newest events
                visible = known[known < end]
                held.append(visible[max(first, len(visible) - length) :])
                first = len(visible)
            found, cut = np.concatenate(held), {stretch[0] for stretch in held[1:]}
            assert all(np.diff(stretch).min(initial=0) >= 0 for stretch in held)
            whole = [time for time in known if time not in cut]
            assert [time for time in found if time not in cut] == whole
            assert len(whole) > len(known) / 2


def test_users_without_events_have_none(data: Dataset) -> None:
    assert data.users.to_internal(["u5"])[0] not in timelines(Split(data), TASKS, 10).user
