"""Responses: JSON bodies, and problem documents for errors."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from searec.errors import DataError, SearecError, ServiceError
from searec.service.http import problems
from searec.service.http.problems import Kind


def json_response(content: object, status: int = 200) -> Response:
    """Return plain values as a JSON response without validating them again; NaN and infinity become null.

    Args:
        content: built of dicts, lists and scalars.
        status: HTTP status.
    """
    return Response(to_json(content, inf_nan_mode="null"), status, media_type="application/json")


class Refusal(HTTPException):
    """A refused request. It is an HTTPException, which FastAPI lets through while it reads a body."""

    def __init__(self, kind: Kind, error: SearecError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind.status, headers=headers)
        self.kind, self.error = kind, error


def problem_response(
    kind: Kind, error: SearecError, request_id: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a problem document as a response.

    Args:
        kind: of the problem.
        error: what the document says.
        request_id: id of the request in the log.
        headers: further headers.
    """
    all_headers = dict(headers or {})
    if kind is problems.OVERLOADED or kind is problems.STORAGE:
        all_headers.setdefault("Retry-After", "1")
    body = to_json(problems.document(kind, error, request_id))
    return Response(body, kind.status, all_headers, media_type=problems.MEDIA)


def add_handlers(app: FastAPI) -> None:
    """Turn the errors that routes raise into problem documents; the middleware handles unexpected ones."""

    async def handle_searec(request: Request, error: Exception) -> Response:
        assert isinstance(error, SearecError)
        kind = problems.kind_of(error)
        if kind is problems.FAILED:
            raise error
        return problem_response(kind, error, _request_id(request))

    async def handle_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error, Refusal):
            return problem_response(error.kind, error.error, _request_id(request), error.headers)
        if error.status_code == 404:
            kind, what = problems.NO_ROUTE, ServiceError("there is no such path")
        elif error.status_code == 405:
            kind, what = problems.METHOD, ServiceError("the path does not have this method", got=request.method)
        else:
            kind, what = problems.BAD_REQUEST, ServiceError(str(error.detail))
        return problem_response(kind, what, _request_id(request), error.headers)

    async def handle_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(problems.BAD_DATA, _first_error(error), _request_id(request))

    app.add_exception_handler(SearecError, handle_searec)
    app.add_exception_handler(HTTPException, handle_http)
    app.add_exception_handler(RequestValidationError, handle_validation)


def _request_id(request: Request) -> str | None:
    context = request.scope.get("searec")
    return context.request_id if context is not None else None


def _first_error(error: RequestValidationError) -> DataError:
    """Return the first finding of a validation as a DataError."""
    errors = error.errors()
    first: dict[str, Any] = errors[0]
    if first["type"] == "json_invalid":
        return DataError("the body is not valid JSON", where=f"character {first['loc'][-1]}", got=first["ctx"]["error"])
    place, *path = (str(part) for part in first["loc"])
    where = f"{place} " + ".".join(path) if path else place
    remedy = f"correct this value; {len(errors) - 1} more are wrong" if len(errors) > 1 else None
    if first["type"] == "missing":
        return DataError("a required value is missing", where=where, remedy=remedy)
    got = first.get("input")
    if isinstance(got, (bytes, bytearray)):
        expected = "Content-Type: application/json"
        return DataError("the body is not JSON by its Content-Type", where=where, expected=expected)
    what = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = "the name is unknown"
    return DataError(what, where=where, got=repr(got[:200] if isinstance(got, str) else got), remedy=remedy)
