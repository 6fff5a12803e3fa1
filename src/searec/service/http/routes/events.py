"""The route that receives events."""

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from searec.errors import DataError, UnknownIdError
from searec.service.http import problems, schemas
from searec.service.http.app_state import AppState, RoleRoute, route_options
from searec.service.http.responses import Refusal, json_response


def routes(state: AppState) -> APIRouter:
    """Return the route that stores events."""
    router = APIRouter(route_class=RoleRoute, tags=["events"])
    limits = state.settings

    @router.post("/v1/events", **route_options("write", schemas.StoredEvents, 409, body=True))
    async def events(body: schemas.EventsIn) -> Response:
        """Store events; they are on disk before the response. An event that is sent twice counts once."""
        limits.check_number(len(body.events), limits.batch, where="body events")
        for index, one in enumerate(body.events):
            where = f"body events.{index}"
            limits.check_ids(
                one.event_id, one.user_id, one.item_id, one.search_id, *one.clicked, *one.shown, where=where
            )
            limits.check_query(one.query, where=where)
        try:
            stored = await asyncio.wrap_future(state.event_writer.append([one.event() for one in body.events]))
        except UnknownIdError:
            raise
        except DataError as error:
            raise Refusal(problems.CONFLICT, error) from error
        state.metrics.record_events(stored)
        return json_response({"new": stored.new, "known": stored.known})

    return router
