"""Seconds in which gserec has the validation NDCG@5 that a plain rendering of its published structure trains to."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bench_gserec import CLICKS, LAYERS, LR, NEGATIVES, REC, SRC, WEIGHT_DECAY, WIDTH, WORDS
from reference_gserec import FixedRows, ReferenceGSERec, Sessions, adam, evaluate, reference_rows, train_steps
from reference_loader import read_arrays
from searec.artifacts.user_codes import UserCoder
from searec.data.candidates import sampled_requests
from searec.data.dataset import load
from searec.data.schema import Task
from searec.data.split import Split
from searec.experiments.recipes.published import CODES
from searec.experiments.run_training import settings_for, train
from searec.training.training_log import FILE, read_rows
from timing import line

TASKS: tuple[Task, ...] = ("recommend",)
JUDGE = "ndcg@5"
BATCH, LEAST, PATIENCE, EPOCHS = 256, 1_000, 5, 100
"""Of the reference: rows a batch, steps before which it does not stop, validations without a gain, passes at most."""


def run(data: Path) -> None:
    """Print the seconds of both sides until a validation is as good, validations included.

    Both are measured on the same requests and candidates. `whole_s` is all of our command, with the phases after the
    first, whose gain is not counted; the reference is given its codes.
    """
    best, theirs_s, epochs = theirs(data)
    print(f"reference: {best:.4f} after {theirs_s:.0f} s", file=sys.stderr)
    with TemporaryDirectory() as room:
        started = time.perf_counter()
        run = train("gserec", load(data), Path(room) / "gserec", judge=JUDGE, validation_requests=sys.maxsize)
        whole = time.perf_counter() - started
        rows = read_rows(run.folder / FILE)
    name = f"{JUDGE}.recommend"
    curve = [(row["seconds"], row[name]) for row in rows if name in row]
    reached = next((seconds for seconds, value in curve if value >= best), None)
    figures = {
        "ours_s": reached and round(reached, 1),
        "theirs_s": round(theirs_s, 1),
        "ratio": reached and round(theirs_s / reached, 1),
        "whole_s": round(whole, 1),
        "whole_ratio": round(theirs_s / whole, 1),
        "theirs_ndcg@5": round(best, 4),
        "ours_best_ndcg@5": round(max(value for _, value in curve), 4),
        "their_epochs": epochs,
    }
    line("gserec, seconds to the best validation of the published structure", data, figures)


def theirs(data: Path) -> tuple[float, float, int]:
    """Return the reference's best validation NDCG@5, the seconds until it first had it, and the epochs until then."""
    dataset = load(data)
    split, arrays = Split(dataset), read_arrays(dataset.folder)
    config, _ = settings_for("gserec-paper", "paper", CODES)
    codes = UserCoder.make(split, TASKS, config).codes.codes
    torch.manual_seed(0)
    model = ReferenceGSERec(
        codes,
        Sessions.of(arrays, CLICKS, WORDS),
        items=dataset.sizes.items,
        words=dataset.sizes.words,
        size=config.codes,
        width=WIDTH,
        feed=REC,
        searches=SRC,
        layers=LAYERS,
    )
    optimizer = adam(model, LR, WEIGHT_DECAY)
    rows = FixedRows(arrays, split.train("recommend", TASKS), feed=REC, searches=SRC, negatives=NEGATIVES)
    held = sampled_requests(split, "recommend", "val")
    watched = FixedRows(arrays, held.requests, feed=REC, searches=SRC, candidates=np.asarray(held.candidates))
    best, at, best_epoch = -1.0, 0.0, 0
    started = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        train_steps(model, reference_rows(rows, BATCH, shuffle=True, seed=epoch), sys.maxsize, optimizer)
        value = evaluate(model, reference_rows(watched, BATCH))[1][JUDGE]
        if value > best:
            best, at, best_epoch = value, time.perf_counter() - started, epoch
        if epoch - best_epoch >= PATIENCE and epoch * len(rows) >= LEAST * BATCH:
            break
    return best, at, best_epoch
