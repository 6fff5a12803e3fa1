"""SASRec training examples a second against RecBole's SASRec at equal settings, and seconds to its best validation.

An example is one (history -> next item) pair. RecBole computes a whole history for each; searec learns every
position of a history in one pass, and is counted by positions.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from recbole_input import write_atomic
from searec.data.dataset import Dataset, load
from searec.data.feedback import excluded_items
from searec.data.split import Split
from searec.evaluation.slices import is_repeat
from searec.experiments.run_training import new_model, settings_for, train
from searec.models import model_names
from searec.models.sasrec import SASRec, next_click
from searec.training.examples import TrainingExamples
from searec.training.training_log import FILE, read_rows
from timing import line

HERE = Path(__file__).parent
PYTHON = HERE.parent / ".venv-recbole" / "bin" / "python"
STEPS = 8
ROUNDS = 2
EQUAL = {
    "width": 64,
    "layers": 2,
    "heads": 2,
    "inner": 256,
    "length": 50,
    "dropout": 0.5,
    "attention_dropout": 0.5,
    "feed_only": True,
}
"""RecBole's defaults; both use Adam at 1e-3 and float32."""
LENGTH = 20
"""Clicks that RecBole reads on the way to its best validation; each is padded to that many, and few users have more."""
PAIRS = 2048
"""Pairs a step on RecBole's side; ours takes users enough for as many."""


def ours(data: Path, loss: str) -> float:
    """Pairs a second of searec."""
    dataset = load(data)
    config, plan = settings_for("sasrec", "default", {**EQUAL, "loss": loss, "batch": PAIRS // 8})
    assert plan is not None
    model = new_model("sasrec", config, Split(dataset), 0).train()
    assert isinstance(model, SASRec)
    examples = TrainingExamples(Split(dataset), model, batch=plan.batch, seed=0)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    pairs, started = 0, 0.0
    for step in range(STEPS + 2):
        if step == 2:  # the first ones warm up
            pairs, started = 0, time.perf_counter()
        batch = examples.batch(0, step)
        torch.autograd.backward(model.loss(batch).total)
        adam.step()
        adam.zero_grad()
        items, times = model.history(batch)
        pairs += int(next_click(items, times, batch)[1].sum())
    return pairs / (time.perf_counter() - started)


def theirs(folder: Path, loss: str, *more: str) -> dict[str, Any]:
    """RecBole's figures, from its own environment."""
    arguments = ["--data", str(folder), "--loss", loss, "--batch", str(PAIRS), "--steps", "4", "--warmup", "1", *more]
    arguments += ["--threads", str(torch.get_num_threads())]
    done = subprocess.run(
        [str(PYTHON), str(HERE / "recbole_sasrec.py"), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"RecBole failed: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def write_requests(data: Dataset, out: Path) -> None:
    """Write the validation requests of the feed on new targets, which both sides are measured on, for RecBole."""
    requests = Split(data).held_out("recommend", "val")
    requests = requests[~is_repeat(data, requests)]
    users, targets = data.users.to_external(requests.user), data.items.to_external(requests.target)
    excluded = [data.items.to_external(np.unique(row[row > 0])) for row in excluded_items(data, requests)]
    columns = zip(users, targets, excluded, strict=True)
    out.write_text(json.dumps([{"user": u, "target": t, "excluded": e} for u, t, e in columns]), encoding="utf-8")


def to_quality(path: Path) -> None:
    """Print the seconds in which our models reach the best validation of RecBole's SASRec, validations included.

    Both are measured on the same requests: leave-one-out, the last event but one of each user, among the whole
    catalogue without what the user has clicked. Batches, steps and stopping are each side's own defaults.
    """
    subprocess.run(["bash", str(HERE / "recbole_env.sh")], check=True, stdout=sys.stderr, env=os.environ)
    data = load(path)
    with TemporaryDirectory() as room:
        folder = write_atomic(path, Path(room) / "recbole").parent
        requests = Path(room) / "requests.json"
        write_requests(data, requests)
        best = theirs(folder, "CE", "--length", str(LENGTH), "--requests", str(requests))
        for model in ("sasrec", "event-transformer"):
            if model not in model_names():
                continue
            run = train(model, data, Path(room) / model, validation_requests=sys.maxsize)
            judge = "full-ndcg@10.recommend"
            curve = [(row["seconds"], row[judge]) for row in read_rows(run.folder / FILE) if judge in row]
            reached = next((seconds for seconds, value in curve if value >= best["ndcg@10"]), None)
            figures = {
                "ours_s": reached and round(reached, 1),
                "theirs_s": best["seconds"],
                "ratio": reached and round(best["seconds"] / reached, 2),
                "theirs_ndcg@10": best["ndcg@10"],
                "ours_best_ndcg@10": round(max(value for _, value in curve), 4),
                "ours_best_s": round(max(curve, key=lambda point: point[1])[0], 1),
                "their_epochs": best["epochs"],
                "their_requests": best["requests"],
            }
            line(f"{model}, seconds to the best validation of RecBole's SASRec", path, figures)


def run(data: Path) -> None:
    """Print both losses' ratios; the first call makes RecBole's environment."""
    subprocess.run(["bash", str(HERE / "recbole_env.sh")], check=True, stdout=sys.stderr, env=os.environ)
    with TemporaryDirectory() as room:
        folder = write_atomic(data, Path(room) / "recbole").parent
        for mine, his in (("softmax", "CE"), ("bce", "BPR")):
            rates = [(ours(data, mine), theirs(folder, his)["examples_per_second"]) for _ in range(ROUNDS)]
            best_ours, best_theirs = (max(side) for side in zip(*rates, strict=True))
            figures = {
                "ours_per_s": round(best_ours),
                "theirs_per_s": round(best_theirs),
                "ratio": round(best_ours / best_theirs, 2),
            }
            line(f"SASRec training ({mine} / {his}), against RecBole", data, figures)
