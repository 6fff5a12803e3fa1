"""The command that writes what a service has learned of as a dataset folder."""

from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import Data, Json, emit

FORMATS = ("dataset",)
EventsUrl = Annotated[
    str,
    typer.Option(
        "--events",
        metavar="URL",
        envvar="SEAREC_EVENTS",
        help="sqlite:///FILE or postgresql://USER@HOST/DB; one with a password is better given in the environment.",
        show_default=False,
        show_envvar=True,
    ),
]


def export(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help=" or ".join(FORMATS) + ".", show_default=False)],
    data: Data,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.", show_default=False)],
    events: EventsUrl,
    figures: Json = None,
) -> None:
    """Write a dataset folder together with the events, items and users reported since."""
    from searec.data.importing import REJECTS_FILE
    from searec.errors import SettingsError
    from searec.serve.events import open_events
    from searec.serve.export import export as write
    from searec.settings import nearest

    if format not in FORMATS:
        raise SettingsError(f"unknown format {format!r}", where="export", remedy=nearest(format, list(FORMATS)))
    with open_events(events) as store:
        counts = write(data, store, out)
    if str(figures) != "-":
        for table in ("items", "users", "interactions", "searches"):
            print(f"{table}: {counts[table]:,} rows")
        print(f"events: {counts['events']:,} new, up to number {counts['number']:,}; {counts['clicked']:,} were clicks of a search")
        if counts["rejects"]:
            print(f"{counts['rejects']:,} broken rules are listed in {out / REJECTS_FILE}")
        print(f"wrote {out}")
    emit(counts, figures)
