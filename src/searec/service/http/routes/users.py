"""Routes about users: what is known of them, what they may want, and how to forget them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from searec.service.http import schemas
from searec.service.http.query_params import Parameters
from searec.service.http.responses import answer
from searec.service.http.service_state import Guarded, Service, path_id, route
from searec.service.http.timestamps import from_micros

UserId = Annotated[schemas.Id, path_id, Path(description="The user; percent-encoded, a slash as %2F.", examples=["u1"])]


def routes(service: Service) -> APIRouter:
    """Users and their interests."""
    router = APIRouter(route_class=Guarded, tags=["users"])
    limits = service.settings

    listed = Parameters(schemas.UsersAsked)

    @router.get("/v1/users", **route("read", schemas.UserIds, query=listed))
    async def users(request: Request) -> Response:
        """Ids of users that start so."""
        asked = listed(request)
        limits.check_ids(asked.prefix, where="query prefix")
        limits.check_number(asked.count, limits.batch, where="query count")
        return answer({"user_ids": await service.blocking(service.front.engine.users, asked.prefix, asked.count)})

    @router.post("/v1/users", **route("write", schemas.Changed, body=True))
    async def put_users(told: schemas.UsersIn) -> Response:
        """Add users, or replace what is known of them."""
        limits.check_number(len(told.users), limits.batch, where="body users")
        limits.check_ids(*(one.user_id for one in told.users), where="body users")
        await service.blocking(service.events.put_users, [one.columns() for one in told.users])
        return answer({"changed": len(told.users)})

    @router.get("/v1/users/{user_id}", **route("read", schemas.User, 404))
    async def user(user_id: UserId) -> Response:
        """What is known of a user, and what they did, newest first."""
        limits.check_ids(user_id, where="path user_id")
        found = await service.blocking(service.front.engine.user, user_id)
        history = [
            {
                "type": one.kind,
                "timestamp": from_micros(one.time),
                "item_id": one.item,
                "title": one.title,
                "query": one.query,
            }
            for one in found.history
        ]
        return answer(
            {"user_id": found.user, "known": found.known, "attributes": dict(found.attributes), "history": history}
        )

    @router.delete("/v1/users/{user_id}", **route("admin", schemas.Changed))
    async def forget(user_id: UserId) -> Response:
        """Remove a user and all their events for good; how many events there were."""
        limits.check_ids(user_id, where="path user_id")
        return answer({"changed": await service.blocking(service.front.forget, user_id)})

    @router.get("/v1/users/{user_id}/interests", **route("read", schemas.Interests, 404))
    async def interests(user_id: UserId) -> Response:
        """What a user may want and has never shown, and why."""
        limits.check_ids(user_id, where="path user_id")
        found = await service.blocking(service.front.engine.interests, user_id)
        return answer(
            {
                "user_id": found.user,
                "source": found.source,
                "made": None if found.made is None else from_micros(found.made),
                "interests": [
                    {"text": text, "confidence": sure, "reason": reason} for text, sure, reason in found.interests
                ],
                "graph": found.graph,
                "picture": found.picture,
            }
        )

    @router.post("/v1/users/{user_id}/interests/refresh", **route("write", schemas.Accepted, 404, status=202))
    async def refresh(user_id: UserId) -> Response:
        """Ask for new interests; a worker makes them when it can."""
        limits.check_ids(user_id, where="path user_id")
        await service.blocking(service.front.refresh, user_id)
        return answer({"accepted": True}, 202)

    return router
