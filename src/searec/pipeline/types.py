"""Requests to the pipeline and its responses; nothing here depends on HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from searec.search.facets import Facet
from searec.search.filters import Filter
from searec.search.highlight import Snippet, Spans
from searec.search.query import SearchQuery
from searec.search.relaxation import Relaxed

SkipReason = Literal["late", "failed", "not ready"]
MOST = 500
"""The longest list, all pages together."""
CATALOGUE = "catalogue"
"""The channel of a feed that is sorted."""
RESERVED = ("events", "interests", "bm25", "popular", "behaviour", "interest", "own", "title", CATALOGUE)
"""Names of parts and channels that no run may have as its label."""
Sort = Literal["relevance", "newest", "price", "-price", "popularity"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for a list of items: search results if it has a query, else the feed.

    Attributes:
        user: external id; None and unknown users get what needs no history.
        query: the search query.
        k: items on the page, from 1 to `MOST`.
        offset: items before the page, from 0; offset + k is at most `MOST`.
        after: `Response.next` of the previous page: no item of earlier pages is repeated. Not with an offset.
        filters: all columns must match; several filters of one column are alternatives.
        facets: columns whose values are counted over all matching items, each without its own filters.
        sort: "relevance" ranks; anything else orders all matching items, ties by relevance. "price" is the cheapest
            first, "-price" the dearest; "newest" goes by `results.DATES` or, without such a column, by the first click,
            with items that arrived since first.
        highlight: also say what matches in titles and descriptions.
        exclude: external ids to leave out.
        seen: also return what the user has consumed; by default the feed does not and search does. What the user
            refused (events of negative weight) is never returned.
        quota: share of the feed for the interest channel, 0 to 1; the deployment's if None.
        diversity: 0 (by score alone) to 1; the deployment's if None.
        seconds: until the response is due; late channels are left out. The deployment's if None.
        time: microseconds since 1970; only strictly older events count. None for all events. For evaluation.
        keep: external ids that are returned even if they were consumed or refused. For evaluation.
        spelling: correct words of the query that no item has; without it the query is searched as typed.
        prefix: the query is still being typed: its last word may be the beginning of a longer one.
    """

    user: str | None = None
    query: str | None = None
    k: int = 10
    offset: int = 0
    after: str | None = None
    filters: Sequence[Filter] = ()
    facets: Sequence[str] = ()
    sort: Sort = "relevance"
    highlight: bool = False
    exclude: Sequence[str] = ()
    seen: bool | None = None
    quota: float | None = None
    diversity: float | None = None
    seconds: float | None = None
    time: int | None = None
    keep: Sequence[str] = ()
    spelling: bool = True
    prefix: bool = False


class Highlights(NamedTuple):
    """What matches a query: spans (start, end) of the title, in characters, and a snippet of the description."""

    title: Spans
    description: Snippet | None = None


@dataclass(frozen=True)
class RankedItem:
    """An item of a response.

    Attributes:
        item: external id.
        title: of the item, or its id.
        score: of the last stage that ordered it; comparable within one response only.
        channel: the channel that retrieved it, as "behaviour", "interest", "bm25", "dense", "popular" or a run's label.
        reason: a sentence for people.
        categories: of the item.
        novel: whether the user has touched none of its categories.
        highlights: with `Request.highlight`, of a search.
    """

    item: str
    title: str
    score: float
    channel: str
    reason: str
    categories: Sequence[str] = ()
    novel: bool = False
    highlights: Highlights | None = None


class LeftOut(NamedTuple):
    """A part of the pipeline that a response does without, as "sasrec" or "events", and why."""

    part: str
    why: SkipReason


@dataclass(frozen=True)
class Response:
    """A page of items.

    Attributes:
        items: best first; fewer than k where no more are left.
        next: `Request.after` of the next page; None on the last one.
        known: whether the user has a history.
        interests: where the user's interests came from: "fresh", "last", "own" or "none" as in `store.interest_reader`,
            "run" for those inferred at training.
        left_out: parts that did not answer.
        seconds: the time it took.
        total: of a search, or with filters, facets or a sort: how many items match; else None.
        facets: of `Request.facets`.
        query: of a search, how it was read: what was corrected, what is offered, a redirect, categories, attributes.
        relaxed: what was given up because no item has all words of the query; None if nothing.
    """

    items: Sequence[RankedItem] = ()
    next: str | None = None
    known: bool = False
    interests: str = "none"
    left_out: Sequence[LeftOut] = ()
    seconds: float = 0.0
    total: int | None = None
    facets: Mapping[str, Facet] = field(default_factory=dict)
    query: SearchQuery | None = None
    relaxed: Relaxed | None = None

    @property
    def enr(self) -> float:
        """Exposure novelty rate: the share of the page's items that are novel to the user; 0 for an empty page."""
        return sum(item.novel for item in self.items) / len(self.items) if self.items else 0.0


@dataclass(frozen=True)
class SuggestRequest:
    """A request for queries and titles with what was typed (`prefix`); k from 1 to 100; seconds as in `Request`."""

    user: str | None = None
    prefix: str = ""
    k: int = 8
    seconds: float | None = None


@dataclass(frozen=True)
class SuggestedQuery:
    """A suggestion.

    Attributes:
        query: the text to search for.
        score: of its source.
        channel: its source: "own", a run's label, "interest", "popular" or "title".
        reason: a sentence for people.
        kind: "query", or "title" of an item.
        item: external id of that item; None for a query.
    """

    query: str
    score: float
    channel: str
    reason: str
    kind: Literal["query", "title"] = "query"
    item: str | None = None


@dataclass(frozen=True)
class Suggestions:
    """Suggested queries, best first; `left_out` and `seconds` as in `Response`."""

    queries: Sequence[SuggestedQuery] = ()
    left_out: Sequence[LeftOut] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class HistoryEvent:
    """A click (of `item`, with the `query` it followed, if any) or a search (`item` is None).

    Attributes:
        kind: "click" or "search".
        time: microseconds since 1970.
        item: external id.
        title: of the item.
        query: of the search.
    """

    kind: Literal["click", "search"]
    time: int
    item: str | None = None
    title: str | None = None
    query: str | None = None


@dataclass(frozen=True)
class UserView:
    """A user's attributes and history, newest first; `known` if the user was there at training."""

    user: str
    known: bool
    attributes: Mapping[str, str] = field(default_factory=dict)
    history: Sequence[HistoryEvent] = ()


@dataclass(frozen=True)
class InterestsView:
    """A user's interests.

    Attributes:
        user: external id.
        source: as `Response.interests`.
        made_at: microseconds since 1970; None if unknown.
        interests: [(text, confidence, reason)], most confident first.
        graph: the interest graph as JSON; None if there is none.
        picture: the graph as SVG; empty if there is none.
    """

    user: str
    source: str
    made_at: int | None = None
    interests: Sequence[tuple[str, float, str]] = ()
    graph: Mapping[str, Any] | None = None
    picture: str = ""


@dataclass(frozen=True)
class ItemView:
    """An item of the catalog: there since training ("known") or added later ("new"), and whether it is hidden."""

    item: str
    title: str
    about: Mapping[str, Any] = field(default_factory=dict)
    state: Literal["known", "new"] = "known"
    hidden: bool = False


@dataclass(frozen=True)
class ServedRun:
    """A run that the pipeline uses.

    Attributes:
        label: of the run.
        model: its model's name.
        uses: what for, as "feed channel", "feed ranker", "search channel".
        figures: "recommend/full/test" and such -> metric -> value, as in its metrics.json.
    """

    label: str
    model: str
    uses: Sequence[str]
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
