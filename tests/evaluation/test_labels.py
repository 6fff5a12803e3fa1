"""Search against graded labels: known answers, ir-measures on random lists, and the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import polars as pl
import pytest
from ir_measures import RR, Judged, R, Success, nDCG

from searec.data.dataset import Dataset, load
from searec.errors import DataError, SettingsError
from searec.evaluation.labels import Labels, label_metrics, measure, read_labels

Folder = Callable[..., Path]
NAMES = "ndcg@3,ndcg@10,recall@5,hit@3,mrr,mrr@4"
IR = {
    "ndcg@3": nDCG @ 3,
    "ndcg@10": nDCG @ 10,
    "recall@5": R(rel=2) @ 5,
    "hit@3": Success(rel=2) @ 3,
    "mrr": RR(rel=2),
    "mrr@4": RR(rel=2) @ 4,
}
GAINS = {grade: 2**grade - 1 for grade in range(5)}


def labels_of(grades: dict[str, dict[str, float]]) -> Labels:
    rows = [{"id": q, "query": q, "judged": list(of), "grades": list(of.values())} for q, of in grades.items()]
    return Labels(pl.DataFrame(rows))


@pytest.mark.parametrize("gain", ["linear", "exponential"])
def test_figures_are_those_of_ir_measures(gain: Any) -> None:
    rng = np.random.default_rng(5)
    items = [f"i{n}" for n in range(40)]
    grades = {
        f"q{n}": {str(item): float(rng.integers(0, 5)) for item in rng.choice(items, 12, replace=False)}
        for n in range(60)
    }
    lists = [[str(item) for item in rng.permutation(items)[: int(rng.integers(0, 30))]] for _ in grades]
    result = measure("x", labels_of(grades), lists, metrics=label_metrics(NAMES), gain=gain, relevant_from=2)
    measures = {**IR, **({} if gain == "linear" else {f"ndcg@{k}": nDCG(gains=GAINS) @ k for k in (3, 10)})}
    qrels = [ir_measures.Qrel(q, item, int(grade)) for q, of in grades.items() for item, grade in of.items()]
    run = [
        ir_measures.ScoredDoc(query, item, -float(rank))
        for query, items_of in zip(grades, lists, strict=True)
        for rank, item in enumerate(items_of)
    ]
    values = {(one.query_id, one.measure): one.value for one in ir_measures.iter_calc(measures.values(), qrels, run)}
    for name, measure_of in measures.items():
        expected = [values.get((query, measure_of), 0.0) for query in grades]
        assert result.scores[name].to_list() == pytest.approx(expected), name
        assert result.metrics[name] == pytest.approx(np.mean(expected))
    judged = ir_measures.iter_calc([Judged @ 10], qrels, run)
    long = {q for q, one in zip(grades, lists, strict=True) if len(one) >= 10}
    expected_judged = {one.query_id: one.value for one in judged if one.query_id in long}
    ours = dict(result.scores.select("id", "judged").iter_rows())
    assert {query: ours[query] for query in long} == pytest.approx(expected_judged)
    assert result.counts["queries without results"] == sum(not one for one in lists) > 0


def test_a_list_by_hand() -> None:
    labels = labels_of({"a": {"x": 3.0, "y": 1.0, "z": -1.0}, "b": {"x": 0.5}, "c": {"y": 2.0}})
    lists = [["z", "x", "u"], ["x"], []]
    result = measure("x", labels, lists, metrics=label_metrics("ndcg@10,recall@10,mrr"))
    ideal = 3 + 1 / np.log2(3)
    assert result.scores["ndcg@10"].to_list() == pytest.approx([3 / np.log2(3) / ideal, 1.0, 0.0])
    assert result.scores["recall@10"].to_list() == [0.5, 0.0, 0.0]
    assert result.metrics["mrr"] == pytest.approx(0.25), "a and c; b has no relevant item"
    assert result.judged == pytest.approx((2 / 3 + 1) / 2)
    assert dict(result.counts) == {
        "queries": 3,
        "labels": 5,
        "queries without results": 1,
        "queries without a relevant item": 1,
    }
    with pytest.raises(SettingsError, match="no query has a relevant item"):
        measure("x", labels, lists, metrics=label_metrics("mrr"), relevant_from=4.0)
    with pytest.raises(SettingsError, match="coverage@10"):
        label_metrics("ndcg@10,coverage@10")


@pytest.fixture(scope="module")
def shop(make_folder: Folder) -> Path:
    items = {"i1": "red lamp", "i2": "blue lamp", "i3": "garden hose", "i4": "red hose"}
    return make_folder(
        items=items,
        users=["u1"],
        searches=[("u1", "red lamp", 1.0, []), ("u1", "hose", 2.0, []), ("u1", "teapot", 3.0, [])],
    )


@pytest.fixture(scope="module")
def data(shop: Path) -> Dataset:
    return load(shop)


def test_qrels_and_parquet_are_the_same_labels(shop: Path, data: Dataset, tmp_path: Path) -> None:
    qrels = tmp_path / "labels.qrels"
    qrels.write_text("s0 0 i1 3\ns0 0 i2 1\ns1 0 i3 2\n\ns1 0 i3 1\ns0 0 gone 3\nnowhere 0 i1 2\n")
    rows = [line.split() for line in qrels.read_text().splitlines() if line]
    frame = pl.DataFrame({"search_id": [r[0] for r in rows], "item_id": [r[2] for r in rows]})
    frame = frame.with_columns(relevance=pl.Series([float(r[3]) for r in rows]))
    frame.write_parquet(tmp_path / "labels.parquet")
    of_text, of_table = (read_labels(path, shop, data.items) for path in (qrels, tmp_path / "labels.parquet"))
    assert of_text.queries.equals(of_table.queries) and of_text.notes == of_table.notes
    assert of_text.queries.rows() == [
        ("s0", "red lamp", ["i1", "i2"], [3.0, 1.0]),
        ("s1", "hose", ["i3"], [2.0]),
    ]
    assert of_text.notes == (
        "1 label left out: search ids that the dataset does not hold: 'nowhere'",
        "1 label left out: items that the dataset does not hold: 'gone'",
        "1 label repeats a query and item; the highest grade counts",
    )
    by_text = tmp_path / "texts.parquet"
    pl.DataFrame({"query": ["new words"], "item_id": ["i1"], "relevance": [1]}).write_parquet(by_text)
    assert read_labels(by_text, shop, data.items).queries.rows() == [("new words", "new words", ["i1"], [1.0])]


@pytest.mark.parametrize("text", ["s0 0 i1\n", "s0 0 i1 much\n", "s0 0 i1 nan\n", "s0 0 gone 1\n", ""])
def test_broken_qrels_are_refused(shop: Path, data: Dataset, tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(DataError):
        read_labels(tmp_path / "labels.txt", shop, data.items)


def test_broken_tables_are_refused(shop: Path, data: Dataset, tmp_path: Path) -> None:
    good = {"search_id": ["s0"], "item_id": ["i1"], "relevance": [1.0]}
    for change in ({"relevance": [None]}, {"relevance": ["high"]}, {"item_id": [1]}, {"search_id": None}):
        table = {name: values for name, values in {**good, **change}.items() if values is not None}
        pl.DataFrame(table).write_parquet(tmp_path / "labels.parquet")
        with pytest.raises(DataError, match=r"labels\.parquet"):
            read_labels(tmp_path / "labels.parquet", shop, data.items)
    with pytest.raises(DataError, match="no such file"):
        read_labels(tmp_path / "none.parquet", shop, data.items)


def test_the_command_measures_runs_and_deployments(
    shop: Path, tmp_path: Path, searec: Callable[..., tuple[int, str, str]]
) -> None:
    labels = tmp_path / "labels.qrels"
    labels.write_text("s0 0 i1 3\ns0 0 i2 1\ns1 0 i3 2\ns1 0 i4 1\ns2 0 i4 1\n")
    run = tmp_path / "bm25"
    assert searec("train", "bm25", shop, "--out", run)[0] == 0
    (tmp_path / "shop.json").write_text(json.dumps({"data": str(shop), "search": [str(run)], "search_diversity": 0.0}))
    figures = {}
    for name in (run, tmp_path / "shop.json"):
        code, out, _ = searec("evaluate", name, shop, "--labels", labels, "--metrics", "ndcg@10,hit@1", "--json", "-")
        assert code == 0
        figures[name.name] = json.loads(out)
    for one in figures.values():
        assert one["counts"]["queries without results"] == 1 and one["counts"]["queries"] == 3
        assert one["metrics"]["hit@1"] == pytest.approx(2 / 3)
        assert one["metrics"]["ndcg@10"] >= 0.6 and one["judged@10"] > 0.5
    code, _, err = searec("evaluate", run, shop, "--labels", labels, "--protocol", "full")
    assert code == 1 and "--protocol" in err and "Traceback" not in err
