"""Rates: at most so many requests of a caller in any second."""

import time
from typing import Any

from limits import RateLimitItemPerSecond
from limits.errors import StorageError as TheirStorageError

from searec.errors import DependencyError, SettingsError, StorageError
from searec.nearline.store import without_password
from searec.serve.http.limits import Limits


class Rates:
    """A moving window of a second for each caller, in this process or on Redis for all together.

    Raises:
        SettingsError: the address of the Redis cannot be read.
        DependencyError: the Redis client is not installed.
    """

    def __init__(self, limits: Limits) -> None:
        self._item = RateLimitItemPerSecond(limits.rate) if limits.rate else None
        self._url = limits.rate_store
        self._here: Any = None
        self._there: Any = None
        if self._item is None:
            return
        if self._url.startswith("memory://"):
            from limits.storage import MemoryStorage
            from limits.strategies import MovingWindowRateLimiter

            self._here = MovingWindowRateLimiter(MemoryStorage())
        else:
            from limits.aio.storage import RedisStorage
            from limits.aio.strategies import MovingWindowRateLimiter as Asynchronous
            from limits.errors import ConfigurationError

            try:
                storage = RedisStorage(
                    f"async+{self._url}", wrap_exceptions=True, implementation="redispy", key_prefix="searec:rates", socket_timeout=1.0
                )
            except ConfigurationError as error:
                raise DependencyError("the Redis client is not installed", remedy="pip install 'searec[service]'") from error
            except ValueError as error:
                raise SettingsError("bad rate_store", got=without_password(self._url), expected="redis://HOST:PORT/DB") from error
            self._there = Asynchronous(storage)

    async def wait(self, caller: str) -> float | None:
        """Count a request of a caller; seconds until the next may come if there have been too many, else None.

        Raises:
            StorageError: the Redis does not answer.
        """
        if self._here is not None:
            if self._here.hit(self._item, caller):
                return None
            return max(0.0, float(self._here.get_window_stats(self._item, caller).reset_time) - time.time())
        if self._there is not None:
            try:
                if await self._there.hit(self._item, caller):
                    return None
                return max(0.0, float((await self._there.get_window_stats(self._item, caller)).reset_time) - time.time())
            except TheirStorageError as error:
                raise StorageError(
                    "requests cannot be counted", where=without_password(self._url), got=type(error.storage_error).__name__
                ) from error
        return None

    async def close(self) -> None:
        """Let go of connections."""
        if self._there is not None:
            await self._there.storage.storage.aclose() if hasattr(self._there.storage, "storage") else None
