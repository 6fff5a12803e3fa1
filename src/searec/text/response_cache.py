"""Answers of a chat server: read into one field, and kept on disk as they come."""

import contextlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from searec.errors import StorageError

_FENCED = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)
_ASK = 500


@dataclass(frozen=True)
class FieldText:
    """What an answer says.

    plain: it was no JSON and stands as it came.
    """

    text: str
    plain: bool


def cut_thinking(text: str) -> str:
    """The answer after its `<think>...</think>`; empty if the thinking never ends (the answer was cut short in it).

    The opening tag may be missing: some chat templates put it into the prompt.

    >>> cut_thinking("<think>hm</think> tacos"), cut_thinking("<think>hm"), cut_thinking("tacos")
    ('tacos', '', 'tacos')
    """
    before, closed, after = text.partition("</think>")
    if closed and "<think>" not in before.lstrip().removeprefix("<think>"):
        return after.strip()
    return "" if text.lstrip().startswith("<think>") else text.strip()


def unfenced(text: str) -> str:
    r"""Return the code fence of an answer; the whole answer if it has none, or is JSON from its first character.

    >>> unfenced("Here it is:\n```json\n[1]\n```"), unfenced(' {"say": "```\\nhi```"}')
    ('[1]', '{"say": "```\\nhi```"}')
    """
    bare = text.strip()
    fenced = None if bare.startswith(("{", "[")) else _FENCED.search(bare)
    return fenced[1].strip() if fenced else bare


def read_field(text: str, field: str) -> FieldText | None:
    """Return the one text field of a JSON answer, with or without a code fence; any other answer as plain text.

    None: nothing can be read, because the answer is empty, or is JSON of another shape, or its field is empty.

    Args:
        text: the answer.
        field: the JSON field.

    >>> read_field('{"likes": "tacos"}', "likes"), read_field("tacos", "likes"), read_field('{"likes": 3}', "likes")
    (FieldText(text='tacos', plain=False), FieldText(text='tacos', plain=True), None)
    """
    try:
        value = json.loads(unfenced(text))
    except ValueError:
        return FieldText(text.strip(), plain=True) if text.strip() else None
    if not isinstance(value, dict) or value.keys() != {field} or not isinstance(value[field], str):
        return None
    said = value[field].strip()
    return FieldText(said, plain=False) if said else None


@dataclass(frozen=True)
class CachedResponse:
    """One answer as the server gave it, with its request.

    Attributes:
        input: the messages and parameters, as JSON.
        finish: the server's reason to stop; "length" for an answer cut short.
        prompt_tokens, completion_tokens: None where the server did not say.
        cost: at the prices of the time. seconds: from request to answer. time: UTC, ISO 8601.
    """

    model: str
    version: str
    input: str
    answer: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float
    seconds: float
    time: str


_COLUMNS = "model, version, input, answer, finish, prompt_tokens, completion_tokens, cost, seconds, time"


class ResponseCache:
    """Answers in one SQLite file, each committed before the next question; threads and processes may share it.

    A question (key) may have several answers: those that could not be used, then the one that could.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._store = sqlite3.connect(path, timeout=60, check_same_thread=False)
            with self._store:
                self._store.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key BLOB, attempt INTEGER, model TEXT, version TEXT, "
                    "input TEXT, answer TEXT, finish TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, "
                    "cost REAL, seconds REAL, time TEXT, PRIMARY KEY (key, attempt))"
                )

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, list[CachedResponse]]:
        """The answers kept for each key that has any, oldest first.

        Raises:
            StorageError: the file cannot be read.
        """
        matches: dict[bytes, list[CachedResponse]] = {}
        with self._lock, self._errors():
            for start in range(0, len(keys), _ASK):
                part = list(keys[start : start + _ASK])
                marks = ",".join("?" * len(part))
                query = f"SELECT key, {_COLUMNS} FROM answers WHERE key IN ({marks}) ORDER BY key, attempt"
                for key, *row in self._store.execute(query, part):
                    matches.setdefault(key, []).append(CachedResponse(*row))
        return matches

    def store(self, key: bytes, response: CachedResponse) -> None:
        """Commit one answer.

        Args:
            key: of the request.
            response: the answer.

        Raises:
            StorageError: the disk refuses it.
        """
        attempt = "(SELECT COALESCE(MAX(attempt) + 1, 0) FROM answers WHERE key = ?)"
        with self._lock, self._errors(), self._store:
            self._store.execute(
                f"INSERT INTO answers VALUES (?, {attempt}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (key, key, *astuple(response)),
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                "cannot use the kept answers",
                where=self._path,
                got=error,
                remedy="free some space, or move a damaged file away",
            ) from error
