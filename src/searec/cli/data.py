"""Commands on data: simulate, import, check."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import (
    Data,
    Json,
    Set,
    emit,
    pairs,
    seed_option,
)
from searec.data.formats import FORMATS
from searec.errors import DataError


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The dataset folder to write.", show_default=False)],
    users: Annotated[int | None, typer.Option(min=1, help="Users.", show_default=False)] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Items.", show_default=False)] = None,
    seed: Annotated[int, seed_option("Same seed, same bytes.")] = 0,
    reveal: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of targets that only earlier searches announce.", show_default=False),
    ] = None,
    inject: Annotated[int, typer.Option(min=0, max=8, help="Foreign searches beside each search.")] = 0,
    archetypes: Annotated[int, typer.Option(min=0, help="Hidden clusters of users with needs of their own.")] = 0,
    shown: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Write result pages of this many items, clicked with position bias; none by default.",
            show_default=False,
        ),
    ] = None,
    bounds: Annotated[
        bool,
        typer.Option("--bounds", help="Also print what an oracle reaches, and models without neighbours or searches."),
    ] = False,
    dials: Set = None,
) -> None:
    """Write a simulated shop: users with drifting interests, clicks and searches, with dials (see docs/data.md).

    Worlds that differ in --reveal or --inject alone share their feed clicks, and so their targets.
    """
    from searec.config import configure
    from searec.data.synthetic.simulate import World
    from searec.data.synthetic.simulate import simulate as write

    options = {
        "users": users,
        "items": items,
        "reveal": reveal,
        "inject": inject,
        "archetypes": archetypes,
        "shown": shown,
    }
    values = {name: value for name, value in options.items() if value is not None}
    world = configure(World, {"seed": seed, **values, **pairs(dials)}, where="simulate")
    folder = write(out, world)
    print(f"wrote {folder}")
    if bounds:
        from searec.evaluation.bounds import bounds as measure

        for line in measure(folder, world).lines():
            print(line)


def import_(
    format: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help=f"{', '.join(FORMATS.names())}.",
            show_default=False,
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Folder or file of that format, or its URL; see docs/formats.md.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The dataset folder to write.", show_default=False)],
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="TABLE[.COLUMN]=NAME",
            help="A column's name, or a table's file, in the source; may be given many times.",
        ),
    ] = None,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave out rows that break a rule and list them in OUT/rejects.parquet.")
    ] = False,
    separator: Annotated[
        str | None, typer.Option(help="Between the fields of a CSV row; 'tab' for a tab.", show_default=False)
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text files; UTF-8 by default.", show_default=False)] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help="Of times given as text, such as %d/%m/%Y %H:%M; ISO 8601 by default.", show_default=False),
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="Unit of times given as numbers: s, ms or us.", show_default=False)
    ] = None,
    list_separator: Annotated[
        str | None,
        typer.Option(help="Between the members of a list that is not JSON; | by default.", show_default=False),
    ] = None,
    fold_ids: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="Differences between ids to ignore: blanks,invisible,case,zeros,decimal or some of them.",
            show_default=False,
        ),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=WEIGHT",
            help="Weight of an event: above 0 positive, 0 neutral, below 0 negative; may be given many times.",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="Of titles and descriptions, as de; by default detected.", show_default=False),
    ] = None,
    shard_rows: Annotated[
        int, typer.Option(min=1, help="Write a table of more rows as a folder of Parquet files of at most this many.")
    ] = 20_000_000,
) -> None:
    """Make a dataset folder from plain files or a public format."""
    from searec.cli.arguments import choice
    from searec.data.events import parse_weights
    from searec.data.formats.base import FOLD_RULES, ImportOptions
    from searec.data.importing import import_folder

    unit = None if time_unit is None else choice(time_unit, ("s", "ms", "us"), "--time-unit")
    folds = tuple(choice(name, FOLD_RULES, "--fold-ids") for name in fold_ids.split(",")) if fold_ids else ()
    options = ImportOptions(
        mapping=pairs(mapping, "--map"),
        separator="\t" if separator in ("tab", "\\t") else separator,
        encoding=encoding,
        time_format=time_format,
        time_unit=unit,
        list_separator=list_separator,
        fold_ids=folds,
        event_weights=parse_weights(event or ()),
        language=language,
    )
    report = import_folder(format, source, out, options, drop_bad=drop_bad, shard_rows=shard_rows)
    for note in report.notes:
        print(f"note: {note}")
    for file in report.files:
        print(file)
    for table, read in report.read.items():
        print(f"{table}: {report.written[table]:,} of {read:,} rows kept")
    if report.rejects.height:
        lines = "1 broken rule is" if report.rejects.height == 1 else f"{report.rejects.height:,} broken rules are"
        print(f"{lines} listed in {out / 'rejects.parquet'}")
    print(f"wrote {out}")


def check(
    folder: Data,
    level: Annotated[
        str,
        typer.Option(
            help="Category labels to compare search and feed by: all, broadest, or 1, 2, ... from broad to narrow."
        ),
    ] = "all",
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Also audit this run folder for leaks; may be given many times.",
            show_default=False,
        ),
    ] = None,
    split_at: Annotated[
        str | None,
        typer.Option(
            "--split-at",
            metavar="QUANTILE|TIME",
            help="Look for leaks in this global split; in leave-one-out by default.",
            show_default=False,
        ),
    ] = None,
    figures: Json = None,
) -> None:
    """Check a dataset folder: rules, counts, searches per user, overlap of search and feed, time span, leaks."""
    from searec.data.check import check as measure
    from searec.data.check import render
    from searec.data.dataset import load
    from searec.data.global_split import split_time
    from searec.data.leakage import future
    from searec.data.leakage.checks import data_leaks
    from searec.data.log import broken_rows, read_folder
    from searec.data.split import Split
    from searec.data.tables import local_folder

    with local_folder(folder) as local:
        log = read_folder(local)
        data = load(local, log=log) if log.rows["items"] and log.rows["users"] and not log.rejects.height else None
    report = measure(log, level=int(level) if level.isdigit() else level)  # type: ignore[arg-type]
    leaks, shares = None, {}
    if data is not None:
        split = Split(data, split_at=split_time(data, split_at))
        leaks = data_leaks(split)
        shares = future.future_shares(split) if split.split_at is None else {}
        if runs:
            from searec.experiments.run_leakage import run_leaks

            leaks = sum((run_leaks(run, data) for run in runs), leaks)
    if str(figures) != "-":
        print(render(report))
        print("leaks: not looked for before every row obeys the rules\n" if leaks is None else leaks.render(), end="")
        print(future.render(shares), end="")
    later = {task: dataclasses.asdict(one) for task, one in shares.items()}
    emit({**report.as_json(), "leaks": None if leaks is None else leaks.as_json(), "future_clicks": later}, figures)
    if log.rejects.height:
        raise DataError(
            broken_rows(log.rejects),
            where=folder,
            remedy="mend them, or 'searec import parquet SRC OUT --drop-bad' writes a clean copy and rejects.parquet",
        )
    if leaks is not None:
        leaks.refuse()
