"""Routes for whoever runs the service."""

import asyncio
import ipaddress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from searec.errors import AccessError, SearecError
from searec.service.http import problems, schemas
from searec.service.http.metrics import MEDIA
from searec.service.http.responses import Refusal, answer
from searec.service.http.service_state import Guarded, Service, route, trace_of


def routes(service: Service) -> APIRouter:
    """Deployments, health and metrics."""
    router = APIRouter(route_class=Guarded, tags=["upkeep"])

    @router.get("/v1/deployment", **route("admin", dict[str, Any]))
    async def deployed() -> Response:
        """What is served."""
        return answer(await service.blocking(service.front.deployed))

    @router.put("/v1/deployment", **route("admin", schemas.Deployed, body=True))
    async def deploy(
        config: Annotated[
            dict[str, Any],
            Body(description="data, recommend, search as GET answers them; what is left out stays.", examples=[{}]),
        ],
    ) -> Response:
        """Open and try other runs, then serve them; what cannot be used changes nothing."""
        return answer({"number": await service.blocking(service.front.deploy, config)})

    @router.get("/healthz", response_model=schemas.Accepted, responses={400: {"description": "Cannot be read."}})
    async def health() -> Response:
        """The process lives."""
        return answer({"accepted": True})

    @router.get(
        "/readyz",
        response_model=schemas.Ready,
        responses={503: {"model": schemas.Ready, "description": "Not ready, and why."}},
    )
    async def ready() -> Response:
        """Whether requests can be answered."""
        reasons = [] if service.front.engine.ready else ["the engine is not ready"]
        try:
            async with asyncio.timeout(service.settings.ready_seconds):
                await service.blocking(service.events.last_number)
        except TimeoutError:
            reasons.append("the event store does not answer in time")
        except SearecError as error:
            reasons.append(f"the event store fails: {type(error).__name__}")
        return answer({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @router.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """Prometheus."""
        if service.settings.metrics == "admin":
            trace_of(request).demand("admin")
        elif not _is_here(request.client.host if request.client else ""):
            raise Refusal(
                problems.FORBIDDEN,
                AccessError("metrics are for callers on this machine", remedy="set metrics=admin and use a key"),
            )
        return Response(await service.blocking(service.observed.text), media_type=MEDIA)

    return router


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
