"""Events: what happens to users and items while the service runs, kept for good before it is acknowledged.

Whoever needs them reads them from the store, request by request, so that all processes know the same and a restart loses nothing.
Every change gets a number that goes up in the order of the commits, one for each row: what was read up to a number stays read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from searec.errors import SettingsError

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = ("read", "write", "admin")
"""Each may do what the ones before it may."""
SEARCH = "search"
"""The `kind` of an event that is a search; any other is a feed event of that name, as "click" or "purchase"."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something a user did.

    Attributes:
        event_id: given by whoever reports it; a second one with the same id is the same event.
        user: external id; need not be known before.
        kind: "search", or what was done to an item: "click", "purchase", "view", ...
        time: microseconds since 1970 (UTC), when it happened.
        item: external id; None for a search.
        query: what was searched for; None for any other kind.
        search: `event_id` of the search that an item was found by; None for the feed's.
        clicked: items clicked in the search, where they are known when it is reported.
        shown: items that the search showed.
        number: order of arrival, from 1; 0 before it is stored.
    """

    event_id: str
    user: str
    kind: str
    time: int
    item: str | None = None
    query: str | None = None
    search: str | None = None
    clicked: Sequence[str] = ()
    shown: Sequence[str] = ()
    number: int = 0


@dataclass(frozen=True)
class ItemChange:
    """An item as it stands since change `number`.

    about: its columns (title, brand, categories, ...); empty where only `hidden` was set.
    """

    item: str
    about: Mapping[str, Any] = field(default_factory=dict)
    hidden: bool = False
    removed: bool = False
    number: int = 0


@dataclass(frozen=True)
class Stored:
    """What became of events: how many are new, and how many were there already.

    already: the ids that were there before the call, for whoever joins several calls into one.
    """

    new: int
    known: int
    already: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


class EventStore(Protocol):
    """Events, items and users reported since the training, shared by threads and processes.

    Everything that fails for the store's sake is a StorageError, and nothing of that call is kept.
    """

    def append(self, events: Sequence[Event]) -> Stored:
        """Keep events; they are on disk when this returns.

        Raises:
            DataError: an event id that is known with other contents; nothing of the call is kept.
        """
        ...

    def of_users(self, users: Sequence[str], *, after: int = 0) -> dict[str, list[Event]]:
        """The events of users, by time and then number; users without any are left out. Only numbers above `after`."""
        ...

    def put_items(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Add items, or replace what is known of them: "item_id", "title", and any other column."""
        ...

    def hide_items(self, items: Sequence[str], hidden: bool = True) -> None:
        """Hide items from every answer, or show them again."""
        ...

    def remove_items(self, items: Sequence[str]) -> None:
        """Take items out of the catalogue; putting them again brings them back."""
        ...

    def items_since(self, number: int) -> list[ItemChange]:
        """The items that have changed since a number, each as it stands now, by number."""
        ...

    def put_users(self, users: Sequence[Mapping[str, Any]]) -> None:
        """Add users, or replace what is known of them: "user_id" and any attribute."""
        ...

    def users_of(self, users: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Attributes of users who were put; others are left out."""
        ...

    def forget(self, user: str) -> int:
        """Remove a user and all their events for good; how many events."""
        ...

    def all_events(self, *, after: int = 0, count: int = 10_000) -> list[Event]:
        """Events by number, above `after`, `count` at most."""
        ...

    def all_users(self) -> dict[str, dict[str, Any]]:
        """Every user who was put."""
        ...

    def last_number(self) -> int:
        """The highest number given so far."""
        ...

    def add_key(self, name: str, role: Role) -> str:
        """A new key, which is told only now; its hash is kept.

        Raises:
            SettingsError: the name is taken.
        """
        ...

    def keys(self) -> "list[Key]":
        """The keys that are valid, by name."""
        ...

    def revoke_key(self, name: str) -> bool:
        """Make a key invalid; False if there was none."""
        ...

    def deploy(self, config: Mapping[str, Any]) -> int:
        """Keep what is to be served from now on; its number."""
        ...

    def deployed(self) -> tuple[int, dict[str, Any]] | None:
        """The newest of what was kept with `deploy`."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class Key:
    """A key as it is kept. public: its part that may be shown and by which it is found; hashed: SHA-256 of the whole key."""

    name: str
    role: Role
    public: str
    hashed: bytes


def open_events(url: str) -> EventStore:
    """Open the events at `sqlite:///FILE` (made if it is missing) or `postgresql://USER@HOST/DB`, its schema brought up to date.

    Raises:
        SettingsError: any other address.
        StorageError: it cannot be opened.
        DependencyError: the client is not installed.
    """
    from searec.store.interest_store import without_password

    scheme, _, rest = url.partition("://")
    if (scheme == "sqlite" and rest.startswith("/") and rest[1:] not in ("", ":memory:")) or (
        scheme == "postgresql" and rest
    ):
        from searec.store.event_store import SqlEvents

        return SqlEvents(url)
    raise SettingsError(
        "no address of events", got=repr(without_password(url)), expected="sqlite:///FILE or postgresql://USER@HOST/DB"
    )
