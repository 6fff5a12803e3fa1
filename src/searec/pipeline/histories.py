"""Histories: what users did, in the dataset and since, as models read it and as people see it."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from searec.data.dataset import FOREVER, Dataset
from searec.data.events import EventWeights
from searec.data.ragged import Ints, Ragged
from searec.data.user_history import UserHistory
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.types import HistoryEvent
from searec.store.event_store import EventStore
from searec.store.events import SEARCH, Event, positive

NEWEST = 512
"""Events of each history that models are given at most."""
_REMEMBERED = 20_000
_LISTED = 50


@dataclass(frozen=True)
class UserContext:
    """The user of a request.

    Attributes:
        user: external id; None for nobody.
        history: as models read it; new items go by their proxies.
        consumed: item indexes of everything clicked.
        recent: item indexes of the newest clicks, newest first, each once.
        disliked: item indexes of negative feedback that was not followed by a choice of the item.
    """

    user: str | None
    history: UserHistory
    consumed: Ints
    recent: Ints
    disliked: Ints

    def __bool__(self) -> bool:
        return bool(self.history) or bool(len(self.consumed))


class Histories:
    """Reads what users did.

    Args:
        data: the dataset.
        events: what happened since; None for the dataset alone.
        after: events up to this number are in the dataset already.
        newest: events of each history that models are given at most.
    """

    def __init__(
        self, data: Dataset, events: EventStore | None = None, *, after: int = 0, newest: int = NEWEST
    ) -> None:
        self._data = data
        self._events = events
        self._after = after
        self._newest = newest
        self._last: OrderedDict[str, list[Event]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, users: Sequence[str]) -> dict[str, list[Event]]:
        """Return the events of users since the dataset, by time.

        Raises:
            StorageError: the store fails; `last_known` still answers.
        """
        if self._events is None or not users:
            return {}
        events = self._events.of_users(list(dict.fromkeys(users)), after=self._after)
        with self._lock:
            for user in users:
                if user in events:
                    self._last[user] = events[user]
                    self._last.move_to_end(user)
                else:
                    self._last.pop(user, None)
            while len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
        return events

    def last_known(self, users: Sequence[str]) -> dict[str, list[Event]]:
        """Return what `read` last returned for these users, for as many as are remembered."""
        with self._lock:
            return {user: self._last[user] for user in users if user in self._last}

    def context(
        self, user: str | None, events: Sequence[Event], catalog: CatalogSnapshot, before: int | None = None
    ) -> UserContext:
        """Return the history of a user.

        Args:
            user: external id; None for nobody.
            events: since the dataset.
            catalog: of the items.
            before: microseconds since 1970; only strictly older events count. None for all.
        """
        number = self._data.users.find(user) if user is not None else 0
        history = UserHistory.of(self._data, number, newest=self._newest, before=before)
        clicks: Ints = np.zeros(0, dtype=np.int64)
        if number:
            click_history = self._data.click_history
            first, end = int(click_history.offsets[number]), int(click_history.offsets[number + 1])
            if before is not None:
                end = first + int(np.searchsorted(click_history.time[first:end], before))
            clicks = np.asarray(click_history.item[first:end], dtype=np.int64)
        if before is not None:
            events = [event for event in events if event.time < before]
        disliked = self._disliked(number, events, catalog, before)
        if events := positive(events, self._data.event_weights):
            history, new_clicks = self._with(history, events, catalog)
            clicks = np.concatenate((clicks, new_clicks))
        return UserContext(user, history, clicks, _newest_first(clicks), disliked)

    def _disliked(self, number: int, events: Sequence[Event], catalog: CatalogSnapshot, before: int | None) -> Ints:
        """The items that a user refused, in the dataset or since, and has not chosen after that."""
        dislikes, weights, limit = self._data.dislikes, self._data.event_weights, FOREVER if before is None else before
        refused: dict[int, int] = {}
        for at in range(int(dislikes.offsets[number]), int(dislikes.offsets[number + 1])):
            if dislikes.time[at] < limit <= dislikes.until[at]:
                refused[int(dislikes.item[at])] = int(dislikes.time[at])
        for event in events:
            is_refusal = event.kind != SEARCH and weights.sign(event.kind) < 0
            is_choice = event.kind == SEARCH or weights.sign(event.kind) > 0
            for name in event.clicked if event.item is None else (event.item,):
                item = catalog.index_of(name)
                if is_refusal:
                    refused[item] = event.time
                elif is_choice and event.time > refused.get(item, FOREVER):
                    del refused[item]
        refused.pop(0, None)
        return np.array(list(refused), dtype=np.int64)

    def _with(self, base: UserHistory, events: Sequence[Event], catalog: CatalogSnapshot) -> tuple[UserHistory, Ints]:
        """A history with events added, and the item indexes that were clicked, in order."""
        session = {event.event_id: list(event.clicked) for event in events if event.kind == SEARCH}
        feed: list[tuple[int, int, float]] = []
        clicks: list[tuple[int, int]] = []
        for event in events:
            if event.kind == SEARCH:
                clicks += [(catalog.index_of(item), event.time) for item in event.clicked]
            elif event.item is not None:
                item = catalog.index_of(event.item)
                clicks.append((item, event.time))
                if event.search in session:
                    session[event.search].append(event.item)
                else:
                    feed.append((item, event.time, self._data.event_weights.weight(event.kind)))
        searches = [event for event in events if event.kind == SEARCH and event.query]
        texts = [str(event.query) for event in searches]
        query_ids = [self._data.queries.ids.find(text) for text in texts]
        rows = [catalog.indexes_of(dict.fromkeys(session[event.event_id])) for event in searches]
        queries = UserHistory(
            search_query=np.array(query_ids, dtype=np.int64),
            search_text=tuple(text for text, query in zip(texts, query_ids, strict=True) if not query),
            search_time=np.array([event.time for event in searches], dtype=np.int64),
            search_click=Ragged.of([_proxies(items, catalog) for items in rows]),
        )
        readable = [catalog.proxy[item] > 0 for item, _, _ in feed]
        weights = np.array([one[2] for one, is_read in zip(feed, readable, strict=True) if is_read], dtype=np.float32)
        items, times = _for_models([one[:2] for one in feed], catalog)
        history = base.merged(queries, (items, times, weights), _for_models(clicks, catalog))
        return history, np.array([item for item, _ in clicks if item], dtype=np.int64)

    @property
    def event_weights(self) -> EventWeights:
        """What each event says of its item."""
        return self._data.event_weights

    def listed(self, user: str, events: Sequence[Event], catalog: CatalogSnapshot) -> list[HistoryEvent]:
        """Return what a user did, newest first, for people.

        Args:
            user: external id.
            events: since the dataset.
            catalog: of the items.
        """
        data = self._data
        history: list[HistoryEvent] = []
        number = data.users.find(user)
        for stream in ("interactions", "searches") if number else ():
            table = getattr(data, stream)
            first, last = int(table.offsets[number]), int(table.offsets[number + 1])
            for at in range(last - 1, max(first, last - _LISTED) - 1, -1):
                time = int(table.time[at])
                if stream == "searches":
                    query = data.queries.texts[int(table.query[at]) - 1]
                    history.append(HistoryEvent("search", time, query=query))
                    items, text = table.clicks.row(at).tolist(), query
                else:
                    items, text = [int(table.item[at])], None
                history += [
                    HistoryEvent("click", time, catalog.item(item), catalog.title(item), text) for item in items
                ]
        queries = {event.event_id: event.query for event in events if event.kind == SEARCH}
        for event in positive(events, data.event_weights):
            if event.kind == SEARCH:
                history.append(HistoryEvent("search", event.time, query=event.query))
            clicked = event.clicked if event.kind == SEARCH else [event.item] if event.item is not None else []
            text = event.query if event.kind == SEARCH else queries.get(event.search) if event.search else None
            for item in clicked:
                index = catalog.index_of(item)
                title = catalog.title(index) if index else None
                history.append(HistoryEvent("click", event.time, item, title, text))
        return sorted(history, key=lambda event: event.time, reverse=True)[:_LISTED]


def _newest_first(items: Ints) -> Ints:
    newest = items[::-1][:NEWEST]
    _, first = np.unique(newest, return_index=True)
    return newest[np.sort(first)]


def _for_models(clicks: Sequence[tuple[int, int]], catalog: CatalogSnapshot) -> tuple[Ints, Ints]:
    """Items and times of the clicks that models can read."""
    readable = [(int(catalog.proxy[item]), time) for item, time in clicks if item and catalog.proxy[item]]
    items, times = ([pair[side] for pair in readable] for side in (0, 1))
    return np.array(items, dtype=np.int64), np.array(times, dtype=np.int64)


def _proxies(items: Ints, catalog: CatalogSnapshot) -> Ints:
    proxies: Ints = catalog.proxy[items]
    return proxies[proxies > 0]
