"""Commands that measure how novel the shown items are to users, and whether users choose them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from searec.cli.arguments import Data, Json, Requests, RunsAndData, Split, choice, emit, open_runs, pairs

if TYPE_CHECKING:
    from searec.reports.exposure_frontier import Exposure

Level = Annotated[
    str, typer.Option(help="Whose categories decide what is novel: 'narrow', or a depth of the tree, 1 the broadest.")
]
Days = Annotated[
    float | None,
    typer.Option(min=0, help="Clicks of this many days count as touched; all by default.", show_default=False),
]
Seed = Annotated[int, typer.Option(min=0, help="Of what is drawn at random, and of the intervals.")]
_FIGURES = ("hit", "ndcg", "enr", "cnr", "serendipity")


def exposure(
    folders: RunsAndData,
    quota: Annotated[
        list[float] | None,
        typer.Option(help="A share of the pool for the serendipity channel; may be given many times."),
    ] = None,
    level: Level = "narrow",
    days: Days = None,
    split: Split = "test",
    requests: Requests = None,
    seed: Seed = 0,
    figures: Json = None,
) -> None:
    """Replay held-out clicks against each share of the first run's interest channel, and against the other runs."""
    from searec.reports.exposure_frontier import QUOTAS
    from searec.reports.exposure_frontier import exposure as look

    part = choice(split, ("test", "val"), "--split")
    runs = open_runs(folders, "look at")
    result = look(
        runs[0],
        runs[1:],
        quotas=quota or QUOTAS,
        part=part,
        requests=requests,
        level=_level(level),
        days=days,
        seed=seed,
    )
    if str(figures) != "-":
        _print(result)
    emit(result.as_json(), figures)


def replay(
    a: Annotated[Path, typer.Argument(metavar="A", help="Run folder of the one configuration.", show_default=False)],
    b: Annotated[
        Path, typer.Argument(metavar="B", help="Run folder of the other; may be the same.", show_default=False)
    ],
    data: Data,
    set_a: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="A setting of A that needs no training, as quota=0.", show_default=False
        ),
    ] = None,
    set_b: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A setting of B, as quota=0.2.", show_default=False)
    ] = None,
    level: Level = "narrow",
    days: Days = None,
    split: Split = "test",
    requests: Requests = None,
    seed: Seed = 0,
    figures: Json = None,
) -> None:
    """An A/B test in replay: held-out clicks against what two configurations would have shown, with 95 % intervals."""
    from searec.reports.exposure_frontier import compared, with_settings

    part = choice(split, ("test", "val"), "--split")
    runs = open_runs([a, b, data], "replay")
    runs = [
        with_settings(run, pairs(given, option))
        for run, given, option in zip(runs, (set_a, set_b), ("--set-a", "--set-b"), strict=True)
    ]
    one, other, result = compared(*runs, part=part, requests=requests, level=_level(level), days=days, seed=seed)
    if str(figures) != "-":
        print(f"  {len(one.target):,} {part} requests    {one.label}    {other.label}")
        print("  " + " " * 14 + "".join(f"{name:>12}" for name in ("a", "b", "b - a", "low", "high", "p")))
        for name, each in result.items():
            values = "".join(
                f"{value:>12.4f}" for value in (each.a, each.b, each.difference, each.low, each.high, each.p)
            )
            print(f"  {name:<14}{values}")
    emit(
        {
            "a": one.label,
            "b": other.label,
            "requests": len(one.target),
            "figures": {name: vars(each) for name, each in result.items()},
        },
        figures,
    )


def _level(level: str) -> "Literal['narrow'] | int":
    if level == "narrow":
        return "narrow"
    if not level.isdigit() or int(level) < 1:
        raise typer.BadParameter(f"{level!r} is neither 'narrow' nor a depth from 1", param_hint="--level")
    return int(level)


def _print(result: "Exposure") -> None:
    """Figures of everything shown, a line each; then what each share changes."""
    about = result.about
    print(
        f"  {about['requests']:,} {about['part']} requests, {about['shown']} items each; "
        f"novel: categories at level {about['level']}, ",
        end="",
    )
    print("never touched before" if about["days"] is None else f"not touched for {about['days']:g} days")
    wide = max(14, *(len(shown.label) for shown in result.rows())) + 1
    print("  " + " " * wide + "".join(f"{name:>12}" for name in _FIGURES))
    for shown in result.rows():
        values = shown.figures()
        print(f"  {shown.label:<{wide}}" + "".join(f"{values[name]:>12.4f}" for name in _FIGURES))
    print("\n  NDCG and ENR against U2I alone; CNR against items drawn from untouched categories in the same places")
    for one in result.swept:
        ndcg, enr, cnr = one.beside["ndcg"], one.beside["enr"], one.against["cnr"]
        lost = ndcg.difference / ndcg.a if ndcg.a else 0.0
        times = enr.b / enr.a if enr.a else float("inf")
        print(
            f"  quota {one.quota:<5g} NDCG {lost:+.1%} (p {ndcg.p:.4f})   ENR x{times:.2f}   "
            f"CNR {cnr.b:.4f} against {cnr.a:.4f} (p {cnr.p:.4f})"
        )
