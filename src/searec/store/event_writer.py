"""Group commit: events of many callers are stored in one transaction, and each caller gets the result of its own."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from searec.config import Count, settings
from searec.errors import DataError, Overloaded, SearecError, StorageError
from searec.store.events import Event, Stored

_LOG = logging.getLogger(__name__)


class Appends(Protocol):
    """What an event writer needs of an event store."""

    def append(self, events: Sequence[Event]) -> Stored:
        """Store events; they are on disk when this returns."""
        ...


@settings
class EventWriterSettings:
    """Limits of an event writer.

    Attributes:
        max_waiting: events that may wait to be committed, and as many for `after`.
        max_batch: events of one transaction, unless a single call has more.
    """

    max_waiting: Count = 20_000
    max_batch: Count = 2_000


@dataclass(frozen=True)
class EventWriterCounts:
    """What an event writer has done so far.

    Attributes:
        waiting: events that are accepted and not yet committed.
        events: events acknowledged, known ones included.
        commits: transactions they took.
        refused: events of calls refused because too many waited.
        failed: events of calls that were accepted and then failed.
        after_failed: times `after` failed.
        after_dropped: events that `after` did not get because it was too slow.
    """

    waiting: int = 0
    events: int = 0
    commits: int = 0
    refused: int = 0
    failed: int = 0
    after_failed: int = 0
    after_dropped: int = 0


class _Call(NamedTuple):
    events: Sequence[Event]
    result: "Future[Stored]"


class EventWriter:
    """Stores events of any number of threads, all that wait in one transaction.

    Args:
        store: where events go.
        after: called with new events after they are committed, in a thread of its own; its errors are counted.
        settings: limits.
    """

    def __init__(
        self,
        store: Appends,
        after: Callable[[Sequence[Event]], None] | None = None,
        settings: EventWriterSettings | None = None,
    ) -> None:
        self._store = store
        self._after = after
        self._settings = settings or EventWriterSettings()
        self._process = os.getpid()
        self._closed = False
        self._change = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._counts = dict.fromkeys(EventWriterCounts.__dataclass_fields__, 0)
        self._news: list[Event] = []
        self._news_change = threading.Condition()
        self._no_more_news = False
        self._threads = [threading.Thread(target=self._commit_all, name="event-writer", daemon=True)]
        if after is not None:
            self._threads.append(threading.Thread(target=self._run_after, name="event-writer-after", daemon=True))
        for thread in self._threads:
            thread.start()

    def append(self, events: Sequence[Event]) -> "Future[Stored]":
        """Accept events; the future is done when they are on disk, or has the error of `EventStore.append`.

        A future that is cancelled while it waits removes its events.

        Raises:
            Overloaded: too many events wait already.
            StorageError: the writer is closed.
        """
        call = _Call(tuple(events), Future())
        if self._process != os.getpid():
            raise StorageError("the event writer was made in another process", remedy="make one after the fork")
        with self._change:
            if self._closed:
                raise StorageError("the event writer is closed", remedy="send the events again; nothing was stored")
            waiting = self._counts["waiting"] + len(call.events)
            if waiting > self._settings.max_waiting:
                self._counts["refused"] += len(call.events)
                raise Overloaded(
                    "too many events at once",
                    got=f"{len(call.events)} and {self._counts['waiting']} that wait",
                    expected=f"at most {self._settings.max_waiting}",
                    remedy="send the same again later, or fewer at once",
                )
            self._counts["waiting"] = waiting
            self._calls.append(call)
            self._change.notify()
        return call.result

    def counts(self) -> EventWriterCounts:
        """Return what was done so far."""
        with self._change:
            return EventWriterCounts(**self._counts)

    def close(self) -> None:
        """Refuse more, commit what was accepted, run `after` on it, and end."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._process == os.getpid():
            for thread in self._threads:
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _commit_all(self) -> None:
        try:
            while group := self._next():
                live = [call for call in group if call.result.set_running_or_notify_cancel()]
                if live:
                    self._commit(live)
                with self._change:
                    self._counts["waiting"] -= sum(len(call.events) for call in group)
        finally:
            with self._news_change:
                self._no_more_news = True
                self._news_change.notify()

    def _next(self) -> list[_Call]:
        """Wait for the calls of the next transaction; return none when all is done and more is refused."""
        with self._change:
            while not self._calls and not self._closed:
                self._change.wait()
            group: list[_Call] = []
            size = 0
            while self._calls and (not group or size + len(self._calls[0].events) <= self._settings.max_batch):
                group.append(self._calls.popleft())
                size += len(group[-1].events)
            return group

    def _commit(self, calls: list[_Call]) -> None:
        events = [event for call in calls for event in call.events]
        try:
            stored = self._store.append(events)
        except DataError as error:
            if len(calls) == 1:
                self._fail(calls, error)
                return
            for call in calls:  # one by one, so that only the culprit fails
                self._commit([call])
            return
        except Exception as error:  # the thread has to go on, and the callers to know
            self._fail(calls, error)
            return
        seen, new = set(stored.already), []
        results = []
        for call in calls:
            fresh = list(_unseen(call.events, seen))
            new += fresh
            already = stored.already & {event.event_id for event in call.events}
            results.append(Stored(len(fresh), len(call.events) - len(fresh), already=already))
        if len(calls) == 1:
            results = [stored]
        self._add(events=len(events), commits=1)
        for call, result in zip(calls, results, strict=True):
            call.result.set_result(result)
        if self._after is not None and new:
            self._pass_on(new)

    def _fail(self, calls: list[_Call], error: Exception) -> None:
        self._add(failed=sum(len(call.events) for call in calls))
        for call in calls:
            call.result.set_exception(error)

    def _add(self, **counts: int) -> None:
        with self._change:
            for name, count in counts.items():
                self._counts[name] += count

    def _pass_on(self, events: list[Event]) -> None:
        with self._news_change:
            room = max(0, self._settings.max_waiting - len(self._news))
            self._news += events[:room]
            self._news_change.notify()
        if len(events) > room:
            self._add(after_dropped=len(events) - room)

    def _run_after(self) -> None:
        assert self._after is not None
        while True:
            with self._news_change:
                while not self._news and not self._no_more_news:
                    self._news_change.wait()
                news, self._news = self._news, []
            if not news:
                return
            try:
                self._after(news)
            except Exception as error:  # the events are stored, and the next ones must get through as well
                self._add(after_failed=1)
                # a failure of the store says what it is; anything else is a defect
                unexpected = not isinstance(error, SearecError)
                _LOG.warning("the actions after %d new events failed: %s", len(news), error, exc_info=unexpected)


def _unseen(events: Sequence[Event], seen: set[str]) -> Iterator[Event]:
    """Return the first event of each id that is not in `seen`, which grows."""
    for event in events:
        if event.event_id not in seen:
            seen.add(event.event_id)
            yield event
