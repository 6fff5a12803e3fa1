"""Profile: what a reasoner may know of one user, everything strictly older than a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from searec.data.dataset import Dataset
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import DAY
from searec.data.split import NEVER
from searec.errors import DataError

DAYS = 30
"""Days of queries that are read (the paper's window)."""
QUERIES, CLICKS = 30, 100
"""Newest distinct queries, and newest clicks, that are read."""
_BLOCK = 1024
"""Users whose rows are read at once."""


@dataclass(frozen=True)
class ProfileQuery:
    """A query and its last time, microseconds since 1970 (UTC)."""

    text: str
    time: int


@dataclass(frozen=True)
class ProfileClick:
    """A clicked item, in the feed or after a search: its title, its categories as given, and when."""

    title: str
    categories: tuple[str, ...]
    time: int


@dataclass(frozen=True)
class Profile:
    """One user, as of a time.

    Attributes:
        user: external id.
        at: microseconds since 1970 (UTC); nothing here is as new as that.
        attributes: of the user table, empty ones left out.
        queries: distinct ones of the last `DAYS` days, newest first.
        clicks: the newest, newest first; for what is known already, and for users who ask nothing.
        earlier: distinct queries older than these days, newest first; known, but nothing is inferred from them.
        exists: False if nothing is stored of the user anywhere.
    """

    user: str
    at: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    queries: tuple[ProfileQuery, ...] = ()
    clicks: tuple[ProfileClick, ...] = ()
    earlier: tuple[str, ...] = ()
    exists: bool = True


def profiles(
    data: Dataset, users: Ints, at: Ints, *, days: int = DAYS, queries: int = QUERIES, clicks: int = CLICKS
) -> Iterator[Profile]:
    """Yield the profile of each user.

    Args:
        data: the dataset.
        users: [n] internal ids.
        at: [n] microseconds since 1970; strictly older events are read. `split.NEVER` is the microsecond after a
            user's last event.
        days: days of queries that are read.
        queries: newest distinct queries that are read.
        clicks: newest clicks that are read.

    Raises:
        DataError: not one time a user.
    """
    if users.shape != at.shape:
        raise DataError("one time a user is needed", got=at.shape, expected=users.shape)
    for start in range(0, len(users), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield from _profiles(data, users[block], at[block], days, queries, clicks)


def _profiles(data: Dataset, users: Ints, at: Ints, days: int, queries: int, clicks: int) -> Iterator[Profile]:
    """Profiles of few users: nothing is read but their rows."""
    names = data.users.to_external(users)
    attributes = [name for name in data.user_table.columns if name != "user_id"]
    known = (
        data.user_table.select(attributes)[users.astype(np.int64) - 1].rows(named=True)
        if attributes
        else [{}] * len(users)
    )
    search_end = _end(data.searches.offsets, data.searches.time, users, at)
    click_end = _end(data.click_history.offsets, data.click_history.time, users, at)
    trails = [
        slice(max(int(data.click_history.offsets[user]), last - clicks), last)
        for user, last in zip(users.tolist(), click_end, strict=True)
    ]
    columns = [name for name in ("title", "categories") if name in data.item_table.columns]
    items = data.item_table.select(columns)[
        np.concatenate([data.click_history.item[click_history] for click_history in trails]).astype(np.int64) - 1
    ]
    titles = items["title"].fill_null("").to_list()
    categories = items["categories"].to_list() if "categories" in items.columns else [None] * len(items)
    first = 0
    for name, about, user, limit, last_search, click_history in zip(
        names, known, users.tolist(), at.tolist(), search_end, trails, strict=True
    ):
        searched = slice(int(data.searches.offsets[user]), last_search)
        times, click_times = data.searches.time[searched].tolist(), data.click_history.time[click_history].tolist()
        now = limit if limit != NEVER else max([*times[-1:], *click_times[-1:], -1]) + 1
        texts = data.queries.texts.gather(data.searches.query[searched].astype(np.int64) - 1).to_list()
        newest: dict[str, int] = {}
        for text, time in zip(reversed(texts), reversed(times), strict=True):
            newest.setdefault(text, time)
        recent = [ProfileQuery(text, time) for text, time in newest.items() if time >= now - days * DAY][:queries]
        read = {one.text for one in recent}
        clicked = slice(first, first + len(click_times))
        first = clicked.stop
        yield Profile(
            user=name,
            at=now,
            attributes={key: str(value) for key, value in about.items() if value not in (None, "")},
            queries=tuple(recent),
            clicks=tuple(
                ProfileClick(title, tuple(group or ()), time)
                for title, group, time in zip(
                    reversed(titles[clicked]), reversed(categories[clicked]), reversed(click_times), strict=True
                )
            ),
            earlier=tuple(text for text in newest if text not in read),
        )


def _end(offsets: Ints, time: Ints, users: Ints, at: Ints) -> Sequence[int]:
    return first_not_before(time, offsets[users], offsets[users + 1], at).tolist()  # type: ignore[no-any-return]
