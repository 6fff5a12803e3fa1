"""Routes that return lists of items and queries, and what lists can be filtered by."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from searec.errors import DataError
from searec.pipeline import types
from searec.pipeline.types import MOST, Highlights, LeftOut, RankedItem
from searec.search.facets import Facet
from searec.search.filters import Filter
from searec.service.http import replies, schemas
from searec.service.http.app_state import AppState, RoleRoute, context_of, route_options
from searec.service.http.http_config import Limits
from searec.service.http.query_params import QueryParameters
from searec.service.http.responses import json_response


def routes(state: AppState) -> APIRouter:
    """Return the routes of lists."""
    router = APIRouter(route_class=RoleRoute, tags=["lists"])
    limits = state.settings
    recommend_parameters = QueryParameters(schemas.RecommendIn)
    search_parameters = QueryParameters(schemas.SearchIn)
    suggest_parameters = QueryParameters(schemas.SuggestIn)

    @router.get("/v1/recommend", **route_options("read", replies.Page, query=recommend_parameters))
    async def recommend(request: Request) -> Response:
        """Return recommended items, best first."""
        query = recommend_parameters(request)
        ranked = await asyncio.wrap_future(state.service.recommend(pipeline_request(query, limits)))
        context_of(request).left_out = ranked.left_out
        return json_response(page(ranked, query.user_id))

    @router.get("/v1/search", **route_options("read", replies.SearchPage, query=search_parameters))
    async def search(request: Request) -> Response:
        """Return items that match a query, best first; for a user if one is given."""
        query = search_parameters(request)
        limits.check_query(query.q, where="query q")
        ranked = await asyncio.wrap_future(state.service.search(pipeline_request(query, limits)))
        context_of(request).left_out = ranked.left_out
        return json_response({**page(ranked, query.user_id), "query": _read_query(ranked)})

    @router.get("/v1/suggest", **route_options("read", replies.Suggestions, query=suggest_parameters))
    async def suggest(request: Request) -> Response:
        """Return suggested queries, or completions of what has been typed."""
        query = suggest_parameters(request)
        limits.check_query(query.q, where="query q")
        limits.check_ids(query.user_id, where="query user_id")
        limits.check_number(query.k, limits.k, where="query k")
        suggested = await asyncio.wrap_future(state.service.suggest(query.user_id, query.q, query.k))
        context_of(request).left_out = suggested.left_out
        queries = [
            {
                "query": one.query,
                "score": one.score,
                "channel": one.channel,
                "reason": one.reason,
                "kind": one.kind,
                "item_id": one.item,
            }
            for one in suggested.queries
        ]
        return json_response({"queries": queries, **_common(suggested.left_out, suggested.seconds)})

    @router.get("/v1/models", **route_options("read", replies.Models))
    async def models() -> Response:
        """Return the runs in use and their metrics."""
        runs = await state.in_thread(state.service.pipeline.views.served_runs)
        rows = [
            {"label": one.label, "model": one.model, "uses": list(one.uses), "figures": one.figures} for one in runs
        ]
        return json_response({"models": rows})

    @router.get("/v1/filters", **route_options("read", replies.Filters))
    async def filters() -> Response:
        """Return the columns to filter by and their most frequent values."""
        return json_response({"columns": await state.in_thread(state.service.pipeline.views.values)})

    return router


def pipeline_request(query: schemas.RecommendIn, limits: Limits) -> types.Request:
    """Return the pipeline's request of the parameters of a list.

    Args:
        query: parameters of the HTTP request.
        limits: that they must keep.

    Raises:
        DataError: a value exceeds the limits.
    """
    limits.check_number(query.k, limits.k, where="query k")
    if query.offset:
        if query.cursor is not None:
            raise DataError("a cursor and an offset", where="query", expected="one of them")
        end = query.offset + query.k
        if end > MOST:
            raise DataError(
                "the page is too far down", where="query offset", got=end, expected=f"offset + k at most {MOST}"
            )
    if query.user_id is not None:
        limits.check_ids(query.user_id, where="query user_id")
    if query.exclude:
        limits.check_number(len(query.exclude), limits.excludes, where="query exclude")
        limits.check_ids(*query.exclude, where="query exclude")
    filters: tuple[Filter, ...] = ()
    if query.category or query.filter:
        limits.check_number(len(query.category) + len(query.filter), limits.filters, where="query filter and category")
        pairs = (column_value.partition(":") for column_value in query.filter)
        filters = (
            *(Filter("categories", name) for name in query.category),
            *(Filter(column, value) for column, _, value in pairs),
        )
    if query.facets:
        limits.check_number(len(query.facets), limits.filters, where="query facets")
    of_search: dict[str, Any] = {}
    if isinstance(query, schemas.SearchIn):
        of_search = {
            "query": query.q,
            "highlight": query.highlight,
            "spelling": query.spelling,
            "prefix": query.prefix,
        }
    return types.Request(
        user=query.user_id,
        k=query.k,
        offset=query.offset,
        after=query.cursor,
        filters=filters,
        facets=tuple(dict.fromkeys(query.facets)),
        sort=query.sort,
        exclude=tuple(query.exclude),
        seen=query.seen,
        quota=query.quota,
        diversity=query.diversity,
        seconds=None if query.deadline_ms is None else query.deadline_ms / 1000,
        **of_search,
    )


def page(ranked: types.Response, user: str | None) -> dict[str, Any]:
    """Return a ranked list in the form of `replies.Page`, which is not validated again.

    Args:
        ranked: response of the pipeline.
        user: external id of the user.
    """
    return {
        "user_id": user,
        "known": ranked.known,
        "items": [_item(one) for one in ranked.items],
        "next": ranked.next,
        "interests": ranked.interests,
        "enr": round(ranked.enr, 6),
        "total": ranked.total,
        "facets": {name: _facet(one) for name, one in ranked.facets.items()},
        **_common(ranked.left_out, ranked.seconds),
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
        "highlights": None if one.highlights is None else _highlights(one.highlights),
    }


def _highlights(one: Highlights) -> dict[str, Any]:
    snippet = one.description
    return {
        "title": one.title,
        "description": None if snippet is None else {"text": snippet.text, "spans": snippet.spans},
    }


def _facet(one: Facet) -> dict[str, Any]:
    values = [{"value": value.value, "count": value.count, "parent": value.parent} for value in one.values]
    return {"values": values, "low": one.low, "high": one.high}


def _read_query(ranked: types.Response) -> dict[str, Any]:
    query, relaxed = ranked.query, ranked.relaxed
    assert query is not None  # of a search
    return {
        "typed": query.typed,
        "text": query.text,
        "suggestion": query.suggestion,
        "redirect": query.redirect,
        "relaxed": None if relaxed is None else {"step": relaxed.step, "missing": relaxed.missing},
    }


def _common(left_out: Sequence[LeftOut], seconds: float) -> dict[str, Any]:
    missing = [{"part": one.part, "why": one.why} for one in left_out]
    return {"left_out": missing, "took_ms": round(1000 * seconds, 3)}
