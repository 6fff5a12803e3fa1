"""Reasoner: whoever turns profiles into interest graphs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import Profile


@dataclass(frozen=True)
class ReasoningResult:
    """What came of one profile: a graph, or the named problem that left it without one.

    A graph may be empty, where there was nothing to reason from. transcript: what was said on the way, JSON-ready, where anything was.
    """

    profile: Profile
    graph: InterestGraph | None
    problem: str | None = None
    transcript: tuple[object, ...] = ()


class Reasoner(Protocol):
    """Two hops for each profile: signals to demands, demands to interests that are new to the user.

    Attributes:
        name: "offline", "chat", "debate" or "student".
        version: changes with everything that changes what it says: prompts, model, settings.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        """One thought a profile, in order. Interests that `novelty` knows already are left out by rule.

        Raises:
            SearecError: nothing can be asked at all (no server, no key, budget spent); one profile's failure is its thought's problem.
        """
        ...
