"""Checks of texts, ids, times and values before they are written, so that every database can hold them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from searec.errors import DataError
from searec.store.events import SEARCH, Event

LONGEST_ID = 1000
"""Bytes of an id; PostgreSQL indexes no text that is much longer."""
LATEST = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""
_DEEPEST = 32
_LARGEST = 2**63


def text(value: object, what: str, where: str) -> str:
    """Return a text that every database can hold: no NUL, no half of a surrogate pair.

    Args:
        value: any.
        what: what it is, for errors.
        where: it is, for errors.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(value, str):
        raise DataError(f"{what} is not a text", where=where, got=repr(value))
    if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise DataError(
            f"{what} holds a character that cannot be stored",
            where=where,
            got=ascii(value),
            expected="no NUL, no lone surrogate",
        )
    return value


def name(value: object, what: str, where: str) -> str:
    """Return an id: a text that is not blank and not too long.

    Args:
        value: any.
        what: what it is, for errors.
        where: it is, for errors.

    Raises:
        DataError: it is something else.
    """
    known = text(value, what, where)
    if not known.strip():
        raise DataError(f"empty {what}", where=where, got=repr(known))
    if len(known.encode()) > LONGEST_ID:
        raise DataError(
            f"{what} is too long", where=where, got=f"{len(known.encode())} bytes", expected=f"at most {LONGEST_ID}"
        )
    return known


def plain(value: Any, what: str, where: str, depth: int = 0) -> Any:
    """Return a JSON value that is read as it was written, with lists for tuples.

    Args:
        value: any.
        what: what it is, for errors.
        where: it is, for errors.
        depth: levels of lists and objects around it.

    Raises:
        DataError: it is something else, as a date, or a number that is none.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value, what, where)
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {text(key, f"a key of {what}", where): plain(one, what, where, depth + 1) for key, one in value.items()}
    if depth < _DEEPEST and isinstance(value, (list, tuple)):
        return [plain(one, what, where, depth + 1) for one in value]
    if (type(value) is int and -_LARGEST <= value < _LARGEST) or (type(value) is float and abs(value) < float("inf")):
        return value
    raise DataError(
        f"{what} cannot be stored",
        where=where,
        got=repr(value) if isinstance(value, float) else f"a value of type {type(value).__name__}",
        expected=f"texts, numbers of 64 bits, true, false, null, and at most {_DEEPEST} levels of lists or objects",
    )


def checked(event: Event) -> dict[str, Any]:
    """Return an event as a row of the table, without its number.

    Raises:
        DataError: it is none.
    """
    where = f"event {event.event_id!a}"
    row = {
        "event_id": name(event.event_id, "event id", where),
        "user_id": name(event.user, "user", where),
        "kind": name(event.kind, "kind", where),
        "time": event.time,
        "item_id": None if event.item is None else name(event.item, "item", where),
        "query": None if event.query is None else text(event.query, "query", where),
        "search_id": None if event.search is None else name(event.search, "search", where),
        "clicked": _names(event.clicked, "clicked", where),
        "shown": _names(event.shown, "shown", where),
    }
    if type(event.time) is not int or not 0 <= event.time <= LATEST:
        raise DataError("no time", where=where, got=repr(event.time), expected="microseconds since 1970")
    if event.kind == SEARCH:
        if not (event.query or "").strip() or event.item is not None:
            raise DataError(
                "not a search",
                where=where,
                got=f"query {event.query!r}, item {event.item!r}",
                expected="a query and no item",
            )
    elif event.item is None or event.query is not None or event.clicked or event.shown:
        got = f"item {event.item!r}, query {event.query!r}, {len(event.clicked)} clicked, {len(event.shown)} shown"
        raise DataError(
            f"not an event of kind {event.kind!r}",
            where=where,
            got=got,
            expected="an item, and nothing that a search has",
        )
    return row


def columns(row: Mapping[str, Any], key: str, where: str, *needed: str) -> tuple[str, dict[str, Any]]:
    """Return the id of an item or user, and its other columns.

    Args:
        row: columns by name.
        key: the column of the id.
        where: "item" or "user", for errors.
        needed: columns that must not be blank.

    Raises:
        DataError: a missing or blank id, a missing or blank column that is needed, or a value that cannot be stored.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"not columns of {where}", got=repr(row), expected=f"{key} and others by name")
    number = name(row.get(key), key, where)
    where = f"{where} {number!r}"
    about = {column: value for column, value in plain(row, "a column", where).items() if column != key}
    for column in needed:
        if not text(about.get(column), column, where).strip():
            raise DataError(f"empty {column}", where=where)
    return number, about


def as_json(value: Any) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; most often an empty list."""
    return [] if text == ("[]" if isinstance(text, str) else b"[]") else json.loads(text)


def _names(values: Sequence[str], what: str, where: str) -> list[str]:
    if isinstance(values, str):
        raise DataError(f"{what} is not a list", where=where, got=repr(values))
    return [name(value, f"an item of {what}", where) for value in values]
