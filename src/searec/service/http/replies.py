"""Schemas of responses; service and client use the same."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from searec.search.query import Relaxation

UtcText = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class ResponseModel(BaseModel):
    """A response; a newer service may add fields."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class LeftOut(ResponseModel):
    """A part that is missing from the response, as a model or a store."""

    part: str
    why: Literal["late", "failed", "not ready"]


Spans = Sequence[tuple[int, int]]


class Snippet(ResponseModel):
    """The part of a description that holds the most matches."""

    text: str
    spans: Spans = Field(description="What matches, as (start, end) in Unicode characters.")


class Highlights(ResponseModel):
    """What matches the query in an item."""

    title: Spans = Field(description="What matches, as (start, end) in Unicode characters.")
    description: Snippet | None


class Item(ResponseModel):
    """An item of a list."""

    item_id: str
    title: str
    score: float = Field(description="Of the last stage that ranked it; comparable within one response only.")
    channel: str = Field(description='Where it was retrieved, as "behaviour", "interest", "bm25", "popular".')
    reason: str = Field(description="Explanation for people.")
    categories: Sequence[str]
    novel: bool = Field(description="Whether all its categories are new to the user.")
    highlights: Highlights | None = Field(None, description="With `highlight`.")


class FacetValue(ResponseModel):
    """A value or a range of a column."""

    value: str = Field(description="As a filter takes it.")
    count: int = Field(description="Matching items that have it.")
    parent: str | None = Field(None, description="Of a category, the one above it.")


class Facet(ResponseModel):
    """What the matching items have in a column."""

    values: Sequence[FacetValue] = Field(description="Texts by count, at most 50; numbers, dates and ranges ascending.")
    low: float | str | None = Field(None, description="The least number or date.")
    high: float | str | None = Field(None, description="The greatest number or date.")


class Page(ResponseModel):
    """A list of items, best first."""

    user_id: str | None
    known: bool = Field(description="Whether the service has data about the user.")
    items: Sequence[Item]
    next: str | None = Field(description="The cursor of the next page; null on the last one.")
    interests: str = Field(description='Source of the user\'s interests: "fresh", "last", "own", "none" or "run".')
    enr: float = Field(description="Exposure novelty rate: share of the page's items that are novel to the user.")
    total: int | None = Field(
        None, description="How many items match; of a feed only with filters, facets or a sort, else null."
    )
    facets: dict[str, Facet] = Field({}, description="By column, for the parameter `facets`.")
    left_out: Sequence[LeftOut]
    took_ms: float


class Relaxed(ResponseModel):
    """What was given up because no item has all words of the query."""

    step: Relaxation
    missing: Sequence[str] = Field(description="Words that none of the first results has.")


class ReadQuery(ResponseModel):
    """How a query was read."""

    typed: str
    text: str = Field(description="What was searched; differs from `typed` where words were corrected.")
    suggestion: str | None = Field(description="Another spelling to offer.")
    redirect: str | None = Field(description="A URL that a rule answers the query with.")
    relaxed: Relaxed | None = Field(description="null where items have all words.")


class SearchPage(Page):
    """The results of a search."""

    query: ReadQuery


class Suggestion(ResponseModel):
    """A suggested query, or the title of an item."""

    query: str
    score: float
    channel: str
    reason: str
    kind: Literal["query", "title"]
    item_id: str | None


class Suggestions(ResponseModel):
    """Suggested queries and titles, best first."""

    queries: Sequence[Suggestion]
    left_out: Sequence[LeftOut]
    took_ms: float


class UserIds(ResponseModel):
    """Ids of users."""

    user_ids: Sequence[str]


class HistoryEvent(ResponseModel):
    """A click or a search."""

    type: Literal["click", "search"]
    timestamp: UtcText
    item_id: str | None
    title: str | None
    query: str | None


class User(ResponseModel):
    """A user: attributes, and history, newest first."""

    user_id: str
    known: bool = Field(description="Whether the user is in the training data.")
    attributes: dict[str, Any]
    history: Sequence[HistoryEvent]


class Interest(ResponseModel):
    """An interest of a user."""

    text: str
    confidence: float
    reason: str


class Interests(ResponseModel):
    """The interests of a user, by confidence, and the graph behind them."""

    user_id: str
    source: str = Field(description='"fresh", "last", "own", "none" or "run".')
    inferred_at: UtcText | None
    interests: Sequence[Interest]
    graph: dict[str, Any] | None
    picture: str = Field(description="The graph as an SVG drawing; empty where there is none.")


class CatalogueItem(ResponseModel):
    """An item of the catalogue."""

    item_id: str
    title: str
    about: dict[str, Any]
    state: Literal["known", "new"] = Field(description="In the training data, or added since.")
    hidden: bool


class SimilarItem(ResponseModel):
    """An item that is similar to another."""

    item_id: str
    title: str
    score: float


class SimilarItems(ResponseModel):
    """The most similar items, best first; hidden and removed items are not among them."""

    item_id: str
    run: str = Field(description="Label of the run whose vectors or neighbours were used.")
    items: Sequence[SimilarItem]


class StoredEvents(ResponseModel):
    """How many of the events were new."""

    new: int
    known: int = Field(description="Stored before.")
    unknown_types: dict[str, int] = Field(
        {}, description="Types that the table of event weights does not name, with counts; they count as clicks."
    )


class Changed(ResponseModel):
    """How many items or users were changed; for a deleted user, how many events were deleted."""

    changed: int


class Accepted(ResponseModel):
    """The request is accepted."""

    accepted: bool


class Model(ResponseModel):
    """A run that the service uses. figures: "task/protocol/split" -> metric -> value."""

    label: str
    model: str
    uses: Sequence[str]
    figures: dict[str, dict[str, float]]


class Models(ResponseModel):
    """The runs that the service uses."""

    models: Sequence[Model]


class Filters(ResponseModel):
    """Columns to filter by, and their most frequent values."""

    columns: dict[str, Sequence[str]]


class Deployed(ResponseModel):
    """The number of a deployment."""

    number: int


class Ready(ResponseModel):
    """Whether the service is ready, and if not, why."""

    ready: bool
    reasons: Sequence[str]


class Problem(ResponseModel):
    """An error (RFC 9457)."""

    type: str = Field(examples=["urn:searec:problem:unknown-id"])
    title: str
    status: int
    detail: str
    where: str | None = None
    got: str | None = None
    expected: str | None = None
    remedy: str | None = None
    request_id: str | None = None
