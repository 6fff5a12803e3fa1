"""Fusions of search learned from clicks with position bias, against the true relevance of simulated result pages.

    python benchmarks/position_bias.py OUT --seeds 0 1 2

In the world "biased" a position is examined with the chance 1 / position, in "alike" always. Each line is one fusion:
"first click" learns from the first click of each search (`--debias off`), "every click" from all of them without
weights (the control), "debiased" with weights of the estimated examination (`--debias auto`), and "true examination"
with those of the true one. truth: NDCG@10 of what test searches of logged-in users get, by true relevance.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import load
from searec.data.synthetic.simulate import World, simulate
from searec.evaluation.click_models import Examination, position_bias
from searec.evaluation.protocol import evaluate
from searec.experiments import run_training
from searec.metrics.graded import ndcg
from searec.pipeline import fusion_fitting
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.served_lists import ServedLists

PAGE = 10
DIALS: dict[str, Any] = {"users": 1500, "items": 900, "departments": 6, "families": 3, "types": 2, "sparse_share": 0.2}
WORLDS = {"biased": 1.0, "alike": 0.0}


def examination_of(exponent: float) -> Examination:
    """The true examination of a world."""
    position = np.arange(1, PAGE + 1)
    chance = position.astype(np.float64) ** -exponent
    return Examination(position, chance, np.zeros(PAGE), np.zeros(PAGE, dtype=np.int64), 0)


def measure(pipeline: Pipeline, name: str, relevance: pl.DataFrame) -> dict[str, float]:
    """True NDCG@10 of the lists of test searches, and their plain and weighted NDCG@10 by clicks."""
    served: Any = ServedLists(pipeline, name)
    split = served.split
    result = evaluate(served, split, "search", "full", "test", metrics="ndcg@10,snips-ndcg@10")
    graded = {query: dict(zip(items, grades, strict=True)) for query, items, grades in relevance.iter_rows()}
    values = []
    for row in served.table().group_by("user_id", "time", maintain_order=True).agg("query", "item_id").iter_rows():
        grades = graded[row[2][0]]
        gains = np.array([grades.get(item, 0.0) for item in row[3][:PAGE]])
        values.append(ndcg(gains, np.array(list(grades.values())), PAGE))
    return {"truth": float(np.sum(values)) / result.scores.height, **result.means()}  # without results: 0


def main() -> None:
    """Train, deploy and measure each fusion in each world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for world_name, exponent in WORLDS.items():
            folder = arguments.out / f"{world_name}-{seed}"
            world = World(**DIALS, reveal=0.0, shown=PAGE, position_bias=exponent, truth=True, seed=seed)
            data = load(simulate(folder / "shop", world))
            relevance = pl.read_parquet(folder / "shop" / "truth_relevance.parquet")
            relevance = relevance.group_by("query", maintain_order=True).agg("item_id", "relevance")
            for model in ("bm25", "itemknn", "popular"):
                run_training.train(model, data, folder / model, joint=model != "bm25")
            runs = tuple(str(folder / model) for model in ("bm25", "itemknn", "popular"))
            plain = Deployment(data=str(folder / "shop"), search=runs, seconds=60.0)
            fusions = {
                "first click": None,
                "every click": examination_of(0.0),
                "debiased": position_bias,
                "true examination": examination_of(exponent),
            }
            for name, used in fusions.items():
                fusion_fitting.position_bias = used if callable(used) else lambda split, one=used: one  # type: ignore
                deployment = dataclasses.replace(plain, debias="off" if used is None else "auto")
                fusion = fusion_fitting.fit_fusion(deployment, trees=False, tasks=("search",))
                pipeline = open_pipeline(deployment, executor=Inline, fusion=fusion)
                figures = measure(pipeline, name, relevance)
                pipeline.close()
                line = {"world": world_name, "seed": seed, "fusion": name, "kind": fusion["search"].kind}
                print(json.dumps({**line, **{key: round(value, 4) for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()
