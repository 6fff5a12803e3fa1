"""Reasoners by name, built in or from entry points `searec.reasoners`; each is imported when it is used."""

from collections.abc import Mapping, Sequence
from typing import cast

from searec.data.schema import Task
from searec.data.split import Split
from searec.interests.reasoner import Reasoner
from searec.plugins import Registry

REASONERS = Registry(
    "reasoner",
    {
        "offline": "searec.interests.offline_reasoner:OfflineReasoner",
        "chat": "searec.interests.chat_reasoner:ChatReasoner",
        "debate": "searec.interests.debate_reasoner:DebateReasoner",
        "student": "searec.interests.student_reasoner:StudentReasoner",
    },
    "searec.reasoners",
)
"""Classes with `open(split, tasks, options) -> Reasoner`."""


def reasoner_named(
    name: str, split: Split, tasks: Sequence[Task], options: Mapping[str, str] | None = None
) -> Reasoner:
    """Open a reasoner; each thread needs its own.

    Args:
        name: of the reasoner.
        split: whose training events it may read.
        tasks: whose training events it may read.
        options: settings by name, as text; also `encoder` of the offline one, `chat_model` of chat and debate (for
            debate several with commas), `model` of the student, a folder or hub id.

    Raises:
        SettingsError: no such reasoner, or no such setting of it.
        DependencyError: the package that declares it cannot be imported.
        SearecError: it cannot be opened.
    """
    return cast(Reasoner, REASONERS.named(name).open(split, tasks, dict(options or {})))
