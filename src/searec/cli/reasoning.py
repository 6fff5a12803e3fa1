"""The command that shows what reasoning does in lcr-ser."""

from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import Data, Json, emit
from searec.cli.tables import print_tables


def reasoning(
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder for the runs and reasoning.html; what is finished there is not done again.",
            show_default=False,
        ),
    ],
    requests: Annotated[
        int, typer.Option(min=1, help="Test requests that distances, costs and lists are measured on.")
    ] = 2_000,
    recipe: Annotated[str, typer.Option(help="Which runs; see docs/study.md.")] = "lcr-ser-report",
    figures: Json = None,
) -> None:
    """Train lcr-ser-paper in many forms and draw accuracy by depth, distances, cost and sensitivity to its settings."""
    from searec.data.dataset import load
    from searec.experiments.recipe import train_recipe
    from searec.experiments.recipes import recipe_named
    from searec.experiments.run_comparison import compare
    from searec.reports.reasoning import GROUPS
    from searec.reports.reasoning import reasoning as analyse
    from searec.reports.reasoning_page import write_reasoning

    runs = train_recipe(recipe_named(recipe), load(data), out)
    base = [
        run.label for run in runs if "teacher" not in run.config and run.config["settings"]["model"].get("steps") == 0
    ]
    comparison = compare(runs, protocols=("sampled",), baseline=base[0] if base else None)
    result = analyse(runs, comparison, requests=requests)
    write_reasoning(result, out / "reasoning.html")
    if str(figures) != "-":
        print_tables(comparison, GROUPS)
        print(f"  {'':<18}{'ms':>9}{'ratio':>8}{'reasoning ms':>14}{'steps':>7}{'ndcg@5':>9}")
        for cost in result.costs:
            times = f"{cost.ms:>9.4f}{cost.ratio:>8.2f}{cost.reasoning_ms:>14.4f}"
            print(f"  {cost.label:<18}{times}{cost.steps:>7.2f}{cost.ndcg:>9.4f}")
        for label, share in result.tail.items():
            print(f"  {label}: {share:.1%} of the long tail shown")
        print(f"report: {out / 'reasoning.html'}")
    emit(result.as_json(), figures)
