"""Text files as UTF-8 that can be mapped into memory, and what a reader of one table hands over."""

import codecs
import gzip
import itertools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from searec.config import nearest
from searec.data.formats.base import ROW, refuse_encoding
from searec.data.tables import damaged
from searec.errors import DataError, SettingsError, StorageError

_BLOCK = 4 << 20
BYTE_ORDER_MARK = codecs.BOM_UTF8


@dataclass(frozen=True)
class TableFile:
    """One file of a table, read.

    frame: its rows, unread, with `base.ROW` where they are not the records of the file in order.
    records: how many it has, by a count of its own.
    rejects: records that are no row, as `log.REJECT_SCHEMA` says.
    notes: what was decided for the user, one sentence each.
    columns: returns the names of the columns in the file; those of the frame if None.
    shards: where the table is a folder of files, the records of each by its name; the frame has `base.FILE` then.
    """

    frame: pl.LazyFrame
    records: int
    rejects: pl.DataFrame
    notes: tuple[str, ...] = ()
    columns: Callable[[], list[str]] | None = None
    shards: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the columns in the file."""
        names = self.frame.collect_schema().names() if self.columns is None else self.columns()
        return [name for name in names if name != ROW]


class Room:
    """A folder for temporary files, removed with this object.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        """Make the folder.

        Raises:
            StorageError: it cannot be made.
        """
        try:
            self.path = Path(tempfile.mkdtemp(prefix="searec-import-"))
        except OSError as error:
            raise StorageError(
                "cannot make a temporary folder", got=error, remedy="let TMPDIR name a folder that may be written to"
            ) from error
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def temporary(room: Path, name: str) -> Path:
    """Return a path in a folder for temporary files that is not in use.

    Args:
        room: the folder.
        name: how the path ends.
    """
    return next(path for path in (room / f"{number}-{name}" for number in itertools.count()) if not path.exists())


def as_utf8(path: Path, room: Path, encoding: str | None) -> Path:
    """Return the file itself, or a copy of it that is not packed and is UTF-8; it may begin with a byte order mark.

    Args:
        path: the file, packed with gzip or not.
        room: a folder for the copy.
        encoding: a codec of Python; UTF-8 if None.

    Raises:
        SettingsError: an unknown encoding.
        DataError: the file is empty, damaged, or not text of that encoding.
    """
    codec = _codec(encoding)
    packed = path.suffix == ".gz"
    if not packed and path.stat().st_size == 0:
        remedy = "write it again, or leave out a users or searches file that holds nothing"
        raise DataError("file is empty", where=path, remedy=remedy)
    if codec is None and not packed:
        return path
    copy = temporary(room, path.name.removesuffix(".gz"))
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as source, copy.open("wb") as target:
            if codec is None:
                shutil.copyfileobj(source, target, _BLOCK)
            else:
                decoder, before = codec.incrementaldecoder(), 0
                while block := source.read(_BLOCK):
                    target.write(_decoded(decoder, block, path, before, codec.name, final=False))
                    before += len(block)
                target.write(_decoded(decoder, b"", path, before, codec.name, final=True))
    except (EOFError, gzip.BadGzipFile) as error:
        raise damaged(path, error) from error
    if copy.stat().st_size == 0:
        raise DataError("file is empty", where=path, remedy="write it again")
    return copy


def _codec(encoding: str | None) -> codecs.CodecInfo | None:
    """The codec of an encoding; None for UTF-8, which needs no copy."""
    if encoding is None:
        return None
    try:
        codec = codecs.lookup(encoding)
        codec.incrementaldecoder().decode(b"")
    except (LookupError, TypeError) as error:
        known = ["utf-8", "utf-16", "latin-1", "cp1252", "cp1250", "cp1251", "gb18030", "shift_jis", "euc_kr"]
        raise SettingsError(
            f"unknown encoding {encoding!r}", where="--encoding", remedy=nearest(encoding, known)
        ) from error
    return None if codec.name in ("utf-8", "utf-8-sig") else codec


def _decoded(
    decoder: codecs.IncrementalDecoder, block: bytes, path: Path, before: int, codec: str, *, final: bool
) -> bytes:
    try:
        return decoder.decode(block, final=final).encode("utf-8", errors="replace")
    except UnicodeDecodeError as error:
        raise DataError(
            f"file is not {codec}",
            where=f"{path} near byte {before + error.start}",
            got=repr(error.object[error.start : error.start + 8]),
            expected=f"text in {codec}",
            remedy="--encoding names another",
        ) from error


def check_utf8(path: Path, copy: Path) -> None:
    """Refuse a file that is not UTF-8, naming its first such line.

    Args:
        path: the file, which an error names.
        copy: what `as_utf8` returned for it.

    Raises:
        DataError: it is not.
    """
    if path == copy or path.suffix == ".gz":
        refuse_encoding(path)
