"""Leaks of a training and of a run: its requests, what was made for it beforehand, and the clicks it has counted."""

import logging
from pathlib import Path
from typing import Any

from searec.artifacts import artifact_named
from searec.artifacts.base import Artifact
from searec.data.dataset import Dataset
from searec.data.leakage.checks import (
    cutoff_leaks,
    negative_leaks,
    split_leaks,
)
from searec.data.leakage.cutoff import Cutoff
from searec.data.leakage.findings import Finding, Leaks
from searec.data.split import Split
from searec.models.base import Model
from searec.pipeline.run import ARTIFACTS, CUTOFF, LEAKS, read_config, read_run

_LOG = logging.getLogger("searec.leaks")
_AGAIN = "train it again"


def training_leaks(split: Split, model: Model, made: Artifact | None) -> Leaks:
    """What a model is about to learn from: its requests and targets, negatives, and what was made for it."""
    tasks = model.train_tasks
    total = split_leaks(split, tasks, last=model.examples == "last", feed_only=model.needs.clicks == 0)
    total += Leaks({}, tuple(cutoff_leaks(split, tasks, Cutoff.of(split, tasks), "training events")))
    if model.negatives:
        total += negative_leaks(split, tasks)
    return total + (made.leaks(split, tasks) if made is not None else Leaks())


def told(split: Split, model: Model, before: Leaks) -> dict[str, Any]:
    """For config.json: which events a model that has learned has read, and what was looked at. Warnings are logged.

    Args:
        before: what `training_leaks` gave.

    Raises:
        LeakError: it has counted clicks that it may not know.
    """
    leaks = before + model.leaks(split)
    leaks.refuse()
    for one in leaks.warnings:
        _LOG.warning("%s; %s%s", one.what, one.where, f"; the first: {one.rows[0]}" if one.rows else "")
    return {CUTOFF: Cutoff.of(split, model.train_tasks).as_json(), LEAKS: leaks.as_json()}


def run_leaks(folder: Path, data: Dataset) -> Leaks:
    """All that a run folder holds: its cut-off, what was made beforehand, and counts.

    Raises:
        RunError: no finished run, a damaged file, or other data than it was trained on.
    """
    run = read_run(folder, data, device="cpu")
    split, tasks = run.split, run.model.train_tasks
    told, allowed = read_config(folder).get(CUTOFF), Cutoff.of(split, tasks).digest
    found = []
    if not isinstance(told, dict) or told.get("digest") != allowed:
        what = (
            "no cut-off tells what it was trained on"
            if told is None
            else "it was trained up to other times than its split allows"
        )
        got = told.get("digest") if isinstance(told, dict) else told
        found.append(
            Finding("error", what, f"{folder}: {got or 'nothing'}", expected=f"cut-off {allowed}", remedy=_AGAIN)
        )
    total = Leaks({"runs": 1}, tuple(found)) + run.model.leaks(split)
    made = artifact_named(run.model.artifact).load(folder / ARTIFACTS) if run.model.artifact else None
    return total + (made.leaks(split, tasks) if made is not None else Leaks())
