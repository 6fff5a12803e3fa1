"""Rates: at most so many requests of a caller in any second."""

import time
from collections import deque
from typing import Any

from searec.errors import DependencyError, SettingsError, StorageError
from searec.service.http.http_config import Limits
from searec.store.connection import without_password

_MOST_CALLERS = 10_000


class Rates:
    """A moving window of a second for each caller, in this process or on Redis for all together.

    Raises:
        SettingsError: the address of the Redis cannot be read.
        DependencyError: the Redis client is not installed.
    """

    def __init__(self, limits: Limits) -> None:
        self._rate, self._url = limits.rate, limits.rate_store
        self._here: dict[str, deque[float]] = {}
        self._there: Any = None
        self._storage: Any = None
        if not self._rate or self._url.startswith("memory://"):
            return
        from limits import RateLimitItemPerSecond
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import MovingWindowRateLimiter
        from limits.errors import ConfigurationError

        options = {
            "wrap_exceptions": True,
            "implementation": "redispy",
            "key_prefix": "searec:rates",
            "socket_timeout": 1.0,
        }
        try:
            self._storage = RedisStorage(f"async+{self._url}", **options)  # type: ignore[arg-type]
        except ConfigurationError as error:
            raise DependencyError(
                "the Redis client is not installed", remedy="pip install 'searec[service]'"
            ) from error
        except ValueError as error:
            raise SettingsError(
                "bad rate_store", got=without_password(self._url), expected="redis://HOST:PORT/DB"
            ) from error
        self._there, self._item = MovingWindowRateLimiter(self._storage), RateLimitItemPerSecond(self._rate)

    async def wait(self, caller: str) -> float | None:
        """Count a request of a caller; seconds until the next may come if there have been too many, else None.

        Raises:
            StorageError: the Redis does not answer.
        """
        if not self._rate:
            return None
        return self._wait_here(caller) if self._there is None else await self._wait_there(caller)

    def _wait_here(self, caller: str) -> float | None:
        now = time.monotonic()
        times = self._here.get(caller)
        if times is None:
            if len(self._here) >= _MOST_CALLERS:
                self._here = {name: kept for name, kept in self._here.items() if kept[-1] > now - 1.0}
            times = self._here[caller] = deque()
        while times and times[0] <= now - 1.0:
            times.popleft()
        if len(times) >= self._rate:
            return times[0] + 1.0 - now
        times.append(now)
        return None

    async def _wait_there(self, caller: str) -> float | None:
        from limits.errors import StorageError as TheirStorageError

        try:
            if await self._there.hit(self._item, caller):
                return None
            return max(0.0, float((await self._there.get_window_stats(self._item, caller)).reset_time) - time.time())
        except TheirStorageError as error:
            what = type(error.storage_error).__name__
            raise StorageError("requests cannot be counted", where=without_password(self._url), got=what) from error

    async def close(self) -> None:
        """Let go of connections."""
        if self._storage is not None:
            await self._storage.bridge.storage.aclose()
