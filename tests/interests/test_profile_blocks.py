"""Profiles are read a block of users at a time, and no block's edge shows."""

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.data.split import NEVER
from searec.interests import profile
from searec.interests.profile import profiles


def test_blocks_give_what_single_users_give(small_world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    users = np.random.default_rng(0).permutation(np.arange(1, small_world.sizes.users + 1))
    at = np.full(len(users), NEVER)
    at[::3] = int(np.median(small_world.click_history.time))
    at[::7] = 0  # nothing is known of them yet
    one_by_one = [
        found
        for place in range(len(users))
        for found in profiles(small_world, users[place : place + 1], at[place : place + 1])
    ]
    assert [one.user for one in one_by_one] == small_world.users.to_external(users)
    assert any(not one.clicks for one in one_by_one) and any(len(one.clicks) > 3 for one in one_by_one)
    for size in (7, 1024):
        monkeypatch.setattr(profile, "_BLOCK", size)
        assert list(profiles(small_world, users, at)) == one_by_one
    assert list(profiles(small_world, users[:0], at[:0])) == []
