"""Checks of requests before the pipeline answers them."""

from typing import get_args

from searec.data.schema import Task
from searec.errors import SettingsError
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.paging import read_token
from searec.pipeline.types import MOST, Request, Sort
from searec.search.item_columns import PRICE


def validate(request: Request, task: Task) -> None:
    """Refuse a request that cannot be answered.

    Args:
        request: to check.
        task: it is for.

    Raises:
        SettingsError: a value is out of its range, or two values contradict each other.
    """
    if task == "search" and not (request.query or "").strip():
        raise SettingsError("empty query", got=repr(request.query), expected="text")
    if not 1 <= request.k <= MOST or request.offset < 0 or request.offset + request.k > MOST:
        raise SettingsError(
            "no such page",
            got=f"k {request.k}, offset {request.offset}",
            expected=f"k from 1, offset from 0, together at most {MOST}",
        )
    if request.after is not None and request.offset:
        raise SettingsError("an offset and the token of a page", got=f"offset {request.offset}", expected="one of them")
    if request.after is not None:
        read_token(request.after)
    if request.sort not in get_args(Sort):
        raise SettingsError("no such order", got=repr(request.sort), expected=", ".join(get_args(Sort)))
    shares = {"quota": request.quota, "diversity": request.diversity}
    for name, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            raise SettingsError(f"{name} out of range", got=value, expected="0 to 1")
    if request.seconds is not None and not 0 < request.seconds <= 60:
        raise SettingsError("no such deadline", got=f"{request.seconds} s", expected="above 0, at most 60 s")


def check_columns(request: Request, catalog: CatalogSnapshot) -> None:
    """Refuse a request whose facets or sort name a column that items do not have.

    Args:
        request: to check.
        catalog: of the items.

    Raises:
        SettingsError: a column is missing, or is not of numbers.
    """
    for name in request.facets:
        catalog.columns.column(name)
    if request.sort.endswith(PRICE):
        catalog.columns.numbers(PRICE)
