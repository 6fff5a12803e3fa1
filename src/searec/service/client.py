"""Clients of the service: typed answers, the errors of searec, and patience where a call may be sent again.

with Client("http://127.0.0.1:8000") as service:
    page = service.recommend("u1", k=5)
    service.hide([page.items[0].item_id])
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack

import httpx
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from searec.errors import SearecError, ServiceError, SettingsError
from searec.service import client_calls
from searec.service.client_calls import Call, Told, get, part
from searec.service.http import schemas
from searec.service.http.problems import error_of

T = TypeVar("T")
C = TypeVar("C", httpx.Client, httpx.AsyncClient)
_AGAIN = (429, 503)
_LONGEST_WAIT = 30.0


class Options(TypedDict, total=False):
    """What a list of items may be asked with; see `schemas.RecommendIn`."""

    offset: int
    cursor: str | None
    category: Sequence[str]
    filter: Sequence[str]
    exclude: Sequence[str]
    seen: bool | None
    quota: float | None
    diversity: float | None
    deadline_ms: int | None


class _Base(Generic[C]):
    """What both clients share: how a call is sent, read and tried again.

    Args:
        url: as http://HOST:PORT.
        key: an API key; it is sent as a header and shown nowhere.
        timeout: seconds that a call may take.
        tries: how often a call that may be sent again is sent.
        first_wait: seconds before the second try, doubled each time, with chance; the service's Retry-After where it gives one.
    """

    def __init__(
        self, url: str, key: str | None = None, timeout: float = 10.0, *, tries: int = 4, first_wait: float = 0.2
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise SettingsError("no address of a service", got=repr(url), expected="http://HOST:PORT")
        self._tries, self._first_wait = tries, first_wait
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http: C = self._make(base_url=url.rstrip("/"), headers=headers, timeout=timeout)

    _make: Callable[..., C]

    def _request(self, call: Call[T]) -> httpx.Request:
        return self._http.build_request(call.method, call.path, params=list(call.parameters) or None, json=call.body)

    def _wait(self, call: Call[T], tried: int, response: httpx.Response | None) -> float | None:
        """Seconds until the next try; None if there is none."""
        if not call.again or tried >= self._tries or (response is not None and response.status_code not in _AGAIN):
            return None
        told = response.headers.get("Retry-After", "") if response is not None else ""
        if told.isdigit():
            return min(float(told), _LONGEST_WAIT)
        return float(min(self._first_wait * 2 ** (tried - 1), _LONGEST_WAIT) * random.uniform(0.5, 1.0))

    def _read(self, call: Call[T], response: httpx.Response) -> T:
        if response.is_success:
            try:
                return TypeAdapter(call.answer).validate_json(response.content)
            except ValidationError as error:
                got = f"{error.error_count()} fields are not as expected"
                raise ServiceError("the service answered with something else", where=call.where, got=got) from None
        try:
            document = from_json(response.content)
        except ValueError:
            document = None
        raise error_of(response.status_code, document if isinstance(document, Mapping) else {}, call.where)

    def _unreachable(self, call: Call[T], error: httpx.TransportError) -> SearecError:
        what = (
            "the service does not answer in time"
            if isinstance(error, httpx.TimeoutException)
            else "the service cannot be reached"
        )
        return ServiceError(
            what,
            where=f"{call.where} at {self._http.base_url.host}:{self._http.base_url.port}",
            got=type(error).__name__,
        )


class Client(_Base[httpx.Client]):
    """Waits for each answer.

    Raises, in every method:
        UnknownIdError, DataError, SettingsError, RunError, StorageError: as the service has it.
        Overloaded: too many requests, after all tries.
        AccessError: no valid key, or one that allows less.
        ServiceError: the service cannot be reached, or failed.
    """

    _make = httpx.Client

    def send(self, call: Call[T]) -> T:
        """Send a call, again if need be."""
        for tried in range(1, self._tries + 1):
            try:
                response = self._http.send(self._request(call))
            except httpx.TransportError as error:
                wait = self._wait(call, tried, None)
                if wait is None:
                    raise self._unreachable(call, error) from error
            else:
                wait = self._wait(call, tried, response)
                if wait is None:
                    return self._read(call, response)
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def recommend(self, user_id: str | None = None, *, k: int = 10, **options: Unpack[Options]) -> schemas.Page:
        """Items a user may want now."""
        return self.send(get("/v1/recommend", schemas.Page, user_id=user_id, k=k, **options))

    def search(
        self, q: str, user_id: str | None = None, *, k: int = 10, **options: Unpack[Options]
    ) -> schemas.SearchPage:
        """Items that fit a query."""
        return self.send(get("/v1/search", schemas.SearchPage, q=q, user_id=user_id, k=k, **options))

    def suggest(self, user_id: str | None = None, q: str = "", *, k: int = 8) -> schemas.Suggestions:
        """Queries to ask next."""
        return self.send(get("/v1/suggest", schemas.Suggestions, user_id=user_id, q=q, k=k))

    def users(self, prefix: str = "", count: int = 20) -> schemas.UserIds:
        """Ids of users that start so."""
        return self.send(get("/v1/users", schemas.UserIds, prefix=prefix, count=count))

    def user(self, user_id: str) -> schemas.User:
        """What is known of a user."""
        return self.send(get(f"/v1/users/{part(user_id)}", schemas.User))

    def put_users(self, users: Iterable[Told]) -> schemas.Changed:
        """Add or replace users."""
        return self.send(client_calls.put_users(users))

    def forget(self, user_id: str) -> schemas.Changed:
        """Remove a user and all their events for good."""
        return self.send(Call("DELETE", f"/v1/users/{part(user_id)}", schemas.Changed))

    def interests(self, user_id: str) -> schemas.Interests:
        """What a user may want and why."""
        return self.send(get(f"/v1/users/{part(user_id)}/interests", schemas.Interests))

    def refresh(self, user_id: str) -> schemas.Accepted:
        """Ask for new interests."""
        return self.send(Call("POST", f"/v1/users/{part(user_id)}/interests/refresh", schemas.Accepted))

    def item(self, item_id: str) -> schemas.CatalogueItem:
        """An item as it stands."""
        return self.send(get(f"/v1/items/{part(item_id)}", schemas.CatalogueItem))

    def put_items(self, items: Iterable[Told]) -> schemas.Changed:
        """Add or replace items."""
        return self.send(client_calls.put_items(items))

    def hide(self, item_ids: Iterable[str], hidden: bool = True) -> schemas.Changed:
        """Hide items or show them again."""
        return self.send(client_calls.hide(item_ids, hidden))

    def remove(self, item_id: str) -> schemas.Changed:
        """Take an item out of the catalogue."""
        return self.send(Call("DELETE", f"/v1/items/{part(item_id)}", schemas.Changed))

    def report(self, events: Iterable[Told]) -> schemas.Kept:
        """Tell what users did."""
        return self.send(client_calls.report(events))

    def models(self) -> schemas.Models:
        """The runs that answer."""
        return self.send(get("/v1/models", schemas.Models))

    def filters(self) -> schemas.Filters:
        """Columns to filter by."""
        return self.send(get("/v1/filters", schemas.Filters))

    def deployment(self) -> dict[str, Any]:
        """What is served."""
        return self.send(get("/v1/deployment", dict[str, Any]))

    def deploy(self, config: Mapping[str, Any]) -> schemas.Deployed:
        """Serve other runs from now on."""
        return self.send(Call("PUT", "/v1/deployment", schemas.Deployed, body=dict(config)))

    def ready(self) -> bool:
        """Whether requests can be answered; asked once."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Base[httpx.AsyncClient]):
    """The same, to be awaited; it raises the same."""

    _make = httpx.AsyncClient

    async def send(self, call: Call[T]) -> T:
        """Send a call, again if need be."""
        for tried in range(1, self._tries + 1):
            try:
                response = await self._http.send(self._request(call))
            except httpx.TransportError as error:
                wait = self._wait(call, tried, None)
                if wait is None:
                    raise self._unreachable(call, error) from error
            else:
                wait = self._wait(call, tried, response)
                if wait is None:
                    return self._read(call, response)
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    async def recommend(self, user_id: str | None = None, *, k: int = 10, **options: Unpack[Options]) -> schemas.Page:
        """Items a user may want now."""
        return await self.send(get("/v1/recommend", schemas.Page, user_id=user_id, k=k, **options))

    async def search(
        self, q: str, user_id: str | None = None, *, k: int = 10, **options: Unpack[Options]
    ) -> schemas.SearchPage:
        """Items that fit a query."""
        return await self.send(get("/v1/search", schemas.SearchPage, q=q, user_id=user_id, k=k, **options))

    async def suggest(self, user_id: str | None = None, q: str = "", *, k: int = 8) -> schemas.Suggestions:
        """Queries to ask next."""
        return await self.send(get("/v1/suggest", schemas.Suggestions, user_id=user_id, q=q, k=k))

    async def users(self, prefix: str = "", count: int = 20) -> schemas.UserIds:
        """Ids of users that start so."""
        return await self.send(get("/v1/users", schemas.UserIds, prefix=prefix, count=count))

    async def user(self, user_id: str) -> schemas.User:
        """What is known of a user."""
        return await self.send(get(f"/v1/users/{part(user_id)}", schemas.User))

    async def put_users(self, users: Iterable[Told]) -> schemas.Changed:
        """Add or replace users."""
        return await self.send(client_calls.put_users(users))

    async def forget(self, user_id: str) -> schemas.Changed:
        """Remove a user and all their events for good."""
        return await self.send(Call("DELETE", f"/v1/users/{part(user_id)}", schemas.Changed))

    async def interests(self, user_id: str) -> schemas.Interests:
        """What a user may want and why."""
        return await self.send(get(f"/v1/users/{part(user_id)}/interests", schemas.Interests))

    async def refresh(self, user_id: str) -> schemas.Accepted:
        """Ask for new interests."""
        return await self.send(Call("POST", f"/v1/users/{part(user_id)}/interests/refresh", schemas.Accepted))

    async def item(self, item_id: str) -> schemas.CatalogueItem:
        """An item as it stands."""
        return await self.send(get(f"/v1/items/{part(item_id)}", schemas.CatalogueItem))

    async def put_items(self, items: Iterable[Told]) -> schemas.Changed:
        """Add or replace items."""
        return await self.send(client_calls.put_items(items))

    async def hide(self, item_ids: Iterable[str], hidden: bool = True) -> schemas.Changed:
        """Hide items or show them again."""
        return await self.send(client_calls.hide(item_ids, hidden))

    async def remove(self, item_id: str) -> schemas.Changed:
        """Take an item out of the catalogue."""
        return await self.send(Call("DELETE", f"/v1/items/{part(item_id)}", schemas.Changed))

    async def report(self, events: Iterable[Told]) -> schemas.Kept:
        """Tell what users did."""
        return await self.send(client_calls.report(events))

    async def models(self) -> schemas.Models:
        """The runs that answer."""
        return await self.send(get("/v1/models", schemas.Models))

    async def filters(self) -> schemas.Filters:
        """Columns to filter by."""
        return await self.send(get("/v1/filters", schemas.Filters))

    async def deployment(self) -> dict[str, Any]:
        """What is served."""
        return await self.send(get("/v1/deployment", dict[str, Any]))

    async def deploy(self, config: Mapping[str, Any]) -> schemas.Deployed:
        """Serve other runs from now on."""
        return await self.send(Call("PUT", "/v1/deployment", schemas.Deployed, body=dict(config)))

    async def ready(self) -> bool:
        """Whether requests can be answered; asked once."""
        try:
            return (await self._http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
