"""Logs: one JSON line for each request and each thing that goes wrong, on standard error."""

import logging
import sys
import traceback
from typing import Any, BinaryIO

import structlog
from pydantic_core import to_json


def logger(stream: BinaryIO | None = None) -> Any:
    """A logger that writes JSON lines with a UTC time; to standard error by default."""
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


def failure(error: BaseException, *, text: bool) -> dict[str, Any]:
    """What a log may say of an unexpected error: its kind and where it came from; its message, which may hold ids, only with `text`."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    cause = error.__cause__ or error.__context__
    told: dict[str, Any] = {"error": type(error).__name__, "frames": frames[-12:]}
    if cause is not None:
        told["cause"] = type(cause).__name__
    if text:
        told["message"] = str(error)
    return told


class Lines(logging.Handler):
    """What the server under us logs, as lines of ours: without arguments of its messages, which may be a caller's text."""

    def __init__(self, log: Any, *, text: bool) -> None:
        super().__init__(logging.WARNING)
        self._log, self._text = log, text

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        told = (
            failure(record.exc_info[1], text=self._text) if record.exc_info and record.exc_info[1] is not None else {}
        )
        self._log.warning(
            "server", said=record.getMessage() if self._text else str(record.msg), logger=record.name, **told
        )
