"""Checks of requests before the pipeline answers them."""

from searec.data.schema import Task
from searec.errors import SettingsError
from searec.pipeline.paging import read_token, token
from searec.pipeline.types import MOST, Request


def validate(request: Request, task: Task) -> SettingsError | None:
    """Return the error of a request that cannot be answered, or None.

    Args:
        request: to check.
        task: it is for.
    """
    if task == "search" and not (request.query or "").strip():
        return SettingsError("empty query", got=repr(request.query), expected="text")
    if not 1 <= request.k <= MOST or request.offset < 0 or request.offset + request.k > MOST:
        return SettingsError(
            "no such page",
            got=f"k {request.k}, offset {request.offset}",
            expected=f"k from 1, offset from 0, together at most {MOST}",
        )
    if request.after is not None and request.offset:
        return SettingsError(
            "an offset and the token of a page", got=f"offset {request.offset}", expected="one of them"
        )
    try:
        read_token(request.after or token(()))
    except SettingsError as error:
        return error
    shares = {"quota": request.quota, "diversity": request.diversity}
    if wrong := [name for name, value in shares.items() if value is not None and not 0 <= value <= 1]:
        return SettingsError(f"{wrong[0]} out of range", got=shares[wrong[0]], expected="0 to 1")
    is_deadline = request.seconds is None or 0 < request.seconds <= 60
    return (
        None
        if is_deadline
        else SettingsError("no such deadline", got=f"{request.seconds} s", expected="above 0, at most 60 s")
    )
