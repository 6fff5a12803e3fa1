"""What the routes stand on: the engine behind its front, the recorder, the event store, and a route that knows who may use it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar
from urllib.parse import unquote

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.responses import Response

from searec.pipeline import types
from searec.pipeline.types import InterestsView, ItemView, ServedRun, Suggestions, UserView
from searec.service.http.http_config import HttpSettings
from searec.service.http.metrics import Observed
from searec.service.http.middleware import Trace
from searec.service.http.problems import MEDIA
from searec.service.http.query_params import Parameters
from searec.store.event_store import EventStore
from searec.store.events import Event, Stored
from searec.store.keys import Role

P = ParamSpec("P")
T = TypeVar("T")
ROLE = "x-role"
"""In a route's OpenAPI: who may use it."""


class Engine(Protocol):
    """Answers; may block, may be asked by several threads."""

    @property
    def ready(self) -> bool:
        """Whether it can answer."""
        ...

    def user(self, user: str) -> UserView:
        """What is known of a user."""
        ...

    def users(self, prefix: str, count: int) -> list[str]:
        """Ids that start so."""
        ...

    def interests(self, user: str) -> InterestsView:
        """What a user may want."""
        ...

    def item(self, item: str) -> ItemView:
        """An item. Raises UnknownIdError."""
        ...

    def values(self) -> dict[str, list[str]]:
        """Column to filter by -> its most frequent values."""
        ...

    def served_runs(self) -> list[ServedRun]:
        """The runs in use."""
        ...


class Front(Protocol):
    """Puts requests together for the engine, and swaps engines."""

    @property
    def engine(self) -> Engine:
        """The one that answers now."""
        ...

    def recommend(self, ask: types.Request) -> Future[types.Response]:
        """Raises Overloaded at once when too many wait."""
        ...

    def search(self, ask: types.Request) -> Future[types.Response]:
        """Raises Overloaded at once when too many wait."""
        ...

    def suggest(self, user: str | None, prefix: str, k: int) -> Future[Suggestions]:
        """Raises Overloaded at once when too many wait."""
        ...

    def refresh(self, user: str) -> None:
        """Ask for new interests. Raises StorageError."""
        ...

    def forget(self, user: str) -> int:
        """Remove all that was kept of a user; how many events. Raises StorageError."""
        ...

    def deploy(self, config: Mapping[str, Any]) -> int:
        """Open and try runs, then swap. Raises RunError, SettingsError, DataError, and the old ones stay."""
        ...

    def deployed(self) -> dict[str, Any]:
        """What is served."""
        ...

    def close(self) -> None:
        """Answer no more."""
        ...


class Recorder(Protocol):
    """Keeps events of several requests in one go."""

    def append(self, events: Sequence[Event]) -> Future[Stored]:
        """Done when they are kept. Raises Overloaded at once when too many wait."""
        ...

    def close(self) -> None:
        """Keep what waits, then end."""
        ...


class Service:
    """All of it, for routes."""

    def __init__(
        self, front: Front, recorder: Recorder, events: EventStore, settings: HttpSettings, observed: Observed
    ) -> None:
        self.front, self.recorder, self.events, self.settings, self.observed = (
            front,
            recorder,
            events,
            settings,
            observed,
        )
        self.pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="searec-http")

    async def blocking(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """What `work` returns, from a thread, so that others are answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, partial(work, *arguments, **options))

    def close(self) -> None:
        """Wait for threads, then close the front, the recorder and the store, each whatever becomes of the others."""
        from contextlib import ExitStack

        with ExitStack() as stack:
            for close in (self.events.close, self.recorder.close, self.front.close, self.pool.shutdown):
                stack.callback(close)


class Guarded(APIRoute):
    """A route that refuses whoever may not use it before it reads a body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, guarded."""
        handle = super().get_route_handler()
        need: Role | None = (self.openapi_extra or {}).get(ROLE)
        route = self.path

        async def guarded(request: Request) -> Response:
            trace: Trace = request.scope["searec"]
            trace.route = route
            if need is not None:
                trace.demand(need)
            return await handle(request)

        return guarded


def trace_of(request: Request) -> Trace:
    """What the gate knows of a request."""
    trace: Trace = request.scope["searec"]
    return trace


_WHEN = {
    400: "The request cannot be read.",
    401: "No valid key.",
    403: "The key does not allow this.",
    404: "No such id.",
    408: "The body took too long.",
    409: "An event id is known with other contents; nothing is kept.",
    413: "The body is too large.",
    421: "Not answered under this host name.",
    422: "A value breaks a rule.",
    429: "Too many requests; see Retry-After.",
    500: "The service failed; it has been logged under the request_id.",
    501: "Something is not installed here.",
    503: "Too many requests wait, or a store does not answer; see Retry-After.",
}
_ALWAYS = (400, 401, 403, 421, 422, 429, 500, 503)
_BODY = (408, 413)
PROBLEM = {"$ref": "#/components/schemas/Problem"}


def route(
    role: Role,
    answers: type[Any],
    *more: int,
    body: bool = False,
    status: int = 200,
    query: Parameters[Any] | None = None,
) -> dict[str, Any]:
    """Options of a route: who may use it, what it answers, and its errors."""
    errors = sorted({*_ALWAYS, *more, *(_BODY if body else ())})
    return {
        "status_code": status,
        "response_model": answers,
        "openapi_extra": {ROLE: role, **({"parameters": query.described()} if query is not None else {})},
        "responses": {code: {"description": _WHEN[code], "content": {MEDIA: {"schema": PROBLEM}}} for code in errors},
    }


path_id = BeforeValidator(unquote)
"""Undoes what the gate keeps encoded in an id that is part of a path."""
