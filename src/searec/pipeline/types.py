"""What is asked of the engine, and what it answers; nothing here knows of HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

SkipReason = Literal["late", "failed", "not ready"]
MOST = 500
"""Places of a list that can be asked for, all pages together."""


class Filter(NamedTuple):
    """Items that stay: those with `value` among their categories, or in a column of the item table. Case counts."""

    column: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for a list of items: of a search if it has a query, else of the feed.

    Attributes:
        user: external id; None, or one who is not known, gets what needs no history.
        query: what is searched for.
        k: items on the page, from 1 to `MOST`. offset: items before the page, from 0; together at most `MOST`.
        after: the `next` of the page before: nothing it has shown comes again, whatever has happened since. Not together with an offset.
        filters: all must hold; several of one column: one of them must.
        exclude: external ids to leave out.
        seen: also show what the user has consumed; by default the feed does not and search does.
        quota: share of the feed's places for interests, 0 to 1; diversity: 0 (by score alone) to 1; None for the engine's own.
        seconds: until the answer is due; channels that are late are left out. None for the engine's own.
    """

    user: str | None = None
    query: str | None = None
    k: int = 10
    offset: int = 0
    after: str | None = None
    filters: Sequence[Filter] = ()
    exclude: Sequence[str] = ()
    seen: bool | None = None
    quota: float | None = None
    diversity: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class RankedItem:
    """An item of an answer.

    Attributes:
        item: external id.
        score: of the last stage that ordered it; to be compared within one answer only.
        channel: what brought it, as "behaviour", "interest", "bm25", "dense", "gensar", "popular".
        reason: why, for people.
        novel: whether the user has touched none of its categories.
    """

    item: str
    title: str
    score: float
    channel: str
    reason: str
    categories: Sequence[str] = ()
    novel: bool = False


class LeftOut(NamedTuple):
    """A part of the engine that an answer does without, as "sasrec" or "events", and why."""

    part: str
    why: SkipReason


@dataclass(frozen=True)
class Response:
    """A page of items.

    Attributes:
        items: best first; fewer than asked for where no more are left.
        next: to ask for the next page with (`Request.after`); None on the last one.
        known: whether anything is known of the user.
        interests: where the user's interests came from: "fresh", "last", "own", "none" as in `nearline.reader.Found`; "run" for those known
            from training.
        left_out: parts that did not make it.
        seconds: it took.
    """

    items: Sequence[RankedItem] = ()
    next: str | None = None
    known: bool = False
    interests: str = "none"
    left_out: Sequence[LeftOut] = ()
    seconds: float = 0.0

    @property
    def enr(self) -> float:
        """Exposure novelty rate of the page: the share of its items that are novel to the user; 0 for an empty page."""
        return sum(one.novel for one in self.items) / len(self.items) if self.items else 0.0


@dataclass(frozen=True)
class SuggestRequest:
    """A request for queries to ask next, of those that begin with `prefix`; k from 1 to 100; seconds as in `Request`."""

    user: str | None = None
    prefix: str = ""
    k: int = 8
    seconds: float | None = None


@dataclass(frozen=True)
class SuggestedQuery:
    """A query to ask next: what brought it ("gensar", "interest", "popular"), and why, for people."""

    query: str
    score: float
    channel: str
    reason: str


@dataclass(frozen=True)
class Suggestions:
    """Queries that a user may ask next, best first."""

    queries: Sequence[SuggestedQuery] = ()
    left_out: Sequence[LeftOut] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class HistoryEvent:
    """A click (`item`, `title`, maybe after a search: `query`) or a search (`query`, `item` is None), microseconds since 1970."""

    kind: Literal["click", "search"]
    time: int
    item: str | None = None
    title: str | None = None
    query: str | None = None


@dataclass(frozen=True)
class UserView:
    """What is known of a user: attributes, and what they did, newest first.

    known: whether the training knew the user.
    """

    user: str
    known: bool
    attributes: Mapping[str, str] = field(default_factory=dict)
    history: Sequence[HistoryEvent] = ()


@dataclass(frozen=True)
class InterestsView:
    """What a user may want and why.

    Attributes:
        source: as `Response.interests`.
        made: microseconds since 1970; None where nobody knows.
        interests: [(text, confidence, reason)], surest first.
        graph: the interest graph as `nearline.graph.Graph.to_json` has it; None where there is none.
        picture: the graph drawn, SVG; empty where there is none.
    """

    user: str
    source: str
    made: int | None = None
    interests: Sequence[tuple[str, float, str]] = ()
    graph: Mapping[str, Any] | None = None
    picture: str = ""


@dataclass(frozen=True)
class ItemView:
    """An item of the catalogue as it stands: given at training ("known") or since ("new"), and whether it is hidden."""

    item: str
    title: str
    about: Mapping[str, Any] = field(default_factory=dict)
    state: Literal["known", "new"] = "known"
    hidden: bool = False


@dataclass(frozen=True)
class ServedRun:
    """A run that the engine uses: label, model, what for (as "feed channel", "feed ranker", "search channel"), and its kept figures.

    figures: "recommend/full/test" and such -> metric -> value, as its metrics.json has them.
    """

    label: str
    model: str
    uses: Sequence[str]
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
