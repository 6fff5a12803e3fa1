"""Routes for the operator of the service: deployments, health and metrics."""

import asyncio
import ipaddress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from searec.errors import AccessError, SearecError
from searec.service.http import problems, replies
from searec.service.http.app_state import AppState, RoleRoute, context_of, route_options
from searec.service.http.metrics import MEDIA
from searec.service.http.responses import Refusal, json_response

_DEPLOYMENT = Body(
    description="A deployment, as GET returns it; fields that are left out keep their values.", examples=[{}]
)


def routes(state: AppState) -> APIRouter:
    """Return the routes of deployments, health and metrics."""
    router = APIRouter(route_class=RoleRoute, tags=["admin"])

    @router.get("/v1/deployment", **route_options("admin", dict[str, Any]))
    async def deployed() -> Response:
        """Return the deployment that is served."""
        return json_response(await state.in_thread(state.service.deployed))

    @router.put("/v1/deployment", **route_options("admin", replies.Deployed, body=True))
    async def deploy(config: Annotated[dict[str, Any], _DEPLOYMENT]) -> Response:
        """Load and try another deployment, then serve it; one that fails changes nothing."""
        return json_response({"number": await state.in_thread(state.service.deploy, config)})

    @router.get(
        "/healthz",
        response_model=replies.Accepted,
        responses={400: {"description": "The request cannot be read."}},
    )
    async def health() -> Response:
        """Show that the process is alive."""
        return json_response({"accepted": True})

    @router.get(
        "/readyz",
        response_model=replies.Ready,
        responses={503: {"model": replies.Ready, "description": "Not ready, and why."}},
    )
    async def ready() -> Response:
        """Return whether the service is ready to answer."""
        reasons = [] if state.service.pipeline.ready else ["the pipeline is not ready"]
        try:
            async with asyncio.timeout(state.settings.ready_seconds):
                await state.in_thread(state.events.last_number)
        except TimeoutError:
            reasons.append("the event store does not respond in time")
        except SearecError as error:
            reasons.append(f"the event store fails: {type(error).__name__}")
        return json_response({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @router.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """Return the metrics for Prometheus."""
        if state.settings.metrics == "admin":
            context_of(request).require_role("admin")
        elif not _is_loopback(request.client.host if request.client else ""):
            error = AccessError("metrics are for callers on this machine", remedy="set metrics=admin and use a key")
            raise Refusal(problems.FORBIDDEN, error)
        return Response(await state.in_thread(state.metrics.exposition), media_type=MEDIA)

    return router


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
