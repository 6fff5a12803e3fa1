"""The command that writes a dataset folder, joined with reported events or not, as such or in another format."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import Data, Json, emit
from searec.data.formats import EXPORTS

_HELP = "sqlite:///FILE or postgresql://USER@HOST/DB; one with a password is better given in the environment."
EventsUrl = Annotated[
    str,
    typer.Option("--events", metavar="URL", envvar="SEAREC_EVENTS", help=_HELP, show_default=False, show_envvar=True),
]
_Joined = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="URL",
        envvar="SEAREC_EVENTS",
        help=f"Join what was reported there first; dataset needs it. {_HELP}",
        show_default=False,
        show_envvar=True,
    ),
]


def export(
    format: Annotated[
        str, typer.Argument(metavar="FORMAT", help=f"dataset, {', '.join(EXPORTS.names())}.", show_default=False)
    ],
    data: Data,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.", show_default=False)],
    events: _Joined = None,
    figures: Json = None,
) -> None:
    """Write a dataset folder, together with the events, items and users reported since, as a dataset folder, for RecBole or as UBI."""
    from searec.config import nearest
    from searec.data.exporting import export_folder
    from searec.data.importing import REJECTS_FILE
    from searec.errors import SettingsError

    formats = ["dataset", *EXPORTS.names()]
    if format not in formats:
        raise SettingsError(
            f"unknown format {format!r}", where="export", expected=" or ".join(formats), remedy=nearest(format, formats)
        )
    rejects = 0
    if format == "dataset":
        if events is None:
            remedy = "--events URL or SEAREC_EVENTS names the store; 'searec export recbole' and 'ubi' can do without"
            raise SettingsError(
                "export of a dataset folder joins reported events, and no event store is named",
                where="--events",
                remedy=remedy,
            )
        counts = _join(data, events, out)
        rejects = counts["rejects"]
    elif events is None:
        counts = export_folder(format, data, out)
    else:
        with tempfile.TemporaryDirectory(prefix="searec-export-") as room:
            joined = _join(data, events, Path(room) / data.resolve().name)
            counts = {**joined, **export_folder(format, Path(room) / data.resolve().name, out)}
    if str(figures) != "-":
        for table in ("items", "users", "interactions", "searches"):
            print(f"{table}: {counts[table]:,} rows")
        if "events" in counts:
            print(
                f"events: {counts['events']:,} new, up to number {counts['number']:,}; {counts['clicked']:,} were clicks of a search"
            )
        if rejects:
            print(f"{rejects:,} broken rules are listed in {out / REJECTS_FILE}")
        elif counts.get("rejects"):
            print(
                f"{counts['rejects']:,} rules were broken by events, which are left out; 'searec export dataset' lists them"
            )
        print(f"wrote {out}")
    emit(counts, figures)


def _join(data: Path, events: str, out: Path) -> dict[str, int]:
    from searec.store.event_export import export as write
    from searec.store.events import open_events

    with open_events(events) as store:
        return write(data, store, out)
