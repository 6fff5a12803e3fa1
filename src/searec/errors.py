"""Every error searec raises on purpose, in one tree.

SearecError
├── DataError          a file, table, row or id breaks a rule of the dataset folder
│   ├── UnknownIdError an id that the catalogue or the user table does not hold
│   └── LeakError      something a model would read is not strictly older than its target
├── SettingsError      a setting that does not exist, or a value outside its range
├── RunError           a run folder that is missing, damaged or made for other data
├── StorageError       the disk refused a write; what was there before is untouched
├── ChatError          a chat server that fails or refuses, a budget that is spent, an answer that is not cached
├── Overloaded         more requests at once than the service can take; none was begun, and they may be sent again
├── AccessError        a key that is missing, wrong, or allows less
├── ServiceError       a service that cannot be reached, or that failed
├── DependencyError    an optional package or program is not installed
└── Interrupted        stopped on request; the checkpoint named in the message goes on from here

The command line prints the message as one line and exits with 1. Nothing here imports anything of searec.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

_FEW = 4
"""Packages that a remedy lists by name."""


class SearecError(Exception):
    """What went wrong, where, what was found, what was expected, and what to do about it.

    >>> str(SearecError("empty query", where="searches.parquet row 3", got="''", remedy="drop the row"))
    "empty query; where: searches.parquet row 3; got: ''; what to do: drop the row"
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        got: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.expected, self.remedy = what, where, got, expected, remedy
        parts = [what]
        for label, value in (("where", where), ("got", got), ("expected", expected), ("what to do", remedy)):
            if value is not None:
                parts.append(f"{label}: {value}")
        super().__init__("; ".join(parts))


class DataError(SearecError):
    """A file, table, row or id breaks a rule of the dataset folder."""


class UnknownIdError(DataError):
    """An id that the catalogue or the user table does not hold."""


class LeakError(DataError):
    """Something a model would read is not strictly older than its target."""


class SettingsError(SearecError):
    """A setting that does not exist, or a value outside its range."""


class RunError(SearecError):
    """A run folder that is missing, damaged or made for other data."""


class StorageError(SearecError):
    """The disk refused a write; what was there before is untouched."""


class ChatError(SearecError):
    """A chat server that fails or refuses, a budget that is spent, an answer that is not cached."""


class Overloaded(SearecError):
    """More requests at once than the service can take; none was begun, and they may be sent again."""


class AccessError(SearecError):
    """A key that is missing, wrong, or allows less than the request needs."""


class ServiceError(SearecError):
    """A service that cannot be reached, or that failed."""


class DependencyError(SearecError):
    """An optional package or program is not installed."""


class Interrupted(SearecError):
    """Stopped on request; the checkpoint named in the message goes on from here."""


def installation(extra: str) -> str:
    """Return the command that installs what an extra of searec holds; searec itself is installed from a checkout.

    >>> installation("study")
    "pip install '.[study]' in a checkout of searec, or pip install optuna"
    """
    try:
        needed = [line for line in metadata.requires("searec") or () if f'extra == "{extra}"' in line.replace("'", '"')]
    except metadata.PackageNotFoundError:  # run from its source
        needed = []
    packages = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed]
    alone = f", or pip install {' '.join(packages)}" if 0 < len(packages) <= _FEW else ""
    return f"pip install '.[{extra}]' in a checkout of searec{alone}"


@contextmanager
def optional_package(what: str, extra: str, *, where: object = None) -> Iterator[None]:
    """Turn an ImportError in the block into a DependencyError that names the extra to install.

    Args:
        what: the message.
        extra: of searec's package.
        where: what needs it.
    """
    try:
        yield
    except ImportError as error:
        raise DependencyError(what, where=where, got=error, remedy=installation(extra)) from error


@contextmanager
def alternative(remedy: str) -> Iterator[None]:
    """Add what one can do without a package to a DependencyError in the block."""
    try:
        yield
    except DependencyError as error:
        both = f"{error.remedy}; or {remedy}"
        raise DependencyError(error.what, where=error.where, got=error.got, remedy=both) from error
