"""Deployments of data with little in it: each learns what it can, says why it does not, and answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from searec.cli.serve import deploy
from searec.data.dataset import load
from searec.data.synthetic.simulate import World, simulate
from searec.experiments import run_training
from searec.pipeline.builder import open_pipeline
from searec.pipeline.channels import RequestBatch
from searec.pipeline.deployment import read_deployment
from searec.pipeline.executors import Inline
from searec.pipeline.fusion import RankedList
from searec.pipeline.fusion_fitting import DENSE_WEIGHT
from searec.pipeline.learned_fusion import read_fusion
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Request, Response

Tables = dict[str, pl.DataFrame]
WORLD = World(users=150, items=200, clicks=12.0, searches=10.0, families=2, types=3, seed=6)


def nothing(tables: Tables) -> Tables:
    return {**tables, "interactions": tables["interactions"].head(0), "searches": tables["searches"].head(0)}


def one_user(tables: Tables) -> Tables:
    user = tables["interactions"]["user_id"].value_counts(sort=True)["user_id"][0]
    return {
        name: table.filter(pl.col("user_id") == user) if "user_id" in table.columns else table
        for name, table in tables.items()
    }


def no_text(tables: Tables) -> Tables:
    columns = ["item_id", pl.col("item_id").alias("title"), "categories"]
    return {**tables, "items": tables["items"].select(columns)}


def no_categories(tables: Tables) -> Tables:
    return {**tables, "items": tables["items"].select("item_id", "title")}


def no_searches(tables: Tables) -> Tables:
    return {**tables, "searches": tables["searches"].head(0)}


CASES = {nothing: (), one_user: (), no_text: ("recommend",), no_categories: ("recommend",), no_searches: ("recommend",)}


@pytest.mark.parametrize("change", list(CASES), ids=lambda change: change.__name__)
def test_little_data_deploys(
    change: Callable[[Tables], Tables], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulate(tmp_path / "shop", WORLD)
    names = ("items", "users", "interactions", "searches")
    for name, table in change({name: pl.read_parquet(folder / f"{name}.parquet") for name in names}).items():
        table.write_parquet(folder / f"{name}.parquet")
    data = load(folder)
    runs = [tmp_path / name for name in ("itemknn", "bm25")]
    for run in runs:
        run_training.train(run.name, data, run, joint=True)
    deploy(str(folder), runs, out=tmp_path / "shop.json")
    printed = capsys.readouterr().out
    deployment = read_deployment(tmp_path / "shop.json")
    fusion = read_fusion(Path(deployment.fusion), deployment.fusion_digest)
    learned = tuple(task for task, one in fusion.items() if one.kind != "rank" and task == "recommend")
    assert learned == CASES[change]
    for task, one in fusion.items():
        assert (one.kind != "rank") or (one.report["reason"] in printed and f"{task}: rank fusion" in printed)
    pipeline = open_pipeline(deployment, executor=Inline)
    user = str(data.users.texts[0])
    answers = [*pipeline.recommend([Request(user=user), Request()]), *pipeline.search([Request(query="a red lamp")])]
    pipeline.close()
    assert all(isinstance(answer, Response) for answer in answers)
    assert isinstance(answers[1], Response) and len(answers[1].items) == 10


def test_final_runs_are_served_with_the_fusion_of_their_twins(tmp_path: Path) -> None:
    folder = simulate(tmp_path / "shop", WORLD)
    data = load(folder)
    for name in ("itemknn", "bm25"):
        run_training.train(name, data, tmp_path / name, joint=True, final=True)
    deploy(str(folder), [tmp_path / "itemknn", tmp_path / "bm25"], out=tmp_path / "shop.json")
    deployment = read_deployment(tmp_path / "shop.json")
    assert {Path(run).name for run in deployment.runs} == {"itemknn", "bm25"}
    fusion = read_fusion(Path(deployment.fusion), deployment.fusion_digest)
    assert fusion["recommend"].report["requests"] > 0
    pipeline = open_pipeline(deployment, executor=Inline)
    assert all(run.is_final for run in pipeline.views.runs)
    pipeline.close()


def test_runs_of_a_global_split_learn_from_its_validation_requests(tmp_path: Path) -> None:
    folder = simulate(tmp_path / "shop", WORLD)
    data = load(folder)
    run = run_training.train("itemknn", data, tmp_path / "itemknn", split_at=0.7)
    deploy(str(folder), [run.folder], out=tmp_path / "shop.json")
    deployment = read_deployment(tmp_path / "shop.json")
    fusion = read_fusion(Path(deployment.fusion), deployment.fusion_digest)
    held = run.split.held_out("recommend", "val")
    assert 0 < fusion["recommend"].report.get("requests", len(held)) <= len(held)


def test_words_lead_where_vectors_are_beside_them_and_nothing_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulate(tmp_path / "shop", WORLD)
    for name, table in nothing(
        {n: pl.read_parquet(folder / f"{n}.parquet") for n in ("interactions", "searches")}
    ).items():
        table.write_parquet(folder / f"{name}.parquet")
    data = load(folder)
    runs = [tmp_path / name for name in ("bm25", "dense")]
    for run in runs:
        run_training.train(run.name, data, run)
    deploy(str(folder), [], search=runs, out=tmp_path / "shop.json")
    assert "search: linear fusion (default weights: 0 validation requests" in capsys.readouterr().out
    pipeline = open_pipeline(read_deployment(tmp_path / "shop.json"), executor=Inline)
    query = str(data.item_table["title"][0])
    ((first,), batch), scorers = pooled(pipeline, query), pipeline.parts.scorers["search"]
    words, vectors = (scorer.score(batch, [first.items])[0] for scorer in scorers[:2])
    assert words is not None and vectors is not None
    total = zscore(words) + DENSE_WEIGHT * zscore(vectors)
    (answer,) = pipeline.search([Request(query=query, k=20)])
    pipeline.close()
    assert isinstance(answer, Response)
    score = dict(zip(data.items.to_external(first.items), total.tolist(), strict=True))
    assert [score[one.item] for one in answer.items] == pytest.approx(sorted(total, reverse=True)[:20], abs=1e-4)


def pooled(pipeline: Pipeline, query: str) -> tuple[list[RankedList], RequestBatch]:
    pools = pipeline.candidates([Request(query=query)], "search", [])
    return pools.pools, pools.batch


def zscore(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()
