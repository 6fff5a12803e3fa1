"""Metrics: known answers, a naive version, and ir-measures."""

import math

import ir_measures
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from searec.data.ragged import Ragged, group
from searec.errors import DataError, SettingsError
from searec.evaluation.protocol import tie_rank
from searec.metrics import (
    ACCURACY,
    METRICS,
    MRR,
    NDCG,
    Hit,
    RankMetric,
    Recall,
    Results,
    applicable,
    parse_metrics,
)
from searec.metrics.coverage import Coverage, Gini
from searec.metrics.diversity import Diversity
from searec.metrics.novelty import Novelty

IR = {
    "hit@1": "Success@1",
    "hit@5": "Success@5",
    "hit@10": "Success@10",
    "ndcg@5": "nDCG@5",
    "ndcg@10": "nDCG@10",
    "ndcg@20": "nDCG@20",
    "recall@15": "R@15",
    "mrr": "RR",
    "mrr@10": "RR@10",
}


def ranks(scores):
    """Ranks [R] of column 0 of `scores` [R, 1 + N]."""
    return tie_rank(torch.tensor(np.asarray(scores, dtype=float)), torch.zeros(len(scores), dtype=torch.long))


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
    measures = {ours: ir_measures.parse_measure(theirs) for ours, theirs in IR.items()}
    figures = ir_measures.calc_aggregate(measures.values(), truth, run)
    return {ours: figures[measure] for ours, measure in measures.items()}


@pytest.mark.parametrize("seed", range(3))
def test_without_ties_equals_ir_measures(seed):
    generator = np.random.default_rng(seed)
    # Whole numbers, as trec_eval keeps float32.
    scores = np.stack([generator.permutation(30) for _ in range(60)]).astype(float)
    theirs = by_ir_measures(scores, lambda r, n: f"i{n}")
    assert {metric.name for metric in parse_metrics(ACCURACY)} <= set(IR)
    for metric in parse_metrics(",".join(IR)):
        assert isinstance(metric, RankMetric)
        assert metric.of_ranks(ranks(scores)).mean() == pytest.approx(theirs[metric.name], abs=1e-9)


def test_a_tie_lies_between_the_names_ir_measures_breaks_it_by():
    scores = np.zeros((4, 5))  # all candidates alike: rank 1 + 4 / 2 = 3
    ours = MRR().of_ranks(ranks(scores)).mean()
    lucky = by_ir_measures(scores, lambda r, n: "z" if n == 0 else f"a{n}")["mrr"]
    unlucky = by_ir_measures(scores, lambda r, n: "a" if n == 0 else f"z{n}")["mrr"]
    assert (unlucky, ours, lucky) == (pytest.approx(1 / 5), pytest.approx(1 / 3), pytest.approx(1.0))


@settings(max_examples=60, deadline=None)
@given(arrays(np.int8, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.integers(-3, 3)), st.randoms())
def test_equals_the_naive_version_with_ties_and_left_out_candidates(scores, random):
    keep = np.array([[True, *(random.random() < 0.7 for _ in row[1:])] for row in scores], dtype=bool)
    rank = ranks(np.where(keep, scores, -np.inf))
    expected = [naive_rank(row[0], row[1:][kept[1:]]) for row, kept in zip(scores, keep, strict=True)]
    assert rank.tolist() == expected
    assert (rank <= ranks(scores)).all()  # fewer candidates never make it worse
    for metric in parse_metrics(ACCURACY):
        naive = [naive_metrics(r)[metric.name] for r in expected]
        assert metric.values(Results(rank)).tolist() == pytest.approx(naive, abs=1e-12)


def test_equal_scores_are_the_middle_and_earn_no_hit():
    rank = ranks(np.zeros((2, 100)))
    assert rank.tolist() == [50.5, 50.5]
    assert Hit(10).of_ranks(rank).sum() == 0
    assert Hit(1).of_ranks(ranks([[1.0, 1.0]])).tolist() == [0.0]  # rank 1.5


def lists(seed, users=40, items=25, depth=6):
    generator = np.random.default_rng(seed)
    top = np.stack([generator.permutation(items)[:depth] + 1 for _ in range(users)])
    top[generator.random(top.shape) < 0.15] = 0
    size = generator.integers(0, 4, items + 1)
    size[0] = 0
    rows = group(np.repeat(np.arange(items + 1), size), generator.integers(0, 6, size.sum()), items + 1)
    return top, rows, generator.integers(0, 9, items + 1)


def results(top, **fields):
    return Results(np.ones(len(top)), lists=np.asarray(top), **fields)


@pytest.mark.parametrize("chunk", [1, 1 << 18])
@pytest.mark.parametrize("k", [3, 10])
def test_list_metrics_equal_their_naive_version(monkeypatch, chunk, k):
    monkeypatch.setattr("searec.metrics.diversity._PAIRS_AT_ONCE", chunk)
    top, rows, clicks = lists(0)
    sets = [set(rows.row(n).tolist()) for n in range(len(rows))]
    total = clicks[1:].sum() + 25
    varied, little_known = [], []
    for shown in top[:, :k]:
        items = [n for n in shown.tolist() if n]
        pairs = [(a, b) for i, a in enumerate(items) for b in items[i + 1 :] if sets[a] and sets[b]]
        alike = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs]
        varied.append(1 - sum(alike) / len(alike) if alike else 0.0)
        little_known.append(sum(-math.log2((clicks[n] + 1) / total) for n in items) / max(len(items), 1))
    measured = results(top, clicks=clicks, categories=rows)
    assert Diversity(k).values(measured).tolist() == pytest.approx(varied)
    assert Novelty(k).values(measured).tolist() == pytest.approx(little_known)
    assert Coverage(k).total(measured) == len(set(top[:, :k].ravel().tolist()) - {0}) / 25


def test_list_metrics_at_their_ends():
    one = Ragged(np.array([0, 0, 1]), np.array([4]))
    empty = results(np.zeros((2, 3), dtype=int), clicks=np.zeros(6, dtype=int), categories=one)
    assert (Coverage(3).total(empty), Gini(3).total(empty)) == (0.0, 0.0)
    assert Novelty(3).values(empty).tolist() == Diversity(3).values(empty).tolist() == [0.0, 0.0]
    assert Gini(1).total(results([[1], [1]], clicks=np.zeros(101))) == pytest.approx(0.99)  # (N - 1) / N: all on one
    assert Diversity(3).values(results([[1, 0, 0]], categories=one)).tolist() == [0.0]  # one item, no pair


def test_list_metrics_refuse_what_they_cannot_read():
    with pytest.raises(DataError, match="got: 6"):
        Coverage(1).total(results([[6]], clicks=np.zeros(6)))
    with pytest.raises(DataError, match="row 0"):
        Diversity(1).values(results([[1]], categories=Ragged(np.array([0, 1, 2]), np.array([1, 2]))))
    with pytest.raises(DataError, match=r"novelty@1 cannot be computed; got: results without clicks"):
        Novelty(1).values(results([[1]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ndgc@10", r"unknown metric 'ndgc'.*ndcg"),
        ("ndcg", r"needs a depth.*ndcg@10"),
        ("ndcg@0", r"depth of ndcg must be a positive whole number; got: 0"),
        ("ndcg@ten", r"not a whole number; got: 'ndcg@ten'"),
        ("ndcg@-1", r"not a whole number"),
        ("", "no metric is named"),
    ],
)
def test_a_wrong_name_is_refused_and_the_right_one_named(text, message):
    with pytest.raises(SettingsError, match=message):
        parse_metrics(text)


def test_names_are_parsed_in_order_and_once():
    parsed = parse_metrics("recall@50, ndcg@20,mrr,recall@50")
    assert parsed == (Recall(50), NDCG(20), MRR())
    assert parse_metrics(["ndcg@20", MRR(k=5)]) == (NDCG(k=20), MRR(k=5))
    assert [metric.heading for metric in parsed] == ["Recall@50", "NDCG@20", "MRR"]


def test_every_metric_of_the_registry_says_what_it_is():
    for key in METRICS.names():
        metric = parse_metrics(f"{key}@7")[0]
        assert metric.name == f"{key}@7" and metric.heading == f"{metric.title}@7"
        assert metric.description.endswith(".") and len(metric.description) > 20
        assert type(metric).__doc__ and ">>>" in type(metric).__doc__


def test_metrics_of_lists_are_of_the_full_protocol_and_of_their_task():
    names = "ndcg@20,novelty@20,enr@20"
    shown = {
        (task, protocol): [metric.name for metric in applicable(names, task, protocol)]
        for task in ("recommend", "search")
        for protocol in ("sampled", "full")
    }
    assert shown == {
        ("recommend", "sampled"): ["ndcg@20"],
        ("recommend", "full"): ["ndcg@20", "novelty@20", "enr@20"],
        ("search", "sampled"): ["ndcg@20"],
        ("search", "full"): ["ndcg@20", "novelty@20"],
    }
    with pytest.raises(SettingsError, match=r"no metric named is defined for search in the sampled protocol"):
        applicable("enr@10", "search", "sampled")
