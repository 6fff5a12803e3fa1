"""The command on user codes."""

from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import (
    Data,
    Json,
    Preset,
    Set,
    choice,
    emit,
    pairs,
    seed_option,
)


def codes(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also copy the codes and what made them here.", show_default=False),
    ] = None,
    preset: Preset = "default",
    overrides: Set = None,
    seed: Annotated[int, seed_option("Same seed, same codes, bit for bit.")] = 0,
    unseen: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of users kept from training and only quantised.")
    ] = 0.0,
    figures: Json = None,
) -> None:
    """Make the user codes of gserec and show how they are used; what is made already is only shown."""
    from searec.artifacts.user_codes import UserCoder
    from searec.config import configure
    from searec.data.dataset import load
    from searec.data.split import Split
    from searec.semantic_ids.code_config import PAPER, CodeSettings
    from searec.semantic_ids.codebook_usage import code_use, describe, shared
    from searec.semantic_ids.user_code_table import SIDES

    chosen = choice(preset, ("default", "paper"), "--preset")
    settings = configure(CodeSettings, {**(PAPER if chosen == "paper" else {}), **pairs(overrides)}, where="codes")
    coder = UserCoder.make(Split(load(data), unseen=unseen), ("recommend",), settings, seed=seed)
    about = coder.codes.about
    here = coder.codes.has()[1:]
    written = about["summaries"]
    if str(figures) != "-":
        author = (
            f"chat model {written['model']}"
            if written["summariser"] == "chat"
            else "the offline summariser (no language model)"
        )
        print(
            f"texts by {author}, vectors by {settings.encoder}, {settings.levels} x {settings.codes} codes a side, "
            f"seed {seed}"
        )
        for side, name in enumerate(SIDES):
            codes_of_side = coder.codes.codes[1:][here[:, side], side]
            tuples, common = shared(codes_of_side)
            explained = about["explained"].get(f"explained.{name}")
            variance = "" if explained is None else f", {explained:.1%} of the variance explained"
            print(f"\n{name}: {len(codes_of_side):,} of {coder.codes.users:,} users have codes{variance}")
            print(describe(code_use(codes_of_side, settings.codes)))
            print(f"  {tuples:,} distinct lists of codes; {common:.1%} of the users share theirs with somebody")
    emit(about, figures)
    if out is not None:
        coder.save(out)
        if str(figures) != "-":
            print(f"wrote {out}")
