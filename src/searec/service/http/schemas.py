"""Schemas of requests, which refuse unknown fields; service and client use the same."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from searec.pipeline.types import MOST, Sort
from searec.service.http.http_config import LARGEST_BATCH, LONGEST_TEXT
from searec.service.http.timestamps import Timestamp, to_micros
from searec.store.events import SEARCH, Event

_COLUMNS, _NAME, _TEXT = 64, 64, 20_000
_NO_NUL = r"^[^\x00]*$"
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=_NO_NUL)]
Query = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
Text = Annotated[str, Field(max_length=_TEXT, pattern=_NO_NUL)]
Integer = Annotated[int, Field(ge=-(2**53), le=2**53)]
Scalar = Text | bool | Integer | Annotated[float, Field(allow_inf_nan=False)] | None


class RequestModel(BaseModel):
    """A request; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# Query parameters


class RecommendIn(RequestModel):
    """Parameters of a list of items."""

    user_id: Id | None = Field(
        None, description="User to recommend to; without one, or with an unknown one, popular items.", examples=["u1"]
    )
    k: int = Field(10, ge=1, le=MOST, description="Items on the page.")
    offset: int = Field(
        0, ge=0, le=MOST, description=f"Items before the page; offset and k together are at most {MOST}."
    )
    cursor: Text | None = Field(
        None, description="`next` of the page before: no item of it is repeated. Not together with an offset."
    )
    category: list[Id] = Field(
        [], description="Only items of this category; if repeated, of any of them.", examples=[["shoes"]]
    )
    filter: list[Annotated[str, Field(pattern=r"^[^\x00:]+:[^\x00]+$", max_length=LONGEST_TEXT)]] = Field(
        [],
        description="COLUMN:VALUE, as brand:acme; of numbers and dates also ranges, as price:10..20, price:..20 or "
        "date:2024-05... All columns must match; of several values of a column, any.",
        examples=[["brand:acme"]],
    )
    facets: list[Annotated[str, Field(min_length=1, max_length=_NAME, pattern=_NO_NUL)]] = Field(
        [],
        description="Columns whose values are counted over all matching items, each without its own filters.",
        examples=[["brand"]],
    )
    sort: Sort = Field(
        "relevance", description='Order; all but "relevance" sort all matching items, "-price" the dearest first.'
    )
    exclude: list[Id] = Field([], description="Items to leave out.", examples=[["i9"]])
    seen: bool | None = Field(
        None, description="Whether to include items the user has consumed; by default in a search, not in the feed."
    )
    quota: float | None = Field(
        None, ge=0, le=1, description="Share of the feed for inferred interests that are new to the user."
    )
    diversity: float | None = Field(None, ge=0, le=1, description="From 0, by score alone, to 1.")
    deadline_ms: int | None = Field(
        None, ge=1, le=60_000, description="Milliseconds until the response is due; parts that are late are left out."
    )


class SearchIn(RecommendIn):
    """Parameters of a search."""

    q: Query = Field(description="Query text; at least one character is no space.", examples=["running shoes"])
    highlight: bool = Field(False, description="Whether to mark what matches in titles and descriptions.")
    spelling: bool = Field(True, description="Whether to correct words that no item has.")
    prefix: bool = Field(False, description="Whether the last word may be the beginning of a longer one.")


class SuggestIn(RequestModel):
    """Parameters of suggested queries."""

    user_id: Id | None = Field(None, description="User to suggest for.", examples=["u1"])
    q: Text = Field("", description="What has been typed so far; empty for the next query.", examples=["run"])
    k: int = Field(8, ge=1, le=MOST, description="Queries.")


class SimilarIn(RequestModel):
    """Parameters of similar items."""

    k: int = Field(10, ge=1, le=MOST, description="Items.")


class ListUsersIn(RequestModel):
    """Parameters of a list of users."""

    prefix: Text = Field("", description="Start of the ids.", examples=["u"])
    count: int = Field(20, ge=1, le=LARGEST_BATCH, description="Ids at most.")


# Request bodies


class EventIn(RequestModel):
    """A search, or something a user did to an item."""

    event_id: Id = Field(description="Chosen by the sender; an event that is sent twice counts once.", examples=["e-1"])
    user_id: Id = Field(description="May be a new user.", examples=["u1"])
    type: Annotated[str, Field(min_length=1, max_length=_NAME, pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        description='"search", or an action on an item, as "click", "purchase" or "dislike"; see docs/events.md.',
        examples=["click"],
    )
    timestamp: Timestamp = Field(description="When it happened.", examples=["2026-11-20T09:00:00Z"])
    item_id: Id | None = Field(None, description="Item of the action; not for a search.", examples=["i1"])
    query: Query | None = Field(None, description="Query text; for a search only.")
    search_id: Id | None = Field(None, description="`event_id` of the search that led to the item; not for a search.")
    clicked: list[Id] = Field([], max_length=1000, description="Items clicked in the search.")
    shown: list[Id] = Field([], max_length=1000, description="Items on the result page of the search.")

    @model_validator(mode="after")
    def _check_type(self) -> Self:
        if self.type == SEARCH:
            if self.query is None:
                raise ValueError("a search has a query")
            if self.item_id is not None or self.search_id is not None:
                raise ValueError("a search has neither item_id nor search_id; its clicked items are in clicked")
        elif self.item_id is None:
            raise ValueError("an event that is no search has an item_id")
        elif self.query is not None or self.clicked or self.shown:
            raise ValueError("only a search has query, clicked and shown")
        return self

    def event(self) -> Event:
        """Return the event as the event store has it."""
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


class EventsIn(RequestModel):
    """Events to store: all of them, or none."""

    events: list[EventIn] = Field(min_length=1, max_length=LARGEST_BATCH)


def _check_columns(columns: dict[str, Any]) -> None:
    if len(columns) > _COLUMNS:
        raise ValueError(f"at most {_COLUMNS} columns")
    for name in columns:
        if not 1 <= len(name) <= _NAME or "\0" in name:
            raise ValueError(f"the name of a column has 1 to {_NAME} characters")


class ItemIn(BaseModel):
    """An item, new or known. Further columns are stored: text, number, true, false, null or a list of texts."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Scalar | list[Text]] = Field(init=False)

    item_id: Id = Field(examples=["i1"])
    title: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=_NO_NUL)] = Field(
        examples=["Trail shoe"]
    )
    brand: Text | None = Field(None, examples=["acme"])
    categories: list[Text] | None = Field(
        None, max_length=_COLUMNS, description="Broad to narrow.", examples=[["shoes", "trail"]]
    )
    description: Text | None = None

    @model_validator(mode="after")
    def _columns(self) -> Self:
        _check_columns(self.model_extra or {})
        return self

    def columns(self) -> dict[str, Any]:
        """Return the columns that were sent."""
        return self.model_dump(exclude_unset=True)


class ItemsIn(RequestModel):
    """Items to add or to replace."""

    items: list[ItemIn] = Field(min_length=1, max_length=LARGEST_BATCH)


class HideIn(RequestModel):
    """Items to hide from every response, or to show again."""

    item_ids: list[Id] = Field(min_length=1, max_length=LARGEST_BATCH, examples=[["i1"]])
    hidden: bool = True


class UserIn(BaseModel):
    """A user, new or known, with any attributes: text, number, true, false or null."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)

    user_id: Id = Field(examples=["u1"])

    @model_validator(mode="after")
    def _columns(self) -> Self:
        _check_columns(self.model_extra or {})
        return self

    def columns(self) -> dict[str, Any]:
        """Return the columns of the user."""
        return self.model_dump()


class UsersIn(RequestModel):
    """Users to add or to replace."""

    users: list[UserIn] = Field(min_length=1, max_length=LARGEST_BATCH)
