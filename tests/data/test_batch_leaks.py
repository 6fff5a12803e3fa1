"""A batch refuses a history that is not older than its request, and a marked pair is still looked up."""

import dataclasses

import numpy as np
import pytest

from searec.data.batch import Batcher, Needs
from searec.data.candidates import Seen
from searec.data.dataset import load
from searec.data.split import Split
from searec.data.synthetic.simulate import sample_folder
from searec.errors import LeakError


def test_a_planted_leak_is_refused() -> None:
    data = load(sample_folder())
    requests = Split(data).held_out("recommend", "test")
    late = dataclasses.replace(requests, feed_end=requests.feed_end + 1)
    with pytest.raises(LeakError, match="interactions"):
        Batcher(data, Needs(feed=5)).batch(late)


def test_pairs_that_share_a_mark_are_told_apart() -> None:
    seen = Seen.of(np.array([1]), np.array([1]), 10)
    full = dataclasses.replace(seen, marks=np.ones_like(seen.marks))
    assert full.contains(np.array([1, 1, 2]), np.array([1, 2, 1])).tolist() == [True, False, False]
