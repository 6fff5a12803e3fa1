"""The premium on novelty: what it exchanges, what it leaves, and how it is found."""

import itertools

import numpy as np
import pytest

from searec.retrieval.novelty import BLOCK, chances, novelty_order, premium_for


def test_chances_are_the_softmax_of_the_sharpened_scores() -> None:
    assert chances(np.log([1.0, 3.0])) == pytest.approx([0.25, 0.75])
    assert chances(np.log([1.0, 3.0]), 2.0) == pytest.approx([0.1, 0.9])
    assert chances(np.array([0.0, -np.inf])).tolist() == [1.0, 0.0]
    assert chances(np.full(4, -np.inf)).tolist() == [0.25] * 4
    assert chances(np.zeros(0)).tolist() == []


def test_no_other_ten_with_as_much_that_is_novel_are_clicked_more() -> None:
    rng = np.random.default_rng(0)
    for premium in (0.0, 0.01, 0.03, 0.1, 1.0):
        chance, novel = rng.dirichlet(np.ones(13)), rng.random(13) < 0.4
        shown = novelty_order(chance, novel, premium)[:BLOCK]
        others = [list(one) for one in itertools.combinations(range(13), BLOCK)]
        best = max(chance[one].sum() for one in others if novel[one].sum() >= novel[shown].sum())
        assert chance[shown].sum() == pytest.approx(best)
        assert (np.diff(chance[shown]) <= 0).all()


def test_every_item_stays_and_without_a_premium_chance_alone_orders() -> None:
    rng = np.random.default_rng(1)
    chance, novel = rng.random(47), rng.random(47) < 0.3
    assert novelty_order(chance, novel, 0.0).tolist() == np.argsort(-chance).tolist()
    for premium in (0.05, 0.5, 2.0):
        order = novelty_order(chance, novel, premium)
        assert sorted(order.tolist()) == list(range(47))
        first = novel[order[:BLOCK]].mean()
        assert first >= novel[np.argsort(-chance)[:BLOCK]].mean()
    assert first == 1.0


def test_the_least_premium_that_reaches_a_target_is_found() -> None:
    assert premium_for(lambda value: float(value >= 0.37), 1.0) == pytest.approx(0.37, abs=1e-6)
    assert premium_for(lambda value: 0.5, 0.5) == 0.0
    assert premium_for(lambda value: 0.5, 0.9, highest=3.0) == 3.0
