"""Commands that measure interests: by later clicks, and by human raters."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import Data, Json, Set, Split, choice, emit, pairs, seed_option
from searec.cli.students import reasoner_of

if TYPE_CHECKING:
    from searec.evaluation.interest_hits import InterestHits

Seed = Annotated[int, seed_option("Of what is drawn at random, and of the intervals.")]
_DEBATE = "debate"


def hits(
    data: Data,
    reasoners: Annotated[
        list[str] | None,
        typer.Option(
            "--reasoner",
            metavar="NAME",
            help="offline, one-hop, chat, debate or student=RUN; may be given many times. By default offline.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Interests of each user that count, surest first.")] = 8,
    clicks: Annotated[
        int | None,
        typer.Option("--clicks", min=1, help="Held-out clicks, drawn by the seed; all by default.", show_default=False),
    ] = None,
    split: Split = "test",
    overrides: Set = None,
    seed: Seed = 0,
    figures: Json = None,
) -> None:
    """Measure whether interests name the categories that users click later and never before, against popular ones.

    --set is of all reasoners. A debate is compared with each of its agents alone.
    """
    from searec.data.dataset import load
    from searec.data.split import Split as Held
    from searec.evaluation.interest_hits import interest_hits, novel_clicks
    from searec.interests.category_index import CategoryIndex
    from searec.text.encoder import DEFAULT, Encoder

    part = choice(split, ("test", "val"), "--split")
    dataset = load(data)
    catalogue = CategoryIndex(dataset, Encoder(DEFAULT).encode)
    opened = {name: reasoner_of(name, dataset, pairs(overrides)) for name in reasoners or ["offline"]}
    held_out = novel_clicks(Held(dataset), catalogue, part=part, most=clicks, seed=seed)
    results = interest_hits(held_out, opened, catalogue, k=k, seed=seed)
    verdict = debate_verdict(results)
    if str(figures) != "-":
        print(f"  {len(held_out):,} {part} clicks in categories that are new to their users; hit@{k}, 95 % intervals")
        wide = max(map(len, results)) + 2
        print("  " + " " * wide + f"{'hit':>8}{'interval':>18}{'- popular':>12}{'interval':>20}{'p':>9}{'named':>8}")
        for label, one in results.items():
            apart = f"{one.difference_low:+.4f} to {one.difference_high:+.4f}"
            print(
                f"  {label:<{wide}}{one.hit:>8.4f}{f'{one.low:.4f} to {one.high:.4f}':>18}{one.difference:>+12.4f}"
                f"{apart:>20}{one.p:>9.4f}{one.named:>8.1f}"
            )
        if verdict:
            print(f"  {verdict}")
    emit(
        {
            "clicks": len(held_out),
            "k": k,
            "part": part,
            "hits": {label: vars(one) for label, one in results.items()},
            "debate": verdict,
        },
        figures,
    )


def debate_verdict(results: "Mapping[str, InterestHits]") -> str:
    """Return whether a debate is better than the best of its agents alone; empty without a debate."""
    alone = {label: one.hit for label, one in results.items() if label.startswith(f"{_DEBATE}: ")}
    if _DEBATE not in results or not alone:
        return ""
    best = max(alone, key=lambda label: alone[label])
    is_better = results[_DEBATE].hit > alone[best]
    outcome = "is better than" if is_better else "is not better than"
    advice = "" if is_better else "; use that agent's model alone (--reasoner chat)"
    return f"the debate ({results[_DEBATE].hit:.4f}) {outcome} its best agent alone ({best}, {alone[best]:.4f}){advice}"


def labels(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write.", show_default=False)],
    count: Annotated[int, typer.Option(min=3, help="Pairs of a profile and an interest, at most.")] = 1_000,
    seed: Seed = 0,
) -> None:
    """Write interests with grades from later clicks (key.csv), and a sheet for raters who see no grades (sheet.csv)."""
    from collections import Counter

    from searec.data.dataset import load
    from searec.data.split import Split as Held
    from searec.distillation.distil import require_new_folder
    from searec.evaluation.interest_labels import GRADES, KEY, SHEET, labelled_interests, write_labels
    from searec.interests.category_index import CategoryIndex
    from searec.text.encoder import DEFAULT, Encoder

    require_new_folder(out, False)
    dataset = load(data)
    catalogue = CategoryIndex(dataset, Encoder(DEFAULT).encode)
    rows = labelled_interests(Held(dataset), catalogue, count=count, seed=seed)
    write_labels(rows, out)
    grades = Counter(one.grade for one in rows)
    print(f"{len(rows):,} pairs: " + ", ".join(f"{grades[grade]:,} of grade {grade}" for grade in GRADES))
    print(f"wrote {out / KEY} and {out / SHEET}; raters fill in 'rating': 2 new and fitting, 1 near to it, 0 neither")


def agreement(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `labels` wrote.", show_default=False)],
    rated: Annotated[
        list[Path], typer.Option("--rated", metavar="FILE", help="A sheet that was filled in; one for each rater.")
    ],
    figures: Json = None,
) -> None:
    """Compare human raters with the grades from later clicks, and with one another."""
    from searec.evaluation.interest_labels import agreement as compare

    results = compare(folder, rated)
    if str(figures) != "-":
        for names, values in results.items():
            shares = f"agree on {values['agree']:.1%}, kappa {values['kappa']:.3f} (quadratic weights)"
            print(f"  {names:<24} {values['pairs']:,.0f} pairs, {shares}")
    emit(results, figures)
