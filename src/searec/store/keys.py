"""Keys of the service: what they look like, what is kept of them, and a ring of them that is at hand within a request."""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from searec.errors import StorageError
from searec.store.events import ROLES, Key, Role

_PARTS = 3


class Keys(Protocol):
    """As much of an event store as a keyring needs."""

    def keys(self) -> list[Key]:
        """The keys that are valid."""
        ...


def new_key() -> tuple[str, str]:
    """A key, `searec_<public>_<secret>`, and its public part."""
    public = secrets.token_hex(6)
    return f"searec_{public}_{secrets.token_urlsafe(32)}", public


def hash_of(key: str) -> bytes:
    """What is kept of a key. It holds 256 random bits, so that nobody guesses it from a plain hash."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def allows(role: Role, needed: Role) -> bool:
    """Whether a key of `role` may do what needs `needed`.

    >>> allows("admin", "write"), allows("read", "write")
    (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)


_NOBODY = Key("", "read", "", hash_of(new_key()[0]))
"""What an unknown key is compared with, so that it takes as long as a known one."""


class Keyring:
    """The keys of a store, read anew every `refresh_seconds`: so long may a revoked one still open.

    While the store fails the last known ones stay. Threads may share it; one of them reads while the others go on.

    Args:
        clock: seconds, for tests.
    """

    def __init__(
        self, store: Keys, refresh_seconds: float = 2.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._refresh = refresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, Key] | None = None
        self._failure: StorageError | None = None
        self._next = float("-inf")

    def check(self, text: str) -> Key | None:
        """The key that this text is; None if there is none.

        Raises:
            StorageError: the keys cannot be read, and never were.
        """
        known = self._known()
        parts = text.split("_", _PARTS - 1)
        key = known.get(parts[1], _NOBODY) if len(parts) == _PARTS else _NOBODY
        same = hmac.compare_digest(hash_of(text), key.hashed)
        return key if same and key is not _NOBODY else None

    def _known(self) -> Mapping[str, Key]:
        if self._clock() >= self._next and self._lock.acquire(blocking=self._keys is None):
            try:
                if self._clock() >= self._next:
                    self._read()
            finally:
                self._lock.release()
        if self._keys is None:
            assert self._failure is not None
            raise self._failure
        return self._keys

    def _read(self) -> None:
        try:
            self._keys, self._failure = {key.public: key for key in self._store.keys()}, None  # noqa: SIM118
        except StorageError as error:
            self._failure = error
        self._next = self._clock() + self._refresh
