"""What LCR-SER's reasoning costs a request: K steps against none, in one run, by number of candidates.

The arithmetic does not depend on what was learned, so the models are untrained.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from searec.data.batch import Batch
from searec.data.candidates import candidate_lists
from searec.data.dataset import load
from searec.data.split import Split
from searec.experiments.run_training import new_model, settings_for
from searec.models.base import Model
from searec.reports.timing import batches, seconds_of
from timing import line

DEPTHS = (0, 1, 3, 5)
CANDIDATES = (100, 500)
REQUESTS, ROUNDS = 2_000, 5


@torch.no_grad()
def run(data: Path) -> None:
    """Print milliseconds a request, and the ratio to K = 0, for each K and number of candidates."""
    dataset = load(data)
    split = Split(dataset)
    held = split.held_out("recommend", "test")
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(held), size=min(REQUESTS, len(held)), replace=False))
    stored = np.asarray(candidate_lists(split, "recommend", "test")[rows])
    models: dict[int, Any] = {}
    for steps in DEPTHS:
        config = settings_for("lcr-ser", "default", {"steps": steps, "trunk": "feed"})[0]
        model: Any = new_model("lcr-ser", config, split, 0).eval()
        model.is_open.fill_(True)
        models[steps] = model
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for count in CANDIDATES:
        shape = (len(rows), max(0, count - stored.shape[1]))
        more = rng.integers(1, dataset.sizes.items + 1, size=shape, dtype=stored.dtype)
        candidates = np.concatenate((stored, more), axis=1)[:, :count]
        prepared = {steps: batches(split, model, held[rows], candidates) for steps, model in models.items()}
        best = dict.fromkeys(DEPTHS, float("inf"))
        for number in range(ROUNDS + 1):  # they take turns, as others may use the machine; the first round warms up
            for steps, model in models.items():
                seconds = seconds_of(functools.partial(_score, model, prepared[steps]), model.device)
                best[steps] = min(best[steps], seconds) if number else best[steps]
        figures: dict[str, float | int] = {}
        for steps in DEPTHS:
            figures[f"K={steps}_ms"] = round(1e3 * best[steps] / len(rows), 4)
            figures[f"K={steps}_ratio"] = round(best[steps] / best[0], 2)
        line("LCR-SER inference, K steps against none", data, {**figures, "requests": len(rows), "candidates": count})
    torch.set_num_threads(threads)


def _score(model: Model, prepared: list[Batch]) -> None:
    for batch in prepared:
        model.score(batch)
