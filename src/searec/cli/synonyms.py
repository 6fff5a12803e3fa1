"""Command that proposes synonyms from the log."""

from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import Data


def synonyms(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rules file to write the pairs to, as 'proposed'; its other entries stay.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print pairs of words and queries after which people click the same items: perhaps synonyms.

    None takes effect by itself: move the pairs that are right from 'proposed' to 'synonyms', and deploy the file by
    `searec deploy --rules FILE`.
    """
    import dataclasses

    from searec.data.dataset import load
    from searec.search.learned_synonyms import proposals
    from searec.search.rules import SearchRules, read_rules, write_rules

    rules = read_rules(out) if out is not None and out.exists() else SearchRules()
    pairs = proposals(load(data), rules)
    print(f"{len(pairs)} pairs that may be synonyms")
    for pair in pairs:
        words, users = " = ".join(pair.words), " and ".join(f"{count:,}" for count in pair.users)
        print(f"  {pair.confidence:.3f}  {words:<40}{users} users, {pair.items:,} common items")
    if out is not None:
        write_rules(dataclasses.replace(rules, proposed=pairs), out)
        print(f"wrote {out}")
