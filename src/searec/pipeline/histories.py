"""Histories: what users did, in the dataset and since, as models read it and as people see it."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from searec.data.dataset import Dataset
from searec.data.ragged import Ints
from searec.data.user_history import UserHistory
from searec.data.vocabulary import IdMap
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.types import HistoryEvent
from searec.store.event_store import EventStore
from searec.store.events import SEARCH, Event

NEWEST = 512
"""Events of each history that models are given at most."""
_KEPT = 20_000
_SHOWN = 50


@dataclass(frozen=True)
class UserContext:
    """What is known of one who asks.

    Attributes:
        past: as models read it; new items go by their stand-ins.
        consumed: places on the shelf of everything clicked.
        recent: places of the newest clicks, newest first, each once.
    """

    user: str | None
    past: UserHistory
    consumed: Ints
    recent: Ints

    def __bool__(self) -> bool:
        return bool(self.past) or bool(len(self.consumed))


class Histories:
    """Reads the events of users who ask.

    Args:
        events: what happened since; None for the dataset alone.
        after: events up to this number are in the dataset already.
    """

    def __init__(self, data: Dataset, events: EventStore | None = None, *, after: int = 0) -> None:
        self._data = data
        self._events = events
        self._after = after
        self._kept: OrderedDict[str, list[Event]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, users: Sequence[str]) -> dict[str, list[Event]]:
        """The events of users since the dataset, by time.

        Raises:
            StorageError: the store fails; `last_known` still answers.
        """
        if self._events is None or not users:
            return {}
        found = self._events.of_users(list(dict.fromkeys(users)), after=self._after)
        with self._lock:
            for user in users:
                if user in found:
                    self._kept[user] = found[user]
                    self._kept.move_to_end(user)
                else:
                    self._kept.pop(user, None)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def last_known(self, users: Sequence[str]) -> dict[str, list[Event]]:
        """What `read` last found of these users, for as many as are remembered."""
        with self._lock:
            return {user: self._kept[user] for user in users if user in self._kept}

    def known(self, user: str | None, events: Sequence[Event], catalog: CatalogSnapshot) -> UserContext:
        """What is known of a user with these events since the dataset."""
        inside = int(self._data.users.to_internal([user])[0]) if user is not None and user in self._data.users else 0
        base = UserHistory.of(self._data, inside, newest=NEWEST)
        click_history = self._data.click_history
        all_clicks = np.asarray(
            click_history.item[click_history.offsets[inside] : click_history.offsets[inside + 1]] if inside else [],
            dtype=np.int64,
        )
        if not events:
            return UserContext(user, base, all_clicks, _newest_first(all_clicks))
        past, places = self._with(base, events, catalog)
        consumed = np.concatenate((all_clicks, places))
        return UserContext(user, past, consumed, _newest_first(consumed))

    def _with(self, base: UserHistory, events: Sequence[Event], catalog: CatalogSnapshot) -> tuple[UserHistory, Ints]:
        """A past with events added, and the places that were clicked, in order."""
        searches = {event.event_id: list(event.clicked) for event in events if event.kind == SEARCH}
        feed: list[tuple[int, int]] = []
        clicks: list[tuple[int, int]] = []
        for event in events:
            if event.kind == SEARCH:
                clicks += [(catalog.place(item), event.time) for item in event.clicked]
            elif event.item is not None:
                own = catalog.place(event.item)
                clicks.append((own, event.time))
                if event.search in searches:
                    searches[event.search].append(event.item)
                else:
                    feed.append((own, event.time))
        asked = [event for event in events if event.kind == SEARCH and event.query]
        found = [catalog.places(dict.fromkeys(searches[event.event_id])) for event in asked]
        numbers = [self._query_ids.get(str(event.query), 0) for event in asked]
        feed_item, feed_time, _ = _merged(base.feed_item, base.feed_time, *_for_models(feed, catalog))
        click_item, click_time, _ = _merged(base.click_item, base.click_time, *_for_models(clicks, catalog))
        search_query, search_time, order = _merged(
            base.search_query,
            base.search_time,
            np.array(numbers, dtype=np.int64),
            np.array([event.time for event in asked], dtype=np.int64),
        )
        lists = [*base.search_click, *(_stand_ins(places, catalog) for places in found)]
        texts: list[str] = [*[""] * len(base.search_query), *(str(event.query) for event in asked)]
        in_order = order.tolist()
        past = UserHistory(
            user=base.user,
            feed_item=feed_item,
            feed_time=feed_time,
            search_query=search_query,
            search_text=tuple(
                texts[place] for place in in_order if texts[place] and not self._query_ids.get(texts[place], 0)
            ),
            search_time=search_time,
            search_click=tuple(lists[place] for place in in_order),
            click_item=click_item,
            click_time=click_time,
        )
        return past, np.array([place for place, _ in clicks if place], dtype=np.int64)

    @cached_property
    def _query_ids(self) -> Mapping[str, int]:
        return IdMap("query", self._data.queries.texts).index

    def shown(self, user: str, events: Sequence[Event], catalog: CatalogSnapshot) -> list[HistoryEvent]:
        """What a user did, newest first, for people."""
        data = self._data
        told: list[HistoryEvent] = []
        inside = int(data.users.to_internal([user])[0]) if user in data.users else 0
        if inside:
            for stream in ("interactions", "searches"):
                table = getattr(data, stream)
                first, last = int(table.offsets[inside]), int(table.offsets[inside + 1])
                for at in range(last - 1, max(first, last - _SHOWN) - 1, -1):
                    time = int(table.time[at])
                    if stream == "searches":
                        query = data.queries.texts[int(table.query[at]) - 1]
                        told.append(HistoryEvent("search", time, query=query))
                        told += [self._click(int(item), time, catalog, query) for item in table.clicks.row(at)]
                    else:
                        told.append(self._click(int(table.item[at]), time, catalog))
        queries = {event.event_id: event.query for event in events if event.kind == SEARCH}
        for event in events:
            if event.kind == SEARCH:
                told.append(HistoryEvent("search", event.time, query=event.query))
                told += [
                    HistoryEvent("click", event.time, item, _title(item, catalog), event.query)
                    for item in event.clicked
                ]
            elif event.item is not None:
                told.append(
                    HistoryEvent(
                        "click",
                        event.time,
                        event.item,
                        _title(event.item, catalog),
                        queries.get(event.search) if event.search else None,
                    )
                )
        return sorted(told, key=lambda one: one.time, reverse=True)[:_SHOWN]

    @staticmethod
    def _click(place: int, time: int, catalog: CatalogSnapshot, query: str | None = None) -> HistoryEvent:
        return HistoryEvent("click", time, catalog.item(place), catalog.title(place), query)


def _title(item: str, catalog: CatalogSnapshot) -> str | None:
    place = catalog.place(item)
    return catalog.title(place) if place else None


def _newest_first(places: Ints) -> Ints:
    newest = places[::-1][:NEWEST]
    _, first = np.unique(newest, return_index=True)
    return newest[np.sort(first)]


def _for_models(clicks: Sequence[tuple[int, int]], catalog: CatalogSnapshot) -> tuple[Ints, Ints]:
    """Items and times of clicks that models can read."""
    told = [(int(catalog.proxy[place]), time) for place, time in clicks if place and catalog.proxy[place]]
    return np.array([item for item, _ in told], dtype=np.int64), np.array([time for _, time in told], dtype=np.int64)


def _stand_ins(places: Ints, catalog: CatalogSnapshot) -> Ints:
    own: Ints = catalog.proxy[places]
    return own[own > 0]


def _merged(values: Ints, times: Ints, more: Ints, more_times: Ints) -> tuple[Ints, Ints, Ints]:
    """Two histories as one by time, the first before the second where they are level; and the order."""
    time = np.concatenate((times, more_times))
    order = np.argsort(time, kind="stable")
    return np.concatenate((values, more))[order], time[order], order
