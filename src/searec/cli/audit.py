"""The command that looks inside gserec runs."""

from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import (
    Json,
    RunsAndData,
    emit,
    open_runs,
    seed_option,
)
from searec.cli.tables import print_tables


def audit(
    folders: RunsAndData,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The HTML page.")] = Path("audit.html"),
    users: Annotated[int, typer.Option(min=1, help="Users shown with their codes and histories.")] = 100,
    points: Annotated[int, typer.Option(min=2, help="Users in the t-SNE.")] = 1_000,
    seed: Annotated[int, seed_option("Of both draws.")] = 0,
    figures: Json = None,
) -> None:
    """Show how gserec runs work: users reached, codes beside histories, embeddings, ablations and depth."""
    from searec.experiments.run_comparison import compare
    from searec.reports.code_audit import audit as look
    from searec.reports.code_audit_page import GROUPS, write_audit
    from searec.semantic_ids.codebook_usage import describe

    runs = open_runs(folders, "audit")
    comparison = (
        compare(runs, protocols=("sampled",), baseline=runs[0].label) if len({run.label for run in runs}) > 1 else None
    )
    audited = look(runs, comparison, users=users, points=points, seed=seed)
    write_audit(audited, out)
    if str(figures) != "-":
        for run in audited.runs:
            print(f"{run.label}, seed {run.seed}: texts by {run.author}")
            for reach in run.reach:
                print(f"  {reach.side}: {reach.verdict} {reach.reference}")
            for side, uses in run.use.items():
                print(f"  codes, {side}\n{describe(uses)}")
            print(f"  a user's two sides: cosine {run.sides.agree:.3f}; of different users: {run.sides.differ:.3f}")
        if comparison is not None:
            print_tables(comparison, GROUPS)
        print(f"audit: {out}")
    emit(audited.as_json(), figures)
