"""Leaks of a training and of a run: its requests, its artifact, and the clicks it has counted."""

import logging
from pathlib import Path
from typing import Any

from searec.artifacts import artifact_named
from searec.artifacts.base import Artifact
from searec.data.dataset import Dataset
from searec.data.leakage.checks import cutoff_leaks, negative_leaks, split_leaks
from searec.data.leakage.cutoff import Cutoff
from searec.data.leakage.findings import Finding, Leaks
from searec.data.split import PARTS, Split
from searec.models.base import Model
from searec.pipeline.run import Run, read_run
from searec.pipeline.run_folder import ARTIFACTS, CUTOFF, CUTOFFS, LEAKS, read_config

_LOG = logging.getLogger("searec.leaks")


def training_leaks(split: Split, model: Model, artifact: Artifact | None) -> Leaks:
    """Check what a model is about to learn from: requests and targets, negatives, and its artifact.

    Args:
        split: whose training events it learns from.
        model: not trained yet.
        artifact: what was made for it, None if it needs nothing.
    """
    tasks = model.train_tasks
    total = split_leaks(split, tasks, last=model.examples == "last", feed_only=model.needs.clicks == 0)
    total += Leaks({}, tuple(cutoff_leaks(split, tasks, Cutoff.of(split, tasks), "training events")))
    if model.negatives:
        total += negative_leaks(split, tasks)
    return total + (artifact.leaks(split, tasks) if artifact is not None else Leaks())


def leak_record(split: Split, model: Model, before: Leaks) -> dict[str, Any]:
    """Return the entries of config.json about leaks: the cut-off of a trained model and what was checked.

    Warnings are logged.

    Args:
        split: whose training events it has learned from.
        model: the trained model.
        before: as returned by `training_leaks`.

    Raises:
        LeakError: it has counted clicks after its cut-off.
    """
    leaks = before + model.leaks(split)
    leaks.refuse()
    for warning in leaks.warnings:
        first = f"; the first: {warning.rows[0]}" if warning.rows else ""
        _LOG.warning("%s; %s%s", warning.what, warning.where, first)
    return {CUTOFF: Cutoff.of(split, model.train_tasks).as_json(), LEAKS: leaks.as_json()}


def run_leaks(folder: Path, data: Dataset) -> Leaks:
    """Check all that a run folder holds: its cut-off, its artifact and its counts.

    On data that has grown, no request may be older than what the run has read of its user; its counts were checked when
    it was trained. Of the data of a final run nothing is held out.

    Args:
        folder: the run folder.
        data: the dataset it was trained on, as it was or grown.

    Raises:
        RunError: no finished run, a damaged file, or data that holds fewer than half of the run's items.
        LeakError: the run does not record what it has read.
    """
    run = read_run(folder, data, device="cpu")
    split, tasks = run.split, run.model.train_tasks
    if run.is_grown:
        return _leaks_on_grown_data(run)
    findings = _cutoff_findings(folder, Cutoff.of(split, tasks).digest)
    nothing_held_out = {"final runs, of whose data nothing is held out": 1} if run.is_final else {}
    total = Leaks({"runs": 1, **nothing_held_out}, findings) + run.model.leaks(split)
    if run.model.artifact is None:
        return total
    return total + artifact_named(run.model.artifact).load(folder / ARTIFACTS).leaks(split, tasks)


def _leaks_on_grown_data(run: Run) -> Leaks:
    split, tasks = run.split, run.model.train_tasks
    cutoff = Cutoff.load(run.folder / CUTOFFS)
    unread = [split.is_unread(task, part) for task in tasks for part in PARTS]
    checked = {
        "runs on data that has grown": 1,
        "held-out requests": sum(int(mask.sum()) for mask in unread),
        "requests left out, which the run has read": sum(int((~mask).sum()) for mask in unread),
    }
    total = Leaks(checked, tuple(cutoff_leaks(split, tasks, cutoff, str(run.folder), grown=True)))
    return total if run.model.artifact is None else total + run.artifact().leaks(split, tasks, grown=True)


def _cutoff_findings(folder: Path, allowed: str) -> tuple[Finding, ...]:
    """Report a recorded cut-off that is missing or another than the split allows."""
    recorded = read_config(folder).get(CUTOFF)
    digest = recorded.get("digest") if isinstance(recorded, dict) else recorded
    if isinstance(recorded, dict) and digest == allowed:
        return ()
    what = (
        "the run does not record the cut-off it was trained up to"
        if recorded is None
        else "the run was trained up to other times than its split allows"
    )
    where, expected = f"{folder}: {digest or 'nothing'}", f"cut-off {allowed}"
    return (Finding("error", what, where, expected=expected, remedy="train it again"),)
