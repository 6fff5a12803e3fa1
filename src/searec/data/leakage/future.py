"""How much a model learns from what lies in a request's future: events of others that leave-one-out lets through."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from searec.data.schema import TASKS, Task
from searec.data.split import Split


@dataclass(frozen=True)
class FutureShare:
    """Training clicks that are no older than a test request.

    requests: test requests of a task. clicks: training clicks of a model that learns this task alone, of all users, in
        the feed and after searches. share: 0 to 1, the mean over the requests of the share of these clicks whose time
        is not before the request's.
    """

    requests: int
    clicks: int
    share: float


def future_shares(split: Split) -> dict[Task, FutureShare]:
    """Return the share of each task that has test requests and training clicks.

    Args:
        split: leave-one-out; with a global split every share is 0.
    """
    shares: dict[Task, FutureShare] = {}
    clicks = split.data.click_history
    lengths = np.diff(clicks.offsets)
    for task in TASKS:
        moments = np.sort(split.held_out(task, "test").time)
        if not len(moments):
            continue
        times = np.sort(clicks.time[clicks.time < np.repeat(split.cutoff((task,)), lengths)])
        if len(times):
            older = np.searchsorted(times, moments)
            shares[task] = FutureShare(len(moments), len(times), float(1 - older.mean() / len(times)))
    return shares


def render(shares: Mapping[Task, FutureShare]) -> str:
    """The shares as plain text, with what they mean; empty where there is none."""
    if not shares:
        return ""
    lines = ["leave-one-out: what models learn from the time after a test request"]
    lines += [
        f"  {100 * one.share:5.1f} % of the training clicks for {task}, mean over {one.requests:,} test requests"
        for task, one in shares.items()
    ]
    lines.append(
        "  A request never sees its own user's future, but these clicks of others tell a model what became popular "
        "after it, which no served model can know. '--split-at 0.8' trains before one time and measures after it."
    )
    return "\n".join(lines) + "\n"
