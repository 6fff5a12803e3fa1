"""Commands that train whole tables: study (with tuning) and recipe (fixed lines)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import Data, Metrics, Preset, Set, SplitAt, pairs
from searec.cli.tables import print_tables
from searec.errors import RunError

if TYPE_CHECKING:
    from searec.experiments.study import StudyResult


def study(
    data: Data,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of runs and report; what is finished there is not done again."),
    ] = Path("runs/study"),
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Only this model, so that several processes share the work; may be given many times.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each model.")] = 3,
    trials: Annotated[
        int, typer.Option(min=0, help="Settings tried for each model, its preset first; 0 keeps the preset.")
    ] = 10,
    minutes: Annotated[
        float, typer.Option(min=0, help="No trial begins after this many minutes of the model's trials; 0: no limit.")
    ] = 0.0,
    preset: Preset = "default",
    judge: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="Validation metric that chooses settings: full-ndcg@10 or ndcg@5 (sampled).",
        ),
    ] = "full-ndcg@10",
    tuning_requests: Annotated[
        int, typer.Option(min=0, help="Validation requests a trial is measured on; 0 for all.")
    ] = 2_000,
    full_requests: Annotated[int, typer.Option(min=0, help="Test requests of the full protocol; 0 for all.")] = 2_000,
    metrics: Metrics = None,
    split_at: SplitAt = None,
    alone: Annotated[
        bool, typer.Option("--alone/--no-alone", help="Also train each joint model on one task alone.")
    ] = True,
    fixed: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="MODEL.KEY=VALUE",
            help="A setting that is not searched; may be given many times.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tune, train and measure every model on both tasks and both protocols; the same command resumes."""
    from searec.config import configure
    from searec.data.dataset import load
    from searec.experiments.study import REPORT
    from searec.experiments.study import study as run_study
    from searec.experiments.study_config import StudyConfig, settings_by_model

    values = {"seeds": seeds, "trials": trials, "minutes": minutes, "preset": preset, "alone": alone}
    values |= {"judge": judge, "tuning_requests": tuning_requests, "full_requests": full_requests}
    values |= {"fixed": settings_by_model(pairs(fixed))} | ({"models": tuple(models)} if models else {})
    values |= {"metrics": metrics} if metrics else {}
    values |= {"split_at": split_at} if split_at is not None else {}
    config = configure(StudyConfig, values, where="study")
    limit = f", none after {minutes:g} minutes" if minutes else ""
    print(
        f"{len(config.models)} models: up to {trials} trials each{limit}, then {seeds} seeds of each line", flush=True
    )
    result = run_study(load(data), out, config, on_progress=lambda line: print(line, flush=True))
    _print(result)
    print(f"report: {out / REPORT}")
    if result.failed:
        message = f"{len(result.failed)} lines of the study failed"
        got = " | ".join(f"{label}: {error}" for label, error in result.failed.items())
        raise RunError(message, where=out, got=got, remedy="fix the cause, and run the same command again")


def recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe of docs/study.md.", show_default=False)],
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder of runs and report; what is finished there is not done again.",
            show_default=False,
        ),
    ],
    only: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Only this line; may be given many times.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the lines.")] = 1,
    settings: Set = None,
    split_at: SplitAt = None,
) -> None:
    """Train, measure and compare the lines of a recipe: an experiment whose settings and seeds are fixed."""
    from searec.data.dataset import load
    from searec.data.global_split import split_time
    from searec.experiments.recipe import compare_recipe
    from searec.experiments.recipes import recipe_named

    lines, dataset = recipe_named(name).with_settings(pairs(settings)), load(data)
    print_tables(compare_recipe(lines.at(split_time(dataset, split_at)), dataset, out, only=only, jobs=jobs))
    print(f"report: {out / 'report.html'}")


def _print(result: "StudyResult") -> None:
    """Print the tables, what one task does for the other, and which models are missing."""
    from searec.evaluation.transfer import cells
    from searec.reports.transfer_page import verdict

    assert result.comparison is not None
    print_tables(result.comparison)
    for model, transfer in result.transfers.items():
        for table in transfer.comparison.tables:
            alone, together, _ = cells(table)
            assert together.difference is not None
            figures = f"{table.headline.name} {alone.mean:.4f} alone, {together.mean:.4f} together"
            print(f"{model}, {table.task}, {table.protocol}: {figures}: {verdict(together.difference)}")
    for label, why in result.left_out.items():
        print(f"{label} is left out: {why}")
