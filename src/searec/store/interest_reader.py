"""Reads the interests of a user within a request, without waiting for a model or a queue, nor long for a store."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Sequence
from typing import Self

from searec.config import Count, Positive, settings
from searec.errors import DataError, SearecError
from searec.interests.user_interests import Interest, Source, UserInterests
from searec.store.event_store import existing_users
from searec.store.job_queue import Reason
from searec.store.store import Store

OwnDemands = Callable[[str], Sequence[Interest]]
"""A user's own demands, made without a store or a model: from the categories clicked, say."""
_ERROR_LENGTH = 300


@settings
class ReaderSettings:
    """How a reader behaves; all but `pending` in seconds.

    Attributes:
        slow: a store that takes longer for a read is not used for a while, as one that fails is not.
        rest: how long; then one request tries it, and the others go on without it until that one is back.
        quiet: within it a user is enqueued once (at most: once in twice as long).
        flush: users wait at most this long to be enqueued.
        pending: users that may wait; further ones are left to their next read.
    """

    slow: Positive = 0.25
    rest: Positive = 1.0
    quiet: Positive = 5.0
    flush: Positive = 0.2
    pending: Count = 10_000


class Reader:
    """Reads for requests and enqueues refreshes in the background; threads share one.

    A request gets the fresh value, else the last one, else the user's own demands, and the user is enqueued where the
    value is missing or stale. What waits to be enqueued is lost with the process; the next read repeats it.

    Args:
        store: what is read, and where users are enqueued.
        own_demands: what a user without a value gets. It runs within the request, and its errors are the caller's.
        settings: time limits.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        store: Store,
        own_demands: OwnDemands | None = None,
        settings: ReaderSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._own = own_demands
        self._settings = settings or ReaderSettings()
        self._clock = clock
        self._lock = threading.Lock()  # of all that follows; held for an instant, never during a call of the store
        self._counts: Counter[str] = Counter()
        self._error = ""
        self._closed_until: float | None = None
        self._pending: dict[str, Reason] = {}
        self._recent: set[str] = set()
        self._recent_before: set[str] = set()
        self._turned = self._clock()
        self._wake = threading.Event()
        self._flusher: threading.Thread | None = None
        self._closed = False
        self.dataset_users: Container[str] | None = None
        """Users of the dataset that is served. Others are enqueued if events or attributes are stored of them; without
        it everybody is."""

    def interests(self, user: str) -> UserInterests:
        """Return the interests of a user; it always returns, however the store fails."""
        trying = self._closed_until is not None
        if trying and not self._may_try():
            return self._own_demands(user, "skipped")
        started = self._clock()
        try:
            stored = self._store.interests.read(user)
            interests = stored.interests() if stored is not None else []
        except DataError as error:
            self._note(error)
            self._request(user, "missing")
            return self._own_demands(user, "damaged")
        except SearecError as error:
            self._rest(str(error))
            return self._own_demands(user, "failed")
        except UnicodeError:  # no id that a store could hold
            return self._own_demands(user, "unreadable")
        seconds = self._clock() - started
        if seconds > self._settings.slow:
            self._rest(f"a read took {seconds:.2f} s")
            self._count("slow")
        elif trying:
            self._closed_until = None
        if stored is None or stored.stale:
            self._request(user, "missing" if stored is None else "stale")
        if stored is None or not interests:  # none yet, or a reasoner found nothing
            return self._own_demands(user)
        source: Source = "last" if stored.stale else "fresh"
        self._count(source)
        return UserInterests(source, interests, stored.written_at)

    def counts(self) -> dict[str, int]:
        """Return how often each of these has happened.

        fresh, last, own, none: reads by source. failed, slow: reads after which the store was not used for a while.
        skipped: reads meanwhile. damaged, unreadable: values, and ids, that could not be read. enqueued, dropped: users
        sent to the queue, and not. unknown: those who do not exist. cache_failed: calls of the
        cache that failed.
        """
        cache = self._store.interests.cache
        with self._lock:
            return dict(self._counts) | ({"cache_failed": cache.failures} if cache is not None else {})

    @property
    def last_error(self) -> str:
        """Return the last failure of the store, in one line; empty if there was none."""
        return self._error

    @property
    def store(self) -> Store:
        """Return the store that is read."""
        return self._store

    def flush(self) -> None:
        """Enqueue what waits, now and in this thread; if the store fails, it is dropped."""
        with self._lock:
            pending, self._pending = self._pending, {}
        try:
            unknown = self._unknown(list(pending))
        except SearecError as error:
            self._note(error)
            self._count("dropped", len(pending))
            return
        if unknown:
            self._count("unknown", len(unknown))
        by_reason: dict[Reason, list[str]] = {}
        for user, reason in pending.items():
            if user not in unknown:
                by_reason.setdefault(reason, []).append(user)
        for reason, users in by_reason.items():
            try:
                self._store.jobs.enqueue(users, reason)
            except SearecError as error:
                self._note(error)
                self._count("dropped", len(users))
            else:
                self._count("enqueued", len(users))

    def _unknown(self, users: Sequence[str]) -> set[str]:
        """Those who are in neither the dataset nor the store."""
        if self.dataset_users is None:
            return set()
        strangers = [user for user in users if user not in self.dataset_users]
        return set(strangers) - existing_users(self._store.database, strangers) if strangers else set()

    def close(self) -> None:
        """Enqueue what waits and end the thread that does so; the store stays open."""
        self._closed = True
        self._wake.set()
        if self._flusher is not None:
            self._flusher.join()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own_demands(self, user: str, failure: str | None = None) -> UserInterests:
        demands = self._own(user) if self._own is not None else ()
        source: Source = "own" if demands else "none"
        self._count(source)
        if failure is not None:
            self._count(failure)
        return UserInterests(source, demands)

    def _rest(self, error: str) -> None:
        """Do not use the store for a while."""
        self._note(error)
        self._closed_until = self._clock() + self._settings.rest

    def _may_try(self) -> bool:
        """Return whether this request is the one that tries the store again."""
        with self._lock:
            now = self._clock()
            if self._closed_until is not None and now < self._closed_until:
                return False
            self._closed_until = now + self._settings.rest  # for the others, until this one is back
            return True

    def _request(self, user: str, reason: Reason) -> None:
        """Have the user enqueued soon, unless that was done a moment ago."""
        with self._lock:
            if self._closed or user in self._recent or user in self._recent_before:
                return
            if len(self._pending) >= self._settings.pending:
                self._counts["dropped"] += 1
                return
            self._recent.add(user)
            self._pending[user] = reason
            if self._flusher is None or not self._flusher.is_alive():  # dead on the other side of a fork
                self._flusher = threading.Thread(target=self._flush_for_ever, name="searec-enqueue", daemon=True)
                self._flusher.start()
        self._wake.set()

    def _flush_for_ever(self) -> None:
        while not self._closed:
            if self._wake.wait(self._settings.quiet) and not self._closed:
                self._wake.clear()
                time.sleep(self._settings.flush)  # so that they go in batches
                self.flush()
            with self._lock:
                if self._clock() - self._turned >= self._settings.quiet:
                    self._recent, self._recent_before, self._turned = set(), self._recent, self._clock()

    def _count(self, what: str, times: int = 1) -> None:
        with self._lock:
            self._counts[what] += times

    def _note(self, error: object) -> None:
        self._error = str(error)[:_ERROR_LENGTH]
