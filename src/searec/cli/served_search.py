"""What `searec search` prints of a deployment, or of a run with filters, facets or a sort."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searec.cli.arguments import emit
from searec.errors import SearecError, SettingsError

if TYPE_CHECKING:
    from searec.pipeline.types import Request, Response
    from searec.search.facets import Facet

ANONYMOUS = "no user"
"""Heads a list that is made for nobody in particular."""
NOTHING = "  no results"
_VALUES = 10


def requests(
    query: str,
    users: Sequence[str | None],
    k: int,
    filters: Sequence[str],
    facets: Sequence[str],
    sort: str,
    *,
    spelling: bool,
) -> "list[Request]":
    """Return the same search for each user.

    Args:
        query: as typed.
        users: external ids; None for nobody.
        k: items of each.
        filters: COLUMN:VALUE each.
        facets: columns.
        sort: the order.
        spelling: correct words that no item has.

    Raises:
        SettingsError: a filter is not COLUMN:VALUE.
    """
    from searec.pipeline.types import Request
    from searec.search.filters import Filter

    pairs = [one.partition(":") for one in filters]
    for text, (column, _, value) in zip(filters, pairs, strict=True):
        if not column or not value:
            expected = "COLUMN:VALUE, as brand:acme or price:10..20"
            raise SettingsError("bad --filter", got=repr(text), expected=expected)
    conditions = tuple(Filter(column, value) for column, _, value in pairs)
    names = tuple(name for text in facets for name in text.split(",") if name)
    order: Any = sort  # checked by the pipeline, which names the orders
    return [
        Request(user=user, query=query, k=k, filters=conditions, facets=names, sort=order, spelling=spelling)
        for user in users
    ]


def search_served(folder: Path, data: str, searches: "Sequence[Request]", figures: Path | None) -> None:
    """Print what a deployment answers to searches, or a run with the lexical channel beside it.

    Args:
        folder: a deployment file, or a run folder.
        data: dataset folder.
        searches: of one query.
        figures: file for the JSON.

    Raises:
        SearecError: a search or the deployment is wrong, or a user is not in the dataset.
    """
    from searec.data.remote import absolute
    from searec.pipeline.builder import open_pipeline
    from searec.pipeline.deployment import Deployment, read_deployment
    from searec.pipeline.executors import Inline

    is_file = folder.is_file()
    served = read_deployment(folder, data=data) if is_file else Deployment(data=absolute(data), search=(str(folder),))
    pipeline = open_pipeline(served, executor=Inline)
    try:
        pipeline.catalog.last.base.data.users.to_internal([one.user for one in searches if one.user is not None])
        responses = pipeline.search(searches)
    finally:
        pipeline.close()
    rows = []
    for search, response in zip(searches, responses, strict=True):
        if isinstance(response, SearecError):
            raise response
        rows.append(_as_json(search, response))
        if str(figures) != "-":
            _print(search, response)
    emit(rows, figures)


def _print(search: "Request", response: "Response") -> None:
    print(f"{search.user or ANONYMOUS}, {search.query}")
    query, relaxed = response.query, response.relaxed
    if query is not None and query.is_corrected:
        print(f"  results for: {query.text} (--no-spelling searches for what was typed)")
    if query is not None and query.suggestion:
        print(f"  did you mean: {query.suggestion}")
    if query is not None and query.redirect:
        print(f"  redirect: {query.redirect}")
    if not response.items:
        print(NOTHING)
        return
    if relaxed is not None:
        missing = f"; not found: {', '.join(relaxed.missing)}" if relaxed.missing else ""
        print(f"  no item has all words; these have {relaxed.step}{missing}")
    print(f"  {response.total:,} {'item matches' if response.total == 1 else 'items match'}")
    for rank, item in enumerate(response.items, start=1):
        print(f"  {rank:>3}  {item.score:>9.4f}  {item.item:<12} {item.title}")
    for column, facet in response.facets.items():
        _print_facet(column, facet)


def _print_facet(column: str, facet: "Facet") -> None:
    span = "" if facet.low is None else f", {facet.low} to {facet.high}"
    print(f"  {column}{span}")
    values = [one.value for one in facet.values]
    top = [one for one in facet.values if one.parent not in values]

    def print_below(parents: Sequence[Any], depth: int) -> None:
        for one in parents[:_VALUES]:
            print(f"  {one.count:>8,}  {'  ' * depth}{one.value}")
            print_below([below for below in facet.values if below.parent == one.value], depth + 1)

    print_below(top, 0)


def _as_json(search: "Request", response: "Response") -> dict[str, Any]:
    query, relaxed = response.query, response.relaxed
    return {
        "user_id": search.user,
        "query": search.query,
        "searched": query.text if query is not None else search.query,
        "suggestion": query.suggestion if query is not None else None,
        "redirect": query.redirect if query is not None else None,
        "relaxed": relaxed._asdict() if relaxed is not None else None,
        "total": response.total,
        "items": [
            {"rank": rank, "item_id": one.item, "title": one.title, "score": one.score, "channel": one.channel}
            for rank, one in enumerate(response.items, start=1)
        ],
        "facets": {
            name: [{"value": one.value, "count": one.count, "parent": one.parent} for one in facet.values]
            for name, facet in response.facets.items()
        },
    }
