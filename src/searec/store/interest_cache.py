"""An optional cache of interests on a Redis or Valkey server; when it fails, the store is read instead."""

import threading
import time
from typing import Any

from searec.errors import DependencyError, SettingsError, installation
from searec.store.connection import without_password

_REST_SECONDS = 1.0
"""How long a server that failed is not tried."""


class InterestCache:
    """Keeps the encoded interests of users for some seconds. No failure is raised; all are counted.

    Args:
        url: `redis://[:PASSWORD@]HOST[:PORT][/DB]`, or rediss:// for TLS.
        seconds: before an entry expires.
        timeout: seconds that the server may take.

    Raises:
        SettingsError: no such address.
        DependencyError: the `redis` package is not installed.
    """

    def __init__(self, url: str, *, seconds: int = 300, timeout: float = 0.1) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise DependencyError("the Redis client is not installed", remedy=installation("nearline")) from error
        self.failures = 0
        """Calls that failed since the start, in any thread."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._closed_until = float("-inf")
        # a connection that another thread has closed shows as a ValueError
        self._errors: tuple[type[Exception], ...] = (redis.exceptions.RedisError, OSError, ValueError)
        waits = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
        try:
            if url.partition("://")[0] not in ("redis", "rediss"):
                raise ValueError
            self._client: Any = redis.Redis.from_url(url, **waits)
        except (ValueError, TypeError):
            raise SettingsError(
                "no address of a cache", got=repr(without_password(url)), expected="redis://HOST:PORT/DB"
            ) from None

    def get(self, user: str) -> bytes | None:
        """Return the entry of a user; None if there is none or the cache fails."""
        entry: bytes | None = self._call("get", _key(user))
        return entry

    def put(self, user: str, entry: bytes, *, replace: bool = True) -> None:
        """Store the entry of a user.

        Args:
            user: the user id.
            entry: encoded interests.
            replace: whether an entry that is there is replaced; a reader must not overwrite what a writer just put.
        """
        self._call("set", _key(user), entry, ex=self._seconds, nx=not replace)

    def delete(self, users: list[str]) -> None:
        """Remove the entries of users."""
        if users:
            self._call("delete", *map(_key, users))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, verb: str, *values: Any, **options: Any) -> Any:
        if time.monotonic() < self._closed_until:
            return None
        try:
            return getattr(self._client, verb)(*values, **options)
        except UnicodeError:  # of the caller's text
            raise
        except self._errors:
            with self._lock:
                self.failures += 1
                self._closed_until = time.monotonic() + _REST_SECONDS
            return None


def _key(user: str) -> str:
    return f"searec:interests:{user}"
