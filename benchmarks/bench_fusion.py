"""A learned fusion orders a pool of 500: features and model, against LightGBM alone and against rank fusion."""

import tempfile
from pathlib import Path

import numpy as np

from searec.data.dataset import load
from searec.data.synthetic.simulate import sample_folder
from searec.experiments import run_training
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.fusion import fuse
from searec.pipeline.fusion_examples import collect
from searec.pipeline.fusion_features import Features, ItemStatistics, groups_of
from searec.pipeline.fusion_learners import fit_linear, fit_trees
from searec.pipeline.learned_fusion import FusionModel
from searec.pipeline.types import Request
from timing import line, seconds

REPEATS = 50


def _median(work: object) -> float:
    """Milliseconds."""
    assert callable(work)
    return round(1e3 * float(np.median([seconds(work) for _ in range(REPEATS)])), 3)


def run() -> None:
    """Print milliseconds of each stage for one search on the packaged sample."""
    with tempfile.TemporaryDirectory() as home:
        data = load(sample_folder())
        runs = {name: str(Path(home) / name) for name in ("itemknn", "bm25")}
        for name, folder in runs.items():
            run_training.train(name, data, folder, joint=True)
        deployment = Deployment(
            data=str(sample_folder()), recommend=(runs["itemknn"],), search=(runs["bm25"],), search_pool=500
        )
        pipeline = open_pipeline(deployment, executor=Inline)
        split, scorers = pipeline.parts.popular.split, pipeline.parts.scorers["search"]
        statistics = ItemStatistics.of(split)
        features = Features(statistics, [one.name for one in scorers], [], groups_of(statistics, data, "search"))
        examples = collect(pipeline, features, scorers, split.held_out("search", "val"), copies=False)
        rows = examples.learned_from
        matrix, is_target, owner = examples.matrix[rows], examples.is_target[rows], examples.owner[rows]
        linear = fit_linear(matrix, is_target, owner)
        trees = fit_trees(linear, matrix, is_target, owner)
        model = FusionModel(linear, trees, matrix.shape[1])
        user, query = str(data.users.texts[3]), str(data.queries.texts[1])
        pooled = pipeline.candidates([Request(user=user, query=query)], "search", scorers)
        pools = [np.resize(pool.items, 500) for pool in pooled.pools]
        scores = {one.name: one.score(pooled.batch, pools) for one in scorers}
        one = features.matrix(pooled.batch, pools, scores, pooled.lists)
        lists = [np.random.default_rng(seed).permutation(500) for seed in range(3)]
        figures = {
            "features": matrix.shape[1],
            "scorers_ms": _median(lambda: [scorer.score(pooled.batch, pools) for scorer in scorers]),
            "features_ms": _median(lambda: features.matrix(pooled.batch, pools, scores, pooled.lists)),
            "model_ms": _median(lambda: model.scores(one)),
            "linear_ms": _median(lambda: linear.scores(one)),
            "lightgbm_ms": _median(lambda: trees.predict(one, raw_score=True, num_threads=1)),
            "rank_fusion_ms": _median(lambda: fuse(lists)),
        }
        pipeline.close()
    figures["ratio"] = round(figures["lightgbm_ms"] / figures["model_ms"], 2)
    line("a pool of 500 ordered by a learned fusion, against LightGBM's predict alone", "sample", figures)


if __name__ == "__main__":
    run()
