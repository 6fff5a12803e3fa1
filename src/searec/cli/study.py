"""The command that makes a whole table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import Data, Metrics, Preset, pairs
from searec.cli.tables import print_tables
from searec.errors import RunError

if TYPE_CHECKING:
    from searec.experiments.study import Studied


def study(
    context: typer.Context,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of the runs and the report; what is finished there is not done again."
        ),
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
        float, typer.Option(min=0, help="No trial of a model begins after so many minutes of trials; 0 for no limit.")
    ] = 0.0,
    preset: Preset = "small",
    tuning_requests: Annotated[
        int, typer.Option(min=0, help="Validation requests a trial is measured on; 0 for all.")
    ] = 2_000,
    full_requests: Annotated[int, typer.Option(min=0, help="Test requests of the full protocol; 0 for all.")] = 2_000,
    metrics: Metrics = None,
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
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In place of the whole table, an experiment of searec.experiments.recipes.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Only this line of the recipe; may be given many times.")
    ] = None,
) -> None:
    """Tune, train and measure every model on both tasks and both protocols, and write the report; resumed by the same command."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    of_recipe, of_both = {"recipe", "only"}, {"data", "out", "metrics"}
    if wrong := sorted(given - of_both - of_recipe if recipe is not None else given & {"only"}):
        why = "has no effect on a recipe" if recipe is not None else "needs --recipe"
        raise typer.BadParameter(f"--{wrong[0].replace('_', '-')} {why}")
    if recipe is not None:
        by_recipe(data, out, recipe, only, metrics)
        return
    from searec.config import configure
    from searec.data.dataset import load
    from searec.experiments.study import REPORT
    from searec.experiments.study import study as make
    from searec.experiments.study_config import StudyPlan, fixed_of

    values = {"seeds": seeds, "trials": trials, "minutes": minutes, "preset": preset, "alone": alone}
    values |= {"tuning_requests": tuning_requests, "full_requests": full_requests, "fixed": fixed_of(pairs(fixed))}
    values |= ({"models": tuple(models)} if models else {}) | ({"metrics": metrics} if metrics else {})
    plan = configure(StudyPlan, values, where="study")
    limit = f", none after {minutes:g} minutes" if minutes else ""
    print(f"{len(plan.models)} models: up to {trials} trials each{limit}, then {seeds} seeds of each line", flush=True)
    found = make(load(data), out, plan, tell=lambda line: print(line, flush=True))
    _print(found)
    print(f"report: {out / REPORT}")
    if found.failed:
        told = " | ".join(f"{label}: {error}" for label, error in found.failed.items())
        raise RunError(
            f"{len(found.failed)} lines of the study failed",
            where=out,
            got=told,
            remedy="mend it, and the same command goes on",
        )


def by_recipe(data: Path, out: Path, recipe: str, only: list[str] | None = None, metrics: str | None = None) -> None:
    """Train and measure the lines of a recipe, and write its report."""
    from searec.data.dataset import load
    from searec.experiments import experiment
    from searec.experiments.recipes import recipe_named

    print_tables(experiment.study(recipe_named(recipe), load(data), out, only=only, metrics=metrics))
    print(f"report: {out / 'report.html'}")


def _print(found: "Studied") -> None:
    """The tables, what one task does for the other, and who is missing."""
    from searec.evaluation.transfer import cells
    from searec.reports.transfer_page import verdict

    assert found.comparison is not None
    print_tables(found.comparison)
    for model, one in found.transfers.items():
        for table in one.comparison.tables:
            alone, together, _ = cells(table)
            assert together.difference is not None
            figures = f"{table.headline.name} {alone.mean:.4f} alone, {together.mean:.4f} together"
            print(f"{model}, {table.task}, {table.protocol}: {figures}: {verdict(together.difference)}")
    for label, why in found.left_out.items():
        print(f"{label} is left out: {why}")
