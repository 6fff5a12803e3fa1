"""The two hops with a language model: questions about profiles, the form of answers, and rules for their entries."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from searec.config import Count, Natural, settings
from searec.interests.interest_graph import LONGEST, Edge, merge_edges, newest_times
from searec.interests.novelty import NEAR, History, stems
from searec.interests.profile import Profile
from searec.interests.structured_output import Fault, Question, Reply, ask_all
from searec.interests.templates import FAULTS, PromptTemplates, as_data
from searec.text.chat import Chat

RULES = "1"
"""Changes with the rules of this file."""
TEXTS = ("hop1", "hop2", "repair")
"""The texts of a version of the prompts that the two hops use."""
LONGEST_QUERY = 200
"""Characters of a query, or of an attribute, that a model reads."""
_ENTRIES = 100  # an answer with more is refused

S = TypeVar("S", bound=BaseModel)
R = TypeVar("R")

UNASKED = FAULTS["no_query"]
UNSAID = "rests on a demand nobody said"
KNOWN = "known already"
ECHO = "repeats what it comes from"
TWICE = "said twice"
EMPTY = "says nothing"
SURPLUS = FAULTS["surplus"]
_FAULTS = {UNASKED, UNSAID, EMPTY}
"""An answer with nothing else is repaired; nothing new is no fault."""


@settings
class HopSettings:
    """Settings of the two hops.

    Attributes:
        prompts: version of the prompts, a folder below `interests/prompts`.
        demands: entries of hop 1 at most.
        candidates: entries of hop 2 at most, before the rule of novelty.
        interests: K, the most confident novel interests, which stay.
        lowest: grade of `novelty` that an interest needs: 1 near to the history, 2 new.
        attributes: names of the profile's attributes that a model reads; all if None.
        known: most older queries, and most clicked categories, that a model reads as known; 0 as in the paper. Known
            interests are dropped by rule in any case.
    """

    prompts: str = "interests-1"
    demands: Annotated[Count, Field(le=_ENTRIES)] = 8
    candidates: Annotated[Count, Field(le=_ENTRIES)] = 15
    interests: Count = 10
    lowest: Annotated[int, Field(ge=NEAR, le=2)] = NEAR
    attributes: tuple[str, ...] | None = None
    known: Natural = 40

    @property
    def wording(self) -> PromptTemplates:
        """The prompts of the version."""
        return PromptTemplates.of(self.prompts)


def printable(text: str) -> str:
    r"""Return the text with a space for each control character, line ends included.

    >>> printable("caps\n\x1b[31mred")
    'caps  [31mred'
    """
    return "".join(letter if letter.isprintable() or ord(letter) > 0x9F else " " for letter in text)


def _plain(text: Any) -> Any:
    """Text on one line; anything else as it is."""
    return " ".join(printable(text).split()) if isinstance(text, str) else text


class Answer(BaseModel):
    """Base of every form: nothing is converted, no further fields are allowed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Phrase = Annotated[str, BeforeValidator(_plain), Field(min_length=1, max_length=LONGEST)]
Remark = Annotated[str, BeforeValidator(_plain), Field(max_length=300)]
Confidence = Annotated[float, Field(ge=0.01, le=1, allow_inf_nan=False)]


class Demand(Answer):
    """A demand behind a query."""

    query: Annotated[str, Field(min_length=1, max_length=2 * LONGEST_QUERY)]
    demand: Phrase
    confidence: Confidence
    evidence: Remark


class Demands(Answer):
    """Hop 1."""

    demands: Annotated[list[Demand], Field(max_length=_ENTRIES)]


class Widening(Answer):
    """An interest from a demand."""

    demand: Phrase
    interest: Phrase
    relation: Literal["hyponym", "co-hyponym"]
    confidence: Confidence
    evidence: Remark


class Widenings(Answer):
    """Hop 2."""

    interests: Annotated[list[Widening], Field(max_length=_ENTRIES)]


@dataclass(frozen=True)
class Hop:
    """The valid edges of an answer, and what was dropped: (text, why)."""

    edges: tuple[Edge, ...]
    dropped: tuple[tuple[str, str], ...] = ()


def count_dropped(hops: Iterable[Hop]) -> dict[str, int]:
    """Count dropped entries by reason."""
    return dict(sorted(Counter(why for hop in hops for _, why in hop.dropped).items()))


def shown_profile(profile: Profile, config: HopSettings) -> dict[str, Any]:
    """Return what a model reads of a user, JSON-ready: neither id nor times.

    Args:
        profile: of the user.
        config: names the attributes.
    """
    chosen = (
        profile.attributes
        if config.attributes is None
        else {name: profile.attributes.get(name) for name in config.attributes}
    )
    return {
        "attributes": {name[:LONGEST_QUERY]: value[:LONGEST_QUERY] for name, value in chosen.items() if value},
        "queries": [one.text[:LONGEST_QUERY] for one in profile.queries],
    }


def known_texts(profile: Profile, config: HopSettings) -> list[str]:
    """Return older queries, then clicked categories, newest first.

    Args:
        profile: of the user.
        config: how many.
    """
    categories = dict.fromkeys(name for one in profile.clicks for name in reversed(one.categories))
    return [text[:LONGEST_QUERY] for text in (*profile.earlier[: config.known], *list(categories)[: config.known])]


def demand_edges(said: Demands, profile: Profile, config: HopSettings) -> Hop | Fault:
    """Return the edges of hop 1, each from a query of the profile; a fault where no entry rests on a query.

    Args:
        said: the answer.
        profile: of the prompt.
        config: of the hops.
    """
    queries = {_same(one.text[:LONGEST_QUERY]): one for one in reversed(profile.queries)}
    names: dict[frozenset[str], str] = {}
    edges, dropped = [], []
    for one in said.demands:
        query = queries.get(_same(one.query))
        if query is None or not stems(one.demand):
            dropped.append((one.demand, UNASKED if query is None else EMPTY))
            continue
        target = names.setdefault(stems(one.demand), one.demand)
        edges.append(
            Edge(source=query.text, target=target, relation="hypernym", signal="query", time=query.time, **_of(one))
        )
    return _limited(edges, dropped, config.demands)


def interest_edges(
    said: Sequence[Widening], demands: Sequence[Edge], profile: Profile, config: HopSettings
) -> Hop | Fault:
    """Return the edges of hop 2 to what the history lacks; a fault where no entry rests on a demand of hop 1.

    Args:
        said: the answer.
        demands: edges of hop 1.
        profile: of the prompt.
        config: of the hops.
    """
    names = {stems(edge.target): edge.target for edge in reversed(demands)}
    times = newest_times(demands)
    history = History.of(profile)
    rules: Mapping[str, Callable[[Widening], bool]] = {
        UNSAID: lambda one: stems(one.demand) not in names,
        EMPTY: lambda one: not stems(one.interest),
        ECHO: lambda one: stems(one.interest) == stems(one.demand),
        KNOWN: lambda one: history.grade(one.interest) < config.lowest,
    }
    edges, dropped = [], []
    for one in said:
        why = next((why for why, breaks in rules.items() if breaks(one)), None)
        if why is not None:
            dropped.append((one.interest, why))
            continue
        key = stems(one.demand)
        edges.append(Edge(source=names[key], target=one.interest, relation=one.relation, time=times[key], **_of(one)))
    return _limited(edges, dropped, config.candidates)


def _of(entry: Demand | Widening) -> dict[str, Any]:
    return {"evidence": entry.evidence, "confidence": entry.confidence}


def _limited(edges: list[Edge], dropped: list[tuple[str, str]], most: int) -> Hop | Fault:
    """Return the `most` confident distinct edges in their order; a fault if all are dropped by `_FAULTS`."""
    faults = sorted({why for _, why in dropped} & _FAULTS)
    if not edges and faults:
        return Fault(f"no entry can be used; one of them {', one '.join(faults)}")
    once = merge_edges(edges)
    dropped = [*dropped, *[(edge.target, TWICE) for edge in edges if not any(edge is other for other in once)]]
    chosen = {edge.key for edge in sorted(once, key=lambda edge: -edge.confidence)[:most]}
    dropped += [(edge.target, SURPLUS) for edge in once if edge.key not in chosen]
    return Hop(tuple(edge for edge in once if edge.key in chosen), tuple(dropped))


def _same(query: str) -> str:
    """Queries with the same of this are the same: case and spaces aside."""
    return " ".join(query.split()).casefold()


_NOTHING = Hop(())


@dataclass(frozen=True)
class Seat:
    """A proposing agent: a model with a persona; `part` is the text above each question, empty for none."""

    name: str
    chat: Chat
    part: str = ""

    def question(self, text: str) -> str:
        """Return the text below the part."""
        return f"{self.part.strip()}\n\n{text}" if self.part else text

    def question_for(self, profile: Profile, stage: str, text: str, check: Callable[[S], R | Fault]) -> Question[S, R]:
        """Return the question to the agent's model.

        Args:
            profile: of the user it is about.
            stage: for errors.
            text: below the part.
            check: as in `Question`.
        """
        return Question(self.chat, f"user {profile.user}, {self.name}{stage}", self.question(text), check)


@dataclass(frozen=True)
class Proposal:
    """The result of the two hops, or the problem that ended them.

    repaired: answers that were faulty once. when: the last answer was given (UTC, ISO 8601); empty if there was none.
    """

    demands: Hop = _NOTHING
    interests: Hop = _NOTHING
    problem: str | None = None
    repaired: int = 0
    when: str = ""


def two_hops(pairs: Sequence[tuple[Seat, Profile]], config: HopSettings) -> list[Proposal]:
    """Return one proposal a pair: hop 1 of all at once, then hop 2 of those with demands; empty without queries.

    Args:
        pairs: agents and profiles.
        config: of the hops.

    Raises:
        SearecError: the server cannot be used at all.
    """
    first = [place for place, (_, profile) in enumerate(pairs) if profile.queries]
    upward = ask_all([_hop1(*pairs[place], config) for place in first], Demands, config.wording)
    demands = dict(zip(first, upward, strict=True))
    second = {place: reply.value for place, reply in demands.items() if reply.value is not None and reply.value.edges}
    widening = ask_all([_hop2(*pairs[place], hop, config) for place, hop in second.items()], Widenings, config.wording)
    interests = dict(zip(second, widening, strict=True))
    return [_proposal(demands.get(place), interests.get(place)) for place in range(len(pairs))]


def _hop1(seat: Seat, profile: Profile, config: HopSettings) -> Question[Demands, Hop]:
    text = config.wording.fill("hop1", demands=config.demands, profile=as_data(shown_profile(profile, config)))

    return seat.question_for(profile, ", hop 1", text, lambda said: demand_edges(said, profile, config))


def _hop2(seat: Seat, profile: Profile, hop: Hop, config: HopSettings) -> Question[Widenings, Hop]:
    about = {
        **shown_profile(profile, config),
        "demands": list(dict.fromkeys(edge.target for edge in hop.edges)),
        "known": known_texts(profile, config),
    }
    text = config.wording.fill("hop2", interests=config.candidates, profile=as_data(about))

    return seat.question_for(
        profile, ", hop 2", text, lambda said: interest_edges(said.interests, hop.edges, profile, config)
    )


def _proposal(first: Reply[Hop] | None, second: Reply[Hop] | None) -> Proposal:
    replies = [reply for reply in (first, second) if reply is not None]
    problem = next((f"hop {hop}: {reply.problem}" for hop, reply in enumerate(replies, start=1) if reply.problem), None)
    return Proposal(
        demands=(first.value if first is not None else None) or _NOTHING,
        interests=(second.value if second is not None else None) or _NOTHING,
        problem=problem,
        repaired=sum(reply.repaired for reply in replies),
        when=max((reply.when for reply in replies), default=""),
    )
