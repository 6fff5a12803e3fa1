"""Registries of names whose objects are imported when used: built in, or from entry points of other packages."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from searec.errors import DependencyError, SettingsError


def entry_points_of(group: str) -> dict[str, EntryPoint]:
    """Return the entry points that installed packages declare in a group, by name.

    Raises:
        SettingsError: two packages declare the same name.
    """
    points: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        other = points.setdefault(point.name, point)
        if other.value != point.value:
            raise SettingsError(
                f"two installed packages declare {point.name!r}",
                where=f"entry points {group}",
                got=f"{other.value}, {point.value}",
                remedy="uninstall one of them",
            )
    return points


@dataclass(frozen=True)
class Registry:
    """Objects by name, in the order of the table; those of other packages follow.

    Attributes:
        noun: what an entry is, for messages ("model").
        built_in: name -> "module:object".
        group: the group of entry points that other packages add to; none if empty.
    """

    noun: str
    built_in: Mapping[str, str]
    group: str = ""

    def names(self) -> tuple[str, ...]:
        """Return all names; nothing is imported.

        Raises:
            SettingsError: another package declares a name that is taken.
        """
        added = entry_points_of(self.group) if self.group else {}
        if taken := self.built_in.keys() & added.keys():
            name = min(taken)
            raise SettingsError(
                f"an installed package declares the {self.noun} {name!r}, which is built in",
                where=f"entry points {self.group}",
                got=added[name].value,
                remedy="rename it or uninstall the package",
            )
        return (*self.built_in, *added)

    def named(self, name: str) -> Any:
        """Return the object of a name, imported now.

        Raises:
            SettingsError: no such name; the nearest is named.
            DependencyError: the package that declares it cannot be imported.
        """
        if name in self.built_in:
            module, _, attribute = self.built_in[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        point = (entry_points_of(self.group) if self.group else {}).get(name)
        if point is None:
            from searec.config import nearest  # it loads pydantic, which names alone do not need

            raise SettingsError(f"unknown {self.noun} {name!r}", remedy=nearest(name, list(self.names())))
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise DependencyError(
                f"the {self.noun} {name!r} cannot be imported",
                where=f"entry point {point.value}",
                got=error,
                remedy="repair or uninstall the package that declares it",
            ) from error
