"""Commands that measure how novel the shown items are to users, and whether users choose them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from searec.cli.arguments import (
    Data,
    Json,
    Requests,
    Split,
    choice,
    emit,
    pairs,
    seed_option,
)
from searec.errors import SettingsError

if TYPE_CHECKING:
    from searec.data.dataset import Dataset
    from searec.pipeline.pipeline import Pipeline
    from searec.reports.exposure_frontier import Exposure
    from searec.reports.paired_replay import Source

Level = Annotated[
    str, typer.Option(help="Whose categories decide what is novel: 'narrow', or a depth of the tree, 1 the broadest.")
]
Days = Annotated[
    float | None,
    typer.Option(min=0, help="Clicks of this many days count as touched; all by default.", show_default=False),
]
Seed = Annotated[int, seed_option("Of what is drawn at random, and of the intervals.")]
_FIGURES = ("hit", "ndcg", "enr", "cnr", "serendipity")


def exposure(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|DEPLOYMENT... DATA",
            help="Run folders and deployment files, then the dataset folder or its URL.",
            show_default=False,
        ),
    ],
    gain: Annotated[
        list[float] | None,
        typer.Option(
            help="Points of novelty to add, as a share (0.05); may be given many times. By default 0.05 to 0.2.",
            show_default=False,
        ),
    ] = None,
    level: Level = "narrow",
    days: Days = None,
    split: Split = "test",
    requests: Requests = None,
    seed: Seed = 0,
    figures: Json = None,
) -> None:
    """Measure what novelty costs the first one's feed, by a premium on novel items and by controls.

    A run by itself gets a linear fusion that is fitted on its validation requests.
    """
    from searec.data.dataset import load
    from searec.reports.exposure_frontier import GAINS
    from searec.reports.exposure_frontier import exposure as look

    part = choice(split, ("test", "val"), "--split")
    *paths, data = folders
    if not paths:
        raise SettingsError("nothing to look at", got="one folder", expected="RUN|DEPLOYMENT... DATA")
    dataset = load(data)
    pipeline = _learned_pipeline(Path(paths[0]), data)
    try:
        result = look(
            pipeline,
            Path(paths[0]).stem,
            [_source(Path(path), dataset, data, {}) for path in paths[1:]],
            gains=gain or GAINS,
            part=part,
            requests=requests,
            level=_level(level),
            days=days,
            seed=seed,
        )
    finally:
        pipeline.close()
    if str(figures) != "-":
        _print(result)
    emit(result.as_json(), figures)


def _learned_pipeline(path: Path, data: str) -> "Pipeline":
    """The pipeline of a deployment, or of a run by itself with a fusion of its own."""
    from searec.data.remote import absolute
    from searec.pipeline.builder import open_pipeline
    from searec.pipeline.deployment import Deployment, read_deployment
    from searec.pipeline.executors import Inline
    from searec.pipeline.fusion_fitting import fit_fusion

    if path.is_file():
        return open_pipeline(read_deployment(path, data=data), executor=Inline)
    deployment = Deployment(data=absolute(data), recommend=(str(path.resolve()),), quota=0.0)
    return open_pipeline(deployment, executor=Inline, fusion=fit_fusion(deployment, trees=False, tasks=("recommend",)))


def replay(
    a: Annotated[
        Path,
        typer.Argument(metavar="A", help="Run folder or deployment file of the one configuration.", show_default=False),
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="Of the other; may be the same.", show_default=False)],
    data: Data,
    set_a: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A setting of A that needs no training, as quota=0; any of a deployment.",
            show_default=False,
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
    from searec.data.dataset import load
    from searec.reports.paired_replay import compared

    part = choice(split, ("test", "val"), "--split")
    dataset = load(data)
    source_a = _source(a, dataset, data, pairs(set_a, "--set-a"))
    source_b = _source(b, dataset, data, pairs(set_b, "--set-b"))
    one, other, result = compared(
        source_a, source_b, part=part, requests=requests, level=_level(level), days=days, seed=seed
    )
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


def _source(path: Path, dataset: "Dataset", data: str, values: dict[str, str]) -> "Source":
    """A run folder or a deployment file, with other settings."""
    from searec.pipeline.builder import open_pipeline
    from searec.pipeline.deployment import changed, read_deployment
    from searec.pipeline.executors import Inline
    from searec.pipeline.run import read_run
    from searec.pipeline.served_lists import ServedLists
    from searec.reports.paired_replay import Source, with_settings

    if not path.is_file():
        return Source.of(with_settings(read_run(path, dataset), values))
    deployment = changed(read_deployment(path, data=data), values)
    return Source.served(ServedLists(open_pipeline(deployment, executor=Inline), path.stem), str(path))


def _level(level: str) -> "Literal['narrow'] | int":
    if level == "narrow":
        return "narrow"
    if not level.isdigit() or int(level) < 1:
        raise typer.BadParameter(f"{level!r} is neither 'narrow' nor a depth from 1", param_hint="--level")
    return int(level)


def _print(result: "Exposure") -> None:
    """Figures of everything shown, a line each; then the frontier beside its controls."""
    about = result.about
    print(
        f"  {about['requests']:,} {about['part']} requests on new targets, {about['shown']} items each; "
        f"novel: categories at level {about['level']}, ",
        end="",
    )
    print("never touched before" if about["days"] is None else f"not touched for {about['days']:g} days")
    wide = max(14, *(len(shown.label) for shown in result.rows())) + 1
    print("  " + " " * wide + "".join(f"{name:>12}" for name in _FIGURES))
    for shown in result.rows():
        values = shown.figures()
        print(f"  {shown.label:<{wide}}" + "".join(f"{values[name]:>12.4f}" for name in _FIGURES))
    print("\n  NDCG and CNR against the list without a premium; in brackets p of the premium against the control")
    base = result.base.figures()
    for one in result.frontier:
        ndcg, cnr = one.beside["ndcg"], one.beside["cnr"]
        print(
            f"  +{100 * one.gain:g} points of ENR by premium {one.premium:.2g}: NDCG {_share(ndcg.b, ndcg.a):+.2%} "
            f"({_share(ndcg.a + ndcg.low, ndcg.a):+.2%} to {_share(ndcg.a + ndcg.high, ndcg.a):+.2%}), "
            f"CNR {100 * cnr.difference:+.1f} points"
        )
        for name, control in one.controls.items():
            values, against = control.figures(), one.against[name]
            print(
                f"    {name:<20} ENR {100 * (values['enr'] - base['enr']):+.1f}   "
                f"NDCG {_share(values['ndcg'], base['ndcg']):+.2%} (p {against['ndcg'].p:.4f})   "
                f"CNR {100 * (values['cnr'] - base['cnr']):+.1f} (p {against['cnr'].p:.4f})   "
                f"serendipity {values['serendipity']:.4f} against {one.lists.figures()['serendipity']:.4f} "
                f"(p {against['serendipity'].p:.4f})"
            )


def _share(value: float, base: float) -> float:
    return value / base - 1 if base else 0.0
