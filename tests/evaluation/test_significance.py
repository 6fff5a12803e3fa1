"""Tests, intervals, correction and the comparison: against SciPy, worked numbers, and runs whose truth is known."""

import json

import numpy as np
import polars as pl
import pytest
import scipy.stats

from searec.errors import RunError, SettingsError
from searec.evaluation.compare import compare
from searec.evaluation.result import Evaluation
from searec.evaluation.significance import (
    bootstrap_means,
    bootstrap_seeds,
    holm,
    interval,
    means,
    sign_flip,
    t_test,
    win_tie_loss,
)
from searec.metrics import ACCURACY, parse_metrics


def normal(seed, rows, columns, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, (rows, columns))


def test_t_test_equals_scipy_also_with_absent_requests():
    values = normal(0, 40, 3, shift=0.3)
    values[5:20, 1] = np.nan
    expected = [scipy.stats.ttest_1samp(column[~np.isnan(column)], 0.0).pvalue for column in values.T]
    assert t_test(values).tolist() == pytest.approx(expected, rel=1e-10)


def test_t_test_at_its_ends():
    p = t_test(np.array([[0.0, 0.5, 1.0, np.nan], [0.0, 0.5, np.nan, np.nan]]))
    assert p[:2].tolist() == [1.0, 0.0]  # no difference at all; the same difference for all
    assert np.isnan(p[2:]).all()  # one request, none


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_sign_flip_equals_scipys_exact_permutation_test(shift):
    values = normal(3, 11, 1, shift)
    exact = scipy.stats.permutation_test(
        (values[:, 0], np.zeros(11)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=5000
    )
    assert sign_flip(values, np.random.default_rng(0), 20_000)[0] == pytest.approx(exact.pvalue, abs=0.012)


def test_sign_flip_counts_ties_with_the_seen_difference():
    # Two requests with difference 1: sums 2, 0, 0, -2, so half of the flips are as far out as what was seen.
    assert sign_flip(np.array([[1.0], [1.0]]), np.random.default_rng(0), 10_000)[0] == pytest.approx(0.5, abs=0.02)
    p = sign_flip(np.array([[0.0, np.nan], [0.0, np.nan]]), np.random.default_rng(0), 50)
    assert p[0] == 1.0
    assert np.isnan(p[1])


def test_sign_flip_is_fair_when_runs_are_alike_and_sharp_when_not():
    alike = sign_flip(normal(1, 200, 400), np.random.default_rng(2), 999)
    assert (alike < 0.05).mean() == pytest.approx(0.05, abs=0.035)
    assert sign_flip(normal(1, 200, 5, shift=0.5), np.random.default_rng(2), 999).max() == pytest.approx(1 / 1000)


def test_bootstrap_interval_agrees_with_scipy_and_narrows_with_more_requests():
    values = normal(4, 300, 1) ** 2
    low, high = interval(bootstrap_means(values, np.random.default_rng(0), 4000))
    expected = scipy.stats.bootstrap(
        (values[:, 0],), np.mean, method="percentile", n_resamples=4000, rng=1
    ).confidence_interval
    assert (low[0], high[0]) == (pytest.approx(expected.low, abs=0.02), pytest.approx(expected.high, abs=0.02))
    wide = interval(bootstrap_means(values[:30], np.random.default_rng(0), 4000))
    assert wide[1][0] - wide[0][0] > 1.5 * (high[0] - low[0])


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    low, high = interval(bootstrap_means(normal(5, 150, 300), np.random.default_rng(0), 800))
    assert ((low < 0) & (high > 0)).mean() == pytest.approx(0.95, abs=0.04)


def test_bootstrap_of_a_slice_is_that_of_its_requests_alone():
    values = normal(6, 400, 2)
    values[200:, 1] = np.nan
    low, high = interval(bootstrap_means(values, np.random.default_rng(0), 3000))
    alone = interval(bootstrap_means(values[:200, 1:], np.random.default_rng(1), 3000))
    assert means(values)[1] == pytest.approx(values[:200, 1].mean())
    assert (low[1], high[1]) == (pytest.approx(alone[0][0], abs=0.02), pytest.approx(alone[1][0], abs=0.02))
    nobody = interval(bootstrap_means(np.full((5, 1), np.nan), np.random.default_rng(0), 10))
    assert np.isnan(nobody).all()


@pytest.mark.parametrize("resample", [bootstrap_means, sign_flip])
def test_resampling_repeats_bit_for_bit_by_seed(resample):
    values = normal(7, 50, 3)
    first, again, other = (resample(values, np.random.default_rng(seed), 200) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    with pytest.raises(SettingsError):
        resample(values, np.random.default_rng(0), 0)


def test_chunks_cover_every_resample(monkeypatch):
    monkeypatch.setattr("searec.evaluation.significance._CELLS_AT_ONCE", 1)
    samples = bootstrap_means(normal(8, 20, 2), np.random.default_rng(0), 50)  # chunks of 16, 16, 16, 2
    assert samples.shape == (50, 2)
    assert np.isfinite(samples).all()
    assert sign_flip(np.ones((20, 1)), np.random.default_rng(0), 50)[0] == pytest.approx(1 / 51)


def test_holm_by_hand():
    # Ascending 0.001, 0.01, 0.02, 0.03, 0.6 x 5, 4, 3, 2, 1 = 0.005, 0.04, 0.06, 0.06, 0.6.
    assert holm([0.03, 0.001, 0.6, 0.02, 0.01]).tolist() == pytest.approx([0.06, 0.005, 0.6, 0.06, 0.04])
    assert holm([[0.5, np.nan], [0.9, 0.1]]) == pytest.approx(np.array([[1.0, np.nan], [1.0, 0.3]]), nan_ok=True)
    assert holm([0.04, np.nan]).tolist() == pytest.approx([0.04, np.nan], nan_ok=True)  # no test is not counted
    assert holm([]).tolist() == []


def test_holm_lies_between_none_and_bonferroni_and_keeps_order():
    p = np.random.default_rng(0).random(30) ** 3
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, 30 * p) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


def test_win_tie_loss_counts_each_request_once():
    values = np.array([[0.1, np.nan], [-0.2, 1.0], [1e-16, 0.0], [0.3, -1.0]])
    assert win_tie_loss(values).tolist() == [[2, 1, 1], [1, 1, 1]]


def run(label, ranks, *, users=None, protocol="sampled", task="recommend", model="m", seed=0, slices=None, totals=None):
    ranks = np.asarray(ranks, dtype=float)
    names = [f"u{n}" for n in range(len(ranks))] if users is None else users
    scores = pl.DataFrame(
        {
            "user_id": names,
            "time": [1] * len(ranks),
            "target": pl.Series([1] * len(ranks), dtype=pl.Int32),
            "rank": ranks,
        }
    )
    scores = scores.with_columns(**{f"slice:{name}": pl.Series(inside) for name, inside in (slices or {}).items()})
    metrics = parse_metrics(",".join((ACCURACY, *(totals or {}))))
    return Evaluation(label, model, task, protocol, "test", scores, totals or {}, {"seed": seed}, {}, 1.0, metrics)


def random_ranks(seed, users=300, shift=0.0):
    generator = np.random.default_rng(seed)
    return np.maximum(1, np.floor(generator.exponential(6.0, users) + shift))


def test_compare_finds_the_better_run_and_calls_equal_ones_equal():
    better = random_ranks(0)
    found = compare(
        [run("worse", better + 2), run("better", better), run("twin", np.random.default_rng(1).permutation(better))],
        resamples=1000,
    )
    table = found.tables[0]
    assert (table.baseline, table.headline.name, table.requests) == ("better", "ndcg@5", 300)
    worse, best, twin = table.rows
    assert best.metrics["mrr"].difference is None
    lost = worse.metrics["mrr"].difference
    assert (lost.win, lost.tie, lost.loss) == (0, 0, 300)
    assert lost.high < 0
    # Ties sort first of 12 tests (2 runs x 6 metrics), each at the least p of 1 / 1001.
    assert lost.p_random == pytest.approx(1 / 1001)
    assert lost.p_holm == pytest.approx(12 / 1001)
    assert lost.p_t == pytest.approx(scipy.stats.ttest_rel(1 / (better + 2), 1 / better).pvalue)
    equal = twin.metrics["mrr"].difference
    assert equal.mean == pytest.approx(0.0, abs=1e-12)
    assert equal.low < 0 < equal.high
    assert equal.p_holm == 1.0
    assert best.metrics["mrr"].low < (1 / better).mean() < best.metrics["mrr"].high


def test_requests_are_matched_by_their_key_not_their_place():
    ranks = random_ranks(2)
    backwards = run("b", ranks[::-1], users=[f"u{n}" for n in range(len(ranks))][::-1])
    difference = (
        compare([run("a", ranks), backwards], baseline="a", resamples=50)
        .tables[0]
        .rows[1]
        .metrics["ndcg@10"]
        .difference
    )
    assert (difference.win, difference.tie, difference.loss) == (0, 300, 0)
    assert difference.p_t == difference.p_random == 1.0


def test_only_common_requests_count_and_the_rest_is_told():
    table = compare(
        [run("a", [1, 1, 50], users=["x", "y", "z"]), run("b", [2, 2], users=["y", "x"])], resamples=200
    ).tables[0]
    assert table.requests == 2
    assert table.rows[0].metrics["mrr"].mean == 1.0
    assert table.notes == ("Only the 2 requests that every run scored count; left out: 1 of a.",)
    with pytest.raises(RunError, match="no request in common"):
        compare([run("a", [1], users=["x"]), run("b", [1], users=["y"])])


def test_slices_are_tested_apart():
    half = np.arange(400) % 2 == 0
    base = random_ranks(3, 400, shift=3)
    table = compare(
        [
            run("a", base, slices={"even": half, "none": half & False}),
            run("b", np.where(half, 1, base), slices={"even": half, "none": half & False}),
        ],
        baseline="a",
        resamples=500,
    ).tables[0]
    assert table.slices == {"even": 200, "none": 0}
    inside = table.rows[1].slices["even"]
    assert inside.mean == 1.0
    assert inside.difference.p_holm < 0.05
    assert inside.difference.tie + inside.difference.win == 200
    assert np.isnan(table.rows[1].slices["none"].mean)
    assert inside.difference.mean == pytest.approx(
        2 * table.rows[1].metrics["ndcg@5"].difference.mean
    )  # all of it is in this half


def test_seeds_of_a_label_are_averaged_per_user():
    table = compare(
        [
            run("a", [1, 3], seed=1, totals={"coverage@10": 0.2}),
            run("a", [3, 1], seed=2, totals={"coverage@10": 0.4}),
            run("b", [3, 3], totals={"coverage@10": 0.1}),
        ],
        resamples=50,
    ).tables[0]
    row = table.rows[0]
    cell = row.metrics["ndcg@5"]
    assert len(table.rows) == 2
    assert cell.mean == 0.75  # each user: (1 + 1/2) / 2
    assert cell.seeds == (0.75, 0.75)
    assert cell.seed_deviation == 0.0
    assert row.totals["coverage@10"] == pytest.approx(0.3)
    assert table.rows[1].metrics["ndcg@5"].seed_deviation is None
    assert any("mean of 2 runs" in note for note in table.notes)
    with pytest.raises(RunError, match="several models"):
        compare([run("a", [1], model="x"), run("a", [1], model="y")])


def test_t_test_over_seeds_alone_is_welchs():
    one, other = np.array([0.1, 0.5, 0.6]), np.array([0.4, 0.5, 0.7, 0.8])
    differences = np.full((50, 1), one.mean() - other.mean())  # the same for every request
    expected = scipy.stats.ttest_ind(one, other, equal_var=False).pvalue
    assert t_test(differences, one[:, None], other[:, None])[0] == pytest.approx(expected)
    fixed = scipy.stats.ttest_1samp(one, other.mean()).pvalue  # the other side is one run, with no deviation
    assert t_test(differences, one[:, None], other[:1, None])[0] == pytest.approx(fixed)


def test_bootstrap_of_seeds_has_the_error_of_their_mean():
    means_of_seeds = np.array([0.1, 0.5, 0.6])
    samples = np.repeat(means_of_seeds[:, None, None], 20_000, axis=1)
    drawn = bootstrap_seeds(samples, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(means_of_seeds.mean(), abs=0.005)
    assert drawn.var() == pytest.approx(means_of_seeds.var(ddof=1) / 3, rel=0.03)


def test_a_run_that_differs_by_its_seed_alone_is_not_shown_to_be_better():
    base = random_ranks(7)
    lucky = [run("lucky", base + shift, seed=seed) for seed, shift in enumerate((0, 0, 0, 9))]
    (one_seed,) = compare([run("base", base + 2), lucky[0]], baseline="base", resamples=300).tables
    (four,) = compare([run("base", base + 2), *lucky], baseline="base", resamples=300).tables
    assert one_seed.rows[1].metrics["mrr"].difference.p_holm < 0.05
    over_seeds = four.rows[1].metrics["mrr"].difference
    assert over_seeds.p_random < 0.05 < over_seeds.p_holm
    assert over_seeds.low < 0 < over_seeds.high


def test_the_full_protocol_shows_new_targets_with_repeats_apart():
    ranks, is_new = np.array([1.0, 1.0, 2.0, 9.0]), np.array([False, False, True, True])
    slices = {"sparse": [True, False, True, False], "repeat": ~is_new, "new": is_new}
    (table,) = compare([run("a", ranks, protocol="full", slices=slices)], resamples=50).tables
    gain = 1 / np.log2(1 + ranks)
    assert (table.targets, table.requests) == ("new", 2)
    assert table.rows[0].metrics["ndcg@10"].mean == pytest.approx(gain[2:].mean())
    assert table.slices == {"all": 4, "repeat": 2, "sparse": 1}
    assert table.rows[0].slices["all"].mean == pytest.approx(gain.mean())
    assert table.rows[0].slices["repeat"].mean == 1.0
    assert table.rows[0].slices["sparse"].mean == pytest.approx(gain[2])
    for other in ({"protocol": "sampled"}, {"protocol": "full", "task": "search"}):
        (table,) = compare([run("a", ranks, slices=slices, **other)], resamples=50).tables
        assert (table.targets, table.requests) == ("all", 4)
        assert "new" in table.slices


def test_baseline_is_the_best_by_the_protocols_metric_or_as_named():
    deep, sharp = [8] * 10, [1, 1, 50, 50, 50, 50, 50, 50, 50, 50]  # NDCG@5 0 against 0.2, NDCG@10 0.315 against 0.2
    for protocol, best in (("sampled", "sharp"), ("full", "deep")):
        runs = [run("deep", deep, protocol=protocol), run("sharp", sharp, protocol=protocol)]
        assert compare(runs, resamples=20).tables[0].baseline == best
        assert compare(runs, baseline="deep", resamples=20).tables[0].baseline == "deep"
    with pytest.raises(SettingsError, match="did you mean 'sharp'"):
        compare([run("deep", deep), run("sharp", sharp)], baseline="shrap")


def test_a_baseline_missing_from_one_table_is_told():
    found = compare([run("a", [1, 2]), run("b", [2, 3]), run("b", [2, 3], task="search")], baseline="a", resamples=200)
    assert [table.baseline for table in found.tables] == ["a", "b"]
    assert found.tables[1].notes == ("a was not evaluated here, so the baseline is the best run, b.",)


def test_too_few_resamples_to_show_anything_are_told():
    runs = [run("a", random_ranks(0)), run("b", random_ranks(0) + 9)]  # 6 comparisons: 6 / (n + 1) < 0.05 from n = 120
    few, enough = (compare(runs, resamples=n).tables[0] for n in (119, 120))
    assert few.notes == ("119 resamples are too few to show any difference among 6 comparisons; take 120 or more.",)
    assert enough.notes == ()
    assert few.rows[1].metrics["mrr"].difference.p_holm >= 0.05 > enough.rows[1].metrics["mrr"].difference.p_holm


def test_json_is_plain_and_a_table_does_not_depend_on_the_others():
    runs = [
        run("a", random_ranks(0), slices={"none": [False] * 300}),
        run("b", random_ranks(1), slices={"none": [False] * 300}),
    ]
    alone = compare(runs, resamples=100, seed=5).as_json()
    with_more = compare([run("c", [1, 2], task="search"), *runs], resamples=100, seed=5).as_json()
    assert json.loads(json.dumps(alone, allow_nan=False)) == alone
    assert with_more["tables"][1] == alone["tables"][0]
    assert alone["tables"][0]["rows"][0]["slices"]["none"]["mean"] is None
    assert compare(runs, resamples=100, seed=6).as_json()["tables"] != alone["tables"]


def test_nothing_to_compare_is_an_error():
    with pytest.raises(RunError, match="nothing to compare"):
        compare([])
