"""Reasoners by name, built in or from entry points `searec.reasoners`; each is imported when it is used."""

from collections.abc import Mapping, Sequence
from typing import cast

from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import SettingsError
from searec.interests.click_fallback import ClickFallback
from searec.interests.reasoner import Reasoner
from searec.plugins import Registry

REASONERS = Registry(
    "reasoner",
    {
        "offline": "searec.interests.offline_reasoner:OfflineReasoner",
        "one-hop": "searec.interests.one_hop_reasoner:OneHopReasoner",
        "chat": "searec.interests.chat_reasoner:ChatReasoner",
        "debate": "searec.interests.debate_reasoner:DebateReasoner",
        "student": "searec.interests.student_reasoner:StudentReasoner",
    },
    "searec.reasoners",
)
"""Classes with `open(split, tasks, options) -> Reasoner`."""


READ_QUERIES_ALONE = ("chat", "debate")
"""Reasoners that infer nothing of users without recent queries; the offline one then reads their clicks."""


def reasoner_named(
    name: str, split: Split, tasks: Sequence[Task], options: Mapping[str, str] | None = None
) -> Reasoner:
    """Open a reasoner; each thread needs its own.

    Args:
        name: of the reasoner.
        split: whose training events it may read.
        tasks: whose training events it may read.
        options: settings by name, as text; `fallback` of chat and debate, "none" to leave users without recent queries
            without interests; also `encoder` of the offline one, `chat_model` of chat and debate (for
            debate several with commas), `model` of the student, a folder or hub id.

    Raises:
        SettingsError: no such reasoner, or no such setting of it.
        DependencyError: the package that declares it cannot be imported.
        SearecError: it cannot be opened.
    """
    given = dict(options or {})
    if name not in READ_QUERIES_ALONE:
        return cast(Reasoner, REASONERS.named(name).open(split, tasks, given))
    fallback = given.pop("fallback", "offline")
    if fallback not in ("offline", "none"):
        raise SettingsError("unknown fallback", where=f"{name} reasoner", got=fallback, expected="offline or none")
    reasoner = cast(Reasoner, REASONERS.named(name).open(split, tasks, given))
    return reasoner if fallback == "none" else ClickFallback(reasoner, lambda: reasoner_named("offline", split, tasks))
