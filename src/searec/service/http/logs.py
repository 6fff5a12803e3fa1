"""Logs on standard error: one JSON line per request and per error of the server."""

import logging
import sys
import traceback
from typing import Any, BinaryIO

import structlog
from pydantic_core import to_json


def logger(stream: BinaryIO | None = None) -> Any:
    """Return a logger that writes JSON lines with a UTC time, to standard error by default."""
    return structlog.wrap_logger(
        structlog.BytesLogger(stream or sys.stderr.buffer),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def _line(values: dict[str, Any], **_: Any) -> bytes:
    return to_json(values, fallback=str)


def error_fields(error: BaseException, *, text: bool) -> dict[str, Any]:
    """Return the log fields of an unexpected error: its class, cause and frames.

    Args:
        error: to describe.
        text: whether to include its message, which may contain ids and queries.
    """
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    cause = error.__cause__ or error.__context__
    fields: dict[str, Any] = {"error": type(error).__name__, "frames": frames[-12:]}
    if cause is not None:
        fields["cause"] = type(cause).__name__
    if text:
        fields["message"] = str(error)
    return fields


class ServerLogHandler(logging.Handler):
    """Writes uvicorn's log records as JSON lines, without the arguments of messages, which may be a caller's text."""

    def __init__(self, log: Any, *, text: bool) -> None:
        super().__init__(logging.WARNING)
        self._log, self._text = log, text

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line."""
        error = record.exc_info[1] if record.exc_info else None
        fields = error_fields(error, text=self._text) if error is not None else {}
        message = record.getMessage() if self._text else str(record.msg)
        self._log.warning("server", said=message, logger=record.name, **fields)
