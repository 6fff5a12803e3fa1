"""What an event says of an item: the one table from event names to weights, and the file that changes it.

A weight above 0 is positive feedback: the event counts as a click, it is part of histories, and it may be a training
target or a held-out request. Weight 0 is neutral: the event stays in the log and is read nowhere else. A weight below
0 is negative feedback: the event is neither history nor target, and the item is left out of that user's lists until the
user chooses it again.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from searec.errors import DataError, SettingsError

FILE = "event_weights.json"
"""The file of a dataset folder with weights that differ from the default table: {"event": weight}."""
CLICK = "click"
"""The event of an item clicked in a search."""
UNKNOWN_WEIGHT = 1.0
"""The weight of an event that the table does not name: as a click."""

_LISTED = 10
"""Events that a note names."""
_SEPARATORS = str.maketrans("", "", " \t_-.")


def match_key(name: str) -> str:
    """Return the form by which names are compared: case-folded, without blanks, underscores, hyphens and dots."""
    return name.casefold().translate(_SEPARATORS)


_GROUPS: dict[float, str] = {
    # Looking at one item. A click is the unit; a view of an item's page is what a click leads to.
    1.0: "click, click_through, select, open, tap, view, item_view, product_view, view_item, view_product, "
    "detail_view, view_detail, pageview, page_view, visit, read, watch, play, listen, stream, video_view",
    # Effort or approval beyond looking: the user puts the item aside, judges it or speaks of it.
    2.0: "cart, add_to_cart, add_cart, cart_add, basket, add_to_basket, wishlist, add_to_wishlist, like, love, "
    "upvote, thumbs_up, favorite, favourite, fav, add_to_favorites, add_to_favourites, collect, save, bookmark, share, "
    "forward, comment, reply, follow, subscribe, download, install, complete, rating, rate, review, relevance_yes, "
    "relevant",
    # Money or a commitment.
    3.0: "purchase, buy, order, checkout, transaction, payment, pay, book, booking, rent, conversion",
    # The item was on the screen, or the page was used; nothing was chosen.
    0.0: "impression, exposure, show, shown, display, hover, product_hover, item_hover, mouseover, scroll, skip, "
    "sort, product_sort, filter, brand_filter, type_filter, view_search_results, global_click, page_exit, exit, "
    "page_load, session_start, session_end, login, logout, 404_redirect",
    # A refusal, or a choice taken back.
    -1.0: "dislike, downvote, thumbs_down, hide, dismiss, not_interested, not_interesting, relevance_no, irrelevant, "
    "not_relevant, reject, decline, declined_product, block, mute, report, unlike, unfavorite, unfavourite, uncollect, "
    "unsave, unfollow, unsubscribe, remove_from_cart, cart_remove, remove_cart, remove_from_basket, "
    "remove_from_wishlist, return, refund",
}

DEFAULT: Mapping[str, float] = {name: weight for weight, names in _GROUPS.items() for name in names.split(", ")}
"""Event name -> weight. Models read ratios only: see `feedback.train_weights`."""


@dataclass(frozen=True)
class EventWeights:
    """The weights of events by name, whatever the case and whether words are joined by blanks, "_", "-" or nothing.

    Attributes:
        changes: event name -> weight, where it differs from `DEFAULT` or is not in it.

    Raises:
        SettingsError: on construction, if a name is blank, a weight is no finite number, or two names are alike and
            their weights differ.
    """

    changes: Mapping[str, float] = field(default_factory=dict)
    _by_key: dict[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_key: dict[str, float] = {}
        for name, weight in self.changes.items():
            key = match_key(name)
            if not key:
                raise SettingsError("empty event name", got=repr(name), expected="a name like 'click'")
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
                raise SettingsError(
                    f"bad weight of event {name!r}",
                    got=repr(weight),
                    expected="a finite number: above 0 positive, 0 neutral, below 0 negative",
                )
            if by_key.setdefault(key, float(weight)) != weight:
                raise SettingsError(
                    "two weights for one event", got=f"{name!r}: {by_key[key]:g} and {weight:g}", remedy="give it once"
                )
        default = {match_key(name): weight for name, weight in DEFAULT.items()}
        object.__setattr__(self, "_by_key", {**default, **by_key})

    @classmethod
    def read(cls, folder: Path | str) -> "EventWeights":
        """Return the weights of a dataset folder: its event_weights.json over the default table.

        Raises:
            DataError: the file is not a JSON object of numbers.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return cls()
        expected = '{"event": weight, ...}'
        try:
            changes = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError("event weights cannot be read", where=path, got=str(error), expected=expected) from error
        if not isinstance(changes, dict):
            raise DataError("event weights are no object", where=path, got=type(changes).__name__, expected=expected)
        try:
            return cls(changes)
        except SettingsError as error:
            raise DataError(str(error), where=path, expected=expected) from error

    @property
    def digest(self) -> str:
        """The changes as text for a fingerprint, the same for names that are alike; empty without changes."""
        changes = {match_key(name): float(weight) for name, weight in self.changes.items()}
        return json.dumps(changes, sort_keys=True) if changes else ""

    def write(self, folder: Path) -> None:
        """Write the changes as event_weights.json; nothing if there are none."""
        if self.changes:
            text = json.dumps(dict(sorted(self.changes.items())), ensure_ascii=False, indent=1)
            (folder / FILE).write_text(text + "\n", encoding="utf-8")

    def updated(self, changes: Mapping[str, float]) -> "EventWeights":
        """Return these weights with further changes, which go before alike names."""
        keys = {match_key(name) for name in changes}
        rest = {name: weight for name, weight in self.changes.items() if match_key(name) not in keys}
        return EventWeights({**rest, **changes})

    def __contains__(self, name: str) -> bool:
        """Return whether the table names this event."""
        return match_key(name) in self._by_key

    def weight(self, name: str) -> float:
        """Return the weight of an event; `UNKNOWN_WEIGHT` if the table does not name it."""
        return self._by_key.get(match_key(name), UNKNOWN_WEIGHT)

    def sign(self, name: str) -> int:
        """Return 1 for positive, 0 for neutral and -1 for negative feedback."""
        weight = self.weight(name)
        return (weight > 0) - (weight < 0)

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that the table lacks, in order, each once."""
        return [name for name in dict.fromkeys(names) if name not in self]


def counted(names: pl.Series) -> dict[str, int]:
    """Return how often each event occurs, the most frequent first."""
    counts = names.value_counts(name="count").sort("count", names.name, descending=[True, False])
    return dict(counts.iter_rows())


def described(names: pl.Series, weights: EventWeights) -> list[str]:
    """Return a sentence for each kind of event that is no click: unknown, negative and neutral ones, with counts.

    Args:
        names: the event of each row.
        weights: of the dataset.
    """
    counts = counted(names)
    unknown = "of events without a known weight, counted as {clicks} (weight 1; --event NAME=WEIGHT sets another)"
    negative = "of negative feedback, neither history nor target; the item is left out of that user's lists"
    groups = {
        unknown: weights.unknown(counts),
        negative: [name for name in counts if weights.sign(name) < 0],
        "of neutral events, left in the log and not read": [name for name in counts if weights.sign(name) == 0],
    }
    notes = []
    for what, members in groups.items():
        if members:
            total = sum(counts[name] for name in members)
            listed = ", ".join(f"{name} {counts[name]:,}" for name in members[:_LISTED])
            more = f" and {len(members) - _LISTED} more" if len(members) > _LISTED else ""
            rows, clicks = ("row", "a click") if total == 1 else ("rows", "clicks")
            notes.append(f"{total:,} {rows} {what.format(clicks=clicks)}: {listed}{more}")
    return notes


def parse_weights(entries: Iterable[str]) -> dict[str, float]:
    """Return the weights of entries NAME=WEIGHT, as `--event` takes them.

    Raises:
        SettingsError: an entry of another form, a weight that is no finite number, or a name that is given twice.
    """
    weights: dict[str, float] = {}
    for entry in entries:
        name, equals, text = entry.rpartition("=")
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not equals or not name.strip() or not math.isfinite(weight):
            raise SettingsError(
                "bad event weight",
                where="--event",
                got=repr(entry),
                expected="NAME=WEIGHT, as like=2, impression=0 or dislike=-1",
            )
        if name.strip() in weights:
            raise SettingsError("two weights for one event", where="--event", got=repr(entry), remedy="give it once")
        weights[name.strip()] = weight
    EventWeights(weights)
    return weights
