"""Reasoners by name, for the command line and for services. Each is imported when it is asked for."""

import importlib
from collections.abc import Mapping, Sequence
from typing import cast

from searec.config import nearest
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import SettingsError
from searec.interests.reasoner import Reasoner

REASONERS = {
    "offline": ("searec.interests.offline_reasoner", "OfflineReasoner"),
    "chat": ("searec.interests.chat_reasoner", "ChatReasoner"),
    "debate": ("searec.interests.debate_reasoner", "DebateReasoner"),
    "student": ("searec.interests.student_reasoner", "StudentReasoner"),
}
"""Name -> module and class. The class has `open(split, tasks, options) -> Reasoner`."""


def reasoner_named(
    name: str, split: Split, tasks: Sequence[Task], options: Mapping[str, str] | None = None
) -> Reasoner:
    """A new reasoner over a catalogue; each thread needs one of its own.

    Args:
        split, tasks: what it may learn from, the training events of these tasks.
        options: its settings by name, as text; also `encoder` of the offline one, `chat_model` of chat and debate (for debate several
            with commas between them), `model` of the student, a folder or hub id.

    Raises:
        SettingsError: no such reasoner, or no such setting of it.
        SearecError: it cannot be had.
    """
    if name not in REASONERS:
        raise SettingsError(f"unknown reasoner {name!r}", remedy=nearest(name, list(REASONERS)))
    module, kind = REASONERS[name]
    return cast(Reasoner, getattr(importlib.import_module(module), kind).open(split, tasks, dict(options or {})))
