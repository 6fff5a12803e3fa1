"""Users without recent queries: another reasoner reads their clicks, and their graphs say so."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

from typing_extensions import override

from searec.interests.profile import Profile
from searec.interests.reasoner import Reasoner, ReasoningResult

INSTEAD = "instead_of"
"""Key of `InterestGraph.origin`: the reasoner that had no queries to read."""


class ClickFallback(Reasoner):
    """A reasoner of queries, and one of clicks for users who have no recent query.

    Args:
        reasoner: infers from queries.
        open_fallback: opens the reasoner of clicks, when it is first needed.
    """

    def __init__(self, reasoner: Reasoner, open_fallback: Callable[[], Reasoner]) -> None:
        self.reasoner, self._open_fallback = reasoner, open_fallback

    @property
    @override
    def name(self) -> str:
        return self.reasoner.name

    @property
    @override
    def version(self) -> str:
        return f"{self.reasoner.version}, else clicks"

    @cached_property
    def fallback(self) -> Reasoner:
        """The reasoner of clicks."""
        return self._open_fallback()

    @override
    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        results = list(self.reasoner.infer(profiles))
        rows = [row for row, profile in enumerate(profiles) if not profile.queries and profile.clicks]
        if rows:
            for row, result in zip(rows, self.fallback.infer([profiles[row] for row in rows]), strict=True):
                graph = result.graph
                if graph is not None:
                    graph = replace(graph, origin={**graph.origin, INSTEAD: self.name})
                results[row] = replace(result, graph=graph)
        return results
