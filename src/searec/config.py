"""Settings: frozen, typed, range-checked dataclasses, and the one way to build them from outside text.

A settings class is declared with `@settings`; ranges are written as `Annotated[float, Field(gt=0)]`.
`configure` turns names and values (from `--set`, JSON or keyword arguments) into an instance, and an
unknown name is an error that names the nearest one.
"""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from searec.errors import SettingsError

T = TypeVar("T")

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
MAX_SEED = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen settings dataclass whose fields are checked when it is built."""
    return pydantic_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(cls)  # type: ignore[return-value]


def check_seed(seed: int) -> int:
    """Return the seed.

    Raises:
        SettingsError: it is below 0, or above what random generators accept.
    """
    if not 0 <= seed <= MAX_SEED:
        raise SettingsError("bad seed", got=seed, expected=f"a whole number from 0 to {MAX_SEED}")
    return seed


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def nearest(name: str, known: list[str]) -> str:
    """Return the remedy text for a misspelt name: the closest known one, or the whole list.

    Args:
        name: as given.
        known: all names.
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(sorted(known))


def configure(
    kind: type[T], values: Mapping[str, Any] | None = None, *, base: T | None = None, where: str = "settings"
) -> T:
    """Build a settings object from names and values, over `base` or the defaults.

    Args:
        kind: a class declared with `@settings`.
        values: field name -> value; text is read as the field's type ("0.1" -> 0.1, "true" -> True, '["a"]' -> a list).
        base: the settings to start from; the class's defaults if None.
        where: what the error names as the place of the fault.

    Raises:
        SettingsError: an unknown name (the nearest is named) or a value of the wrong type or range.
    """
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    given = {name: _read_list(value) for name, value in (values or {}).items()}
    for name in given:
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}", where=where, remedy=nearest(name, known))
    start = {name: getattr(base, name) for name in known} if base is not None else {}
    try:
        return _adapter(kind).validate_python({**start, **given})  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or kind.__name__
        raise SettingsError(
            f"bad value for setting {name!r}", where=where, got=repr(first["input"]), expected=first["msg"]
        ) from None


def _read_list(value: Any) -> Any:
    """A text that is a JSON list as that list; anything else as it is."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def as_dict(config: Any) -> dict[str, Any]:
    """The settings as plain JSON-ready values, to be read back with `configure`."""
    return _adapter(type(config)).dump_python(config, mode="json")  # type: ignore[no-any-return]
