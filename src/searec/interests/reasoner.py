"""Protocol of reasoners, which infer interest graphs from profiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from searec.data.schema import Task
from searec.data.split import Split
from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import Profile


@dataclass(frozen=True)
class ReasoningResult:
    """The graph of one profile, or the named problem that prevented it."""

    profile: Profile  # what was read
    graph: InterestGraph | None  # empty where there was nothing to infer from
    problem: str | None = None  # None with a graph
    transcript: tuple[object, ...] = ()  # messages of the reasoner, JSON-ready


class Reasoner(Protocol):
    """Infers in two hops: signals to demands, demands to interests that are new to the user.

    Attributes:
        name: "offline", "chat", "debate" or "student".
        version: changes with everything that changes its graphs: prompts, model, settings.
    """

    @property
    def name(self) -> str:
        """The reasoner's name."""
        ...

    @property
    def version(self) -> str:
        """The version of its graphs."""
        ...

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        """Return one result a profile, in order, without interests that are known by `novelty`.

        Raises:
            SearecError: it cannot work at all (no server, no key, budget spent); the failure of one profile is the
                `problem` of its result.
        """
        ...


class BuiltInReasoner(Reasoner, Protocol):
    """A reasoner that `reasoner_registry` opens by its name."""

    @classmethod
    def open(cls, split: Split, tasks: Sequence[Task], options: Mapping[str, str]) -> Self:
        """Open it by settings as text.

        Args:
            split: whose training events it may read.
            tasks: whose training events it may read.
            options: settings by name, as for `reasoner_named`.

        Raises:
            SettingsError: a setting that is missing or does not exist, or a bad value.
            DependencyError: an encoder or a base that cannot be had.
        """
        ...
