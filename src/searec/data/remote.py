"""Folders and files by URL: s3:// and gs:// through PyArrow, other schemes through fsspec.

What a URL names is copied once to a temporary folder on this machine and read there. Endpoints and credentials come
from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...) and are in no message.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from searec.errors import DataError, DependencyError, SettingsError
from searec.progress import progress

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NATIVE = ("s3", "gs", "gcs")
_SECRETS = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL")
_THREADS = 8
_REMEDY = (
    "check the URL, and the endpoint and credentials in the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...)"
)


def is_url(place: Path | str) -> bool:
    """Return whether a place is a URL rather than a path."""
    return isinstance(place, str) and _URL.match(place) is not None


def absolute(place: Path | str) -> str:
    """Return a place that means the same in any working folder: a URL as it is, a path made absolute."""
    return str(place) if is_url(place) else str(Path(place).resolve())


def read_text(place: Path | str, name: str) -> str | None:
    """Return the text of a file in a folder; None if there is no such file.

    Args:
        place: the folder's path or URL.
        name: of the file.

    Raises:
        DataError: the URL cannot be read.
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    if is_url(place):
        remote = Remote(f"{str(place).rstrip('/')}/{name}")
        if not remote.exists():
            return None
        with copied(remote, remote.files()) as folder:
            return (folder / name).read_text(encoding="utf-8")
    path = Path(place) / name
    return path.read_text(encoding="utf-8") if path.exists() else None


def refuse_url(place: Path | str) -> None:
    """Refuse a URL where only a path will do, also one that a Path has shortened to one slash.

    Raises:
        SettingsError: it is a URL.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(place)):
        raise SettingsError(
            "a URL cannot be used here",
            got=place,
            expected="a folder on this machine",
            remedy="use a local folder, and copy it with the tool of your object store (aws s3 cp --recursive ...)",
        )


@dataclass(frozen=True)
class RemoteFile:
    """A file below a URL.

    name: its path below the URL. path: that of the file system. size: bytes. etag: it changes with the content; None if
        the server gives none.
    """

    name: str
    path: str
    size: int
    etag: str | None


class Remote:
    """The files below a URL.

    Args:
        url: of a folder, or of one file; `is_file` says which after `files`.

    Raises:
        SettingsError: the URL holds credentials or a query.
        DependencyError: the scheme is unknown here or needs a package.
        DataError: the URL cannot be read.
    """

    def __init__(self, url: str) -> None:
        self.url, self.is_file = url.rstrip("/"), False
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise SettingsError(
                "a URL holds credentials or options",
                where=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
                expected=f"{parts.scheme}://BUCKET/FOLDER",
                remedy="give credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...)",
            )
        with self._reading():
            self._system, self._root = _file_system(self.url, parts.scheme.lower())

    def exists(self) -> bool:
        """Return whether there is a file or a folder.

        Raises:
            DataError: the URL cannot be read.
        """
        from pyarrow import fs

        with self._reading():
            return bool(self._system.get_file_info(self._root).type != fs.FileType.NotFound)

    def files(self, folders: Callable[[str], bool] = lambda name: True) -> list[RemoteFile]:
        """Return the files below the URL, by name; of a URL that is a file, that one.

        Args:
            folders: whether to list the folder of this name, one level below the URL.

        Raises:
            DataError: there is none, or the URL cannot be read.
        """
        from pyarrow import fs

        with self._reading():
            about = self._system.get_file_info(self._root)
            self.is_file = about.type == fs.FileType.File
            if self.is_file:
                return [self._file(about, about.path.rpartition("/")[0])]
            listed = []
            for entry in self._system.get_file_info(fs.FileSelector(self._root)):
                if entry.type == fs.FileType.Directory and folders(entry.path.rpartition("/")[2]):
                    listed += self._system.get_file_info(fs.FileSelector(entry.path, recursive=True))
                else:
                    listed.append(entry)
            entries = [entry for entry in listed if entry.type == fs.FileType.File]
            with ThreadPoolExecutor(_THREADS) as pool:
                return sorted(pool.map(lambda entry: self._file(entry, self._root), entries), key=lambda one: one.name)

    def copy(self, files: list[RemoteFile], folder: Path) -> None:
        """Copy files into a local folder, each under its name.

        Args:
            files: from `files`.
            folder: where to.

        Raises:
            DataError: the URL cannot be read, or a file changed meanwhile.
            OSError: the disk is full.
        """
        with progress(f"copy {self.url}", len(files)) as advance, ThreadPoolExecutor(_THREADS) as pool:
            for file in pool.map(lambda one: self._copied(one, folder), files):
                advance(1, file.name)

    def _copied(self, file: RemoteFile, folder: Path) -> RemoteFile:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._reading(file.name):
            stream = self._system.open_input_stream(file.path)
            etag = _etag(stream)
        with stream, path.open("wb") as out:
            while True:
                with self._reading(file.name):
                    block = stream.read(1 << 22)
                if not block:
                    break
                out.write(block)
        if (path.stat().st_size, etag) != (file.size, file.etag):
            raise DataError(
                "a file changed while it was read",
                where=f"{self.url}/{file.name}",
                remedy="run the same command again",
            )
        return file

    def _file(self, about: Any, root: str) -> RemoteFile:
        with self._system.open_input_stream(about.path) as stream:
            etag = _etag(stream)
        name = about.path.removeprefix(root.rstrip("/")).lstrip("/")
        return RemoteFile(name, about.path, int(about.size), etag)

    @contextlib.contextmanager
    def _reading(self, name: str = "") -> Iterator[None]:
        """Turn errors of a file system into DataError, without secrets."""
        try:
            yield
        except (OSError, ValueError) as error:
            where = f"{self.url}/{name}" if name else self.url
            raise DataError(
                "the URL cannot be read", where=where, got=_without_secrets(str(error)), remedy=_REMEDY
            ) from None


@contextlib.contextmanager
def local_source(place: Path | str) -> Iterator[Path]:
    """Yield a local file or folder with the content of a place: the path itself, or a copy of what a URL names.

    The copy is removed at the end. Errors name the URL instead of the copy.

    Args:
        place: a path or a URL.

    Raises:
        DataError: the URL names nothing, or cannot be read.
    """
    if not is_url(place):
        yield Path(place)
        return
    remote = Remote(str(place))
    files = remote.files()
    with copied(remote, files) as folder:
        yield folder / files[0].name if remote.is_file else folder


@contextlib.contextmanager
def copied(remote: Remote, files: list[RemoteFile]) -> Iterator[Path]:
    """Yield a temporary folder with copies of files; errors name the URL instead of it.

    Args:
        remote: where they are.
        files: which, from `Remote.files`.

    Raises:
        DataError: there is no file, or one cannot be read.
    """
    if not files:
        raise DataError("nothing to read at the URL", where=remote.url, remedy=_REMEDY)
    with tempfile.TemporaryDirectory(prefix="searec-copy-") as room:
        folder = Path(room) / remote.url.rpartition("/")[2]
        try:
            remote.copy(files, folder)
            yield folder
        except DataError as error:
            raise _renamed(error, str(folder), remote.url) from error


def _renamed(error: DataError, old: str, new: str) -> DataError:
    """The error with another name for a folder."""
    parts = {
        name: None if (value := getattr(error, name)) is None else str(value).replace(old, new)
        for name in ("where", "got", "expected", "remedy")
    }
    return type(error)(error.what.replace(old, new), **parts)


def _file_system(url: str, scheme: str) -> tuple[Any, str]:
    from pyarrow import fs

    if scheme in _NATIVE:
        system, root = fs.FileSystem.from_uri(url)
        return system, root
    import fsspec

    if scheme not in fsspec.available_protocols():
        raise DependencyError("unknown kind of URL", where=url, expected="s3://, gs://, or a scheme of fsspec")
    try:
        backend, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DependencyError(
            f"{scheme}:// needs a package", where=url, got=error, remedy="install the package that fsspec names"
        ) from None
    return fs.PyFileSystem(fs.FSSpecHandler(backend)), root


def _without_secrets(text: str) -> str:
    """An error's first line without any value of the environment that may be secret."""
    line = text.splitlines()[0] if text else "no reason given"
    for name, value in os.environ.items():
        if len(value) > 5 and _SECRETS.search(name.upper()):
            line = line.replace(value, "***")
    return line


def _etag(stream: Any) -> str | None:
    """What the server gives as the tag of an open file's content, None if nothing."""
    tags = {_text(name).lower(): _text(value) for name, value in (stream.metadata() or {}).items()}
    return tags.get("etag")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
