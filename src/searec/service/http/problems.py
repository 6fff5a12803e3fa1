"""Problem documents (RFC 9457): how each searec error is written as one, and read back by the client."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from searec import errors
from searec.errors import SearecError

URN = "urn:searec:problem:"
MEDIA = "application/problem+json"
_LONGEST_GOT, _LONGEST = 100, 300


class Kind(NamedTuple):
    """A kind of problem. slug: end of its type URN; error: what the client raises for it."""

    slug: str
    status: int
    title: str
    error: type[SearecError]


UNKNOWN_ID = Kind("unknown-id", 404, "Unknown id", errors.UnknownIdError)
BAD_DATA = Kind("bad-data", 422, "A value breaks a rule", errors.DataError)
BAD_SETTING = Kind("bad-setting", 422, "A setting breaks a rule", errors.SettingsError)
BAD_RUN = Kind("bad-run", 422, "A run cannot be used", errors.RunError)
CONFLICT = Kind("conflict", 409, "The event id was sent before with other contents", errors.DataError)
OVERLOADED = Kind("overloaded", 503, "Too many requests are waiting", errors.Overloaded)
STORAGE = Kind("storage", 503, "The store does not respond", errors.StorageError)
DEPENDENCY = Kind("dependency", 501, "Not installed", errors.DependencyError)
NO_KEY = Kind("no-key", 401, "A valid key is needed", errors.AccessError)
FORBIDDEN = Kind("forbidden", 403, "The role of the key is too low", errors.AccessError)
NO_ROUTE = Kind("no-route", 404, "Unknown path", errors.ServiceError)
METHOD = Kind("method", 405, "Method not allowed", errors.ServiceError)
BAD_REQUEST = Kind("bad-request", 400, "The request cannot be read", errors.ServiceError)
BAD_HOST = Kind("bad-host", 421, "Host name not accepted", errors.ServiceError)
TOO_SLOW = Kind("too-slow", 408, "The body was not received in time", errors.ServiceError)
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
_BY_SLUG = {kind.slug: kind for kind in tuple(globals().values()) if isinstance(kind, Kind)}


def kind_of(error: SearecError) -> Kind:
    """Return the kind of an error; FAILED for errors that callers must not see."""
    return next((kind for known, kind in _BY_ERROR if isinstance(error, known)), FAILED)


def document(kind: Kind, error: SearecError, request_id: str | None = None) -> dict[str, Any]:
    """Return a problem document. A failure of the service shows the request's id only; callers' values are cut short.

    Args:
        kind: of the problem.
        error: its details.
        request_id: id of the request in the log.
    """
    values: dict[str, Any] = {"type": URN + kind.slug, "title": kind.title, "status": kind.status}
    if kind is FAILED:
        values["detail"] = "the reason is in the log of the service"
        values["remedy"] = "ask the operator of the service, with this request_id"
    else:
        values["detail"] = _clip(error.what, _LONGEST)
        values["where"] = _clip(error.where, _LONGEST)
        values["got"] = _clip(error.got, _LONGEST_GOT)
        values["expected"] = _clip(error.expected, _LONGEST)
        values["remedy"] = _clip(error.remedy, _LONGEST)
    values["request_id"] = request_id
    return {name: value for name, value in values.items() if value is not None}


def _clip(value: object, most: int) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def error_of(status: int, document: Mapping[str, Any], where: str) -> SearecError:
    """Return the error that a problem document describes; ServiceError for any other document.

    >>> error_of(404, {"type": "urn:searec:problem:unknown-id", "detail": "no item"}, "GET /v1/items/i9")
    UnknownIdError('no item; where: GET /v1/items/i9')

    Args:
        status: of the response.
        document: its body.
        where: the call, for the error.
    """
    kind = _BY_SLUG.get(str(document.get("type", "")).removeprefix(URN))
    if kind is None:
        return errors.ServiceError("the response is no problem document", where=where, got=f"status {status}")
    if document.get("where"):
        where = f"{where}: {document['where']}"
    elif kind is FAILED and document.get("request_id"):
        where = f"{where} (request {document['request_id']})"
    remedy = document.get("remedy")
    return kind.error(
        str(document.get("detail") or kind.title),
        where=where,
        got=document.get("got"),
        expected=document.get("expected"),
        remedy=None if remedy is None else str(remedy),
    )
