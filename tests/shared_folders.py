"""Folders that take long to make, made once for all the processes of a test session."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

_DONE = ".complete"


def shared_folder(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return the folder `name` of this session, built by the first process that needs it.

    Args:
        factory: of the session; under xdist each worker has a folder of its own below the session's.
        name: unique within the session.
        build: fills the folder, which exists and is empty. Tests must not change what it holds.
    """
    base = factory.getbasetemp()
    session = base.parent if base.name.startswith("popen-") else base
    folder = session / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _DONE).exists():
            folder.mkdir()
            build(folder)
            (folder / _DONE).touch()
    return folder
