"""`searec evaluate --labels`: search of a run or a deployment against human judgments."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import choice
from searec.errors import SettingsError

if TYPE_CHECKING:
    from searec.evaluation.labels import LabelledSearch

LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Measure search against these judgments instead: Parquet, or TREC qrels (docs/metrics.md).",
        show_default=False,
    ),
]
GainOption = Annotated[
    str, typer.Option("--gain", help="With --labels: 'linear', the grade, or 'exponential', 2^grade - 1.")
]
RelevantOption = Annotated[
    float, typer.Option("--relevant", metavar="GRADE", help="With --labels: the lowest grade of a relevant item.")
]
_WIDE = 34


def refuse_options(**given: object) -> None:
    """Refuse options that have no use together with --labels.

    Raises:
        SettingsError: naming the option.
    """
    for name, value in given.items():
        if value is not None:
            raise SettingsError(
                "labels have no use for this option",
                where=f"--{name}",
                got=repr(str(value)),
                expected="--metrics, --gain, --relevant and --json with --labels",
            )


def against_labels(
    folder: Path, data: str, file: Path, *, metrics: str | None, gain: str, relevant_from: float
) -> "LabelledSearch":
    """Return the figures of a run folder or a deployment file.

    Args:
        folder: run folder or deployment file.
        data: the dataset folder.
        file: the labels.
        metrics: names with depths.
        gain: "linear" or "exponential".
        relevant_from: the lowest grade of a relevant item.
    """
    from searec.data.dataset import load
    from searec.evaluation.labels import JUDGED, label_metrics, measure, read_labels
    from searec.metrics.graded import GAINS
    from searec.pipeline.anonymous_search import run_results, served_results
    from searec.pipeline.builder import open_pipeline
    from searec.pipeline.deployment import read_deployment
    from searec.pipeline.executors import Inline
    from searec.pipeline.run import read_run

    kind = choice(gain, GAINS, "--gain")
    measured = label_metrics(metrics)
    depth = max(JUDGED, *(metric.depth or 100 for metric in measured))
    dataset = load(data)
    labels = read_labels(file, data, dataset.items)
    queries = labels.queries["query"].to_list()
    if folder.is_file():
        pipeline = open_pipeline(read_deployment(folder, data=data), executor=Inline)
        label, lists = folder.stem, served_results(pipeline, queries, depth)
        pipeline.close()
    else:
        run = read_run(folder, dataset)
        label, lists = run.label, run_results(run, queries, depth)
    return measure(label, labels, lists, metrics=measured, gain=kind, relevant_from=relevant_from)


def print_labelled(result: "LabelledSearch") -> None:
    """Print the figures, a line each."""
    for note in result.notes:
        print(f"note: {note}")
    about = f"{result.gain} gain, relevant from grade {result.relevant_from:g}, no user"
    print(f"{result.label}, search against labels ({about})")
    for name, count in result.counts.items():
        print(f"  {name:<{_WIDE}}{count:>10,}")
    for name, value in result.metrics.items():
        print(f"  {name:<{_WIDE}}{value:>10.4f}")
    print(f"  {'share of the first 10 with a label':<{_WIDE}}{result.judged:>10.4f}")
