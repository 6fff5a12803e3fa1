"""Routes that answer with lists of items and queries."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from searec.errors import DataError
from searec.pipeline import types
from searec.pipeline.types import MOST, Filter, LeftOut, RankedItem
from searec.service.http import schemas
from searec.service.http.http_config import Limits
from searec.service.http.query_params import Parameters
from searec.service.http.responses import answer
from searec.service.http.service_state import Guarded, Service, route, trace_of


def routes(service: Service) -> APIRouter:
    """Recommend, search, suggest, and what can be asked for."""
    router = APIRouter(route_class=Guarded, tags=["lists"])
    limits = service.settings
    recommended, searched, suggested = (
        Parameters(schemas.RecommendIn),
        Parameters(schemas.SearchIn),
        Parameters(schemas.SuggestIn),
    )

    @router.get("/v1/recommend", **route("read", schemas.Page, query=recommended))
    async def recommend(request: Request) -> Response:
        """Items a user may want now."""
        asked = recommended(request)
        found = await asyncio.wrap_future(service.front.recommend(ask_of(asked, limits)))
        trace_of(request).left_out = found.left_out
        return answer(page(found, asked.user_id))

    @router.get("/v1/search", **route("read", schemas.SearchPage, query=searched))
    async def search(request: Request) -> Response:
        """Items that fit a query, for a user if one is named."""
        asked = searched(request)
        limits.check_query(asked.q, where="query q")
        found = await asyncio.wrap_future(service.front.search(ask_of(asked, limits, query=asked.q)))
        trace_of(request).left_out = found.left_out
        return answer({**page(found, asked.user_id), "query": asked.q})

    @router.get("/v1/suggest", **route("read", schemas.Suggestions, query=suggested))
    async def suggest(request: Request) -> Response:
        """Queries to ask next, or that what has been typed may become."""
        asked = suggested(request)
        limits.check_query(asked.q, where="query q")
        limits.check_ids(asked.user_id, where="query user_id")
        limits.check_number(asked.k, limits.k, where="query k")
        found = await asyncio.wrap_future(service.front.suggest(asked.user_id, asked.q, asked.k))
        trace_of(request).left_out = found.left_out
        queries = [
            {"query": one.query, "score": one.score, "channel": one.channel, "reason": one.reason}
            for one in found.queries
        ]
        return answer(
            {"queries": queries, "left_out": [_left(one) for one in found.left_out], "took_ms": _ms(found.seconds)}
        )

    @router.get("/v1/models", **route("read", schemas.Models))
    async def models() -> Response:
        """The runs that answer, and how well they did."""
        lines = await service.blocking(service.front.engine.served_runs)
        return answer(
            {
                "models": [
                    {"label": one.label, "model": one.model, "uses": list(one.uses), "figures": one.figures}
                    for one in lines
                ]
            }
        )

    @router.get("/v1/filters", **route("read", schemas.Filters))
    async def filters() -> Response:
        """Columns to filter by, and their most frequent values."""
        return answer({"columns": await service.blocking(service.front.engine.values)})

    return router


def ask_of(asked: schemas.RecommendIn, limits: Limits, query: str | None = None) -> types.Request:
    """A request as the engine takes it.

    Raises:
        DataError: it is more than the limits allow.
    """
    limits.check_number(asked.k, limits.k, where="query k")
    if asked.offset:
        if asked.cursor is not None:
            raise DataError("a cursor and an offset", where="query", expected="one of them")
        if asked.offset + asked.k > MOST:
            raise DataError(
                "too far down the list",
                where="query offset",
                got=asked.offset + asked.k,
                expected=f"offset + k at most {MOST}",
            )
    if asked.user_id is not None:
        limits.check_ids(asked.user_id, where="query user_id")
    if asked.exclude:
        limits.check_number(len(asked.exclude), limits.excludes, where="query exclude")
        limits.check_ids(*asked.exclude, where="query exclude")
    filters: tuple[Filter, ...] = ()
    if asked.category or asked.filter:
        limits.check_number(len(asked.category) + len(asked.filter), limits.filters, where="query filter and category")
        pairs = (text.partition(":") for text in asked.filter)
        filters = (
            *(Filter("categories", name) for name in asked.category),
            *(Filter(column, value) for column, _, value in pairs),
        )
    return types.Request(
        user=asked.user_id,
        query=query,
        k=asked.k,
        offset=asked.offset,
        after=asked.cursor,
        filters=filters,
        exclude=tuple(asked.exclude),
        seen=asked.seen,
        quota=asked.quota,
        diversity=asked.diversity,
        seconds=None if asked.deadline_ms is None else asked.deadline_ms / 1000,
    )


def page(found: types.Response, user: str | None) -> dict[str, Any]:
    """An answer as `schemas.Page` has it; it is our own, so nothing is checked again."""
    return {
        "user_id": user,
        "known": found.known,
        "items": [_item(one) for one in found.items],
        "next": found.next,
        "interests": found.interests,
        "enr": round(found.enr, 6),
        "left_out": [_left(one) for one in found.left_out],
        "took_ms": _ms(found.seconds),
    }


def _item(one: RankedItem) -> dict[str, Any]:
    return {
        "item_id": one.item,
        "title": one.title,
        "score": one.score,
        "channel": one.channel,
        "reason": one.reason,
        "categories": one.categories,
        "novel": one.novel,
    }


def _left(one: LeftOut) -> dict[str, str]:
    return {"part": one.part, "why": one.why}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
