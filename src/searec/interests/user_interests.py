"""User interests: what requests, models and explanations read of one user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from searec.interests.interest_graph import InterestGraph

Source = Literal["fresh", "last", "own", "run", "none"]


class Interest(NamedTuple):
    """One interest: its text, its confidence in (0, 1], and the reason as a sentence for people."""

    text: str
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class UserInterests:
    """The interests of one user.

    Attributes:
        source: "fresh", from the store; "last", a stale value of the store; "own", demands derived from the user's own
            clicks; "run", what the model was trained with; "none".
        interests: highest confidence first.
        made_at: microseconds since 1970 when they were inferred or written; None where that is unknown.
    """

    source: Source = "none"
    interests: Sequence[Interest] = ()
    made_at: int | None = None

    @classmethod
    def from_graph(cls, graph: InterestGraph | None, source: Source = "run") -> "UserInterests":
        """Return the interests of a graph; without source where there is no graph or no edge.

        Args:
            graph: the user's graph, or None.
            source: where the graph comes from.
        """
        if not graph:
            return cls()
        return cls(source, [Interest(one.text, one.confidence, one.reason) for one in graph.interests()], graph.at)
