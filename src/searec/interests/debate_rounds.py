"""Rounds of a debate: each agent proposes alone, then challenges the others by name and gives its own list anew."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from searec.config import Natural, Share, settings
from searec.interests.interest_graph import Edge
from searec.interests.novelty import stems
from searec.interests.profile import Profile
from searec.interests.structured_output import Fault, Question, Reply, ask_all
from searec.interests.templates import as_data
from searec.interests.two_hop import (
    Answer,
    Hop,
    HopSettings,
    Phrase,
    Proposal,
    Remark,
    Seat,
    Widening,
    count_dropped,
    interest_edges,
    known_texts,
    shown_profile,
)

POINTLESS = "challenges nothing that was proposed"
_MOST = 100

Key = frozenset[str]
"""An interest: the stems of its words."""


@settings
class DebateSettings(HopSettings):
    """Settings of a debate, beside those of each agent's proposals.

    Attributes:
        agents: how many debate.
        personas: whose parts they play, in turn; names below the prompts' `personas`.
        rounds: of challenges and revisions after the proposals, at most.
        agreement: a debate ends early when at least this share of the interests before and after a round is in both.
        quorum: share of the voters that an interest needs.
        margin: a share this close to the quorum is decided by the arbiter; 0 leaves it exact ties.
    """

    agents: Annotated[int, Field(ge=2, le=20)] = 3
    personas: Annotated[tuple[str, ...], Field(min_length=1)] = ("explorer", "sceptic", "shopkeeper")
    rounds: Natural = 3
    agreement: Share = 1.0
    quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    margin: Share = 0.1


@dataclass(frozen=True)
class Challenge:
    """The objection of `by` to an interest of `agent`."""

    by: str
    agent: str
    interest: str
    reason: str


@dataclass
class Debate:
    """The debate on one profile, so far.

    Attributes:
        transcript: everything said, JSON-ready, in order.
        demands: agent -> its edges of hop 1, for those that proposed.
        last: agent -> its edges of hop 2, as it last gave them.
        present: agents heard in the newest round, in the order of their seats.
        challenges: of all rounds, by their round.
        rounds: held, the proposals among them.
        agreed: two rounds came to the same.
        problem: what ended it without a graph.
    """

    profile: Profile
    transcript: list[dict[str, Any]] = field(default_factory=list)
    demands: dict[str, tuple[Edge, ...]] = field(default_factory=dict)
    last: dict[str, tuple[Edge, ...]] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    challenges: dict[int, list[Challenge]] = field(default_factory=dict)
    rounds: int = 0
    agreed: bool = False
    problem: str | None = None
    repaired: int = 0
    when: str = ""
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def upward(self) -> tuple[Edge, ...]:
        """All agents' edges of hop 1."""
        return tuple(edge for edges in self.demands.values() for edge in edges)

    @property
    def on_the_table(self) -> dict[Key, str]:
        """Interests of those heard in the newest round, each by its first text."""
        return first_texts(edge for agent in self.present for edge in self.last[agent])

    def heard(self, reply: Reply[Any] | Proposal, agent: str, stage: int | str) -> bool:
        """Return whether an answer is usable, after recording it; the transcript names an unusable one.

        Args:
            reply: the answer.
            agent: who gave it.
            stage: round, "vote" or "verdict".
        """
        self.repaired += int(reply.repaired)
        self.when = max(self.when, reply.when)
        if reply.problem is not None:
            self.transcript.append({"kind": "silence", "round": stage, "agent": agent, "problem": reply.problem})
        return reply.problem is None

    def end(self, problem: str) -> None:
        """End the debate without a graph."""
        self.problem = problem
        self.transcript.append({"kind": "problem", "problem": problem})

    def enough(self, agents: Sequence[str], stage: int | str) -> bool:
        """Return whether at least two agents are usable; the debate ends otherwise.

        Args:
            agents: those usable.
            stage: round or "vote".
        """
        if len(agents) < 2:
            heard = f"only {agents[0]} was heard" if agents else "nobody was heard"
            silent = [one for one in self.transcript if one["kind"] == "silence" and one["round"] == stage]
            said = "; ".join(f"{one['agent']}: {one['problem']}" for one in silent)
            where = "vote" if stage == "vote" else f"round {stage}"
            self.end(f"user {self.profile.user}, {where}: {heard}, and a debate needs two ({said})")
        return self.problem is None


def first_texts(edges: Iterable[Edge]) -> dict[Key, str]:
    """Return the first text of each target, by its stems."""
    texts: dict[Key, str] = {}
    for edge in edges:
        texts.setdefault(stems(edge.target), edge.target)
    return texts


class Objection(Answer):
    """A challenge as a model writes it."""

    agent: Phrase
    interest: Phrase
    reason: Remark


class Revision(Answer):
    """The answer of an agent in a later round."""

    challenges: Annotated[list[Objection], Field(max_length=_MOST)]
    interests: Annotated[list[Widening], Field(max_length=_MOST)]


@dataclass(frozen=True)
class _Turn:
    hop: Hop
    challenges: tuple[Challenge, ...]


def open_debate(debate: Debate, seats: Sequence[Seat], proposals: Sequence[Proposal]) -> None:
    """Record round 0, what each seat proposed alone.

    Args:
        debate: changed in place.
        seats: the agents.
        proposals: one a seat.
    """
    for seat, proposal in zip(seats, proposals, strict=True):
        if not debate.heard(proposal, seat.name, 0):
            continue
        debate.demands[seat.name], debate.last[seat.name] = proposal.demands.edges, proposal.interests.edges
        debate.present.append(seat.name)
        debate.dropped.update(count_dropped((proposal.demands, proposal.interests)))
        demands = [
            {"query": edge.source, "demand": edge.target, "confidence": edge.confidence, "evidence": edge.evidence}
            for edge in proposal.demands.edges
        ]
        entry = {"kind": "proposal", "round": 0, "agent": seat.name, "demands": demands}
        entry["interests"] = shown(proposal.interests.edges)
        entry["left_out"] = _left_out((*proposal.demands.dropped, *proposal.interests.dropped))
        debate.transcript.append(entry)
    debate.rounds = 1
    debate.agreed = debate.enough(debate.present, 0) and not debate.upward  # nothing to speak of


def next_round(debates: Sequence[Debate], seats: Sequence[Seat], config: DebateSettings) -> None:
    """Hold one round of challenges and revisions, for all debates at once.

    Args:
        debates: changed in place.
        seats: the agents.
        config: of the debates.

    Raises:
        SearecError: the server cannot be used at all.
    """
    questions = [_question(debate, seat, config) for debate in debates for seat in seats]
    replies = iter(ask_all(questions, Revision, config.wording))
    for debate in debates:
        before, stands, number = debate.on_the_table, dict(debate.last), debate.rounds
        was_present, debate.present = debate.present, []
        said: list[Challenge] = []
        for seat in seats:
            reply = next(replies)
            if debate.heard(reply, seat.name, number) and reply.value is not None:
                debate.transcript.append(_revision(debate, seat.name, reply.value, was_present, stands))
                debate.last[seat.name] = reply.value.hop.edges
                debate.present.append(seat.name)
                debate.dropped.update(count_dropped((reply.value.hop,)))
                said += reply.value.challenges
        debate.challenges[number] = said
        debate.rounds += 1
        if debate.enough(debate.present, number):
            now = debate.on_the_table
            share = len(before.keys() & now.keys()) / len(before.keys() | now.keys()) if before or now else 1.0
            debate.agreed = share >= config.agreement
            entry = {
                "kind": "round",
                "round": number,
                "interests": list(now.values()),
                "same": share,
                "agreed": debate.agreed,
            }
            debate.transcript.append(entry)


def shown(edges: Sequence[Edge]) -> list[dict[str, Any]]:
    """Return interests in the form of questions and transcripts."""
    return [
        {
            "interest": edge.target,
            "demand": edge.source,
            "relation": edge.relation,
            "confidence": edge.confidence,
            "evidence": edge.evidence,
        }
        for edge in edges
    ]


def _question(debate: Debate, seat: Seat, config: HopSettings) -> Question[Revision, _Turn]:
    name, profile, number = seat.name, debate.profile, debate.rounds
    others = {agent: debate.last[agent] for agent in debate.present if agent != name}
    proposed = shown(debate.last.get(name, ()))
    for one in proposed:
        one["challenged"] = [
            {"by": by, "reason": reason} for by, reason in _against(debate, name, one["interest"], number - 1)
        ]
    about = {
        **shown_profile(profile, config),
        "demands": list(first_texts(debate.upward).values()),
        "known": known_texts(profile, config),
        "round": number,  # makes it another question, so that no cached answer is reused
        "you": name,
        "mine": proposed,
        "others": {agent: shown(edges) for agent, edges in others.items()},
    }

    def check(said: Revision) -> _Turn | Fault:
        hop = interest_edges(said.interests, debate.upward, profile, config)
        if isinstance(hop, Fault):
            return hop
        challenges, pointless = [], []
        for one in said.challenges:
            target = next(
                (edge for edge in others.get(one.agent, ()) if stems(edge.target) == stems(one.interest)), None
            )
            if target is None:
                pointless.append((one.interest, POINTLESS))
            else:
                challenges.append(Challenge(name, one.agent, target.target, one.reason))
        return _Turn(Hop(hop.edges, (*hop.dropped, *pointless)), tuple(challenges))

    text = config.wording.fill("debate", interests=config.candidates, debate=as_data(about))
    return seat.question_for(profile, f", round {number}", text, check)


def _revision(
    debate: Debate, agent: str, turn: _Turn, present: Sequence[str], stands: dict[str, tuple[Edge, ...]]
) -> dict[str, Any]:
    """Return the transcript entry of an agent's round: what it added from others and withdrew after challenges."""
    number = debate.rounds
    before = {stems(edge.target): edge.target for edge in stands.get(agent, ())}
    after = {stems(edge.target): edge.target for edge in turn.hop.edges}
    sources = {
        key: [other for other in present if other != agent and any(stems(edge.target) == key for edge in stands[other])]
        for key in after
    }
    return {
        "kind": "revision",
        "round": number,
        "agent": agent,
        "challenges": [{"agent": one.agent, "interest": one.interest, "reason": one.reason} for one in turn.challenges],
        "interests": shown(turn.hop.edges),
        "added": [{"interest": text, "from": sources[key]} for key, text in after.items() if key not in before],
        "withdrawn": [
            {"interest": text, "challenged_by": [by for by, _ in _against(debate, agent, text, number - 1)]}
            for key, text in before.items()
            if key not in after
        ],
        "left_out": _left_out(turn.hop.dropped),
    }


def _against(debate: Debate, agent: str, interest: str, number: int) -> list[tuple[str, str]]:
    """Who challenged an agent's interest in a round, and why."""
    key = stems(interest)
    return [
        (one.by, one.reason)
        for one in debate.challenges.get(number, ())
        if one.agent == agent and stems(one.interest) == key
    ]


def _left_out(dropped: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"text": text, "why": why} for text, why in dropped]
