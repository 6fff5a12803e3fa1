"""Click models: known examination and relevance come back, and what cannot be identified is refused."""

import numpy as np
import pytest

from searec.data.click_log import ClickLog
from searec.errors import DataError
from searec.evaluation.click_models import (
    FLOOR,
    CascadeModel,
    Examination,
    expectation_maximisation,
    harvest,
    perplexity,
    relevance,
)

QUERIES, ITEMS, DEPTH = 40, 8, 5
EXAMINED = np.array([1.0, 0.6, 0.4, 0.25, 0.15])


def pages(searches: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query [S], items [S, DEPTH] in an order that favours the relevant, and relevance of each query's items."""
    rng = np.random.default_rng(seed)
    relevant = rng.uniform(0.05, 0.9, (QUERIES, ITEMS))
    query = rng.integers(0, QUERIES, searches)
    ranked = np.argsort(-(relevant[query] + noise * rng.gumbel(size=(searches, ITEMS))), axis=1)[:, :DEPTH]
    return query, ranked, relevant


def log_of(query: np.ndarray, items: np.ndarray, clicked: np.ndarray) -> ClickLog:
    searches = len(query)
    pair = (query[:, None] * ITEMS + items).ravel()
    position = np.tile(np.arange(1, DEPTH + 1), searches)
    owner = np.repeat(np.arange(searches), DEPTH)
    return ClickLog(owner, pair, query[owner], position, clicked.ravel(), searches, QUERIES * ITEMS, 0)


def position_log(
    searches: int = 20_000, noise: float = 0.3, examined: np.ndarray = EXAMINED, seed: int = 0
) -> ClickLog:
    query, items, relevant = pages(searches, noise, seed)
    chance = examined * relevant[query[:, None], items]
    return log_of(query, items, np.random.default_rng(seed + 1).random(chance.shape) < chance)


def test_examination_comes_back_with_honest_errors_although_good_results_are_shown_first() -> None:
    log = position_log()
    rate = np.bincount(log.position - 1, log.is_clicked) / log.searches
    assert rate[4] / rate[0] < 0.85 * EXAMINED[4], "the plain click rate confounds position with relevance"
    found = harvest(log)
    assert found.first.tolist() == [1, 2, 3, 4, 5] and found.error[0] == 0
    assert (np.abs(found.chance - EXAMINED)[1:] < 3 * found.error[1:]).all() and found.error.max() < 0.03
    deviations = []
    for seed in range(10, 40):
        one = harvest(position_log(2_000, seed=seed))
        deviations.append((one.chance - EXAMINED)[1:] / one.error[1:])
    assert 0.75 < np.std(deviations) < 1.3 and abs(np.mean(deviations)) < 0.35


def test_without_bias_every_position_is_examined_alike() -> None:
    found = harvest(position_log(examined=np.ones(DEPTH)))
    assert np.abs(found.chance - 1).max() < 0.06


def test_expectation_maximisation_agrees_where_every_pair_is_shown_often() -> None:
    log = position_log()
    assert expectation_maximisation(log, harvest(log).first, 300) == pytest.approx(EXAMINED, abs=0.04)


def test_relevance_is_clicks_over_examined_impressions() -> None:
    query, items, relevant = pages(40_000, 0.6)
    chance = EXAMINED * relevant[query[:, None], items]
    log = log_of(query, items, np.random.default_rng(3).random(chance.shape) < chance)
    often = np.bincount(log.pair, minlength=log.pairs) > 500
    found = relevance(log, harvest(log))
    assert np.abs(found - relevant.ravel())[often].max() < 0.15
    plain = relevance(log, Examination(np.array([1]), np.ones(1), np.zeros(1), np.zeros(1), log.searches))
    assert (
        np.corrcoef(found[often], relevant.ravel()[often])[0, 1]
        > np.corrcoef(plain[often], relevant.ravel()[often])[0, 1]
    )


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (position_log(noise=0.0), "several positions"),  # one order for each query
        (position_log(20), "several positions"),
    ],
)
def test_what_cannot_be_identified_is_refused_with_a_remedy(log: ClickLog, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        harvest(log)
    assert "varied order" in str(error.value)


def test_positions_that_no_result_links_are_refused() -> None:
    """The first two positions swap their results, and so do the last two; nothing moves between the halves."""
    rng = np.random.default_rng(0)
    query = rng.integers(0, QUERIES, 8_000)
    swap = rng.random((len(query), 2)) < 0.5
    items = np.zeros((len(query), DEPTH), dtype=np.int64)
    for half in (0, 1):
        items[:, 2 * half], items[:, 2 * half + 1] = 2 * half + swap[:, half], 2 * half + 1 - swap[:, half]
    items[:, 4] = 4
    with pytest.raises(DataError, match="positions from 3"):
        harvest(log_of(query, items, rng.random(items.shape) < 0.4 * EXAMINED))


def test_sparse_positions_join_their_neighbours() -> None:
    found = harvest(position_log(), fewest=3_000)
    assert found.first[0] == 1 and 2 <= len(found.first) < DEPTH and found.clicks.min() >= 3_000
    assert found.group(np.array([1, DEPTH, 70])).tolist() == [0, len(found.first) - 1, len(found.first) - 1]


def test_weights_are_clipped_and_a_click_without_a_position_has_the_mean() -> None:
    found = Examination(np.array([1, 2, 5]), np.array([1.0, 0.5, 0.01]), np.zeros(3), np.zeros(3), 10)
    assert found.weights(np.array([1, 2, 4, 9])).tolist() == [1.0, 2.0, 2.0, 1 / FLOOR]
    assert found.weights(np.array([1, 4, 0])).tolist() == [1.0, 2.0, 1.5]


def test_the_cascade_model_finds_attraction_and_satisfaction_and_explains_cascades_better() -> None:
    query, items, relevant = pages(30_000, 0.5)
    attractive, stops = relevant[query[:, None], items], 0.7
    rng = np.random.default_rng(5)
    clicked, reads = np.zeros(items.shape, dtype=bool), np.ones(len(query), dtype=bool)
    for place in range(DEPTH):
        clicked[:, place] = reads & (rng.random(len(query)) < attractive[:, place])
        reads &= ~(clicked[:, place] & (rng.random(len(query)) < stops))
    log = log_of(query, items, clicked)
    model = CascadeModel.fit(log)
    often = np.bincount(log.pair, minlength=log.pairs) > 500
    assert np.abs(model.attractive - relevant.ravel())[often].mean() < 0.1
    found = harvest(log)
    of_positions = found.chance[found.group(log.position)] * relevance(log, found)[log.pair]
    assert perplexity(model.examination(log) * model.attractive[log.pair], log) < perplexity(of_positions, log)


def test_perplexity_of_a_coin_is_two() -> None:
    log = position_log(50)
    assert perplexity(np.full(len(log.pair), 0.5), log) == pytest.approx(2)
