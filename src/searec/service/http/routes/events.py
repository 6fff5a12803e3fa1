"""The route by which events come in."""

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from searec.errors import DataError, UnknownIdError
from searec.service.http import problems, schemas
from searec.service.http.responses import Refusal, answer
from searec.service.http.service_state import Guarded, Service, route


def routes(service: Service) -> APIRouter:
    """Tell what users did."""
    router = APIRouter(route_class=Guarded, tags=["events"])
    limits = service.settings

    @router.post("/v1/events", **route("write", schemas.Kept, 409, body=True))
    async def events(told: schemas.EventsIn) -> Response:
        """Keep events; when this answers they are on disk. The same event may be told again: it counts once."""
        limits.check_number(len(told.events), limits.batch, where="body events")
        for place, one in enumerate(told.events):
            where = f"body events.{place}"
            limits.check_ids(
                one.event_id, one.user_id, one.item_id, one.search_id, *one.clicked, *one.shown, where=where
            )
            limits.check_query(one.query, where=where)
        try:
            stored = await asyncio.wrap_future(service.recorder.append([one.event() for one in told.events]))
        except UnknownIdError:
            raise
        except DataError as error:
            raise Refusal(problems.CONFLICT, error) from error
        service.observed.kept(stored)
        return answer({"new": stored.new, "known": stored.known})

    return router
