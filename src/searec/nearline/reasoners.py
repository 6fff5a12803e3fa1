"""Reasoners by name, for the command line and for services. Each is imported when it is asked for."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from searec.errors import SettingsError
from searec.nearline.reasoner import Reasoner
from searec.settings import nearest

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

REASONERS = {
    "offline": ("searec.nearline.offline", "OfflineReasoner"),
    "chat": ("searec.nearline.chat", "ChatReasoner"),
    "debate": ("searec.nearline.debate", "DebateReasoner"),
    "student": ("searec.nearline.student", "StudentReasoner"),
}
"""Name -> module and class. The class has `open(data, options) -> Reasoner`."""


def reasoner_named(name: str, data: "Dataset", options: Mapping[str, str] | None = None) -> Reasoner:
    """A new reasoner over a catalogue; each thread needs one of its own.

    Args:
        options: its settings by name, as text.

    Raises:
        SettingsError: no such reasoner, or no such setting of it.
    """
    if name not in REASONERS:
        raise SettingsError(f"unknown reasoner {name!r}", remedy=nearest(name, list(REASONERS)))
    module, kind = REASONERS[name]
    return cast(Reasoner, getattr(importlib.import_module(module), kind).open(data, dict(options or {})))
