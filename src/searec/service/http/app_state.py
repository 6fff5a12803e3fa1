"""What the routes share: the service, the event writer, the event store, and a route class that checks roles."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import unquote

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.responses import Response

from searec.service.http.http_config import HttpSettings
from searec.service.http.metrics import HttpMetrics
from searec.service.http.middleware import RequestContext
from searec.service.http.problems import MEDIA
from searec.service.http.query_params import QueryParameters
from searec.store.event_store import EventStore
from searec.store.keys import Role

if TYPE_CHECKING:
    from searec.service.lifecycle import Service
    from searec.store.event_writer import EventWriter

P = ParamSpec("P")
T = TypeVar("T")
ROLE = "x-role"
"""In a route's OpenAPI: the role that it needs."""


class AppState:
    """What the routes share.

    Args:
        service: answers requests; its views may block and are called from several threads.
        event_writer: stores the events of several requests in one transaction.
        events: the event store.
        settings: of the HTTP layer.
        metrics: of the HTTP layer.
    """

    def __init__(
        self,
        service: "Service",
        event_writer: "EventWriter",
        events: EventStore,
        settings: HttpSettings,
        metrics: HttpMetrics,
    ) -> None:
        self.service, self.event_writer, self.events = service, event_writer, events
        self.settings, self.metrics = settings, metrics
        self.pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="searec-http")

    async def in_thread(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Return what a blocking function returns, run in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, partial(work, *arguments, **options))

    def close(self) -> None:
        """Wait for the threads, then close the service, the event writer and the store, even if one of them fails."""
        with ExitStack() as stack:
            for close in (self.events.close, self.event_writer.close, self.service.close, self.pool.shutdown):
                stack.callback(close)


class RoleRoute(APIRoute):
    """A route that checks the caller's role before it reads a body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with the check in front of it."""
        handle = super().get_route_handler()
        role: Role | None = (self.openapi_extra or {}).get(ROLE)
        path = self.path

        async def check_and_handle(request: Request) -> Response:
            context = context_of(request)
            context.route = path
            if role is not None:
                context.require_role(role)
            return await handle(request)

        return check_and_handle


def context_of(request: Request) -> RequestContext:
    """Return what the middleware knows of a request."""
    context: RequestContext = request.scope["searec"]
    return context


_DESCRIPTIONS = {
    400: "The request cannot be read.",
    401: "No valid key was sent.",
    403: "The role of the key is too low.",
    404: "The id is unknown.",
    408: "The body was not received in time.",
    409: "An event id was sent before with other contents; nothing is stored.",
    413: "The body is too large.",
    421: "The host name is not accepted.",
    422: "A value breaks a rule.",
    429: "Too many requests; see Retry-After.",
    500: "The service failed; the log has the reason under the request_id.",
    501: "An optional package is not installed.",
    503: "Too many requests are waiting, or a store does not respond; see Retry-After.",
}
_ALWAYS = (400, 401, 403, 421, 422, 429, 500, 503)
_WITH_BODY = (408, 413)
_PROBLEM = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def route_options(
    role: Role,
    response: type[Any],
    *statuses: int,
    body: bool = False,
    status: int = 200,
    query: QueryParameters[Any] | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments of a FastAPI route: required role, response model and documented errors.

    Args:
        role: the least role that may call it.
        response: model of the response.
        *statuses: errors beside the usual ones.
        body: whether the route reads a body.
        status: of a successful response.
        query: parameters that the route reads itself.
    """
    errors = sorted({*_ALWAYS, *statuses, *(_WITH_BODY if body else ())})
    return {
        "status_code": status,
        "response_model": response,
        "openapi_extra": {ROLE: role, **({"parameters": query.openapi()} if query is not None else {})},
        "responses": {code: {"description": _DESCRIPTIONS[code], "content": _PROBLEM} for code in errors},
    }


path_id = BeforeValidator(unquote)
"""Decodes an id in a path, which the middleware leaves percent-encoded."""
