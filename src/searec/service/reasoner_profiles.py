"""Profiles for reasoners: the history of users in the dataset, and their events since."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from searec.data.dataset import Dataset
from searec.data.schema import DAY
from searec.data.split import NEVER
from searec.errors import UnknownIdError
from searec.interests.profile import CLICKS, DAYS, QUERIES, Profile, ProfileClick, ProfileQuery, profiles
from searec.search.item_columns import CATEGORIES
from searec.store.connection import this_clock
from searec.store.event_store import EventStore
from searec.store.events import SEARCH, Event, positive

_AHEAD = 300_000_000
"""Microseconds that a caller's clock may be ahead. Later events are not read: they would move the window."""
_PAGE = 20_000
About = tuple[str, tuple[str, ...]]
"""Title and categories of an item."""


class Profiles:
    """Profiles as of now, of dataset and events together, with the limits of `interests.profile`. Threads may share it.

    Args:
        data: the dataset.
        events: what happened since; None for the dataset alone.
        after: events up to this number are in the dataset already (`exported_up_to`).
    """

    def __init__(self, data: Dataset, events: EventStore | None = None, *, after: int = 0) -> None:
        self._data, self._events, self._after = data, events, after
        self._put: dict[str, About] = {}
        self._number = 0
        self._lock = threading.Lock()

    def __call__(self, users: Sequence[str]) -> list[Profile]:
        """Return the profiles, [n], in order; an empty one as of now for an unknown user.

        Raises:
            StorageError: the event store fails.
        """
        known = [user for user in users if user in self._data.users]
        inside = self._data.users.to_internal(known)
        by_user = dict(zip(known, profiles(self._data, inside, np.full(len(inside), NEVER)), strict=True))
        happened: Mapping[str, Sequence[Event]] = {}
        attributes: Mapping[str, Mapping[str, Any]] = {}
        items: Mapping[str, About] = {}
        if self._events is not None and users:
            latest = this_clock() + _AHEAD
            happened = {
                user: read
                for user, events in self._events.of_users(users, after=self._after).items()
                if (read := [event for event in positive(events, self._data.event_weights) if event.time <= latest])
            }
            attributes = self._events.users_of(users)
            items = self._items(item for events in happened.values() for event in events for item in _touched(event))
        result = []
        for user in users:
            profile = by_user.get(user)
            if profile is None:
                exists = user in happened or user in attributes
                profile = Profile(user, 0 if user in happened else this_clock(), exists=exists)
            result.append(extended(profile, happened.get(user, ()), items, attributes.get(user)))
        return result

    def everybody(self) -> list[str]:
        """Return the users of the dataset, then those known from events only.

        Raises:
            StorageError: the event store fails.
        """
        names = dict.fromkeys(self._data.users.texts.to_list())
        if self._events is not None:
            names |= dict.fromkeys(self._events.all_users())
            after = self._after
            while page := self._events.all_events(after=after, count=_PAGE):
                names |= dict.fromkeys(event.user for event in page)
                after = page[-1].number
        return list(names)

    def refuse_unknown(self, users: Sequence[str]) -> None:
        """Refuse users who are in neither the dataset nor the event store.

        Raises:
            UnknownIdError: there is one.
            StorageError: the event store fails.
        """
        if self._events is None:
            self._data.users.to_internal(users)
            return
        strangers = [user for user in users if user not in self._data.users]
        if not strangers:
            return
        reported = {**self._events.of_users(strangers, after=self._after), **self._events.users_of(strangers)}
        for user in strangers:
            if user not in reported:
                raise UnknownIdError(
                    f"unknown user id {user!r}", where="dataset and events", expected="a user of either"
                )

    def _items(self, item_ids: Iterable[str]) -> dict[str, About]:
        """Return title and categories of items, from the store, else from the dataset; unknown items are left out."""
        assert self._events is not None
        with self._lock:
            changes = self._events.items_since(self._number)
            for change in changes:
                if change.about:
                    self._put[change.item] = _about(change.about)
            self._number = changes[-1].number if changes else self._number
            names = list(dict.fromkeys(item_ids))
            recorded = {name: self._put[name] for name in names if name in self._put}
        known = [name for name in names if name not in recorded and name in self._data.items]
        table = self._data.item_table
        columns = [name for name in ("title", CATEGORIES) if name in table.columns]
        rows = (
            table.select(columns)[self._data.items.to_internal(known).astype(np.int64) - 1].rows(named=True)
            if known
            else []
        )
        return {**recorded, **{name: _about(row) for name, row in zip(known, rows, strict=True)}}


def extended(
    profile: Profile, events: Sequence[Event], items: Mapping[str, About], attributes: Mapping[str, Any] | None = None
) -> Profile:
    """Return a profile with later events added, as of one microsecond after the newest of all.

    Args:
        profile: of a user, from the dataset.
        events: of this user, by time.
        items: title and categories; a click of any other item is not read.
        attributes: replace those of the profile; None leaves them.
    """
    about = (
        profile.attributes
        if attributes is None
        else {key: str(value) for key, value in attributes.items() if value not in (None, "")}
    )
    at = max([profile.at, *(event.time + 1 for event in events)])
    newest = {str(event.query): event.time for event in events if event.kind == SEARCH and event.query}
    newest = dict(reversed(newest.items())) | {
        one.text: max(one.time, newest.get(one.text, 0)) for one in profile.queries
    }
    by_time = sorted(newest.items(), key=lambda one: one[1], reverse=True)
    recent = tuple(ProfileQuery(text, time) for text, time in by_time if time >= at - DAYS * DAY)[:QUERIES]
    read = {one.text for one in recent}
    clicks = sorted((*_clicks(events, items), *profile.clicks), key=lambda one: one.time, reverse=True)
    return Profile(
        user=profile.user,
        at=at,
        attributes=about,
        queries=recent,
        clicks=tuple(clicks[:CLICKS]),
        earlier=tuple(
            text for text in dict.fromkeys((*(text for text, _ in by_time), *profile.earlier)) if text not in read
        ),
        exists=profile.exists,
    )


def _clicks(events: Sequence[Event], items: Mapping[str, About]) -> list[ProfileClick]:
    """Return the clicks of events, newest first; one that was reported with its search and alone counts once."""
    recorded = {(event.event_id, item) for event in events if event.kind == SEARCH for item in event.clicked}
    clicks = []
    for event in reversed(events):
        if event.kind != SEARCH and (event.search, event.item) in recorded:
            continue
        clicks += [ProfileClick(*items[item], event.time) for item in reversed(_touched(event)) if item in items]
    return clicks


def _touched(event: Event) -> Sequence[str]:
    if event.kind == SEARCH:
        return tuple(dict.fromkeys(event.clicked))
    return () if event.item is None else (event.item,)


def _about(columns: Mapping[str, Any]) -> About:
    """Return title and categories from an item's columns; categories that are no list of texts are none."""
    given = columns.get(CATEGORIES)
    categories = tuple(str(one) for one in given) if isinstance(given, (list, tuple)) else ()
    return str(columns.get("title") or ""), categories
