"""Which split trained runs are measured on: their own, or a global split after everything they have read."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from searec.data.global_split import iso, split_time
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import LeakError, RunError
from searec.pipeline.run import Run
from searec.pipeline.run_folder import CUTOFF

_REMEDY = "train them with the same --split-at"


def split_for(run: Run, split_at: float | str | None = None) -> Split:
    """Return the split to measure a run on: its own, or a global split that its training did not read into.

    Args:
        run: trained.
        split_at: of a global split, as `global_split.split_time` reads it; None for the run's own split.

    Raises:
        LeakError: the run's training may have read events at or after the time, or no record says that it has not.
        SettingsError: it is no quantile and no time, or lies outside of the log.
        DataError: a part of the split is empty.
    """
    time = split_time(run.data, split_at)
    if time is None or time == run.split.split_at:
        return run.split
    recorded = run.config.get(CUTOFF)
    newest = recorded.get("newest", "") if isinstance(recorded, dict) else ""
    # The cut-off is later than what was read, if by a microsecond alone; None where nothing was read.
    if newest == "" or (newest is not None and int(np.datetime64(newest, "us").astype(np.int64)) > time):
        raise LeakError(
            "the run's training read events from the split time on",
            where=f"{run.folder}, {run.split.description}",
            got=f"events up to just before {newest}Z" if newest else "no record of what it read",
            expected=f"events before {iso(time)}",
            remedy=f"train it with --split-at {iso(time)}, or evaluate without --split-at",
        )
    return Split(run.data, unseen=run.split.unseen, split_at=time)


def has_read_held_out(run: Run, task: Task) -> bool:
    """Return whether a run may have read what its split holds out of a task, as one that learned only the other may.

    Args:
        run: trained.
        task: of the requests.
    """
    split = run.split
    return not split.final and split.split_at is None and task not in split.bounding(run.model.train_tasks)


def shared_split(runs: Sequence[Run], split_at: float | str | None = None) -> Split:
    """Return the split that several runs are measured on together, of which nothing is held out that one has read.

    Args:
        runs: at least one, of the same data.
        split_at: of a global split; None for the split that they were all trained on.

    Raises:
        RunError: the runs were trained on different splits, and no other is given.
        SearecError: as `split_for`.
    """
    splits = [split_for(run, split_at) for run in runs]
    if len({split.split_at for split in splits}) > 1:
        got = ", ".join(f"{run.folder}: {split.description}" for run, split in zip(runs, splits, strict=True))
        raise RunError("the runs were trained on different splits", got=got, expected="one split", remedy=_REMEDY)
    first = next((split for split in splits if split.final), splits[0])
    read = [split.read_before for split in splits if split.read_before is not None]
    return dataclasses.replace(first, read_before=np.maximum.reduce(read)) if read else first
