"""Whom to ask: profiles drawn from a dataset, as they were before every held-out event."""

from collections.abc import Collection

import numpy as np

from searec.data.dataset import Dataset
from searec.data.schema import TASKS
from searec.data.split import Split
from searec.interests.profile import Profile, profiles
from searec.interests.student_dialogue import Signals

_AT_ONCE = 1024


def sample_profiles(
    data: Dataset, count: int | None = None, *, seed: int = 0, leave_out: Collection[str] = ()
) -> list[Profile]:
    """Profiles of users who asked or clicked something, in an order drawn by `seed`; each holds what a model may learn from.

    Args:
        count: how many at most; all if None.
        leave_out: users by external id.
    """
    users = np.random.default_rng(seed).permutation(np.arange(1, data.sizes.users + 1))
    at = Split(data).visible(TASKS)
    found: list[Profile] = []
    for start in range(0, len(users), _AT_ONCE):
        some = users[start : start + _AT_ONCE]
        found += [one for one in profiles(data, some, at[some]) if Signals.of(one).texts and one.user not in leave_out]
        if count is not None and len(found) >= count:
            return found[:count]
    return found
