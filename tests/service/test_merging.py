"""Merging against plain loops."""

from collections import defaultdict

import numpy as np
import pytest
import torch

from searec.pipeline.fusion import RRF, fuse, likeness, spread
from searec.retrieval.quota_pool import interleave, merge


@pytest.mark.parametrize("seed", range(10))
def test_fusion_is_the_sum_over_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [rng.permutation(30)[: rng.integers(0, 20)] for _ in range(4)]
    weights = [1.0, 0.5, 2.0, 1.0]
    expected: dict[int, float] = defaultdict(float)
    for weight, one in zip(weights, lists, strict=True):
        for rank, item in enumerate(one.tolist(), start=1):
            expected[item] += weight / (RRF + rank)
    fused = fuse(lists, weights)
    assert set(fused.items.tolist()) == set(expected)
    assert fused.score == pytest.approx([expected[item] for item in fused.items.tolist()])
    assert (np.diff(fused.score) <= 1e-15).all()
    for item, source in zip(fused.items.tolist(), fused.source.tolist(), strict=True):
        ranks = [one.tolist().index(item) if item in one else 99 for one in lists]
        assert source == ranks.index(min(ranks))


def test_fusion_of_nothing() -> None:
    assert not len(fuse([]).items)
    assert not len(fuse([np.zeros(0, dtype=np.int64)]).items)


@pytest.mark.parametrize("quota", [0.0, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("usual", "second"), [(40, 10), (7, 0), (20, 2), (0, 5), (3, 9)])
def test_places_are_those_of_the_models_own_merge(usual: int, second: int, quota: float) -> None:
    first, other = torch.arange(1, usual + 1)[None], torch.arange(101, 101 + second)[None]
    count = min(usual, 10)  # as long as the first list lasts
    expected = merge(first, other, count, quota)
    [position], [from_second] = interleave(np.array([usual]), np.array([second]), usual + second, quota)
    found = np.where(from_second, 101 + position, 1 + position)
    assert found[:count].tolist() == expected.items[0, :count].tolist()
    assert sorted(found.tolist()) == [*range(1, usual + 1), *range(101, 101 + second)]
    assert (np.diff(position[from_second]) == 1).all()
    assert (np.diff(position[~from_second]) == 1).all()


def test_near_identical_items_stand_apart_and_kinds_keep_their_places() -> None:
    rng = np.random.default_rng(0)
    alike = np.eye(40, dtype=np.float32)
    alike[:6, :6] = 0.95  # six of one thing at the top
    np.fill_diagonal(alike, 1)
    kind = rng.random(40) < 0.2
    assert spread(alike, kind, 0.0, first=40).tolist() == list(range(40))
    order = spread(alike, kind, 0.5, first=10)
    assert sorted(order.tolist()) == list(range(40))
    assert (kind[order] == kind).all()
    assert sum(place < 6 for place in order[:10].tolist()) < 6
    assert spread(np.eye(40, dtype=np.float32), kind, 0.5, first=10).tolist() == list(range(40)), (
        "what differs keeps its order"
    )
    rest = order[10:]
    for one in (False, True):
        assert (np.diff(rest[kind[rest] == one]) > 0).all()


def test_likeness_is_the_cosine_of_words() -> None:
    owner, word = np.array([0, 0, 1, 3, 3]), np.array([70, 81, 70, 9, 9])
    found = likeness(owner, word, 4)
    assert found == pytest.approx(
        np.array([[1, 0.5**0.5, 0, 0], [0.5**0.5, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]), abs=1e-6
    )


def test_several_rankers_are_one_by_their_ranks() -> None:
    from searec.pipeline.ranking import fuse_scores

    first, second = np.array([3.0, 2.0, 1.0, -np.inf]), np.array([0.1, 0.3, 0.2, -np.inf])
    expected = [1 / (RRF + 1) + 1 / (RRF + 3), 1 / (RRF + 2) + 1 / (RRF + 1), 1 / (RRF + 3) + 1 / (RRF + 2), -np.inf]
    assert fuse_scores([first, second]) == pytest.approx(expected)
