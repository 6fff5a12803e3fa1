"""Routes about items of the catalogue."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from searec.service.http import schemas
from searec.service.http.responses import answer
from searec.service.http.service_state import Guarded, Service, path_id, route

ItemId = Annotated[schemas.Id, path_id, Path(description="The item; percent-encoded, a slash as %2F.", examples=["i1"])]


def routes(service: Service) -> APIRouter:
    """Look at items, add, hide and remove them."""
    router = APIRouter(route_class=Guarded, tags=["items"])
    limits = service.settings

    @router.post("/v1/items", **route("write", schemas.Changed, body=True))
    async def put_items(told: schemas.ItemsIn) -> Response:
        """Add items, or replace what is known of them."""
        limits.check_number(len(told.items), limits.batch, where="body items")
        limits.check_ids(*(one.item_id for one in told.items), where="body items")
        await service.blocking(service.events.put_items, [one.columns() for one in told.items])
        return answer({"changed": len(told.items)})

    @router.post("/v1/items/hide", **route("write", schemas.Changed, 404, body=True))
    async def hide(told: schemas.HideIn) -> Response:
        """Hide items from every answer, or show them again."""
        limits.check_number(len(told.item_ids), limits.batch, where="body item_ids")
        limits.check_ids(*told.item_ids, where="body item_ids")
        await service.blocking(service.events.hide_items, told.item_ids, told.hidden)
        return answer({"changed": len(told.item_ids)})

    @router.get("/v1/items/{item_id}", **route("read", schemas.CatalogueItem, 404))
    async def item(item_id: ItemId) -> Response:
        """An item as it stands."""
        limits.check_ids(item_id, where="path item_id")
        found = await service.blocking(service.front.engine.item, item_id)
        return answer(
            {
                "item_id": found.item,
                "title": found.title,
                "about": dict(found.about),
                "state": found.state,
                "hidden": found.hidden,
            }
        )

    @router.delete("/v1/items/{item_id}", **route("write", schemas.Changed, 404))
    async def remove(item_id: ItemId) -> Response:
        """Take an item out of the catalogue; adding it again brings it back."""
        limits.check_ids(item_id, where="path item_id")
        await service.blocking(service.events.remove_items, [item_id])
        return answer({"changed": 1})

    return router
