"""Replay of two configurations: hand-counted figures, intervals that hold the truth.

And no difference where there is none.
"""

import numpy as np
import pytest

from searec.errors import DataError
from searec.evaluation.replay import FIGURES, Shown, replay

TOP = np.array([[1, 2], [3, 4], [5, 0], [6, 7]])
NOVEL = np.array([[True, False], [True, True], [False, False], [False, True]])
TARGET = np.array([1, 9, 5, 7])


def test_figures_by_hand() -> None:
    """Hits in rows 0, 2 and 3, of which 0 and 3 are novel."""
    found = Shown("a", TOP, NOVEL, TARGET).figures()
    assert found == pytest.approx(
        {
            "hit": 3 / 4,
            "ndcg": (1 + 0 + 1 + 1 / np.log2(3)) / 4,
            "enr": (0.5 + 1 + 0 + 0.5) / 4,
            "serendipity": 2 / 4,
            "cnr": 2 / 3,
        }
    )
    nothing = Shown("b", np.zeros((4, 2), dtype=int), np.zeros((4, 2), dtype=bool), TARGET)
    assert set(nothing.figures().values()) == {0.0}


def test_a_configuration_does_not_differ_from_itself() -> None:
    shown = Shown("a", TOP, NOVEL, TARGET)
    found = replay(shown, shown, np.arange(4), resamples=200)
    assert list(found) == list(FIGURES)
    for one in found.values():
        assert (one.difference, one.low, one.high, one.p) == (0.0, 0.0, 0.0, 1.0)


def worlds(generator: np.random.Generator, users: int, chance: float) -> Shown:
    """One item a list, novel and chosen with the given chance."""
    chosen = generator.random(users) < chance
    return Shown("x", np.ones((users, 1), dtype=int), np.ones((users, 1), dtype=bool), np.where(chosen, 1, 2))


def test_intervals_hold_the_difference_as_often_as_they_say() -> None:
    """b shows what is chosen by a tenth more of the users; 90 % intervals hold it in about 90 % of worlds."""
    held = 0
    for world in range(200):
        generator = np.random.default_rng(world)
        target = np.where(generator.random(300) < 0.4, 1, 2)
        moved = np.where((target == 2) & (generator.random(300) < 1 / 6), 1, target)
        shown = [
            Shown("x", np.where(hits == 1, target, 3)[:, None], np.ones((300, 1), dtype=bool), target)
            for hits in (target, moved)
        ]
        one = replay(*shown, np.arange(300), level=0.9, resamples=300, seed=world)["serendipity"]
        held += one.low <= 0.1 <= one.high
    assert 0.83 <= held / 200 <= 0.97


def test_a_user_is_drawn_with_all_requests() -> None:
    """Ten requests of one user tell no more than one: the interval is as wide as that of the users."""
    generator = np.random.default_rng(0)
    hits = generator.random(40) < 0.5
    few = [
        Shown("x", np.where(hits, 1, 2)[:, None], np.ones((40, 1), dtype=bool), np.ones(40, dtype=int))
        for hits in (hits, ~hits)
    ]
    many = [
        Shown("x", np.repeat(one.top, 10, axis=0), np.repeat(one.novel, 10, axis=0), np.repeat(one.target, 10))
        for one in few
    ]
    narrow, wide = (
        replay(*pair, users, resamples=500)["hit"]
        for pair, users in ((few, np.arange(40)), (many, np.repeat(np.arange(40), 10)))
    )
    assert (narrow.difference, narrow.low, narrow.high) == pytest.approx((wide.difference, wide.low, wide.high))


def test_other_requests_are_refused() -> None:
    a, b = Shown("a", TOP, NOVEL, TARGET), Shown("b", TOP, NOVEL, TARGET[::-1].copy())
    with pytest.raises(DataError, match="different requests"):
        replay(a, b, np.arange(4))


def test_the_same_seed_gives_the_same_intervals() -> None:
    a, b = (worlds(np.random.default_rng(1), 50, chance) for chance in (0.3, 0.3))
    b = Shown("b", 3 - b.top, b.novel, b.target)
    assert replay(a, b, np.arange(50), resamples=100) == replay(a, b, np.arange(50), resamples=100)
    assert replay(a, b, np.arange(50), resamples=100) != replay(a, b, np.arange(50), resamples=100, seed=1)
