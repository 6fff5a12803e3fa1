"""The route that receives events."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from starlette.responses import Response

from searec.errors import DataError, UnknownIdError
from searec.service.http import problems, replies, schemas
from searec.service.http.app_state import AppState, RoleRoute, route_options
from searec.service.http.metrics import Sign
from searec.service.http.responses import Refusal, json_response
from searec.store.events import SEARCH

_SIGNS: Mapping[int, Sign] = {1: "positive", 0: "neutral", -1: "negative"}


def routes(state: AppState) -> APIRouter:
    """Return the route that stores events."""
    router = APIRouter(route_class=RoleRoute, tags=["events"])
    limits = state.settings

    @router.post("/v1/events", **route_options("write", replies.StoredEvents, 409, body=True))
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
        signs, unknown = _counted([one.type for one in body.events if one.type != SEARCH], state)
        state.metrics.record_events(stored, signs)
        return json_response({"new": stored.new, "known": stored.known, "unknown_types": unknown})

    return router


def _counted(types: Sequence[str], state: AppState) -> tuple[Mapping[Sign, int], dict[str, int]]:
    """How many events say what of their items, and how often each type occurs that the table does not name."""
    weights = state.service.pipeline.event_weights
    unknown = Counter(name for name in types if name not in weights)
    signs = Counter[Sign](_SIGNS[weights.sign(name)] for name in types if name in weights)
    return Counter({**signs, "unknown": unknown.total()}), dict(unknown)
