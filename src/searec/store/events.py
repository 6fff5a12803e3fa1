"""Events and changes of items, as they are reported while the service runs.

They are on disk before they are acknowledged. Readers read them from the store, request by request, so that all
processes see the same and a restart loses nothing. Every change gets a number that goes up in the order of the commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from searec.data.events import EventWeights

SEARCH = "search"
"""The `kind` of an event that is a search; any other is a feed event of that name, as "click" or "purchase"."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """An action of a user.

    Attributes:
        event_id: given by the reporter; a second one with the same id is the same event.
        user: external id; need not be known before.
        kind: "search", or what was done to an item: "click", "purchase", "view", ...
        time: microseconds since 1970 (UTC), when it happened.
        item: external id; None for a search.
        query: text of the search; None for any other kind.
        search: `event_id` of the search that returned the item; None for the feed's.
        clicked: items clicked in the search, where they are known when it is reported.
        shown: items that the search returned.
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


def positive(events: Sequence[Event], weights: EventWeights) -> list[Event]:
    """Return the searches, and the other events of positive weight.

    Args:
        events: of any kind.
        weights: of the dataset.
    """
    return [event for event in events if event.kind == SEARCH or weights.sign(event.kind) > 0]


@dataclass(frozen=True)
class ItemChange:
    """An item as it is since change `number`.

    Attributes:
        item: external id.
        about: its columns (title, brand, categories, ...); empty where only `hidden` was set.
        hidden: whether it is left out of every response.
        removed: whether it left the catalog.
        number: of the change.
    """

    item: str
    about: Mapping[str, Any] = field(default_factory=dict)
    hidden: bool = False
    removed: bool = False
    number: int = 0


@dataclass(frozen=True)
class Stored:
    """How many events of a call are new, and how many were stored already.

    Attributes:
        new: events that were added.
        known: events that were there before.
        already: the ids that were there before, for a caller that joins several calls into one.
    """

    new: int
    known: int
    already: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
