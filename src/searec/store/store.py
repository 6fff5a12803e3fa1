"""The store of a deployment in one database: events and catalog, keys, deployments, interests and jobs."""

from typing import Self

import numpy as np

from searec.store.connection import Clock, Database, StoreSettings
from searec.store.event_checks import name
from searec.store.event_store import EventStore
from searec.store.interest_cache import InterestCache
from searec.store.interest_store import InterestStore
from searec.store.job_queue import JobQueue
from searec.store.keys import KeyStore


class Store:
    """One part for each concern, all on one database. Threads may share it, and after a fork both sides may use it.

    Args:
        url: `sqlite:///FILE`, made if it is missing, or `postgresql://USER@HOST/DB`.
        settings: time limits, ages and the patience of the queue.
        cache: `redis://HOST:PORT/DB` of an optional cache of interests.
        rng: for the jitter of waits.
        clock: replaces the clock, for tests.

    Attributes:
        events: events, items, users and deployments.
        keys: keys of the service.
        interests: interests of users.
        jobs: users whose interests are to be refreshed.

    Raises:
        SettingsError: any other address.
        StorageError: the database cannot be opened, holds something else, or is newer than this code.
        DependencyError: a client is not installed.
    """

    def __init__(
        self,
        url: str,
        settings: StoreSettings | None = None,
        *,
        cache: str | None = None,
        rng: np.random.Generator | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or StoreSettings()
        seconds, timeout = self.settings.cache_seconds, self.settings.read_timeout
        self._cache = InterestCache(cache, seconds=seconds, timeout=timeout) if cache else None
        self.database = Database(url, self.settings, clock)
        self.events = EventStore(self.database)
        self.keys = KeyStore(self.database)
        self.interests = InterestStore(self.database, self._cache)
        self.jobs = JobQueue(self.database, self.interests, rng)

    def forget(self, user: str) -> int:
        """Delete everything about a user for good: events, attributes, interests, job; return how many events."""
        name(user, "user", "forget")
        with self.database.writing() as db:
            deleted = self.events.delete_user(db, user)
            self.jobs.delete(db, [user])
            self.interests.delete(db, [user])
        self.interests.forget_cached([user])
        self.database.wipe()
        return deleted

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
