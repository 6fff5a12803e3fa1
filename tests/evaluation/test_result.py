"""The stored evaluation: what is saved is loaded, and what is damaged or was not measured is named."""

import json

import polars as pl
import pytest

from searec.errors import DataError, RunError
from searec.evaluation.result import Evaluation
from searec.metrics import ACCURACY, parse_metrics


def evaluation(**changes):
    scores = pl.DataFrame(
        {
            "user_id": ["a", "b", "c"],
            "time": [1, 2, 3],
            "target": pl.Series([1, 2, 3], dtype=pl.Int32),
            "rank": [1.0, 3.0, 20.0],
            "slice:sparse": [True, True, False],
            "slice:cold-user": [False, False, False],
            "metric:novelty@10": [1.0, 2.0, 6.0],
        }
    )
    given = {
        "label": "m",
        "model": "sasrec",
        "task": "recommend",
        "protocol": "full",
        "part": "test",
        "scores": scores,
        "totals": {"coverage@10": 0.25},
        "settings": {"seed": 1},
        "environment": {"python": "3"},
        "seconds": 2.0,
        "metrics": parse_metrics(f"{ACCURACY},novelty@10,coverage@10"),
    }
    return Evaluation(**given | changes)


def test_summary_is_the_json_of_the_design():
    told = evaluation().summary()
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
            "novelty@10": 3.0,
            "coverage@10": 0.25,
        }
    )
    assert told["slices"]["sparse"]["ndcg@5"] == 0.75
    assert told["slices"]["sparse"]["users"] == 2
    assert told["slices"]["cold-user"] == {"users": 0}
    json.dumps(told, allow_nan=False)


def test_save_and_load_give_the_same_and_keep_other_entries(tmp_path):
    first, second = evaluation(), evaluation(task="search", totals={}, metrics=parse_metrics(f"{ACCURACY},novelty@10"))
    first.save(tmp_path)
    second.save(tmp_path)
    first.save(tmp_path)  # again: replaces its own entry
    for saved in (first, second):
        loaded = Evaluation.load(tmp_path, saved.task, "full", "test", saved.metrics)
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
        Evaluation.load(tmp_path, "recommend", "full", "test", "ndcg@5")
    scores.unlink()
    with pytest.raises(RunError, match="missing file"):
        Evaluation.load(tmp_path, "recommend", "full", "test", "ndcg@5")
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
        evaluation().means(evaluation().scores.clear())


def test_what_was_not_measured_is_not_loaded(tmp_path):
    assert Evaluation.find(tmp_path, "recommend", "full", "test") is None
    evaluation(depth=30).save(tmp_path)
    assert Evaluation.find(tmp_path, "recommend", "full", "test") is None  # the default has diversity@10
    found = Evaluation.find(tmp_path, "recommend", "full", "test", "ndcg@20,recall@30,novelty@10")
    assert list(found.summary()["metrics"]) == ["ndcg@20", "recall@30", "novelty@10"]
    assert found.means()["recall@30"] == 1.0  # ranks 1, 3, 20
    for names in ("recall@31", "novelty@20", "gini@10"):
        with pytest.raises(RunError, match=f"evaluated without a metric.*--metrics {names}"):
            Evaluation.load(tmp_path, "recommend", "full", "test", names)
