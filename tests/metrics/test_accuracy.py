"""Ranks, metrics, list figures and the kept evaluation: known answers, a naive version, and ir-measures."""

import json
import math

import ir_measures
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from searec.data.ragged import Ragged, group
from searec.errors import DataError, RunError, SettingsError
from searec.evaluation.result import Evaluation, metrics, summary
from searec.metrics.accuracy import ACCURACY, hit_rate, ndcg, per_user, ranks, reciprocal_rank
from searec.metrics.beyond_accuracy import coverage, diversity, gini, novelty

IR = {
    "hit@1": "Success@1",
    "hit@5": "Success@5",
    "hit@10": "Success@10",
    "ndcg@5": "nDCG@5",
    "ndcg@10": "nDCG@10",
    "mrr": "RR",
}


def naive_rank(target, others):
    better = sum(1 for other in others if other > target)
    ties = sum(1 for other in others if other == target)
    return 1 + better + ties / 2


def naive_metrics(rank):
    values = {f"hit@{k}": 1.0 if rank <= k else 0.0 for k in (1, 5, 10)}
    values |= {f"ndcg@{k}": 1.0 / math.log2(1 + rank) if rank <= k else 0.0 for k in (5, 10)}
    return values | {"mrr": 1.0 / rank}


def by_ir_measures(scores, name):
    """Mean metric of ir-measures; column 0 of `scores` [R, 1 + N] is the target, `name(r, n)` the item's name."""
    truth = [ir_measures.Qrel(str(r), name(r, 0), 1) for r in range(len(scores))]
    run = [
        ir_measures.ScoredDoc(str(r), name(r, n), float(s)) for r, row in enumerate(scores) for n, s in enumerate(row)
    ]
    wanted = {ours: ir_measures.parse_measure(theirs) for ours, theirs in IR.items()}
    found = ir_measures.calc_aggregate(wanted.values(), truth, run)
    return {ours: found[measure] for ours, measure in wanted.items()}


@pytest.mark.parametrize("seed", range(3))
def test_without_ties_equals_ir_measures(seed):
    generator = np.random.default_rng(seed)
    scores = np.stack([generator.permutation(30) for _ in range(60)]).astype(
        float
    )  # whole numbers: trec_eval keeps float32
    ours = {name: value.mean() for name, value in per_user(ranks(scores[:, 0], scores[:, 1:])).items()}
    theirs = by_ir_measures(scores, lambda r, n: f"i{n}")
    assert set(ours) == set(ACCURACY)
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], abs=1e-9)


def test_a_tie_lies_between_the_names_ir_measures_breaks_it_by():
    scores = np.zeros((4, 5))  # all candidates alike: rank 1 + 4 / 2 = 3
    ours = reciprocal_rank(ranks(scores[:, 0], scores[:, 1:])).mean()
    lucky = by_ir_measures(scores, lambda r, n: "z" if n == 0 else f"a{n}")["mrr"]
    unlucky = by_ir_measures(scores, lambda r, n: "a" if n == 0 else f"z{n}")["mrr"]
    assert (unlucky, ours, lucky) == (pytest.approx(1 / 5), pytest.approx(1 / 3), pytest.approx(1.0))


@settings(max_examples=60, deadline=None)
@given(arrays(np.int8, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.integers(-3, 3)), st.randoms())
def test_equals_the_naive_version_with_ties_and_mask(scores, random):
    mask = np.array([[random.random() < 0.7 for _ in row[1:]] for row in scores], dtype=bool).reshape(len(scores), -1)
    rank = ranks(scores[:, 0], scores[:, 1:], mask)
    expected = [naive_rank(row[0], row[1:][keep]) for row, keep in zip(scores, mask, strict=True)]
    assert rank.tolist() == expected
    assert (rank <= ranks(scores[:, 0], scores[:, 1:])).all()  # fewer candidates never make it worse
    for name, value in per_user(rank).items():
        assert value.tolist() == pytest.approx([naive_metrics(r)[name] for r in expected], abs=1e-12)


def test_equal_scores_are_the_middle_and_earn_no_hit():
    rank = ranks(np.zeros(2), np.zeros((2, 99)))
    assert rank.tolist() == [50.5, 50.5]
    assert hit_rate(rank, 10).sum() == 0
    assert hit_rate(ranks([1.0], [[1.0]]), 1).tolist() == [0.0]  # rank 1.5


def test_infinite_scores_are_scores():
    assert ranks([-np.inf, np.inf], [[-np.inf, 0.0], [np.inf, 1.0]]).tolist() == [2.5, 1.5]


@pytest.mark.parametrize(("target", "others"), [([0.0, np.nan], [[1.0], [1.0]]), ([0.0, 0.0], [[1.0], [np.nan]])])
def test_nan_is_refused_and_the_request_named(target, others):
    with pytest.raises(RunError, match=r"request 1; got: NaN in 1 of 2"):
        ranks(target, others)


def test_nan_outside_the_mask_does_not_count():
    assert ranks([0.0], [[np.nan, 1.0]], [[False, True]]).tolist() == [2.0]


def test_depth_is_positive():
    with pytest.raises(SettingsError):
        ndcg([1.0], 0)


def lists(seed, users=40, items=25, depth=6):
    generator = np.random.default_rng(seed)
    top = np.stack([generator.permutation(items)[:depth] + 1 for _ in range(users)])
    top[generator.random(top.shape) < 0.15] = 0
    size = generator.integers(0, 4, items + 1)
    size[0] = 0
    rows = group(np.repeat(np.arange(items + 1), size), generator.integers(0, 6, size.sum()), items + 1)
    return top, rows, generator.integers(0, 9, items + 1)


@pytest.mark.parametrize("chunk", [1, 1 << 18])
def test_list_figures_equal_their_naive_version(monkeypatch, chunk):
    monkeypatch.setattr("searec.metrics.beyond_accuracy._PAIRS_AT_ONCE", chunk)
    top, rows, counts = lists(0)
    sets = [set(rows.row(n).tolist()) for n in range(len(rows))]
    total = counts[1:].sum() + 25
    varied, little_known = [], []
    for shown in top:
        items = [n for n in shown.tolist() if n]
        pairs = [(a, b) for i, a in enumerate(items) for b in items[i + 1 :] if sets[a] and sets[b]]
        alike = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs]
        varied.append(1 - sum(alike) / len(alike) if alike else 0.0)
        little_known.append(sum(-math.log2((counts[n] + 1) / total) for n in items) / max(len(items), 1))
    assert diversity(top, rows).tolist() == pytest.approx(varied)
    assert novelty(top, counts).tolist() == pytest.approx(little_known)
    assert coverage(top, 25) == len(set(top.ravel().tolist()) - {0}) / 25


def test_list_figures_at_their_ends():
    empty = np.zeros((2, 3), dtype=int)
    one = Ragged(np.array([0, 0, 1]), np.array([4]))
    assert (coverage(empty, 5), gini(empty, 5)) == (0.0, 0.0)
    assert novelty(empty, np.zeros(6, dtype=int)).tolist() == [0.0, 0.0]
    assert diversity(empty, one).tolist() == [0.0, 0.0]
    assert gini(np.array([[1], [1]]), items=100) == pytest.approx(0.99)  # (N - 1) / N: all on one
    assert diversity(np.array([[1, 0, 0]]), one).tolist() == [0.0]  # one item, no pair


def test_list_figures_refuse_ids_outside_the_catalogue():
    with pytest.raises(DataError, match="got: 6"):
        coverage(np.array([[6]]), 5)
    with pytest.raises(DataError, match="row 0"):
        diversity(np.array([[1]]), Ragged(np.array([0, 1, 2]), np.array([1, 2])))


def evaluation(**changes):
    scores = pl.DataFrame(
        {
            "user_id": ["a", "b", "c"],
            "time": [1, 2, 3],
            "target": pl.Series([1, 2, 3], dtype=pl.Int32),
            "rank": [1.0, 3.0, 20.0],
            "slice:sparse": [True, True, False],
            "slice:cold-user": [False, False, False],
            "novelty": [1.0, 2.0, 6.0],
        }
    )
    given = {
        "label": "m",
        "model": "sasrec",
        "task": "recommend",
        "protocol": "full",
        "part": "test",
        "scores": scores,
        "totals": {"coverage": 0.25},
        "settings": {"seed": 1},
        "environment": {"python": "3"},
        "seconds": 2.0,
    }
    return Evaluation(**given | changes)


def test_summary_is_the_json_of_the_design():
    told = summary(evaluation())
    assert list(told) == ["metrics", "slices", "protocol", "task", "part", "label"]
    # ranks 1, 3, 20: NDCG 1, 1/2, 0; reciprocal ranks 1, 1/3, 1/20
    assert told["metrics"] == pytest.approx(
        {
            "hit@1": 1 / 3,
            "hit@5": 2 / 3,
            "hit@10": 2 / 3,
            "ndcg@5": 0.5,
            "ndcg@10": 0.5,
            "mrr": (1 + 1 / 3 + 1 / 20) / 3,
            "novelty": 3.0,
            "coverage": 0.25,
        }
    )
    assert told["slices"]["sparse"]["ndcg@5"] == 0.75
    assert told["slices"]["sparse"]["users"] == 2
    assert told["slices"]["cold-user"] == {"users": 0}
    json.dumps(told, allow_nan=False)


def test_save_and_load_give_the_same_and_keep_other_entries(tmp_path):
    first, second = evaluation(), evaluation(task="search", totals={})
    first.save(tmp_path)
    second.save(tmp_path)
    first.save(tmp_path)  # again: replaces its own entry
    for saved in (first, second):
        loaded = Evaluation.load(tmp_path, saved.task, "full", "test")
        assert loaded.scores.equals(saved.scores)
        assert {**loaded.__dict__, "scores": None} == {**saved.__dict__, "scores": None}
    assert list(json.loads((tmp_path / "metrics.json").read_text())) == ["recommend/full/test", "search/full/test"]


def test_load_names_what_is_there_and_what_is_broken(tmp_path):
    with pytest.raises(RunError, match="no evaluation"):
        Evaluation.load(tmp_path, "search", "full", "test")
    evaluation().save(tmp_path)
    with pytest.raises(RunError, match=r"got: recommend/full/test; expected: search/full/test"):
        Evaluation.load(tmp_path, "search", "full", "test")
    scores = tmp_path / "scores-recommend-full-test.parquet"
    scores.write_bytes(scores.read_bytes()[:100])
    with pytest.raises(RunError, match="damaged"):
        Evaluation.load(tmp_path, "recommend", "full", "test")
    scores.unlink()
    with pytest.raises(RunError, match="missing file"):
        Evaluation.load(tmp_path, "recommend", "full", "test")
    (tmp_path / "metrics.json").write_text('{"recommend/full')
    with pytest.raises(RunError, match="damaged or not JSON"):
        evaluation().save(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.col("rank") * 0.0, "rank starts at 1"),
        (pl.col("rank") * float("nan"), "empty or no number"),
        (pl.col("rank").cast(pl.Float32), "wrong type"),
        (pl.lit(None, dtype=pl.Boolean).alias("slice:sparse"), "'slice:sparse' holds a value that is empty"),
        (
            [
                pl.lit("a").alias("user_id"),
                pl.lit(1).cast(pl.Int64).alias("time"),
                pl.lit(1).cast(pl.Int32).alias("target"),
            ],
            "there twice",
        ),
    ],
)
def test_scores_are_checked(change, message):
    with pytest.raises(RunError, match=message):
        evaluation(scores=evaluation().scores.with_columns(change))


def test_no_request_is_an_error():
    with pytest.raises(RunError, match="no request"):
        evaluation(scores=evaluation().scores.clear())
    with pytest.raises(DataError):
        metrics(evaluation().scores.clear())
