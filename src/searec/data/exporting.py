"""From a dataset folder to the files of another format: whole or not at all, streamed from table to file."""

from pathlib import Path

import polars as pl

from searec.data.formats import EXPORTS
from searec.data.formats.base import Exporter
from searec.data.log import load_log, open_folder, writing
from searec.data.remote import refuse_url
from searec.data.schema import INTERACTIONS, SEARCHES, TABLES
from searec.data.tables import local_folder
from searec.errors import DataError
from searec.files import replacing
from searec.progress import progress


def export_folder(format: str, data: Path | str, out: Path | str) -> dict[str, int]:
    """Write a dataset folder in one of `EXPORTS`.

    Args:
        format: a name of `EXPORTS`.
        data: a dataset folder that obeys the rules, or its URL.
        out: the folder to write; an older export in the same format there is replaced when all has gone well.

    Returns:
        items, users, interactions, searches: rows written.

    Raises:
        SettingsError: an unknown format.
        DataError: the dataset folder breaks a rule, or OUT is something else. OUT is as it was.
        StorageError: the disk is full. OUT is as it was.
    """
    write: Exporter = EXPORTS.named(format)
    out = Path(out)
    with local_folder(data) as local:
        return _export(write, local, out)


def _export(write: Exporter, data: Path, out: Path) -> dict[str, int]:
    """`export_folder` of a folder on this machine."""
    log = load_log(data)
    files = write(_exact(data), out.resolve().name)
    _refuse_out(data, out, set(files))
    with replacing(out) as beside, progress(f"export {data.name}", len(files)) as advance:
        beside.mkdir()
        for name, lines in files.items():
            with writing(beside / name):
                lines.sink_csv(beside / name, include_header=False, quote_style="never", maintain_order=True)
            advance(1, name)
    return {table.name: log.rows[table.name] for table in TABLES}


def _exact(folder: Path) -> dict[str, pl.LazyFrame]:
    """The tables of a folder, unread; interactions and searches without other columns."""
    tables = open_folder(folder)
    for table in (INTERACTIONS, SEARCHES):
        names = tables[table.name].collect_schema().names()
        tables[table.name] = tables[table.name].select(c.name for c in table.columns if c.name in names)
    return tables


def _refuse_out(data: Path, out: Path, ours: set[str]) -> None:
    """Refuse an OUT that is not an earlier export of this format, since it is removed at the end.

    Raises:
        DataError: it does not.
    """
    refuse_url(out)
    here = out.resolve()
    if here in (data.resolve(), *data.resolve().parents):
        raise DataError("OUT would replace the source", where=out, got=data, remedy="name another folder for OUT")
    if not out.exists():
        return
    there = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if there and there != ours:
        got = ", ".join(sorted(there)[:5])
        raise DataError(
            "OUT holds files that are not such an export", where=out, got=got, remedy="name a new folder for OUT"
        )
