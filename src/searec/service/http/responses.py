"""Answers: JSON, and problem documents for whatever raises."""

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

_BY_STATUS = {404: problems.NO_ROUTE, 405: problems.METHOD}


def answer(content: object, status: int = 200) -> Response:
    """Plain values as JSON; nothing is checked again. A score that is no number shows as null."""
    return Response(to_json(content, inf_nan_mode="null"), status, media_type="application/json")


class Refusal(HTTPException):
    """A refusal that is HTTP's own, with the error it stands for. An HTTPException: FastAPI lets it through while it reads a body."""

    def __init__(self, kind: Kind, error: SearecError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind.status, headers=headers)
        self.kind, self.error = kind, error


def problem(
    kind: Kind, error: SearecError, request_id: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document as a response."""
    given = dict(headers or {})
    if kind is problems.OVERLOADED or kind is problems.STORAGE:
        given.setdefault("Retry-After", "1")
    return Response(to_json(problems.document(kind, error, request_id)), kind.status, given, media_type=problems.MEDIA)


def refused(refusal: Refusal, request_id: str | None) -> Response:
    """A refusal as a response."""
    return problem(refusal.kind, refusal.error, request_id, refusal.headers)


def add_handlers(app: FastAPI) -> None:
    """Make everything that routes raise on purpose a problem document; what is left is the gate's."""

    async def of_searec(request: Request, error: Exception) -> Response:
        assert isinstance(error, SearecError)
        kind = problems.kind_of(error)
        if kind is problems.FAILED:
            raise error
        return problem(kind, error, _id(request))

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error, Refusal):
            return refused(error, _id(request))
        kind = _BY_STATUS.get(error.status_code, problems.BAD_REQUEST)
        what = {404: "there is nothing at this address", 405: "this address does not do that"}.get(
            error.status_code, str(error.detail)
        )
        return problem(
            kind,
            ServiceError(what, got=request.method if kind is problems.METHOD else None),
            _id(request),
            error.headers,
        )

    async def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(problems.BAD_DATA, validation(error), _id(request))

    app.add_exception_handler(SearecError, of_searec)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)


def _id(request: Request) -> str | None:
    trace = request.scope.get("searec")
    return trace.request_id if trace is not None else None


def validation(error: RequestValidationError) -> DataError:
    """The first fault that a validation found, as an error of ours."""
    found = error.errors()
    first: dict[str, Any] = found[0]
    if first["type"] == "json_invalid":
        return DataError("the body is no JSON", where=f"character {first['loc'][-1]}", got=first["ctx"]["error"])
    place, *path = (str(part) for part in first["loc"])
    where = f"{place} " + ".".join(path) if path else place
    what = str(first["msg"]).removeprefix("Value error, ")
    others = f"{len(found) - 1} more like it" if len(found) > 1 else None
    if first["type"] == "missing":
        what = "a required value is missing"
        return DataError(what, where=where, remedy=others)
    if first["type"] == "extra_forbidden":
        what = "a name that is not known here"
    got = first.get("input")
    if isinstance(got, (bytes, bytearray)):
        return DataError(
            "the body is not JSON by its Content-Type", where=where, expected="Content-Type: application/json"
        )
    shown = repr(got if not isinstance(got, str) else got[:200])
    return DataError(what, where=where, got=shown, remedy=others)
