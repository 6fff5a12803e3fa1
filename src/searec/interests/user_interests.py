"""User interests: what requests, models and explanations read of one user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from searec.interests.interest_graph import InterestGraph
from searec.interests.novelty import stems

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


def true_reason(interests: Sequence[Interest], place: int, categories: Sequence[str]) -> str | None:
    """Return the reason of an interest that an item carries: the one that it was retrieved for, else the surest.

    An item carries an interest if the name of one of its categories has all words of it. None if it carries none.

    Args:
        interests: of the user, the surest first.
        place: of the one that the item was retrieved for.
        categories: names of the item's categories.

    >>> interests = [Interest("tent", 0.9, "you looked for a hike"), Interest("stove", 0.5, "you looked for a meal")]
    >>> true_reason(interests, 0, ["Camping Stoves"]), true_reason(interests, 0, ["Boots"])
    ('you looked for a meal', None)
    """
    names = [stems(name) for name in categories]
    retrieved_for = [interests[place]] if 0 <= place < len(interests) else []
    for interest in (*retrieved_for, *interests):
        words = stems(interest.text)
        if words and any(words <= name for name in names):
            return interest.reason
    return None
