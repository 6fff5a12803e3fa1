"""Clients of the service: typed responses, searec's own errors, and retries of calls that may be sent again.

with Client("http://127.0.0.1:8000") as service:
    page = service.recommend("u1", k=5)
    service.hide([page.items[0].item_id])

`Endpoints` is the call table: what each method of both clients sends, and the model of its response.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from searec.errors import DataError, SearecError, ServiceError, SettingsError
from searec.pipeline.types import Sort
from searec.service.http import replies, schemas
from searec.service.http.problems import error_of

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", httpx.Client, httpx.AsyncClient)
Row = BaseModel | Mapping[str, Any]
"""A model of `schemas`, or its fields."""
_RETRIED_STATUSES = (429, 503)
_MAX_WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP call.

    Attributes:
        response: type of the response's body.
        repeatable: whether sending it twice has the same effect as once, so that a failed call may be sent again.
    """

    method: str
    path: str
    response: type[T]
    parameters: tuple[tuple[str, str], ...] = ()
    body: Any = None
    repeatable: bool = False

    @property
    def where(self) -> str:
        """The call as errors name it: without its parameters."""
        return f"{self.method} {self.path}"


class Endpoint(Generic[P, T]):
    """A method of both clients, from a static method that builds its call.

    On a client that waits the method returns the response; on an asynchronous one it returns a coroutine.
    """

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """Bind the method to a client."""
        if client is None:
            return self

        def method(*arguments: P.args, **options: P.kwargs) -> Any:
            return client.send(self._build(*arguments, **options))

        return update_wrapper(method, self._build)


class ListOptions(TypedDict, total=False):
    """Options of a list of items; `schemas.RecommendIn` describes them."""

    offset: int
    cursor: str | None
    category: Sequence[str]
    filter: Sequence[str]
    facets: Sequence[str]
    sort: Sort
    exclude: Sequence[str]
    seen: bool | None
    quota: float | None
    diversity: float | None
    deadline_ms: int | None


class SearchOptions(ListOptions, total=False):
    """Options of a search; `schemas.SearchIn` describes them."""

    highlight: bool
    spelling: bool
    prefix: bool


def get(path: str, response: type[T], **parameters: Any) -> Call[T]:
    """Return a GET call. Parameters that are None are left out, lists are repeated.

    Args:
        path: path of the URL.
        response: type of the response's body.
        **parameters: of the query string.
    """
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        values = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
        pairs += [(name, str(one).lower() if isinstance(one, bool) else str(one)) for one in values]
    return Call("GET", path, response, tuple(pairs), repeatable=True)


def quote_id(text: str) -> str:
    """Percent-encode an id as one segment of a path."""
    return quote(text, safe="")


def _write(path: str, response: type[T], model: type[BaseModel], repeatable: bool = False, **fields: Any) -> Call[T]:
    """Return a POST call whose body has been checked by the service's own model.

    Raises:
        DataError: a field breaks a rule of the model.
    """
    try:
        checked = model.model_validate(fields).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise DataError(message, where=where, got=repr(first["input"])[:100]) from None
    return Call("POST", path, response, body=checked, repeatable=repeatable)


def _fields(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [row.model_dump(exclude_unset=True) if isinstance(row, BaseModel) else dict(row) for row in rows]


class Endpoints:
    """The methods that both clients have."""

    @Endpoint
    @staticmethod
    def recommend(user_id: str | None = None, *, k: int = 10, **options: Unpack[ListOptions]) -> Call[replies.Page]:
        """Return recommended items, best first.

        Args:
            user_id: user to recommend to; None for anybody.
            k: items on the page.
            **options: as `schemas.RecommendIn` describes them.
        """
        return get("/v1/recommend", replies.Page, user_id=user_id, k=k, **options)

    @Endpoint
    @staticmethod
    def search(
        q: str, user_id: str | None = None, *, k: int = 10, **options: Unpack[SearchOptions]
    ) -> Call[replies.SearchPage]:
        """Return items that match a query, best first.

        Args:
            q: text of the query.
            user_id: user who searches; None for anybody.
            k: items on the page.
            **options: as `schemas.SearchIn` describes them.
        """
        return get("/v1/search", replies.SearchPage, q=q, user_id=user_id, k=k, **options)

    @Endpoint
    @staticmethod
    def suggest(user_id: str | None = None, q: str = "", *, k: int = 8) -> Call[replies.Suggestions]:
        """Return suggested queries, best first.

        Args:
            user_id: user to suggest for; None for anybody.
            q: what has been typed so far.
            k: queries.
        """
        return get("/v1/suggest", replies.Suggestions, user_id=user_id, q=q, k=k)

    @Endpoint
    @staticmethod
    def users(prefix: str = "", count: int = 20) -> Call[replies.UserIds]:
        """Return ids of users.

        Args:
            prefix: start of the ids.
            count: ids at most.
        """
        return get("/v1/users", replies.UserIds, prefix=prefix, count=count)

    @Endpoint
    @staticmethod
    def user(user_id: str) -> Call[replies.User]:
        """Return a user's attributes and history."""
        return get(f"/v1/users/{quote_id(user_id)}", replies.User)

    @Endpoint
    @staticmethod
    def put_users(users: Iterable[Row]) -> Call[replies.Changed]:
        """Add or replace users."""
        return _write("/v1/users", replies.Changed, schemas.UsersIn, users=_fields(users))

    @Endpoint
    @staticmethod
    def forget(user_id: str) -> Call[replies.Changed]:
        """Delete a user and all their events."""
        return Call("DELETE", f"/v1/users/{quote_id(user_id)}", replies.Changed)

    @Endpoint
    @staticmethod
    def interests(user_id: str) -> Call[replies.Interests]:
        """Return a user's inferred interests and the reasons for them."""
        return get(f"/v1/users/{quote_id(user_id)}/interests", replies.Interests)

    @Endpoint
    @staticmethod
    def refresh(user_id: str) -> Call[replies.Accepted]:
        """Enqueue a user for new interests."""
        return Call("POST", f"/v1/users/{quote_id(user_id)}/interests/refresh", replies.Accepted)

    @Endpoint
    @staticmethod
    def item(item_id: str) -> Call[replies.CatalogueItem]:
        """Return an item of the catalogue."""
        return get(f"/v1/items/{quote_id(item_id)}", replies.CatalogueItem)

    @Endpoint
    @staticmethod
    def similar(item_id: str, k: int = 10) -> Call[replies.SimilarItems]:
        """Return the items most similar to an item.

        Args:
            item_id: id of an item.
            k: items.
        """
        return get(f"/v1/items/{quote_id(item_id)}/similar", replies.SimilarItems, k=k)

    @Endpoint
    @staticmethod
    def put_items(items: Iterable[Row]) -> Call[replies.Changed]:
        """Add or replace items."""
        return _write("/v1/items", replies.Changed, schemas.ItemsIn, items=_fields(items))

    @Endpoint
    @staticmethod
    def hide(item_ids: Iterable[str], hidden: bool = True) -> Call[replies.Changed]:
        """Hide items from every response, or show them again.

        Args:
            item_ids: ids of items.
            hidden: False to show them again.
        """
        return _write("/v1/items/hide", replies.Changed, schemas.HideIn, item_ids=list(item_ids), hidden=hidden)

    @Endpoint
    @staticmethod
    def remove(item_id: str) -> Call[replies.Changed]:
        """Remove an item from the catalogue."""
        return Call("DELETE", f"/v1/items/{quote_id(item_id)}", replies.Changed)

    @Endpoint
    @staticmethod
    def report(events: Iterable[Row]) -> Call[replies.StoredEvents]:
        """Store events; an event that is sent twice counts once."""
        return _write("/v1/events", replies.StoredEvents, schemas.EventsIn, repeatable=True, events=_fields(events))

    @Endpoint
    @staticmethod
    def models() -> Call[replies.Models]:
        """Return the runs in use and their metrics."""
        return get("/v1/models", replies.Models)

    @Endpoint
    @staticmethod
    def filters() -> Call[replies.Filters]:
        """Return the columns to filter by and their most frequent values."""
        return get("/v1/filters", replies.Filters)

    @Endpoint
    @staticmethod
    def deployment() -> Call[dict[str, Any]]:
        """Return the deployment that is served."""
        return get("/v1/deployment", dict[str, Any])

    @Endpoint
    @staticmethod
    def deploy(config: Mapping[str, Any]) -> Call[replies.Deployed]:
        """Serve another deployment from now on."""
        return Call("PUT", "/v1/deployment", replies.Deployed, body=dict(config))


class _Base(Endpoints, Generic[C]):
    """What both clients share: building a request, reading its response, and when to send it again.

    Args:
        url: http://HOST:PORT.
        key: API key, sent as a header and shown nowhere.
        timeout: seconds that one try may take.
        tries: how often a repeatable call is sent at most.
        first_wait: seconds before the second try, doubled for each further one and drawn from its upper half; the
            service's Retry-After comes first.

    Raises:
        SettingsError: the URL is not http:// or https://.
    """

    _make: Callable[..., C]

    def __init__(
        self, url: str, key: str | None = None, timeout: float = 10.0, *, tries: int = 4, first_wait: float = 0.2
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise SettingsError("the URL of the service is not valid", got=repr(url), expected="http://HOST:PORT")
        self._tries, self._first_wait = tries, first_wait
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http: C = self._make(base_url=url.rstrip("/"), headers=headers, timeout=timeout)

    def _request(self, call: Call[T]) -> httpx.Request:
        return self._http.build_request(call.method, call.path, params=list(call.parameters) or None, json=call.body)

    def _retry_wait(self, call: Call[T], tries: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Return the seconds until the next try; None for a response that is final.

        Raises:
            ServiceError: the service could not be reached, and there is no further try.
        """
        response = outcome if isinstance(outcome, httpx.Response) else None
        is_final = response is not None and response.status_code not in _RETRIED_STATUSES
        if is_final or not call.repeatable or tries >= self._tries:
            if isinstance(outcome, httpx.TransportError):
                raise self._unreachable(call, outcome) from outcome
            return None
        retry_after = response.headers.get("Retry-After", "") if response is not None else ""
        if retry_after.isdigit():
            return min(float(retry_after), _MAX_WAIT_SECONDS)
        return float(min(self._first_wait * 2 ** (tries - 1), _MAX_WAIT_SECONDS) * random.uniform(0.5, 1.0))

    def _unreachable(self, call: Call[T], error: httpx.TransportError) -> SearecError:
        what = "does not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
        url = self._http.base_url
        where = f"{call.where} at {url.host}:{url.port}"
        return ServiceError(f"the service {what}", where=where, got=type(error).__name__)

    @staticmethod
    def _read(call: Call[T], response: httpx.Response) -> T:
        if response.is_success:
            try:
                return TypeAdapter(call.response).validate_json(response.content)
            except ValidationError as error:
                got = f"{error.error_count()} fields that differ from the expected ones"
                raise ServiceError("the response has another form", where=call.where, got=got) from None
        try:
            document = from_json(response.content)
        except ValueError:
            document = None
        raise error_of(response.status_code, document if isinstance(document, Mapping) else {}, call.where)


class Client(_Base[httpx.Client]):
    """A client that waits for each response.

    Raises, in every method:
        UnknownIdError, DataError, SettingsError, RunError, StorageError: as in the service.
        Overloaded: too many requests, after all tries.
        AccessError: no valid key, or one whose role is too low.
        ServiceError: the service cannot be reached, or failed.
    """

    _make = httpx.Client

    def send(self, call: Call[T]) -> T:
        """Send a call, again where that is allowed, and return its response."""
        for tries in range(1, self._tries + 1):
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(self._request(call))
            except httpx.TransportError as error:
                outcome = error
            wait = self._retry_wait(call, tries, outcome)
            if wait is None and isinstance(outcome, httpx.Response):
                return self._read(call, outcome)
            time.sleep(wait or 0.0)
        raise AssertionError("the last try returns or raises")

    def ready(self) -> bool:
        """Return whether the service is ready to answer; sends one request."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Base[httpx.AsyncClient]):
    """The asynchronous form of `Client`: the same methods and errors, to be awaited."""

    _make = httpx.AsyncClient

    async def send(self, call: Call[T]) -> T:
        """Send a call, again where that is allowed, and return its response."""
        for tries in range(1, self._tries + 1):
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.send(self._request(call))
            except httpx.TransportError as error:
                outcome = error
            wait = self._retry_wait(call, tries, outcome)
            if wait is None and isinstance(outcome, httpx.Response):
                return self._read(call, outcome)
            await asyncio.sleep(wait or 0.0)
        raise AssertionError("the last try returns or raises")

    async def ready(self) -> bool:
        """Return whether the service is ready to answer; sends one request."""
        try:
            return (await self._http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
