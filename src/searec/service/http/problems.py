"""Errors on the wire: how each searec error looks as a problem document, and which error a problem document was."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from searec import errors
from searec.errors import SearecError

URN = "urn:searec:problem:"
MEDIA = "application/problem+json"
_GOT, _REST = 100, 300


class Kind(NamedTuple):
    """A kind of problem. error: what the client raises for it."""

    slug: str
    status: int
    title: str
    error: type[SearecError]


UNKNOWN_ID = Kind("unknown-id", 404, "No such id", errors.UnknownIdError)
BAD_DATA = Kind("bad-data", 422, "A value breaks a rule", errors.DataError)
BAD_SETTING = Kind("bad-setting", 422, "A setting breaks a rule", errors.SettingsError)
BAD_RUN = Kind("bad-run", 422, "A run cannot be used", errors.RunError)
CONFLICT = Kind("conflict", 409, "The event is known with other contents", errors.DataError)
OVERLOADED = Kind("overloaded", 503, "Too many requests wait", errors.Overloaded)
STORAGE = Kind("storage", 503, "The store does not answer", errors.StorageError)
DEPENDENCY = Kind("dependency", 501, "Not installed here", errors.DependencyError)
NO_KEY = Kind("no-key", 401, "A valid key is needed", errors.AccessError)
FORBIDDEN = Kind("forbidden", 403, "The key does not allow this", errors.AccessError)
NO_ROUTE = Kind("no-route", 404, "No such address", errors.ServiceError)
METHOD = Kind("method", 405, "Not done here", errors.ServiceError)
BAD_REQUEST = Kind("bad-request", 400, "The request cannot be read", errors.ServiceError)
BAD_HOST = Kind("bad-host", 421, "Not answered under this name", errors.ServiceError)
TOO_SLOW = Kind("too-slow", 408, "The body took too long", errors.ServiceError)
TOO_LARGE = Kind("too-large", 413, "The body is too large", errors.DataError)
TOO_OFTEN = Kind("too-often", 429, "Too many requests", errors.Overloaded)
FAILED = Kind("failed", 500, "The service failed", errors.ServiceError)

_BY_ERROR: tuple[tuple[type[SearecError], Kind], ...] = (
    (errors.UnknownIdError, UNKNOWN_ID),
    (errors.DataError, BAD_DATA),
    (errors.SettingsError, BAD_SETTING),
    (errors.RunError, BAD_RUN),
    (errors.Overloaded, OVERLOADED),
    (errors.StorageError, STORAGE),
    (errors.DependencyError, DEPENDENCY),
)
_KINDS = (
    *(kind for _, kind in _BY_ERROR),
    CONFLICT,
    NO_KEY,
    FORBIDDEN,
    NO_ROUTE,
    METHOD,
    BAD_REQUEST,
    BAD_HOST,
    TOO_SLOW,
    TOO_LARGE,
)
_BY_SLUG = {kind.slug: kind for kind in (*_KINDS, TOO_OFTEN, FAILED)}


def kind_of(error: SearecError) -> Kind:
    """The kind of an error; those that are not for callers are FAILED."""
    return next((kind for known, kind in _BY_ERROR if isinstance(error, known)), FAILED)


def document(kind: Kind, error: SearecError, request_id: str | None = None) -> dict[str, Any]:
    """A problem document. A failure of ours says nothing but the request's id; what a caller sent is echoed shortly."""
    start = {"type": URN + kind.slug, "title": kind.title, "status": kind.status}
    if kind is FAILED:
        return {
            **start,
            "detail": "it has been logged",
            "request_id": request_id,
            "remedy": "ask whoever runs it, with this request_id",
        }
    document = {
        **start,
        "detail": _clip(error.what, _REST),
        "where": _clip(error.where, _REST),
        "got": _clip(error.got, _GOT),
        "expected": _clip(error.expected, _REST),
        "remedy": _clip(error.remedy, _REST),
        "request_id": request_id,
    }
    return {name: value for name, value in document.items() if value is not None}


def _clip(value: object, most: int) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def error_of(status: int, document: Mapping[str, Any], where: str) -> SearecError:
    """The error that a problem document, or any answer that is not as expected, stands for.

    >>> error_of(404, {"type": "urn:searec:problem:unknown-id", "detail": "no such item", "got": "'i9'"}, "GET /v1/items/i9")
    UnknownIdError("no such item; where: GET /v1/items/i9; got: 'i9'")
    """
    kind = _BY_SLUG.get(str(document.get("type", "")).removeprefix(URN))
    if kind is None:
        return errors.ServiceError("the service answered with something else", where=where, got=f"status {status}")
    place = document.get("where")
    remedy = document.get("remedy")
    request = document.get("request_id")
    return kind.error(
        str(document.get("detail") or kind.title),
        where=f"{where}: {place}" if place else where + (f" (request {request})" if kind is FAILED and request else ""),
        got=document.get("got"),
        expected=document.get("expected"),
        remedy=None if remedy is None else str(remedy),
    )
