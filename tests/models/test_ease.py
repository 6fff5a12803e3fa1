"""ease against a plain rendering of its closed form."""

from typing import Any

import numpy as np
import pytest
import torch

from searec.config import configure
from searec.data.batch import Batcher
from searec.data.dataset import FEED, Dataset
from searec.data.split import Split
from searec.models.ease import EASE


def fitted(data: Dataset, **settings: Any) -> EASE:
    model = EASE(configure(EASE.Config, {"recency": 0.0, **settings}), data.sizes)
    model.fit(data, Split(data))
    return model


def rendered(data: Dataset, l2: float, *, feed_only: bool) -> np.ndarray:
    """[I + 1, I + 1] the weights: item by item.

    Each column the ridge regression of its clicks on those of all others.
    """
    matrix = np.zeros((data.sizes.users + 1, data.sizes.items + 1))
    for user, item, source in zip(*Split(data).train_clicks(("recommend",)), strict=True):
        if not feed_only or source == FEED:
            matrix[user, item] = 1
    weights = np.zeros((data.sizes.items + 1,) * 2)
    for item in range(1, data.sizes.items + 1):
        others = [other for other in range(1, data.sizes.items + 1) if other != item]
        inputs = matrix[:, others]
        penalised = inputs.T @ inputs + l2 * np.eye(len(others))
        weights[others, item] = np.linalg.solve(penalised, inputs.T @ matrix[:, item])
    return weights


@pytest.mark.parametrize("feed_only", [False, True])
def test_scores_are_those_of_a_ridge_regression_without_the_item_itself(checkerboard: Any, feed_only: bool) -> None:
    data = checkerboard.data
    model = fitted(data, l2=3.0, feed_only=feed_only)
    weights = rendered(data, 3.0, feed_only=feed_only)
    requests = Split(data).held_out("recommend", "test")
    batch = Batcher(data, model.needs).batch(requests)
    history = (batch.feed_item if feed_only else batch.click_item).numpy()
    expected = np.stack([weights[np.unique(row[row > 0])].sum(axis=0) for row in history])
    np.testing.assert_allclose(model.score(batch)[:, 1:], expected[:, 1:], atol=1e-5)
    candidates = np.tile(np.array([3, 1, 7], dtype=np.int32), (len(requests), 1))
    some = model.score(Batcher(data, model.needs).batch(requests, candidates))
    np.testing.assert_allclose(some, expected[:, [3, 1, 7]], atol=1e-5)


def test_similar_items_and_reasons_follow_the_weights(checkerboard: Any) -> None:
    data = checkerboard.data
    model, weights = fitted(data, l2=3.0), rendered(data, 3.0, feed_only=False)
    ids, strength = model.similar_items(torch.tensor([1, 9]), 4)
    for row, item in enumerate((1, 9)):
        best = np.sort(weights[item])[::-1][:4]
        np.testing.assert_allclose(strength[row], best, atol=1e-5)
        np.testing.assert_allclose(weights[item][ids[row].numpy()], best, atol=1e-5)
    clicks = torch.tensor([1, 0, 9])
    click, why = model.explain(ids[0], clicks)
    expected = np.stack([weights[1], np.zeros(len(weights)), weights[9]])[:, ids[0].numpy()]
    np.testing.assert_allclose(why, np.clip(expected.max(axis=0), 0, 1), atol=1e-5)
    assert click.tolist() == clicks[expected.argmax(axis=0)].tolist()


def test_items_without_clicks_take_no_memory_and_never_rank(checkerboard: Any) -> None:
    data = checkerboard.data
    model = fitted(data)
    active = int((model.counts > 0).sum())
    assert len(model.weights) == active + 1 < data.sizes.items
    silent = int(torch.nonzero(model.counts[1:] == 0)[0]) + 1
    ids, strength = model.similar_items(torch.tensor([silent]), 3)
    assert ids.tolist() == [[0, 0, 0]] and bool(strength.isneginf().all())


def test_a_large_catalogue_is_cut_to_its_most_clicked_items(checkerboard: Any) -> None:
    counts = fitted(checkerboard.data).counts
    model = fitted(checkerboard.data, max_items=5)
    modelled = torch.nonzero(model.column).flatten()
    assert len(model.weights) == 6 and len(modelled) == 5
    assert counts[modelled].min() >= counts.sort(descending=True).values[5]


def test_older_clicks_count_less(checkerboard: Any) -> None:
    data = checkerboard.data
    model, even = fitted(data, recency=1.0), fitted(data)
    requests = Split(data).held_out("recommend", "test")[:1]
    history = Batcher(data, model.needs).batch(requests).click_item[0].tolist()
    newest_first = list(dict.fromkeys(reversed([item for item in history if item])))
    expected = sum(even.weights[even.column[item]] / place for place, item in enumerate(newest_first, 1))
    found = model.score(Batcher(data, model.needs).batch(requests))[0]
    np.testing.assert_allclose(found, expected[even.column], atol=1e-6)
