"""Routes of users: their data, their interests, and their deletion."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from searec.service.http import replies, schemas
from searec.service.http.app_state import AppState, RoleRoute, path_id, route_options
from searec.service.http.query_params import QueryParameters
from searec.service.http.responses import json_response
from searec.service.http.timestamps import from_micros

UserId = Annotated[
    schemas.Id, path_id, Path(description="Id of the user; percent-encoded, a slash as %2F.", examples=["u1"])
]


def routes(state: AppState) -> APIRouter:
    """Return the routes of users and their interests."""
    router = APIRouter(route_class=RoleRoute, tags=["users"])
    limits = state.settings
    list_parameters = QueryParameters(schemas.ListUsersIn)

    @router.get("/v1/users", **route_options("read", replies.UserIds, query=list_parameters))
    async def users(request: Request) -> Response:
        """Return ids of users that start with a prefix."""
        query = list_parameters(request)
        limits.check_ids(query.prefix, where="query prefix")
        limits.check_number(query.count, limits.batch, where="query count")
        return json_response(
            {"user_ids": await state.in_thread(state.service.pipeline.views.users, query.prefix, query.count)}
        )

    @router.post("/v1/users", **route_options("write", replies.Changed, body=True))
    async def put_users(body: schemas.UsersIn) -> Response:
        """Add or replace users."""
        limits.check_number(len(body.users), limits.batch, where="body users")
        limits.check_ids(*(one.user_id for one in body.users), where="body users")
        await state.in_thread(state.events.put_users, [one.columns() for one in body.users])
        return json_response({"changed": len(body.users)})

    @router.get("/v1/users/{user_id}", **route_options("read", replies.User, 404))
    async def user(user_id: UserId) -> Response:
        """Return a user's attributes and history, newest first."""
        limits.check_ids(user_id, where="path user_id")
        view = await state.in_thread(state.service.pipeline.views.user, user_id)
        history = [
            {
                "type": one.kind,
                "timestamp": from_micros(one.time),
                "item_id": one.item,
                "title": one.title,
                "query": one.query,
            }
            for one in view.history
        ]
        attributes = dict(view.attributes)
        return json_response({"user_id": view.user, "known": view.known, "attributes": attributes, "history": history})

    @router.delete("/v1/users/{user_id}", **route_options("admin", replies.Changed))
    async def forget(user_id: UserId) -> Response:
        """Delete a user and all their events; returns the number of events."""
        limits.check_ids(user_id, where="path user_id")
        return json_response({"changed": await state.in_thread(state.service.forget, user_id)})

    @router.get("/v1/users/{user_id}/interests", **route_options("read", replies.Interests, 404))
    async def interests(user_id: UserId) -> Response:
        """Return a user's inferred interests and the reasons for them."""
        limits.check_ids(user_id, where="path user_id")
        view = await state.in_thread(state.service.pipeline.views.interests, user_id)
        return json_response(
            {
                "user_id": view.user,
                "source": view.source,
                "inferred_at": None if view.made_at is None else from_micros(view.made_at),
                "interests": [
                    {"text": text, "confidence": confidence, "reason": reason}
                    for text, confidence, reason in view.interests
                ],
                "graph": view.graph,
                "picture": view.picture,
            }
        )

    @router.post("/v1/users/{user_id}/interests/refresh", **route_options("write", replies.Accepted, 404, status=202))
    async def refresh(user_id: UserId) -> Response:
        """Enqueue a user for new interests; a worker infers them."""
        limits.check_ids(user_id, where="path user_id")
        await state.in_thread(state.service.refresh, user_id)
        return json_response({"accepted": True}, 202)

    return router
