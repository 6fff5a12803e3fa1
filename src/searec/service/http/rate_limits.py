"""Rate limits: requests of each caller in any second, counted in this process or on Redis."""

import time
from collections import deque
from typing import Any

from searec.errors import DependencyError, SettingsError, StorageError, installation
from searec.service.http.http_config import Limits
from searec.store.connection import without_password

_MOST_CALLERS = 10_000


class RateLimiter:
    """A moving window of one second for each caller, in this process or on Redis for all processes.

    Raises:
        SettingsError: the URL of Redis is not valid.
        DependencyError: the Redis client is not installed.
    """

    def __init__(self, limits: Limits) -> None:
        self._rate, self._url = limits.rate, limits.rate_store
        self._local: dict[str, deque[float]] = {}
        self._shared: Any = None
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
            raise DependencyError("the Redis client is not installed", remedy=installation("service")) from error
        except ValueError as error:
            raise SettingsError(
                "rate_store is not a valid URL", got=without_password(self._url), expected="redis://HOST:PORT/DB"
            ) from error
        self._shared, self._item = MovingWindowRateLimiter(self._storage), RateLimitItemPerSecond(self._rate)

    async def wait(self, caller: str) -> float | None:
        """Count a request; return None if it is allowed, else the seconds until the next one is.

        Raises:
            StorageError: Redis does not respond.
        """
        if not self._rate:
            return None
        return self._wait_local(caller) if self._shared is None else await self._wait_shared(caller)

    def _wait_local(self, caller: str) -> float | None:
        now = time.monotonic()
        times = self._local.get(caller)
        if times is None:
            if len(self._local) >= _MOST_CALLERS:
                self._local = {name: recent for name, recent in self._local.items() if recent[-1] > now - 1.0}
            times = self._local[caller] = deque()
        while times and times[0] <= now - 1.0:
            times.popleft()
        if len(times) >= self._rate:
            return times[0] + 1.0 - now
        times.append(now)
        return None

    async def _wait_shared(self, caller: str) -> float | None:
        from limits.errors import StorageError as RedisError

        try:
            if await self._shared.hit(self._item, caller):
                return None
            return max(0.0, float((await self._shared.get_window_stats(self._item, caller)).reset_time) - time.time())
        except RedisError as error:
            what = type(error.storage_error).__name__
            raise StorageError("requests cannot be counted", where=without_password(self._url), got=what) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._storage is not None:
            await self._storage.bridge.storage.aclose()
