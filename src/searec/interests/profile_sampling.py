"""Sample profiles from a dataset, as they were before every held-out event."""

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
    """Return profiles of users with a query or a click, in an order drawn by `seed`, from training events.

    Args:
        data: the dataset.
        count: how many at most; all if None.
        seed: of the order.
        leave_out: users by external id.
    """
    users = np.random.default_rng(seed).permutation(np.arange(1, data.sizes.users + 1))
    at = Split(data).visible(TASKS)
    sample: list[Profile] = []
    for start in range(0, len(users), _AT_ONCE):
        block = users[start : start + _AT_ONCE]
        sample += [
            one for one in profiles(data, block, at[block]) if Signals.of(one).texts and one.user not in leave_out
        ]
        if count is not None and len(sample) >= count:
            return sample[:count]
    return sample
