"""Keys of the service: how they look, what is stored of them, and a copy in memory for requests."""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import sqlalchemy as sa

from searec.errors import DataError, SettingsError, StorageError
from searec.store.connection import Database
from searec.store.event_checks import name as checked_name
from searec.store.tables import api_keys, take_numbers

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = ("read", "write", "admin")
"""Each may do what the ones before it may."""
_PARTS = 3


@dataclass(frozen=True)
class Key:
    """A key as it is stored.

    Attributes:
        name: who holds it.
        role: what it allows.
        public: the part that may be shown and by which it is looked up.
        hashed: SHA-256 of the whole key.
    """

    name: str
    role: Role
    public: str
    hashed: bytes


class KeyStore:
    """Adds, lists and revokes keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, role: Role) -> str:
        """Return a new key, which cannot be read again: only its hash is stored.

        Args:
            name: who holds it.
            role: what it allows.

        Raises:
            SettingsError: the name is taken, or no such role.
        """
        _check(name)
        if role not in ROLES:
            raise SettingsError("no such role of a key", got=repr(role), expected=" or ".join(ROLES))
        key, public = new_key()
        with self._database.writing() as db:
            number = take_numbers(db, 1)
            if db.execute(sa.select(api_keys.c.name).where(api_keys.c.name == name)).first() is not None:
                raise SettingsError(
                    "the name of the key is taken", got=repr(name), remedy="give another name, or revoke that key first"
                )
            row = {"name": name, "role": role, "public": public, "hashed": hash_of(key), "number": number}
            db.execute(sa.insert(api_keys), row)
        return key

    def all(self) -> list[Key]:
        """Return the keys that are valid, by name."""
        table = api_keys.c
        with self._database.reading() as db:
            rows = db.execute(sa.select(table.name, table.role, table.public, table.hashed)).all()
        return sorted((Key(*row) for row in rows), key=lambda key: key.name)  # the same order on every database

    def revoke(self, name: str) -> bool:
        """Make a key invalid; return False if there was none."""
        _check(name)
        with self._database.writing() as db:
            take_numbers(db, 0)
            return bool(db.execute(sa.delete(api_keys).where(api_keys.c.name == name)).rowcount)


class Keys(Protocol):
    """What a keyring needs of a `KeyStore`."""

    def all(self) -> list[Key]:
        """Return the keys that are valid."""
        ...


def new_key() -> tuple[str, str]:
    """Return a key, `searec_<public>_<secret>`, and its public part."""
    public = secrets.token_hex(6)
    return f"searec_{public}_{secrets.token_urlsafe(32)}", public


def hash_of(key: str) -> bytes:
    """Return the stored hash of a key. It holds 256 random bits, so that a plain hash cannot be guessed."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def allows(role: Role, needed: Role) -> bool:
    """Return whether a key of `role` may do what needs `needed`.

    Args:
        role: of the key.
        needed: by the action.

    >>> allows("admin", "write"), allows("read", "write")
    (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)


_NOBODY = Key("", "read", "", hash_of(new_key()[0]))
"""What an unknown key is compared with, so that it takes as long as a known one."""


class Keyring:
    """The keys of a store, read anew every `refresh_seconds`; a revoked key is accepted at most that long.

    While the store fails the last known keys stay valid. Threads may share it; one reads while the others go on.

    Args:
        store: where keys are.
        refresh_seconds: between two reads.
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
        """Return the key that this text is; None if there is none.

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
            self._keys, self._failure = {key.public: key for key in self._store.all()}, None
        except StorageError as error:
            self._failure = error
        self._next = self._clock() + self._refresh


def _check(name: str) -> None:
    try:
        checked_name(name, "name of a key", "keys")
    except DataError as error:
        raise SettingsError(error.what, where=error.where, got=error.got, expected=error.expected) from None
