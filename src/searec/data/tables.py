"""Where the tables of a dataset folder are: each is one Parquet file or a folder of Parquet shards, local or by URL.

    interactions.parquet            one file
    interactions/*.parquet          shards, in any number of folders below; also in a folder named interactions.parquet

Names that begin with "_" or "." are left out, as writers of shards use them for marks of their own.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from searec.data.events import FILE as EVENT_WEIGHTS_FILE
from searec.data.remote import Remote, RemoteFile, copied, is_url
from searec.data.schema import TABLES, Table, as_kind, check_columns
from searec.data.text_settings import FILE as TEXT_SETTINGS_FILE
from searec.errors import DataError
from searec.files import cache_folder, fingerprint, replacing

SETTINGS_FILES = (EVENT_WEIGHTS_FILE, TEXT_SETTINGS_FILE)
"""Files of a dataset folder, apart from its tables, that the encoding depends on."""


def shards(folder: Path, table: Table) -> list[Path]:
    """Return the files of a table by name; none if it has none.

    Args:
        folder: the dataset folder.
        table: which table.

    Raises:
        DataError: it is in two places, or in an empty folder.
    """
    places = [path for path in (folder / table.file, folder / table.name) if path.exists()]
    if len(places) > 1:
        raise DataError(
            f"two places hold {table.name!r}",
            where=folder,
            got=" and ".join(path.name for path in places),
            remedy="remove one of them",
        )
    return parquet_files(places[0]) if places else []


def parquet_files(place: Path) -> list[Path]:
    """Return a file, or the Parquet files of a folder by name.

    Raises:
        DataError: the folder has none.
    """
    if place.is_file():
        return [place]
    files = [
        path
        for path in place.rglob("*.parquet")
        if path.is_file() and not any(part[0] in "_." for part in path.relative_to(place).parts)
    ]
    if not files:
        raise DataError("the folder of a table has no Parquet file", where=place, expected="*.parquet")
    return sorted(files)


def scan_table(folder: Path, table: Table) -> pl.LazyFrame:
    """Return a table, unread: rows of its files end to end, by file name. Columns and types are checked.

    Args:
        folder: the dataset folder.
        table: which table.

    Raises:
        DataError: a missing or damaged file, a missing column, a wrong type, or shards that do not fit together.
    """
    paths = shards(folder, table)
    if not paths:
        others = ", ".join(sorted(p.name for p in folder.iterdir())) or "an empty folder"
        remedy = "'searec import' makes a dataset folder from Parquet, CSV or JSON Lines"
        raise DataError("missing file", where=folder / table.file, got=others, remedy=remedy)
    frames = []
    for path in paths:
        frame = scan_parquet(path)
        schema = frame.collect_schema()
        check_columns(schema, table, path)
        exact = [as_kind(c.name, schema[c.name], c.kind) for c in table.columns if c.name in schema]
        frames.append(frame.with_columns(exact))
    return end_to_end(table, paths, frames)


def end_to_end(table: Table, paths: Sequence[Path], frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Return the rows of shards as one table; a column that a shard lacks is null there.

    Args:
        table: which table.
        paths: the shards, for errors.
        frames: their rows.

    Raises:
        DataError: a column has one type in one shard and another in the next.
    """
    first: dict[str, tuple[Path, pl.DataType]] = {}
    for path, frame in zip(paths, frames, strict=True):
        for name, dtype in frame.collect_schema().items():
            other, expected = first.setdefault(name, (path, dtype))
            if dtype != expected:
                raise DataError(
                    f"column {name!r} has two types in the shards of {table.name!r}",
                    where=path,
                    got=dtype,
                    expected=f"{expected}, as in {other.name}",
                    remedy="write the shards with one type",
                )
    return pl.concat(frames, how="diagonal") if len(frames) > 1 else frames[0]


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Return a Parquet file, unread.

    Raises:
        DataError: the file is truncated or is not Parquet.
    """
    try:
        frame = pl.scan_parquet(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(path, error) from error
    return frame


def damaged(path: Path | str, error: Exception) -> DataError:
    """Return the error for a file that cannot be read to its end.

    Args:
        path: the file.
        error: what the reader raised.
    """
    what = "file is damaged or not Parquet" if str(path).endswith(".parquet") else "file is damaged"
    return DataError(what, where=path, got=str(error).splitlines()[0], remedy="write or copy the file again")


def in_shards(rejects: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Return rejects of whole tables with the shard and the row within it.

    Args:
        rejects: as in `Log`, `file` being `<table>.parquet` and `row` that of the whole table.
        folder: the dataset folder.
    """
    for table in TABLES if rejects.height else ():
        paths = shards(folder, table)
        if len(paths) == 1 and paths[0] == folder / table.file:
            continue
        heights = [pl.scan_parquet(path).select(pl.len()).collect().item() for path in paths]
        ends = np.cumsum(heights)
        of_table = rejects["file"] == table.file
        row = rejects["row"].to_numpy()
        shard = np.where(of_table.to_numpy(), np.searchsorted(ends, row), 0)
        names = pl.Series([path.relative_to(folder).as_posix() for path in paths]).gather(shard)
        within = pl.Series(row - (ends - heights)[shard])
        rejects = rejects.with_columns(
            file=pl.when(of_table).then(names).otherwise("file"), row=pl.when(of_table).then(within).otherwise("row")
        )
    return rejects


def contents_digest(folder: Path) -> str:
    """Return 32 hex digits over the tables: the digests of a table's files, sorted, then those of the four tables.

    Names and order of shards do not matter. The same rows in other shards, or written by another program, differ.
    """
    return fingerprint(
        *(part for table in TABLES for part in (table.name, *sorted(map(fingerprint, shards(folder, table)))))
    )


# --- by URL ---


@contextlib.contextmanager
def local_folder(place: Path | str) -> Iterator[Path]:
    """Yield a dataset folder on this machine: the path itself, or a temporary copy of what a URL names.

    Only tables and settings are copied. Errors name the URL.

    Args:
        place: a path or a URL.

    Raises:
        DataError: the URL names nothing, or cannot be read.
    """
    if not is_url(place):
        yield Path(place)
        return
    remote = Remote(str(place))
    files = _files(remote)
    with copied(remote, files) as folder:
        if all(shards(folder, table) for table in TABLES):
            _remember(remote.url, files, folder)
        yield folder


def remembered(url: str) -> tuple[str, Path] | None:
    """Return `contents_digest` of a dataset folder by URL and a folder with its settings files, without reading it.

    None where its files were never read on this machine or have changed since, or where the server gives no etags.

    Raises:
        DataError: the URL cannot be read.
    """
    remote = Remote(url)
    files, memory = _files(remote), _memory(remote.url)
    try:
        about = json.loads((memory / "files.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not files or any(file.etag is None for file in files) or about["files"] != [asdict(file) for file in files]:
        return None
    return about["digest"], memory


def _remember(url: str, files: list[RemoteFile], folder: Path) -> None:
    about = {"url": url, "digest": contents_digest(folder), "files": [asdict(file) for file in files]}
    with replacing(_memory(url)) as beside:
        beside.mkdir()
        (beside / "files.json").write_text(json.dumps(about), encoding="utf-8")
        for name in SETTINGS_FILES:
            if (folder / name).is_file():
                (beside / name).write_bytes((folder / name).read_bytes())


def _memory(url: str) -> Path:
    return cache_folder() / "urls" / fingerprint(url)


def _files(remote: Remote) -> list[RemoteFile]:
    """The files of tables and settings."""
    folders = {name for table in TABLES for name in (table.name, table.file)}
    files = remote.files(lambda name: name in folders)
    return [file for file in files if file.name.split("/")[0] in {*folders, *SETTINGS_FILES}]
