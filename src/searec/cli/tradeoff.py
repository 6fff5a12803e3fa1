"""The command that shows what one task costs the other in gensar."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import Data, Json, Set, emit, pairs
from searec.cli.tables import print_tables

if TYPE_CHECKING:
    from searec.data.schema import Task
    from searec.reports.tradeoff import Cost, Tradeoff

_HEADS = (
    "recommend",
    "search",
    "shared",
    "codes",
    "collide",
    "parameters",
    "train s",
    "rank rec",
    "find rec",
    "rank sea",
    "find sea",
)


def tradeoff(
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder for the runs and tradeoff.html; what is finished there is not done again.",
            show_default=False,
        ),
    ],
    requests: Annotated[int, typer.Option(min=1, help="Test requests of each task that times are measured on.")] = 200,
    recipe: Annotated[str, typer.Option(help="Which runs; see docs/study.md.")] = "gensar-tradeoff",
    settings: Set = None,
    figures: Json = None,
) -> None:
    """Train gensar for one task and for both, by several kinds of identifiers, and draw one task against the other."""
    from searec.data.dataset import load
    from searec.experiments.recipe import train_recipe
    from searec.experiments.recipes import recipe_named
    from searec.experiments.run_comparison import compare
    from searec.reports.tradeoff import tradeoff as analyse
    from searec.reports.tradeoff_page import write_tradeoff

    runs = train_recipe(recipe_named(recipe).with_settings(pairs(settings)), load(data), out)
    base = "joint" if any(run.label == "joint" for run in runs) else None
    comparison = compare(runs, protocols=("sampled",), baseline=base)
    result = analyse(runs, comparison, requests=requests)
    write_tradeoff(result, out / "tradeoff.html")
    if str(figures) != "-":
        print_tables(comparison)
        _print_costs(result)
        print(f"report: {out / 'tradeoff.html'}")
    emit(result.as_json(), figures)


def _print_costs(result: "Tradeoff") -> None:
    """NDCG@5 of both tasks, and what each run takes, a line a run."""
    wide = max(16, *(len(outcome.label) for outcome in result.outcomes)) + 1
    print("  " + " " * wide + "".join(f"{head:>11}" for head in _HEADS))
    for outcome in result.outcomes:
        cells = [_number(None if cell is None else cell.mean, ".4f") for cell in outcome.ndcg.values()]
        cells += [] if outcome.cost is None else _costs(outcome.cost, tuple(outcome.ndcg))
        print(f"  {outcome.label:<{wide}}" + "".join(f"{cell:>11}" for cell in cells))
    print("  collide: share of items, before they are spread; rank, find: ms a request, one thread,")
    print(f"  of ranking {result.about['candidates']} candidates and of retrieving {result.about['retrieved']} items\n")


def _costs(cost: "Cost", tasks: "tuple[Task, ...]") -> list[str]:
    shared = "-" if cost.share is None else f"{cost.shared} of {cost.shared + cost.specific}"
    collide = max((before for before, _ in cost.collisions.values()), default=0.0)
    cells = [shared, str(cost.places), f"{collide:.3f}", f"{cost.parameters:,}", _number(cost.seconds, ",.0f")]
    for task in tasks:
        times = cost.times.get(task)
        cells += ["-", "-"] if times is None else [f"{times.rank:.3f}", f"{times.retrieve:.3f}"]
    return cells


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
