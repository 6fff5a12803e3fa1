"""The application: routes, the gate in front of them, the page, and the OpenAPI that describes it all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

import searec.service
from searec.service.http import logs, schemas
from searec.service.http.http_config import HttpSettings, limit_schema
from searec.service.http.metrics import Observed
from searec.service.http.middleware import Gate, Keyring
from searec.service.http.rate_limits import Rates
from searec.service.http.responses import add_handlers
from searec.service.http.routes import admin, items, lists, users
from searec.service.http.routes import events as event_routes
from searec.service.http.service_state import ROLE, Front, Guarded, Recorder, Service
from searec.store.event_store import EventStore

PAGE = Path(searec.service.__file__).parent / "page"


def create_app(
    front: Front,
    recorder: Recorder,
    events: EventStore,
    keyring: Keyring | None = None,
    settings: HttpSettings | None = None,
    *,
    page: Path = PAGE,
    log: Any = None,
) -> FastAPI:
    """The service as an ASGI application, which closes front, recorder and events when it ends.

    Args:
        keyring: who may call; None lets everybody do everything.
        page: folder with index.html and assets/; left out if it does not exist.
        log: a structlog logger; JSON lines on standard error by default.
    """
    settings = settings or HttpSettings()
    observed, rates, log = Observed(), Rates(settings), log or logs.logger()
    service = Service(front, recorder, events, settings, observed)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            service.close()
            await rates.close()

    app = FastAPI(
        title="searec",
        version=version("searec"),
        description="Search and recommendation over one catalogue and one set of users.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.route_class = Guarded
    for part in (lists, event_routes, users, items, admin):
        app.include_router(part.routes(service))
    if (page / "index.html").is_file():
        _add_page(app, page)
    add_handlers(app)
    app.add_middleware(Gate, keyring=keyring, settings=settings, observed=observed, rates=rates, log=log)
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


class _Files(StaticFiles):
    """Files of the page, under one name in the log; a browser asks whether its copies are still good."""

    def __init__(self, folder: Path, route: str) -> None:
        super().__init__(directory=folder, html=route == "/")
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One file."""
        scope["searec"].route = self._route
        await super().__call__(scope, receive, send)

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """As there, with leave to keep a copy but not to use it unasked."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_page(app: FastAPI, page: Path) -> None:
    app.router.routes.append(Route("/", _Files(page, "/"), methods=["GET", "HEAD"], include_in_schema=False))
    if (page / "assets").is_dir():
        app.mount("/assets", _Files(page / "assets", "/assets"), name="assets")


def _complete(schema: dict[str, Any], settings: HttpSettings, *, keys: bool) -> None:
    """Add to an OpenAPI document, in place, what FastAPI cannot know: problems, keys, limits."""
    parts = schema.setdefault("components", {})
    shapes = parts.setdefault("schemas", {})
    shapes["Problem"] = schemas.Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        shapes.pop(unused, None)
    if keys:
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    for path in schema["paths"].values():
        for operation in path.values():
            if keys and ROLE in operation:
                operation["security"] = [{"bearer": []}, {"key": []}]
    limit_schema(schema, settings)
