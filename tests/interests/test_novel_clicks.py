"""The model of novel clicks: counted shares, and weights that find what made the clicks."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from searec.interests.novel_clicks import FALLBACK, FEATURES, CategorySignals, CategoryStatistics, NovelClickModel

PARENT = np.array([0, 0, 1, 1, 0, 4])
"""Categories 2 and 3 stand below 1, 5 below 4."""
DEMAND = np.array([0, 1, 1, 1, 4, 4])
CLICKED = csr_array(
    np.array([[0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]], dtype=float)
)
VECTORS = np.eye(6)


def signals(clicks: list[int], demands: dict[int, float], barred: list[int]) -> CategorySignals:
    row = np.zeros((1, 6))
    clicked, last, queried, wanted = row.copy(), row.copy(), row.copy(), row.copy()
    for category in clicks:
        clicked[0, category] += 1
    last[0, clicks[:1]] = 1
    for demand, weight in demands.items():
        wanted[0, demand] = weight
    closed = np.zeros((1, 6), dtype=bool)
    closed[0, [0, *barred]] = True
    return CategorySignals(clicked, last, queried, wanted, closed)


def test_shares_are_counted_over_users() -> None:
    statistics = CategoryStatistics.of(CLICKED, DEMAND, shrink=1.0)
    assert statistics.users.tolist() == [0, 0, 3, 2, 0, 2] and statistics.total == 3
    after = statistics.after.toarray()
    assert after[2, 3] == pytest.approx(2 / 4) and after[3, 2] == pytest.approx(2 / 3) and after[2, 2] == 0
    assert statistics.both.toarray()[1].tolist() == [0, 0, 3, 2, 0, 2], "all three clicked something below 1"
    assert statistics.given_demand().toarray()[4, 2] == pytest.approx(2 / 3)


def test_features_are_what_they_are_called() -> None:
    model = NovelClickModel(CategoryStatistics.of(CLICKED, DEMAND, shrink=1.0), PARENT, VECTORS)
    values = dict(zip(FEATURES, model.features(signals([2], {4: 0.5}, [2]))[:, 0], strict=True))
    assert np.exp(values["taste"][3]) == pytest.approx(2 / 4 + 1e-3)
    assert values["siblings"].tolist() == [0, 0, 1, 1, 0, 0]
    assert values["below demand"].tolist() == [0, 0, 0, 0, 0, 0.5]
    assert values["meaning"].tolist() == [0, 0, 0, 0, 0.5, 0]
    nothing = dict(zip(FEATURES, model.features(signals([], {}, []))[:, 0], strict=True))
    assert not nothing["taste"].any() and not nothing["demand"].any()
    chances = model.chances(signals([2], {}, [2]))
    assert chances.sum() == pytest.approx(1) and chances[0, [0, 2]].tolist() == [0, 0]


def test_fitted_weights_find_what_made_the_clicks() -> None:
    """Clicks drawn by what stands below the demand: that weight is found, and popularity is nothing."""
    rng = np.random.default_rng(0)
    model = NovelClickModel(CategoryStatistics.of(CLICKED, DEMAND, shrink=1.0), PARENT, VECTORS)
    truth = np.zeros(len(FEATURES))
    truth[FEATURES.index("below demand")] = 3.0
    source = NovelClickModel(model.statistics, PARENT, VECTORS, truth.tolist())
    examples = []
    for _ in range(400):
        one = signals([2], {int(rng.choice([1, 4])): 1.0}, [2])
        target = rng.choice(6, p=source.chances(one)[0])
        examples.append((model, one, np.array([target])))
    weights = dict(zip(FEATURES, model.fitted(examples).weights, strict=True))
    other = source.chances(signals([2], {4: 1.0}, [2]))[0]
    fitted = model.fitted(examples).chances(signals([2], {4: 1.0}, [2]))[0]
    assert fitted == pytest.approx(other, abs=0.08) and weights["below demand"] > 0.5
    assert model.fitted(examples[:50]).weights.tolist() == list(FALLBACK), "too few to learn from"
