"""Evaluation and comparison of trained runs; evaluations are stored in the run folders."""

from collections.abc import Sequence
from pathlib import Path

from searec.data.dataset import Dataset
from searec.data.schema import Part, Task
from searec.data.split import Split
from searec.errors import RunError
from searec.evaluation.compare import Comparison
from searec.evaluation.compare import compare as compare_evaluations
from searec.evaluation.protocol import evaluate as evaluate_model
from searec.evaluation.result import PROTOCOLS, Evaluation, Metrics, Protocol
from searec.files import write_json
from searec.metrics import DEFAULT, applicable
from searec.pipeline.run import Run
from searec.pipeline.run_splits import shared_split, split_for
from searec.training.environment import environment
from searec.training.training_log import FILE as LOG
from searec.training.training_log import read_rows


def evaluate(
    run: Run,
    data: Dataset | None = None,
    task: Task | None = None,
    protocol: Protocol = "sampled",
    part: Part = "test",
    *,
    metrics: Metrics | None = None,
    max_requests: int | None = None,
    split_at: float | str | None = None,
) -> Evaluation:
    """Measure a run on held-out events and store the per-user scores in its folder.

    Args:
        run: as returned by `train` or `read_run`.
        data: the dataset, if another object than the run's own.
        task: "recommend" or "search"; the model's first task by default.
        protocol: "sampled" (100 candidates) or "full" (the catalogue without what was seen).
        part: "test" or "val".
        metrics: "ndcg@20,recall@50" or metric objects, such as `[NDCG(k=20)]`; `metrics.DEFAULT` by default.
        max_requests: score only this many requests, drawn with a fixed seed.
        split_at: measure on a global split in place of the run's own, as `run_splits.split_for`; its scores are stored
            in a folder of their own within the run folder.

    Raises:
        RunError: `data` is not what the run was trained on.
        LeakError: the run's training read events from `split_at` on.
        SettingsError: the model does not support the task, or a metric is not defined for task and protocol.
    """
    if data is not None and data.fingerprint != run.data.fingerprint:
        raise RunError(
            "the run was trained on other data",
            where=run.folder,
            got=f"data {data.fingerprint}",
            expected=f"data {run.data.fingerprint}",
        )
    split = split_for(run, split_at)
    result = evaluate_model(
        run.model,
        split,
        task or run.model.train_tasks[0],
        protocol,
        part,
        metrics=metrics,
        label=run.label,
        max_requests=max_requests,
        settings={"preset": run.config["preset"], "seed": run.config["seed"], **run.config["settings"]},
        environment=environment(),
    )
    folder = _scores_folder(run, split)
    folder.mkdir(parents=True, exist_ok=True)
    result.save(folder)
    return result


def _scores_folder(run: Run, split: Split) -> Path:
    """Return where the figures of a run on a split are stored."""
    is_own = split.requests_key == run.split.requests_key
    return run.figures if is_own else run.figures / f"split-{split.requests_key}"


def evaluation_of(
    run: Run,
    task: Task,
    protocol: Protocol,
    part: Part,
    *,
    metrics: Metrics | None = None,
    max_requests: int | None = None,
    split_at: float | str | None = None,
) -> Evaluation:
    """Return the evaluation stored in the run folder, or a new one if a metric was not measured.

    Args:
        run: the run.
        task: "recommend" or "search".
        protocol: "sampled" or "full".
        part: "test" or "val".
        metrics: as for `evaluate`; those not defined for task and protocol are left out.
        max_requests: of a new one, as `evaluate`.
        split_at: as for `evaluate`.

    Raises:
        SettingsError: no metric is defined for task and protocol.
        LeakError: the run's training read events from `split_at` on.
    """
    shown = applicable(metrics or DEFAULT, task, protocol)
    stored = Evaluation.find(_scores_folder(run, split_for(run, split_at)), task, protocol, part, shown)
    return stored or evaluate(
        run, None, task, protocol, part, metrics=shown, max_requests=max_requests, split_at=split_at
    )


def compare(
    runs: Sequence[Run],
    out: Path | str | None = None,
    *,
    part: Part = "test",
    protocols: Sequence[Protocol] = PROTOCOLS,
    metrics: Metrics | None = None,
    max_requests: int | None = None,
    baseline: str | None = None,
    split_at: float | str | None = None,
) -> Comparison:
    """Compare runs on one dataset: means, intervals, paired tests, slices.

    Evaluations stored in the run folders are read, the others are made now.

    Args:
        runs: of one dataset; runs that share a label are seeds of one line.
        out: an .html file to write the report to; the same figures go to a .json beside it.
        part: "test" or "val".
        protocols: "sampled", "full" or both.
        metrics: as for `evaluate`; each table shows those defined for its task and protocol.
        max_requests: of new evaluations in the full protocol.
        baseline: the label that the others are tested against; the best one by default.
        split_at: measure on a global split in place of the runs' own, as for `evaluate`.

    Raises:
        RunError: no run, or runs of different data or splits.
        LeakError: the training of a run read events from `split_at` on.
        DataError: two runs with no request in common.
    """
    if not runs:
        raise RunError("nothing to compare", got="no run")
    if len({run.data.fingerprint for run in runs}) > 1:
        got = ", ".join(f"{run.folder}: {run.data.fingerprint}" for run in runs)
        raise RunError("the runs were trained on different data", got=got)
    split = shared_split(runs, split_at)
    evaluations = [
        evaluation_of(
            run,
            task,
            protocol,
            part,
            metrics=metrics,
            max_requests=max_requests if protocol == "full" else None,
            split_at=split.split_at,
        )
        for run in runs
        for task in run.model.train_tasks
        for protocol in protocols
    ]
    comparison = compare_evaluations(evaluations, baseline=baseline)
    if out is not None:
        from searec.reports.comparison_page import RunPage, write_report

        out = Path(out)
        pages = [
            RunPage(
                run_name(run, runs), run.config["settings"], evaluations[0].environment, read_rows(run.folder / LOG)
            )
            for run in runs
        ]
        write_report(comparison, pages, out, notes=split_notes(split))
        write_json(out.with_suffix(".json"), comparison.as_json())
    return comparison


def split_notes(split: Split) -> list[str]:
    """Return what a report says of the split of its runs; nothing of leave-one-out."""
    if split.split_at is None:
        return []
    return [f"Measured on a {split.description}: each model has learned from events before the split alone."]


def run_name(run: Run, runs: Sequence[Run]) -> str:
    """Return the label of a run, with its seed where several runs share the label.

    Args:
        run: the run.
        runs: all runs of the table.
    """
    several = sum(other.label == run.label for other in runs) > 1
    return f"{run.label} (seed {run.config['seed']})" if several else run.label
