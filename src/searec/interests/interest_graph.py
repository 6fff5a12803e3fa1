"""Interest graph of one user: signals, the demands behind them, and further interests (arXiv 2508.04032, Stage 1).

signal (a query, or a click where there is no query) -hypernym-> demand -hyponym or co-hyponym-> interest
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from searec.data.schema import DAY
from searec.errors import DataError
from searec.interests.novelty import NEAR, History, stems
from searec.interests.profile import Profile

Signal = Literal["query", "click"]
Relation = Literal["hypernym", "hyponym", "co-hyponym"]
LONGEST = 120
"""Characters of a demand or an interest."""
FORMAT = 1
"""Version of the JSON form."""

_strict = ConfigDict(strict=True, extra="forbid")


@checked(frozen=True, kw_only=True, config=_strict)
class Edge:
    """One step of reasoning."""

    source: str  # text of a signal (hypernym) or of a demand (others)
    target: str  # text of a demand (hypernym) or of an interest (others)
    relation: Relation  # hypernym, hyponym or co-hyponym
    signal: Signal | None = None  # kind of the source of a hypernym; None for the others
    evidence: str = ""  # why, in few words
    confidence: float = 1.0  # in (0, 1]
    time: int = 0  # microseconds since 1970 of the newest event it rests on

    @property
    def key(self) -> tuple[frozenset[str], frozenset[str], bool]:
        """Equal for edges of the same words, plural endings and order aside, on the same hop."""
        return stems(self.source), stems(self.target), self.relation == "hypernym"


@dataclass(frozen=True)
class InterestPath:
    """An interest with its best path, and its confidence by the whole graph, in (0, 1]."""

    text: str
    confidence: float
    signal: str
    kind: Signal
    demand: str
    relation: Relation

    @property
    def reason(self) -> str:
        """The reason as text for people."""
        did = "looked for" if self.kind == "query" else "clicked"
        return f"because you {did} “{self.signal}” → {self.demand} → {self.text}"


@dataclass(frozen=True)
class InterestGraph:
    """The interest graph of one user.

    Attributes:
        user: external id.
        at: microseconds since 1970; everything it rests on is older.
        origin: how it was inferred: at least reasoner and version. Its JSON name is "made".
        edges: no two with the same key.

    Raises:
        DataError: an edge breaks a rule: confidence outside (0, 1], an empty or overlong text, no edge to its demand.
    """

    user: str
    at: int
    edges: tuple[Edge, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        demands = {stems(edge.target) for edge in self.edges if edge.relation == "hypernym"}
        seen = set()
        for edge in self.edges:
            problem = _problem(edge, demands)
            if edge.key in seen:
                problem = "the same edge twice"
            if problem:
                where = f"graph of user {self.user!r}, {edge.source!r} -> {edge.target!r}"
                raise DataError(problem, where=where, got=f"{edge.relation}, confidence {edge.confidence}")
            seen.add(edge.key)

    def __bool__(self) -> bool:
        return bool(self.edges)

    @property
    def _hypernyms(self) -> list[Edge]:
        return [edge for edge in self.edges if edge.relation == "hypernym"]

    @property
    def _widening(self) -> list[Edge]:
        return [edge for edge in self.edges if edge.relation != "hypernym"]

    @property
    def signals(self) -> dict[str, Signal]:
        """Signals, with what each is, in order of their edges."""
        return {edge.source: edge.signal or "query" for edge in self._hypernyms}

    @property
    def demands(self) -> dict[str, float]:
        """Demands by the confidence of the best edge to each, highest first."""
        best: dict[str, float] = {}
        for edge in self._hypernyms:
            best[edge.target] = max(edge.confidence, best.get(edge.target, 0.0))
        return dict(sorted(best.items(), key=lambda pair: (-pair[1], pair[0])))

    def interests(self) -> list[InterestPath]:
        """Return each interest by its best path, highest confidence first, then by text.

        Paths support one another: confidence is 1 - product of (1 - path), a path being the product of its two edges.
        """
        to: dict[frozenset[str], Edge] = {}
        for edge in self._hypernyms:
            key = stems(edge.target)
            if key not in to or edge.confidence > to[key].confidence:
                to[key] = edge
        paths: dict[frozenset[str], list[tuple[float, Edge, Edge]]] = {}
        for edge in self._widening:
            first = to[stems(edge.source)]
            paths.setdefault(stems(edge.target), []).append((first.confidence * edge.confidence, first, edge))
        interests = []
        for supports in paths.values():
            _, first, edge = max(supports, key=lambda path: path[0])
            doubt = math.prod(1 - weight for weight, _, _ in supports)
            interests.append(
                InterestPath(edge.target, 1 - doubt, first.source, first.signal or "query", first.target, edge.relation)
            )
        return sorted(interests, key=lambda one: (-one.confidence, one.text))

    def novel(self, profile: Profile, *, lowest: int = NEAR) -> "InterestGraph":
        """Return the graph without interests that the profile's history already holds.

        Args:
            profile: of the same user.
            lowest: grade of `novelty` that stays.
        """
        history = History.of(profile)
        widening = [edge for edge in self._widening if history.grade(edge.target) >= lowest]
        return replace(self, edges=(*self._hypernyms, *widening))

    def top(self, count: int) -> "InterestGraph":
        """Return the graph with its `count` most confident interests; demands and signals stay."""
        top = {stems(one.text) for one in self.interests()[:count]}
        return replace(
            self, edges=tuple(edge for edge in self.edges if edge.relation == "hypernym" or stems(edge.target) in top)
        )

    def merged(self, newer: "InterestGraph", *, half_life: float = 30.0, lowest: float = 0.05) -> "InterestGraph":
        """Return this graph merged with a newer one of the same user.

        The confidence of edges of the older one alone halves every `half_life` days; below `lowest` they are dropped.
        An edge of both has confidence 1 - (1 - older)(1 - newer) and the newer one's words, evidence and time.

        Args:
            newer: not older than this one.
            half_life: days.
            lowest: confidence of an edge of this graph that stays.

        Raises:
            DataError: graphs of two users, or `newer` is older.
        """
        if newer.user != self.user or newer.at < self.at:
            raise DataError(
                "graphs do not follow on one another", got=f"{self.user} at {self.at}, {newer.user} at {newer.at}"
            )
        fading = 0.5 ** ((newer.at - self.at) / (half_life * DAY))
        edges = {edge.key: edge for edge in newer.edges}
        for edge in self.edges:
            weight = edge.confidence * fading
            if edge.key in edges:
                both = edges[edge.key]
                edges[edge.key] = replace(both, confidence=1 - (1 - both.confidence) * (1 - weight))
            elif weight >= lowest:
                edges[edge.key] = replace(edge, confidence=weight)
        demands = {stems(edge.target) for edge in edges.values() if edge.relation == "hypernym"}
        supported = tuple(
            edge for edge in edges.values() if edge.relation == "hypernym" or stems(edge.source) in demands
        )
        return InterestGraph(self.user, newer.at, supported, newer.origin)

    def to_json(self) -> str:
        """Return one line of JSON, read back by `from_json`."""
        form = {
            "format": FORMAT,
            "user": self.user,
            "at": self.at,
            "made": dict(self.origin),
            "edges": [asdict(edge) for edge in self.edges],
        }
        return json.dumps(form, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "InterestGraph":
        """Read what `to_json` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            form = _FORM.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or None
            raise DataError(
                "not an interest graph", where=where, got=repr(first["input"])[:100], expected=first["msg"]
            ) from None
        return cls(form.user, form.at, tuple(form.edges), form.origin)


@checked(frozen=True, config=_strict)
class _Form:
    format: Literal[1]
    user: str
    at: int
    origin: Annotated[dict[str, Any], Field(alias="made")]
    edges: list[Edge]


_FORM = TypeAdapter(_Form)


def merge_edges(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """Return the edges, of equal ones the most confident, in order of first mention."""
    best: dict[Any, Edge] = {}
    for edge in edges:
        if edge.key not in best or edge.confidence > best[edge.key].confidence:
            best[edge.key] = edge
    return tuple(best.values())


def newest_times(demands: Iterable[Edge]) -> dict[frozenset[str], int]:
    """Return the newest time of each demand's hypernym edges, by the stems of the demand."""
    times: dict[frozenset[str], int] = {}
    for edge in demands:
        times[stems(edge.target)] = max(edge.time, times.get(stems(edge.target), edge.time))
    return times


def _problem(edge: Edge, demands: set[frozenset[str]]) -> str | None:
    if not (math.isfinite(edge.confidence) and 0 < edge.confidence <= 1):
        return "a confidence outside (0, 1]"
    if not stems(edge.target) or not edge.source.strip() or len(edge.target) > LONGEST:
        return f"a text that is empty or longer than {LONGEST} characters"
    if (edge.relation == "hypernym") != (edge.signal is not None):
        return "a hypernym starts from a signal, and nothing else does"
    if edge.relation != "hypernym" and stems(edge.source) not in demands:
        return "an interest whose demand nothing leads to"
    return None
