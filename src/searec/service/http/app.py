"""The application: routes, the middleware around them, the page, and the OpenAPI document."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

import searec.service
from searec.service.http import logs, replies
from searec.service.http.app_state import ROLE, AppState, RoleRoute
from searec.service.http.http_config import HttpSettings, add_limits
from searec.service.http.metrics import HttpMetrics
from searec.service.http.middleware import RequestMiddleware
from searec.service.http.rate_limits import RateLimiter
from searec.service.http.responses import add_handlers
from searec.service.http.routes import admin, items, lists, users
from searec.service.http.routes import events as event_routes
from searec.store.event_store import EventStore

if TYPE_CHECKING:
    from searec.service.lifecycle import Service
    from searec.store.event_writer import EventWriter
    from searec.store.keys import Keyring

PAGE = Path(searec.service.__file__).parent / "page"


def create_app(
    service: "Service",
    event_writer: "EventWriter",
    events: EventStore,
    keyring: "Keyring | None" = None,
    settings: HttpSettings | None = None,
    *,
    page: Path = PAGE,
    log: Any = None,
) -> FastAPI:
    """Return the service as an ASGI application. It closes the service, the event writer and the store when it ends.

    Args:
        service: answers requests.
        event_writer: stores events.
        events: the event store.
        keyring: checks keys; None lets everybody do everything.
        settings: of the HTTP layer.
        page: folder with index.html and assets/; there is no page if it does not exist.
        log: a structlog logger; by default JSON lines on standard error.
    """
    settings = settings or HttpSettings()
    metrics, limiter, log = HttpMetrics(), RateLimiter(settings), log or logs.logger()
    state = AppState(service, event_writer, events, settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            state.close()
            await limiter.close()

    app = FastAPI(
        title="searec",
        version=version("searec"),
        description="Search and recommendation over one catalogue and one set of users.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.route_class = RoleRoute
    for part in (lists, event_routes, users, items, admin):
        app.include_router(part.routes(state))
    if (page / "index.html").is_file():
        _add_page(app, page)
    add_handlers(app)
    app.add_middleware(RequestMiddleware, keyring=keyring, settings=settings, metrics=metrics, limiter=limiter, log=log)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "X-Request-ID", "Content-Type"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.state.keyring, app.state.settings, app.state.log = keyring, settings, log
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(describe(), settings, keys=keyring is not None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
    return app


class _PageFiles(StaticFiles):
    """Files of the page, as one route in the log. A browser revalidates its copies on each load."""

    def __init__(self, folder: Path, route: str) -> None:
        super().__init__(directory=folder, html=route == "/")
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file."""
        scope["searec"].route = self._route
        await super().__call__(scope, receive, send)

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """Return a file that browsers revalidate."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_page(app: FastAPI, page: Path) -> None:
    app.router.routes.append(Route("/", _PageFiles(page, "/"), methods=["GET", "HEAD"], include_in_schema=False))
    if (page / "assets").is_dir():
        app.mount("/assets", _PageFiles(page / "assets", "/assets"), name="assets")


def _complete(schema: dict[str, Any], settings: HttpSettings, *, keys: bool) -> None:
    """Add problems, keys and limits to an OpenAPI document, in place."""
    components = schema.setdefault("components", {})
    models = components.setdefault("schemas", {})
    models["Problem"] = replies.Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        models.pop(unused, None)
    if keys:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    for path in schema["paths"].values():
        for operation in path.values():
            if keys and ROLE in operation:
                operation["security"] = [{"bearer": []}, {"key": []}]
    add_limits(schema, settings)
