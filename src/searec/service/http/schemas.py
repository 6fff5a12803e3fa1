"""What goes over the wire: requests, which refuse what they do not know, and answers, which may grow. The client is typed by the same."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from searec.pipeline.types import MOST
from searec.service.http.http_config import LARGEST_BATCH, LONGEST_TEXT
from searec.service.http.timestamps import Timestamp, to_micros
from searec.store.events import SEARCH, Event

_COLUMNS, _NAME, _TEXT = 64, 64, 20_000
_NO_NUL = r"^[^\x00]*$"
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=_NO_NUL)]
Query = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
Text = Annotated[str, Field(max_length=_TEXT, pattern=_NO_NUL)]
Scalar = (
    Text | bool | Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[float, Field(allow_inf_nan=False)] | None
)


class Asked(BaseModel):
    """A request; a field that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answered(BaseModel):
    """An answer; a newer service may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


# Asking


class RecommendIn(Asked):
    """Parameters of a list of items."""

    user_id: Id | None = Field(
        None, description="For whom; nobody, or who is not known, gets what needs no history.", examples=["u1"]
    )
    k: int = Field(10, ge=1, le=MOST, description="Items on the page.")
    offset: int = Field(
        0, ge=0, le=MOST, description=f"Items before the page; offset and k together are at most {MOST}."
    )
    cursor: Text | None = Field(
        None, description="`next` of the page before: nothing it showed comes again. Not with an offset."
    )
    category: list[Id] = Field(
        [], description="Only items of this category; several: of one of them.", examples=[["shoes"]]
    )
    filter: list[Annotated[str, Field(pattern=r"^[^\x00:]+:[^\x00]+$", max_length=LONGEST_TEXT)]] = Field(
        [],
        description="COLUMN:VALUE, as brand:acme. All columns must hold; several of one column: one of them.",
        examples=[["brand:acme"]],
    )
    exclude: list[Id] = Field([], description="Items to leave out.", examples=[["i9"]])
    seen: bool | None = Field(
        None, description="Also what the user has consumed; by default a search shows it and the feed does not."
    )
    quota: float | None = Field(
        None, ge=0, le=1, description="Share of the feed's places for interests the user has never shown."
    )
    diversity: float | None = Field(None, ge=0, le=1, description="From 0, by score alone, to 1.")
    deadline_ms: int | None = Field(
        None, ge=1, le=60_000, description="Milliseconds until the answer is due; late parts are left out."
    )


class SearchIn(RecommendIn):
    """Parameters of a search."""

    q: Query = Field(
        description="What is searched for; it has a character that is no space.", examples=["running shoes"]
    )


class SuggestIn(Asked):
    """Parameters of suggested queries."""

    user_id: Id | None = Field(None, description="For whom.", examples=["u1"])
    q: Text = Field("", description="What has been typed so far; nothing for what to ask next.", examples=["run"])
    k: int = Field(8, ge=1, le=MOST, description="Queries.")


class UsersAsked(Asked):
    """Parameters of a look-up of users."""

    prefix: Text = Field("", description="Ids that start so.", examples=["u"])
    count: int = Field(20, ge=1, le=LARGEST_BATCH, description="Ids at most.")


# Telling


class EventIn(Asked):
    """Something a user did."""

    event_id: Id = Field(description="Yours; the same event may be told again and counts once.", examples=["e-1"])
    user_id: Id = Field(description="Need not be known before.", examples=["u1"])
    type: Annotated[str, Field(min_length=1, max_length=_NAME, pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        description='"search", or what was done to an item, as "click" or "purchase".', examples=["click"]
    )
    timestamp: Timestamp = Field(description="When it happened.", examples=["2026-11-20T09:00:00Z"])
    item_id: Id | None = Field(None, description="What it was done to; not for a search.", examples=["i1"])
    query: Query | None = Field(None, description="What was searched for; for a search only.")
    search_id: Id | None = Field(
        None, description="`event_id` of the search that the item was found by; not for a search."
    )
    clicked: list[Id] = Field([], max_length=1000, description="Items clicked in the search.")
    shown: list[Id] = Field([], max_length=1000, description="Items that the search showed.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.type == SEARCH:
            if self.query is None:
                raise ValueError("a search has a query")
            if self.item_id is not None or self.search_id is not None:
                raise ValueError("a search has neither item_id nor search_id; items clicked in it are its clicked")
        elif self.item_id is None:
            raise ValueError("what is no search has an item_id")
        elif self.query is not None or self.clicked or self.shown:
            raise ValueError("only a search has query, clicked and shown")
        return self

    def event(self) -> Event:
        """As the event store keeps it."""
        return Event(
            event_id=self.event_id,
            user=self.user_id,
            kind=self.type,
            time=to_micros(self.timestamp),
            item=self.item_id,
            query=self.query,
            search=self.search_id,
            clicked=tuple(self.clicked),
            shown=tuple(self.shown),
        )


class EventsIn(Asked):
    """Events to keep: all of them, or none."""

    events: list[EventIn] = Field(min_length=1, max_length=LARGEST_BATCH)


def _check_columns(columns: dict[str, Any]) -> None:
    if len(columns) > _COLUMNS:
        raise ValueError(f"at most {_COLUMNS} columns")
    for name in columns:
        if not 1 <= len(name) <= _NAME or "\0" in name:
            raise ValueError(f"the name of a column has 1 to {_NAME} characters")


class ItemIn(BaseModel):
    """An item, new or known; any further column is kept: a text, a number, true, false, null or a list of texts."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Scalar | list[Text]] = Field(init=False)

    item_id: Id = Field(examples=["i1"])
    title: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=_NO_NUL)] = Field(
        examples=["ClickHistory shoe"]
    )
    brand: Text | None = Field(None, examples=["acme"])
    categories: list[Text] | None = Field(
        None, max_length=_COLUMNS, description="Broad to narrow.", examples=[["shoes", "click_history"]]
    )
    description: Text | None = None

    @model_validator(mode="after")
    def _columns(self) -> Self:
        _check_columns(self.model_extra or {})
        return self

    def columns(self) -> dict[str, Any]:
        """As the event store keeps it: what was given."""
        return self.model_dump(exclude_unset=True)


class ItemsIn(Asked):
    """Items to add or to replace."""

    items: list[ItemIn] = Field(min_length=1, max_length=LARGEST_BATCH)


class HideIn(Asked):
    """Items to hide from every answer, or to show again."""

    item_ids: list[Id] = Field(min_length=1, max_length=LARGEST_BATCH, examples=[["i1"]])
    hidden: bool = True


class UserIn(BaseModel):
    """A user, new or known, with any attributes: a text, a number, true, false or null each."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)

    user_id: Id = Field(examples=["u1"])

    @model_validator(mode="after")
    def _columns(self) -> Self:
        _check_columns(self.model_extra or {})
        return self

    def columns(self) -> dict[str, Any]:
        """As the event store keeps it."""
        return self.model_dump()


class UsersIn(Asked):
    """Users to add or to replace."""

    users: list[UserIn] = Field(min_length=1, max_length=LARGEST_BATCH)


# Answers


class LeftOut(Answered):
    """A part that the answer does without."""

    part: str
    why: Literal["late", "failed", "not ready"]


class Item(Answered):
    """An item of a list."""

    item_id: str
    title: str
    score: float = Field(description="Of the last stage that ordered it; to be compared within one answer only.")
    channel: str = Field(description='What brought it, as "behaviour", "interest", "bm25", "popular".')
    reason: str = Field(description="Why, for people.")
    categories: Sequence[str]
    novel: bool = Field(description="Whether the user has touched none of its categories.")


class Page(Answered):
    """A list of items, best first."""

    user_id: str | None
    known: bool = Field(description="Whether anything is known of the user.")
    items: Sequence[Item]
    next: str | None = Field(description="The cursor of the next page; null on the last one.")
    interests: str = Field(
        description='Where the user\'s interests came from: "fresh", "last", "own", "none" or "run".'
    )
    enr: float = Field(description="Share of the page's items that are novel to the user.")
    left_out: Sequence[LeftOut]
    took_ms: float


class SearchPage(Page):
    """What a search found."""

    query: str


class Suggestion(Answered):
    """A query to ask next."""

    query: str
    score: float
    channel: str
    reason: str


class Suggestions(Answered):
    """Queries to ask next, best first."""

    queries: Sequence[Suggestion]
    left_out: Sequence[LeftOut]
    took_ms: float


class UserIds(Answered):
    """Ids of users."""

    user_ids: Sequence[str]


class Happening(Answered):
    """A click or a search."""

    type: Literal["click", "search"]
    timestamp: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
    item_id: str | None
    title: str | None
    query: str | None


class User(Answered):
    """What is known of a user; history newest first."""

    user_id: str
    known: bool = Field(description="Whether the training knew the user.")
    attributes: dict[str, Any]
    history: Sequence[Happening]


class Interest(Answered):
    """Something a user may want."""

    text: str
    confidence: float
    reason: str


class Interests(Answered):
    """What a user may want and why, surest first."""

    user_id: str
    source: str = Field(description='"fresh", "last", "own", "none" or "run".')
    made: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})] | None
    interests: Sequence[Interest]
    graph: dict[str, Any] | None
    picture: str = Field(description="The graph drawn, SVG; empty where there is none.")


class CatalogueItem(Answered):
    """An item of the catalogue as it stands."""

    item_id: str
    title: str
    about: dict[str, Any]
    state: Literal["known", "new"] = Field(description="Given at training, or since.")
    hidden: bool


class Kept(Answered):
    """What became of events."""

    new: int
    known: int = Field(description="They were there already.")


class Changed(Answered):
    """How many items or users were taken over; for a user who is forgotten, the events."""

    changed: int


class Accepted(Answered):
    """It will be done."""

    accepted: bool


class Model(Answered):
    """A run that the service uses. figures: "<task> <protocol> <split>" -> metric -> value."""

    label: str
    model: str
    uses: Sequence[str]
    figures: dict[str, dict[str, float]]


class Models(Answered):
    """The runs that the service uses."""

    models: Sequence[Model]


class Filters(Answered):
    """Columns to filter by, and their most frequent values."""

    columns: dict[str, Sequence[str]]


class Deployed(Answered):
    """The number of a deployment."""

    number: int


class Ready(Answered):
    """Whether requests can be answered, and if not, why."""

    ready: bool
    reasons: Sequence[str]


class Problem(Answered):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["urn:searec:problem:unknown-id"])
    title: str
    status: int
    detail: str
    where: str | None = None
    got: str | None = None
    expected: str | None = None
    remedy: str | None = None
    request_id: str | None = None
