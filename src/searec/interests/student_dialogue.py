"""Prompts and answers of a student: a profile as a prompt, a graph as an answer, in training and in use.

prompt      the task, then {"profile":{name:value},"searches":{"1":newest,"2":...}} on one line; "clicks" for a user
            without queries
answer      {"demands":[[number,demand,confidence], ...],"interests":[[demand,relation,interest,confidence], ...]} on
            one line

Both are JSON, so that no text of a user can end a line or close a list. A demand names its query by number, which a
small model learns more easily than to copy it. An answer has no evidence, and the times of its queries only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from searec.errors import DataError
from searec.interests.interest_graph import Edge, InterestGraph, Signal, newest_times
from searec.interests.novelty import stems
from searec.interests.profile import Profile

FORMAT = "interests-1"
"""Changes with `student_prompt`, `write_answer` or `read_answer`; a student of another format is refused."""
DIGITS = 2
"""Decimal places of a confidence."""
_CLICKS = 10
_TASK = (
    "From a shopper's searches, tell the demands behind each, then interests beyond them. Answer in one line of JSON."
)


@dataclass(frozen=True)
class Signals:
    """The signals of a prompt, newest first and without repeats; all of one kind."""

    kind: Signal  # query or click
    texts: tuple[str, ...]  # number n of a prompt is `texts[n - 1]`
    times: tuple[int, ...]  # microseconds since 1970, of the newest of each

    @classmethod
    def of(cls, profile: Profile) -> "Signals":
        """Return a profile's queries; the titles of its newest clicks where it has no queries."""
        newest: dict[str, int] = {}
        if profile.queries:
            for query in profile.queries:
                newest.setdefault(query.text, query.time)
            return cls("query", tuple(newest), tuple(newest.values()))
        for clicked in profile.clicks:
            if clicked.title and len(newest) < _CLICKS:
                newest.setdefault(clicked.title, clicked.time)
        return cls("click", tuple(newest), tuple(newest.values()))


def student_prompt(profile: Profile) -> str:
    r"""Return the prompt, ending where the answer begins.

    >>> from searec.interests.profile import ProfileQuery
    >>> queries = ProfileQuery("red tent", 8), ProfileQuery('7" pan', 5)
    >>> student_prompt(Profile("u", 9, {"age": "25-34"}, queries)).splitlines()[1]
    '{"profile":{"age":"25-34"},"searches":{"1":"red tent","2":"7\\" pan"}}'
    """
    signs = Signals.of(profile)
    numbered = {str(number): text for number, text in enumerate(signs.texts, start=1)}
    kind = "searches" if signs.kind == "query" else "clicks"
    return f"{_TASK}\n{_line({'profile': dict(profile.attributes), kind: numbered})}\n"


def write_answer(graph: InterestGraph, profile: Profile) -> str:
    """Return the answer of a graph, one line; `as_written` gives the graph as it is read back.

    Args:
        graph: of the profile.
        profile: of the prompt.

    Raises:
        DataError: the graph starts from something that the prompt does not hold.
    """
    number = {text: place for place, text in enumerate(Signals.of(profile).texts, start=1)}
    hops, wider = _hops(graph, profile)
    demands = [[number[edge.source], edge.target, edge.confidence] for edge in hops]
    interests = [[edge.source, edge.relation, edge.target, edge.confidence] for edge in wider]
    return _line({"demands": demands, "interests": interests})


def as_written(graph: InterestGraph, profile: Profile) -> InterestGraph:
    """Return the graph as an answer has it: without evidence, rounded confidences, times of signals, one order.

    Demands go by their signal, newest first; interests by their demand; then the most confident first.

    Args:
        graph: of the profile.
        profile: of the prompt.

    Raises:
        DataError: it starts from something that the prompt does not hold, or rounding breaks an edge.
    """
    signs = Signals.of(profile)
    times = dict(zip(signs.texts, signs.times, strict=True))
    hops, wider = _hops(graph, profile)
    edges = [replace(edge, time=times[edge.source]) for edge in hops]
    newest = newest_times(edges)
    edges += [replace(edge, time=newest[stems(edge.source)]) for edge in wider]
    return InterestGraph(profile.user, profile.at, tuple(edges), graph.origin)


def read_answer(text: str, profile: Profile, origin: Mapping[str, Any]) -> InterestGraph:
    """Read the graph of an answer, strictly: nothing is repaired or dropped.

    Args:
        text: the answer.
        profile: of the prompt.
        origin: of the graph.

    Raises:
        DataError: the answer is not JSON, has another shape, starts from no signal of the prompt, or makes no graph.
    """
    try:
        answer = _ANSWER.validate_json(text.strip())
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise DataError(
                "the answer is not JSON", where=f"user {profile.user!r}", got=repr(text)[:200], expected=first["msg"]
            ) from None
        where = ".".join(map(str, first["loc"])) or None
        raise DataError(
            "the answer has another shape", where=where, got=repr(first["input"])[:100], expected=first["msg"]
        ) from None
    signs = Signals.of(profile)
    edges = []
    for number, target, confidence in answer.demands:
        if not 1 <= number <= len(signs.texts):
            raise _unasked(profile, signs, f"number {number}")
        source, time = signs.texts[number - 1], signs.times[number - 1]
        edges.append(
            Edge(source=source, target=target, relation="hypernym", signal=signs.kind, confidence=confidence, time=time)
        )
    newest = newest_times(edges)
    for source, relation, target, confidence in answer.interests:
        time = newest.get(stems(source), 0)  # an unknown demand is the graph's to refuse
        edges.append(Edge(source=source, target=target, relation=relation, confidence=confidence, time=time))
    return InterestGraph(profile.user, profile.at, tuple(edges), origin)


def _hops(graph: InterestGraph, profile: Profile) -> tuple[list[Edge], list[Edge]]:
    """Edges of the first and of the second hop as an answer has them, in its order."""
    signs = Signals.of(profile)
    place = {text: number for number, text in enumerate(signs.texts)}
    edges = [replace(edge, evidence="", confidence=round(edge.confidence, DIGITS)) for edge in graph.edges]
    first = [edge for edge in edges if edge.relation == "hypernym"]
    if strange := [edge.source for edge in first if edge.signal != signs.kind or edge.source not in place]:
        raise _unasked(profile, signs, repr(strange[0])[:100])
    first.sort(key=lambda edge: (place[edge.source], -edge.confidence, edge.target))
    order: dict[frozenset[str], int] = {}
    for edge in first:
        order.setdefault(stems(edge.target), len(order))
    second = [edge for edge in edges if edge.relation != "hypernym"]
    return first, sorted(second, key=lambda edge: (order[stems(edge.source)], -edge.confidence, edge.target))


def _unasked(profile: Profile, signs: Signals, got: str) -> DataError:
    expected = f"one of {len(signs.texts)} ({signs.kind})"
    return DataError(
        "the answer starts from no signal of the prompt", where=f"user {profile.user!r}", got=got, expected=expected
    )


@checked(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class _Answer:
    demands: list[tuple[int, str, float]]
    interests: list[tuple[str, Literal["hyponym", "co-hyponym"], str, float]]


_ANSWER = TypeAdapter(_Answer)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
