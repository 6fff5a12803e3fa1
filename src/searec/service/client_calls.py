"""The calls of the service's HTTP: what each sends and which model its answer is. The clients send them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from searec.errors import DataError
from searec.service.http import schemas

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Told = BaseModel | Mapping[str, Any]
"""A model of `wire`, or its fields."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call. answer: the model of what comes back; again: whether it may be sent again when it fails."""

    method: str
    path: str
    answer: type[T]
    parameters: tuple[tuple[str, str], ...] = ()
    body: Any = None
    again: bool = False

    @property
    def where(self) -> str:
        """For errors; without parameters."""
        return f"{self.method} {self.path}"


def get(path: str, answer: type[T], **parameters: Any) -> Call[T]:
    """A call that changes nothing; parameters that are None are left out, lists are repeated."""
    given: list[tuple[str, str]] = []
    for name, value in parameters.items():
        several = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
        given += [(name, str(one).lower() if isinstance(one, bool) else str(one)) for one in several]
    return Call("GET", path, answer, tuple(given), again=True)


def part(text: str) -> str:
    """An id as a part of a path."""
    return quote(text, safe="")


def listed(kind: type[M], name: str, told: Iterable[Told]) -> dict[str, Any]:
    """A body with a list, checked here as the service checks it.

    Raises:
        DataError: it breaks a rule.
    """
    fields = [one.model_dump(exclude_unset=True) if isinstance(one, BaseModel) else dict(one) for one in told]
    return checked(kind, {name: fields})


def checked(kind: type[M], body: Mapping[str, Any]) -> dict[str, Any]:
    """A body, checked here as the service checks it.

    Raises:
        DataError: it breaks a rule.
    """
    try:
        return kind.model_validate(body).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            str(first["msg"]).removeprefix("Value error, "), where=where, got=repr(first["input"])[:100]
        ) from None


def put_items(items: Iterable[Told]) -> Call[schemas.Changed]:
    """Add or replace items."""
    return Call("POST", "/v1/items", schemas.Changed, body=listed(schemas.ItemsIn, "items", items))


def put_users(users: Iterable[Told]) -> Call[schemas.Changed]:
    """Add or replace users."""
    return Call("POST", "/v1/users", schemas.Changed, body=listed(schemas.UsersIn, "users", users))


def report(events: Iterable[Told]) -> Call[schemas.Kept]:
    """Tell events; the same one may be told again."""
    return Call("POST", "/v1/events", schemas.Kept, body=listed(schemas.EventsIn, "events", events), again=True)


def hide(item_ids: Iterable[str], hidden: bool) -> Call[schemas.Changed]:
    """Hide items or show them again."""
    return Call(
        "POST",
        "/v1/items/hide",
        schemas.Changed,
        body=checked(schemas.HideIn, {"item_ids": list(item_ids), "hidden": hidden}),
    )
