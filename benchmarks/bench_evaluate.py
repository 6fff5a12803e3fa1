"""Sampled evaluation of one model against a per-request Python loop over the same model and candidates."""

import tempfile
from pathlib import Path

import numpy as np

from reference_evaluate import evaluate as one_by_one
from searec.data.batch import Batch, Batcher
from searec.data.candidates import candidate_lists
from searec.data.dataset import load
from searec.data.split import Split
from searec.evaluation.protocol import sampled_ranks
from searec.experiments.run_training import new_model, settings_for, train
from searec.metrics import NDCG
from searec.models.base import Model
from timing import line, paired

REQUESTS = 1_000


def run(data: Path) -> None:
    """Print the ratio for itemknn and for an untrained sasrec (the arithmetic is that of a trained one)."""
    dataset = load(data)
    config, _ = settings_for("sasrec")
    with tempfile.TemporaryDirectory() as room:
        knn = train("itemknn", dataset, Path(room) / "itemknn")
    for model in (knn.model, new_model("sasrec", config, Split(dataset), 0).eval()):
        compare(model, knn.split, data)


def compare(model: Model, split: Split, data: Path) -> None:
    """Print one model's ratio.

    Raises:
        SystemExit: the two sides find different figures.
    """
    requests = split.held_out("recommend", "test")[slice(REQUESTS)]
    candidates = np.asarray(candidate_lists(split, "recommend", "test")[:REQUESTS])
    batcher = Batcher(split.data, model.needs)
    found: dict[str, float] = {}

    def one(row: int) -> Batch:
        return batcher.batch(requests[slice(row, row + 1)], candidates[row : row + 1])

    def ours() -> None:
        found["ours"] = float(NDCG(5).of_ranks(sampled_ranks(model, split, requests, candidates)).mean())

    def theirs() -> None:
        found["theirs"] = one_by_one(model.score, one, len(requests))[0]["ndcg@5"]

    figures = paired(ours, theirs)
    if abs(found["ours"] - found["theirs"]) > 1e-6:
        raise SystemExit(f"the two sides disagree: {found}")
    line(
        f"sampled evaluation ({model.name}), against one request at a time",
        data,
        {**figures, "requests": len(requests)},
    )
