"""Commands on models: train, evaluate, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searec.cli.arguments import (
    Data,
    Json,
    MeasuredAt,
    Metrics,
    Preset,
    Requests,
    RunsAndData,
    Set,
    Split,
    SplitAt,
    choice,
    emit,
    open_runs,
    pairs,
    seed_option,
)
from searec.cli.labels import (
    GainOption,
    LabelsFile,
    RelevantOption,
    against_labels,
    print_labelled,
    refuse_options,
)
from searec.cli.tables import print_left_out, print_tables, print_unusable_labels
from searec.models import model_names

if TYPE_CHECKING:
    from searec.data.schema import Part, Task
    from searec.evaluation.result import Evaluation
    from searec.pipeline.run import Run

_IN_A_LINE = 6
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)]


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{', '.join(model_names())}.", show_default=False)],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder to write.", show_default=False)],
    preset: Preset = "default",
    overrides: Set = None,
    seed: Annotated[int, seed_option("Same seed, same weights, bit for bit.")] = 0,
    label: Annotated[
        str | None, typer.Option(help="The run's name in tables; the model's name by default.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from RUN's checkpoint.")] = False,
    unseen: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of users kept out of training, to measure users who come later."),
    ] = 0.0,
    split_at: SplitAt = None,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint",
            help="Learn from nothing after what either task holds out, so that the run can also serve the other task.",
        ),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Start from the weights of this run of the same model, without the first phase.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Also learn this run's ranking, if the model can (distillation).", show_default=False
        ),
    ] = None,
    final: Annotated[
        bool,
        typer.Option(
            "--final",
            help="Learn from all events, for as many steps as a validated twin chose; nothing is held out to measure.",
        ),
    ] = False,
    twin: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The validated twin of a final run; by default it is trained first, in RUN/validated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model on the training events of a dataset; what must be derived from them first is derived and cached."""
    from searec.data.dataset import load
    from searec.experiments import run_training
    from searec.training.training_log import FILE, read_rows

    values: dict[str, Any] = dict(pairs(overrides))
    run_training.settings_for(model, preset, values)  # type: ignore[arg-type]  # before the data are read
    run = run_training.train(
        model,
        load(data),
        out,
        preset=preset,  # type: ignore[arg-type]
        seed=seed,
        label=label,
        resume=resume,
        unseen=unseen,
        split_at=split_at,
        joint=joint,
        start=start,
        teacher=teacher,
        final=final,
        twin=twin,
        **values,
    )
    rows = read_rows(run.folder / FILE)
    best = ""
    judge = run.config["settings"]["train"]["judge"] if rows else ""
    if rows and judge in rows[-1]:
        best = f", best validation {judge} {rows[-1][judge]:.4f} in epoch {rows[-1]['best_epoch']}"
    elif rows and not run.is_final:
        best = ", trained without validation: no user has enough events for any to be held out"
    print(f"wrote {run.folder}{best}")
    if rows and not run.is_final:
        print_left_out(run.split, run.model.train_tasks, "val")
    if run.model.artifact == "interests":
        print_unusable_labels(run.data)
    if run.is_final:
        _print_twin(run)
    for phase in run.config.get("phases", ())[1:]:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in phase.items() if isinstance(value, float))
        print(f"  {phase['phase']}: {figures}{'' if phase['kept'] else '  (not better; the phase before is kept)'}")


def _print_twin(run: "Run") -> None:
    """What a final run keeps of its validated twin."""
    twin = run.config.get("twin")
    if twin is not None:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in twin["validation"].items())
        print(f"  it has learned from all events; validated in {twin['folder']}: {figures}")


def update(
    folder: Folder,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="NEW", help="The run folder to write.", show_default=False)],
    passes: Annotated[int, typer.Option(min=1, help="Passes over the new training examples.")] = 2,
    replay: Annotated[float, typer.Option(min=0, help="Older examples drawn in a pass for each new one.")] = 1.0,
    split_at: SplitAt = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from NEW's checkpoint.")] = False,
) -> None:
    """Train RUN further on the new events of a dataset that has grown, and write NEW."""
    from searec.data.dataset import load
    from searec.data.global_split import split_time
    from searec.experiments import run_update

    dataset = load(data)
    at = split_time(dataset, split_at)
    run = run_update.update(folder, dataset, out, passes=passes, replay=replay, split_at=at, resume=resume)
    steps = sum(phase["steps"] for phase in run.config.get("training", ()))
    print(
        f"wrote {run.folder}" + (f" after {steps:,} {'step' if steps == 1 else 'steps'}" if steps else ", fitted again")
    )
    if run.is_final:
        _print_twin(run)


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|DEPLOYMENT", help="Run folder or deployment file.", show_default=False)
    ],
    data: Data,
    task: Annotated[
        str | None,
        typer.Option(
            help="'recommend' or 'search'; by default a model's first task, and both of a deployment.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="'sampled' among 100 candidates, as a run by default, or 'full' catalogue, as a deployment always.",
            show_default=False,
        ),
    ] = None,
    part: Split = "test",
    metrics: Metrics = None,
    requests: Requests = None,
    split_at: MeasuredAt = None,
    reasons: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Of a deployment: also write every list with channels and reasons as Parquet."
        ),
    ] = None,
    labels: LabelsFile = None,
    gain: GainOption = "linear",
    relevant: RelevantOption = 1.0,
    figures: Json = None,
) -> None:
    """Measure a run or what a deployment would serve on held-out events or, with --labels, against judgments.

    Per-user scores of a run are stored in RUN.
    """
    from searec.data.dataset import load
    from searec.data.schema import TASKS
    from searec.errors import SettingsError
    from searec.experiments import run_comparison
    from searec.pipeline.run import read_run
    from searec.pipeline.run_splits import split_for

    chosen = None if task is None else choice(task, TASKS, "--task")
    if labels is not None:
        refuse_options(protocol=protocol, requests=requests, reasons=reasons, task=None if task == "search" else task)
        judged = against_labels(folder, data, labels, metrics=metrics, gain=gain, relevant_from=relevant)
        if str(figures) != "-":
            print_labelled(judged)
        emit(judged.as_json(), figures)
        return
    held, is_deployment = choice(part, ("test", "val"), "--split"), folder.is_file()
    kind = choice(protocol or ("full" if is_deployment else "sampled"), ("sampled", "full"), "--protocol")
    if is_deployment:
        results = list(_served(folder, data, chosen, kind, held, metrics, requests, reasons, split_at).values())
    else:
        if reasons is not None:
            raise SettingsError("a run has no reasons", where=folder, expected="--reasons with a deployment")
        run = read_run(folder, load(data))
        results = [
            run_comparison.evaluate(
                run, None, chosen, kind, held, metrics=metrics, max_requests=requests, split_at=split_at
            )
        ]
        if run.is_grown and split_at is None and str(figures) != "-":
            is_unread = run.split.is_unread(results[0].task, held)
            left_out = int((~is_unread).sum())
            verb = "is" if left_out == 1 else "are"
            print(f"the data has grown: {left_out:,} of {len(is_unread):,} requests {verb} left out, already read")
    if str(figures) != "-":
        for result in results:
            _print_evaluation(result)
            if result.protocol == "sampled":
                print_left_out(split_for(run, split_at), [result.task], held)
    summaries = {result.key: result.summary() for result in results}
    emit(summaries if is_deployment else results[0].summary(), figures)


def _print_evaluation(result: "Evaluation") -> None:
    """The metrics of all requests, then the headline metric of each slice."""
    summary, means = result.summary(), result.means()
    print(f"{result.label}, {result.key}, {result.scores.height:,} requests, {result.seconds:.1f} s")
    for start in range(0, len(summary["metrics"]), _IN_A_LINE):
        names = list(summary["metrics"])[start : start + _IN_A_LINE]
        print("  " + "".join(f"{name:>16}" for name in names))
        print("  " + "".join(f"{summary['metrics'][name]:>16.4f}" for name in names))
    headline = "ndcg@5" if "ndcg@5" in means else next(iter(means), "")
    print(f"  {'slice':<24}{'users':>12}{headline:>12}")
    for name, values in summary["slices"].items():
        score = f"{values[headline]:.4f}" if headline in values else "-"
        print(f"  {name:<24}{values['users']:>12,}{score:>12}")


def _served(
    path: Path,
    data: str,
    task: "Task | None",
    protocol: str,
    part: "Part",
    metrics: str | None,
    max_requests: int | None,
    reasons: Path | None,
    split_at: str | None,
) -> "dict[Task, Evaluation]":
    """Evaluations of what a deployment would serve, by task."""
    from searec.data.schema import TASKS
    from searec.errors import SettingsError
    from searec.pipeline.deployment import read_deployment
    from searec.pipeline.served_lists import evaluate_deployment

    if protocol != "full":
        raise SettingsError("a deployment serves lists of the whole catalog", got=protocol, expected="--protocol full")
    return evaluate_deployment(
        read_deployment(path, data=data),
        tasks=TASKS if task is None else (task,),
        part=part,
        name=path.stem,
        max_requests=max_requests,
        reasons=reasons,
        options={"metrics": metrics},
        split_at=split_at,
    )


def compare(
    folders: RunsAndData,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The HTML report; the same figures go to a .json beside it.")
    ] = Path("report.html"),
    baseline: Annotated[
        str | None,
        typer.Option(help="The label the others are tested against; the best by default.", show_default=False),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="NAME", help="Print the figures of these requests too, as sparse or rich."),
    ] = None,
    part: Split = "test",
    metrics: Metrics = None,
    requests: Requests = None,
    split_at: MeasuredAt = None,
) -> None:
    """Compare runs with intervals, paired tests and slices in one self-contained HTML page."""
    from searec.experiments import run_comparison
    from searec.pipeline.run_splits import shared_split

    runs = open_runs(folders, "compare")
    held = choice(part, ("test", "val"), "--split")
    comparison = run_comparison.compare(
        runs, out, part=held, metrics=metrics, max_requests=requests, baseline=baseline, split_at=split_at
    )
    print_tables(comparison, groups or ())
    split = shared_split(runs, split_at)
    print_left_out(split, [table.task for table in comparison.tables if table.protocol == "sampled"], held)
    print(f"report: {out}")
