"""Writing files so that a crash, a full disk or Ctrl-C never leaves half of one behind."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from searec.errors import StorageError


def _storage_error(error: OSError, path: Path) -> StorageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StorageError(
        "the disk is full" if full else "cannot write",
        where=path,
        got=error.strerror or str(error),
        remedy="free some space and run the same command again; nothing that was there before has changed"
        if full
        else "check that the folder exists and may be written to",
    )


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed over `path`, on failure removed.

    Works for a file or a folder, whichever the block makes at the temporary path.

    Raises:
        StorageError: the disk is full or refuses the write; `path` is as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _storage_error(error, path) from error
    try:
        beside = room / path.name
        yield beside
        _swap(beside, path, room / "old")
    except OSError as error:
        raise _storage_error(error, path) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _swap(new: Path, path: Path, aside: Path) -> None:
    """Rename `new` over `path`; a folder that stands there is moved aside first, and back if that fails."""
    if not (path.is_dir() and new.is_dir()):
        os.replace(new, path)
        return
    os.replace(path, aside)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(aside, path)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write a whole text file at once (UTF-8).

    Args:
        path: the file.
        text: its content.
    """
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write a whole JSON file at once, indented, keys in the given order.

    Args:
        path: the file.
        value: JSON-ready.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def cache_folder() -> Path:
    """Where encoded datasets and vectors are kept: $SEAREC_CACHE, else the user's cache folder."""
    root = os.environ.get("SEAREC_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "searec"


def fingerprint(*parts: Path | str) -> str:
    """32 hex digits over the contents of files (Path) and literal texts (str), in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        else:
            digest.update(hashlib.blake2b(part.encode(), digest_size=16).digest())
    return digest.hexdigest()
