"""The command that writes a dataset folder, with recorded events or without, in any format."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from searec.cli.arguments import Data, Json, emit
from searec.data.formats import EXPORTS


def export(
    format: Annotated[
        str, typer.Argument(metavar="FORMAT", help=f"dataset, {', '.join(EXPORTS.names())}.", show_default=False)
    ],
    data: Data,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.", show_default=False)],
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            envvar="SEAREC_STORE",
            help="Join what was recorded there first (dataset needs it): sqlite:///FILE or postgresql://USER@HOST/DB.",
            show_default=False,
            show_envvar=True,
        ),
    ] = None,
    figures: Json = None,
) -> None:
    """Write a dataset folder and the events, items and users recorded since as a dataset folder, RecBole or UBI."""
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
        if store is None:
            remedy = "--store URL or SEAREC_STORE names the store; 'searec export recbole' and 'ubi' can do without"
            what = "export of a dataset folder joins recorded events, and no store is named"
            raise SettingsError(what, where="--store", remedy=remedy)
        counts = _join(data, store, out)
        rejects = counts["rejects"]
    elif store is None:
        counts = export_folder(format, data, out)
    else:
        with tempfile.TemporaryDirectory(prefix="searec-export-") as room:
            folder = Path(room) / Path(data).resolve().name
            joined = _join(data, store, folder)
            counts = {**joined, **export_folder(format, folder, out)}
    if str(figures) != "-":
        for table in ("items", "users", "interactions", "searches"):
            print(f"{table}: {counts[table]:,} rows")
        if "events" in counts:
            clicked = f"{counts['clicked']:,} were clicks of a search"
            print(f"events: {counts['events']:,} new, up to number {counts['number']:,}; {clicked}")
        if rejects:
            print(f"{rejects:,} broken rules are listed in {out / REJECTS_FILE}")
        elif counts.get("rejects"):
            listed = "which are left out; 'searec export dataset' lists them"
            print(f"{counts['rejects']:,} rules were broken by events, {listed}")
        print(f"wrote {out}")
    emit(counts, figures)


def _join(data: str, store: str, out: Path) -> dict[str, int]:
    from searec.store.event_export import export as write
    from searec.store.store import Store

    with Store(store) as opened:
        return write(data, opened.events, out)
