"""Timestamps: RFC 3339 text with a zone in requests, UTC in responses, microseconds since 1970 inside."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_AHEAD = timedelta(days=1)


def read_time(value: object) -> datetime:
    """Return the UTC time of RFC 3339 text with a zone.

    >>> read_time("2026-11-20T10:00:00.5+01:00").isoformat()
    '2026-11-20T09:00:00.500000+00:00'

    Raises:
        ValueError: another form of text, no zone, before 1970, or more than a day from now.
    """
    if isinstance(value, datetime):
        time = value
        if time.tzinfo is None:
            raise ValueError("a timestamp needs a time zone")
    elif isinstance(value, str) and _RFC3339.fullmatch(value):
        whole, fraction, zone = re.fullmatch(r"(.{19})(?:\.(\d+))?(.+)", value).groups()  # type: ignore[union-attr]
        digits = f".{(fraction or '0')[:6].ljust(6, '0')}"
        time = datetime.fromisoformat(whole.upper() + digits + ("+00:00" if zone in "Zz" else zone))
    else:
        raise ValueError("a timestamp is RFC 3339 text with a time zone, as 2026-11-20T09:00:00Z")
    try:
        time = time.astimezone(UTC)
    except OverflowError:
        raise ValueError("a timestamp lies between 1970 and now") from None
    if not EPOCH <= time <= datetime.now(UTC) + _AHEAD:
        raise ValueError("a timestamp lies between 1970 and now")
    return time


def to_micros(time: datetime) -> int:
    """Return microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


def from_micros(time: int) -> str:
    """Return RFC 3339 text in UTC.

    >>> from_micros(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    return (EPOCH + timedelta(microseconds=time)).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _write_time(time: datetime) -> str:
    return from_micros(to_micros(time))


Timestamp = Annotated[
    datetime,
    BeforeValidator(read_time),
    PlainSerializer(_write_time, when_used="json"),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "description": "RFC 3339 with a zone, from 1970 to a day from now."}
    ),
]
