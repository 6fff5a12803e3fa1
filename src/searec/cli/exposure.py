"""The command that shows what is new to users in what runs show them, and whether it is wanted."""

from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import Json, Requests, RunsAndData, Split, choice, emit, open_runs

if TYPE_CHECKING:
    from searec.audit.exposure import Exposure

_FIGURES = ("hr", "ndcg", "enr", "cnr", "serendipity")


def exposure(
    folders: RunsAndData,
    quota: Annotated[
        list[float] | None, typer.Option(help="A share of the pool for the serendipity channel; may be given many times.")
    ] = None,
    level: Annotated[
        str, typer.Option(help="Whose categories decide what is novel: 'narrow', or a depth of the tree, 1 the broadest.")
    ] = "narrow",
    days: Annotated[
        float | None, typer.Option(min=0, help="Clicks of so many days count as touched; all by default.", show_default=False)
    ] = None,
    split: Split = "test",
    requests: Requests = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at random, and of the intervals.")] = 0,
    figures: Json = None,
) -> None:
    """Replay held-out clicks against each share of the serendipity channel of the first run, and against the other runs."""
    from searec.audit.exposure import QUOTAS
    from searec.audit.exposure import exposure as look

    part = choice(split, ("test", "val"), "--split")
    runs = open_runs(folders, "look at")
    found = look(
        runs[0],
        runs[1:],
        quotas=quota or QUOTAS,
        part=part,
        requests=requests,
        level="narrow" if level == "narrow" else _depth(level),
        days=days,
        seed=seed,
    )
    if str(figures) != "-":
        _print(found)
    emit(found.as_json(), figures)


def _depth(level: str) -> int:
    if not level.isdigit() or int(level) < 1:
        raise typer.BadParameter(f"{level!r} is neither 'narrow' nor a depth from 1", param_hint="--level")
    return int(level)


def _print(found: "Exposure") -> None:
    """Figures of everything shown, a line each; then what each share changes."""
    about = found.about
    print(
        f"  {about['requests']:,} {about['part']} requests, {about['shown']} items each; novel: categories at level {about['level']}, ",
        end="",
    )
    print("never touched before" if about["days"] is None else f"not touched for {about['days']:g} days")
    wide = max(14, *(len(shown.label) for shown in found.rows())) + 1
    print("  " + " " * wide + "".join(f"{name:>12}" for name in _FIGURES))
    for shown in found.rows():
        values = shown.figures()
        print(f"  {shown.label:<{wide}}" + "".join(f"{values[name]:>12.4f}" for name in _FIGURES))
    print("\n  NDCG and ENR against U2I alone; CNR against items drawn from untouched categories in the same places")
    for one in found.swept:
        ndcg, enr, cnr = one.beside["ndcg"], one.beside["enr"], one.against["cnr"]
        lost = ndcg.difference / ndcg.a if ndcg.a else 0.0
        times = enr.b / enr.a if enr.a else float("inf")
        print(
            f"  quota {one.quota:<5g} NDCG {lost:+.1%} (p {ndcg.p:.4f})   ENR x{times:.2f}   "
            f"CNR {cnr.b:.4f} against {cnr.a:.4f} (p {cnr.p:.4f})"
        )
