"""Routes of the items of the catalogue."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from searec.service.http import replies, schemas
from searec.service.http.app_state import AppState, RoleRoute, path_id, route_options
from searec.service.http.query_params import QueryParameters
from searec.service.http.responses import json_response

ItemId = Annotated[
    schemas.Id, path_id, Path(description="Id of the item; percent-encoded, a slash as %2F.", examples=["i1"])
]


def routes(state: AppState) -> APIRouter:
    """Return the routes that read, add, hide and remove items."""
    router = APIRouter(route_class=RoleRoute, tags=["items"])
    limits = state.settings
    similar_parameters = QueryParameters(schemas.SimilarIn)

    @router.post("/v1/items", **route_options("write", replies.Changed, body=True))
    async def put_items(body: schemas.ItemsIn) -> Response:
        """Add or replace items."""
        limits.check_number(len(body.items), limits.batch, where="body items")
        limits.check_ids(*(one.item_id for one in body.items), where="body items")
        await state.in_thread(state.events.put_items, [one.columns() for one in body.items])
        return json_response({"changed": len(body.items)})

    @router.post("/v1/items/hide", **route_options("write", replies.Changed, 404, body=True))
    async def hide(body: schemas.HideIn) -> Response:
        """Hide items from every response, or show them again."""
        limits.check_number(len(body.item_ids), limits.batch, where="body item_ids")
        limits.check_ids(*body.item_ids, where="body item_ids")
        await state.in_thread(state.events.hide_items, body.item_ids, body.hidden)
        return json_response({"changed": len(body.item_ids)})

    @router.get("/v1/items/{item_id}", **route_options("read", replies.CatalogueItem, 404))
    async def item(item_id: ItemId) -> Response:
        """Return an item of the catalogue."""
        limits.check_ids(item_id, where="path item_id")
        view = await state.in_thread(state.service.pipeline.views.item, item_id)
        fields = {"item_id": view.item, "title": view.title, "about": dict(view.about)}
        return json_response({**fields, "state": view.state, "hidden": view.hidden})

    @router.get(
        "/v1/items/{item_id}/similar",
        **route_options("read", replies.SimilarItems, 404, query=similar_parameters),
    )
    async def similar(item_id: ItemId, request: Request) -> Response:
        """Return the items most similar to an item."""
        query = similar_parameters(request)
        limits.check_ids(item_id, where="path item_id")
        limits.check_number(query.k, limits.k, where="query k")
        run, rows = await state.in_thread(state.service.pipeline.views.similar, item_id, query.k)
        items = [{"item_id": item, "title": title, "score": score} for item, title, score in rows]
        return json_response({"item_id": item_id, "run": run, "items": items})

    @router.delete("/v1/items/{item_id}", **route_options("write", replies.Changed, 404))
    async def remove(item_id: ItemId) -> Response:
        """Remove an item from the catalogue; adding it again restores it."""
        limits.check_ids(item_id, where="path item_id")
        await state.in_thread(state.events.remove_items, [item_id])
        return json_response({"changed": 1})

    return router
