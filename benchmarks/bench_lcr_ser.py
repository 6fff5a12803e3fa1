"""What LCR-SER's reasoning costs a request: K steps against none, in one run, by number of candidates.

The arithmetic does not depend on what was learnt, so that the models are untrained. What early exit and the student
cost and keep is
printed by `searec reasoning DATA --out OUT --recipe lcr-ser`, on trained ones.
"""

from pathlib import Path

import numpy as np
import torch

from searec.data.candidates import candidate_lists
from searec.data.dataset import load
from searec.data.split import Split
from searec.experiments.run_training import new_model, settings_for
from searec.models.lcr_ser_paper import LCRSERPaper
from searec.reports.reasoning import costs
from timing import line

DEPTHS = (0, 1, 3, 5)
CANDIDATES = (100, 500)
REQUESTS = 2_000


def run(data: Path) -> None:
    """Print milliseconds a request, and the ratio to K = 0, for each K and number of candidates."""
    dataset = load(data)
    split = Split(dataset)
    held = split.held_out("recommend", "test")
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(held), size=min(REQUESTS, len(held)), replace=False))
    stored = np.asarray(candidate_lists(split, "recommend", "test")[rows])
    models: dict[str, LCRSERPaper] = {}
    for steps in DEPTHS:
        model = new_model(
            "lcr-ser-paper", settings_for("lcr-ser-paper", "default", {"steps": steps})[0], split, 0
        ).eval()
        assert isinstance(model, LCRSERPaper)
        models[f"K={steps}"] = model
    for count in CANDIDATES:
        more = rng.integers(
            1, dataset.sizes.items + 1, size=(len(rows), max(0, count - stored.shape[1])), dtype=stored.dtype
        )
        candidates = np.concatenate((stored, more), axis=1)[:, :count]
        figures: dict[str, float | int] = {}
        for cost in costs(models, split, held[rows], candidates, dict.fromkeys(models, float("nan"))):
            figures |= {f"{cost.label}_ms": round(cost.ms, 4), f"{cost.label}_ratio": round(cost.ratio, 2)}
            figures |= {f"{cost.label}_reasoning_ms": round(cost.reasoning_ms, 4)}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as `costs` measures
        line("LCR-SER inference, K steps against none", data, {**figures, "requests": len(rows), "candidates": count})
        torch.set_num_threads(threads)
