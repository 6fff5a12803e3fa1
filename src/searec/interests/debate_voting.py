"""The end of a debate: a vote on every interest, an arbiter for close votes, and the resulting edges."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from searec.interests.debate_rounds import Debate, DebateSettings, Key
from searec.interests.interest_graph import Edge
from searec.interests.novelty import stems
from searec.interests.structured_output import Fault, Question, ask_all
from searec.interests.templates import FAULTS, as_data
from searec.interests.two_hop import Answer, HopSettings, Remark, Seat, shown_profile

ARBITER = "arbiter"
_MOST = 2_000
_CLOSE = 1e-9  # shares are quotients

Outcome = Literal["kept", "contested", "out"]


class Vote(Answer):
    """A vote on one candidate."""

    number: int
    vote: Literal["yes", "no"]
    reason: Remark = ""


class Votes(Answer):
    """The answer of a voter."""

    votes: Annotated[list[Vote], Field(max_length=_MOST)]


class Verdict(Answer):
    """The arbiter's decision on one candidate."""

    number: int
    keep: bool
    reason: Remark = ""


class Merge(Answer):
    """`sources` (in JSON: from) say the same as `into`."""

    into: int
    sources: Annotated[list[int], Field(alias="from", min_length=1, max_length=_MOST)]
    reason: Remark = ""


class Verdicts(Answer):
    """The answer of the arbiter."""

    verdicts: Annotated[list[Verdict], Field(max_length=_MOST)]
    merges: Annotated[list[Merge], Field(max_length=_MOST)]


@dataclass
class Candidate:
    """An interest that is voted on."""

    number: int  # what votes call it, from 1
    key: Key
    text: str
    edges: dict[str, list[Edge]]  # agent -> its edges to this interest
    against: list[dict[str, str]]
    yes: set[str] = field(default_factory=set)  # agents that voted for it
    outcome: Outcome = "out"  # of vote and arbiter

    @property
    def demands(self) -> list[str]:
        """Demands that lead to it, without repetition."""
        return list(dict.fromkeys(edge.source for edges in self.edges.values() for edge in edges))


@dataclass
class Ballot:
    """The candidates of one debate, and who voted."""

    debate: Debate
    candidates: list[Candidate]
    voters: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, debate: Debate) -> "Ballot":
        """Return every distinct interest of the newest round, the most confident first."""
        edges: dict[Key, dict[str, list[Edge]]] = {}
        for agent in debate.present:
            for edge in debate.last[agent]:
                edges.setdefault(stems(edge.target), {}).setdefault(agent, []).append(edge)
        best = {
            key: max((edge for edges_of in by.values() for edge in edges_of), key=lambda edge: edge.confidence)
            for key, by in edges.items()
        }
        order = sorted(edges, key=lambda key: (-best[key].confidence, best[key].target))
        said = [one for challenges in debate.challenges.values() for one in challenges]
        against = {
            key: [{"by": one.by, "reason": one.reason} for one in said if stems(one.interest) == key] for key in edges
        }
        numbered = enumerate(order, start=1)
        return cls(debate, [Candidate(n, key, best[key].target, edges[key], against[key]) for n, key in numbered])

    def share(self, candidate: Candidate) -> float:
        """Return the share of voters for a candidate."""
        return len(candidate.yes) / len(self.voters)

    def with_outcome(self, outcome: Outcome) -> list[Candidate]:
        """Return the candidates with an outcome."""
        return [one for one in self.candidates if one.outcome == outcome]


def vote(ballots: Sequence[Ballot], seats: Sequence[Seat], config: DebateSettings) -> None:
    """Let every seat vote on every candidate, all at once; ballots without candidates are skipped.

    Args:
        ballots: changed in place.
        seats: the voters.
        config: of the debates.

    Raises:
        SearecError: the server cannot be used at all.
    """
    open_ballots = [ballot for ballot in ballots if ballot.candidates]
    questions = [_vote_question(ballot, seat, config) for ballot in open_ballots for seat in seats]
    replies = iter(ask_all(questions, Votes, config.wording))
    for ballot in open_ballots:
        for seat in seats:
            reply = next(replies)
            if not ballot.debate.heard(reply, seat.name, "vote") or reply.value is None:
                continue
            ballot.voters.append(seat.name)
            said = {one.number: one for one in reply.value.votes}
            votes = []
            for one in ballot.candidates:
                cast = said[one.number]
                votes.append({"interest": one.text, "vote": cast.vote, "reason": cast.reason})
                if cast.vote == "yes":
                    one.yes.add(seat.name)
            ballot.debate.transcript.append({"kind": "vote", "agent": seat.name, "votes": votes})
        if ballot.debate.enough(ballot.voters, "vote"):
            _count(ballot, config.quorum, config.margin)


def arbitrate(ballots: Sequence[Ballot], arbiter: Seat, config: DebateSettings) -> dict[int, dict[int, int]]:
    """Let the arbiter decide contested candidates and merge equal ones, all ballots at once.

    Candidates have numbers, so it can add none. Where its answers cannot be used, a contested candidate stays if it has
    the quorum, and nothing is merged.

    Args:
        ballots: changed in place.
        arbiter: who decides.
        config: of the debates.

    Returns:
        For each ballot, by its place: number of a merged candidate -> number it goes into.
    """
    places = [
        place
        for place, ballot in enumerate(ballots)
        if ballot.with_outcome("contested") or len(ballot.with_outcome("kept")) > 1
    ]
    questions = [_arbiter_question(ballots[place], arbiter, config) for place in places]
    replies = ask_all(questions, Verdicts, config.wording)
    merged: dict[int, dict[int, int]] = {}
    for place, reply in zip(places, replies, strict=True):
        ballot, debate = ballots[place], ballots[place].debate
        texts = {one.number: one.text for one in ballot.candidates}
        usable = debate.heard(reply, arbiter.name, "verdict")
        keep = {one.number: one.keep for one in reply.value.verdicts} if usable and reply.value is not None else {}
        for one in ballot.with_outcome("contested"):
            one.outcome = "kept" if keep.get(one.number, ballot.share(one) >= config.quorum - _CLOSE) else "out"
        if reply.value is not None:
            merged[place] = {number: one.into for one in reply.value.merges for number in one.sources}
            verdicts = [
                {"interest": texts[one.number], "keep": one.keep, "reason": one.reason} for one in reply.value.verdicts
            ]
            merges = [
                {"into": texts[one.into], "from": [texts[number] for number in one.sources], "reason": one.reason}
                for one in reply.value.merges
            ]
            debate.transcript.append({"kind": "verdict", "agent": arbiter.name, "verdicts": verdicts, "merges": merges})
    return merged


def concluded(ballot: Ballot, merged: Mapping[int, int]) -> tuple[Edge, ...]:
    """Return the remaining edges of hop 2, merged candidates under one name.

    Confidence of an edge: the mean over the agents that propose it, of each its surest, times the share of voters for
    the interest. A merged interest has the voters of all its names.

    Args:
        ballot: after the vote and the arbiter.
        merged: number of a merged candidate -> number of its name.
    """
    numbered = {one.number: one for one in ballot.candidates}
    groups: dict[int, list[Candidate]] = {}
    for one in ballot.with_outcome("kept"):
        groups.setdefault(merged.get(one.number, one.number), []).append(one)
    edges_left: list[Edge] = []
    for number, group in groups.items():
        share = len(set().union(*(one.yes for one in group))) / len(ballot.voters)
        target = numbered[number].text
        edges: dict[Key, dict[str, Edge]] = {}
        for agent, edge in (
            (agent, edge) for one in group for agent, edges_of in one.edges.items() for edge in edges_of
        ):
            said = edges.setdefault(stems(edge.source), {})
            if agent not in said or edge.confidence > said[agent].confidence:
                said[agent] = edge
        edges.pop(stems(target), None)  # a merge made it its own demand
        means = [mean_edge(by.values()) for by in edges.values()]
        edges_left += [replace(edge, target=target, confidence=share * edge.confidence) for edge in means]
    return tuple(edges_left)


def mean_edge(edges: Iterable[Edge]) -> Edge:
    """Return the surest of agents' equal edges, with the mean of their confidences."""
    edges = list(edges)
    mean = sum(edge.confidence for edge in edges) / len(edges)
    return replace(max(edges, key=lambda edge: edge.confidence), confidence=mean)


def _count(ballot: Ballot, quorum: float, margin: float) -> None:
    for one in ballot.candidates:
        over = ballot.share(one) - quorum
        close = bool(one.yes) and abs(over) <= margin + _CLOSE
        one.outcome = "contested" if close else "kept" if over > 0 else "out"
    counts = [
        {"interest": one.text, "yes": len(one.yes), "voters": len(ballot.voters), "share": ballot.share(one)}
        | {"outcome": one.outcome}
        for one in ballot.candidates
    ]
    ballot.debate.transcript.append({"kind": "count", "interests": counts})


def _vote_question(ballot: Ballot, seat: Seat, config: HopSettings) -> Question[Votes, Votes]:
    listed = [
        {
            "number": one.number,
            "interest": one.text,
            "demands": one.demands,
            "proposed_by": list(one.edges),
            "challenges": one.against,
        }
        for one in ballot.candidates
    ]
    numbers = [one.number for one in ballot.candidates]

    def check(said: Votes) -> Votes | Fault:
        if sorted(one.number for one in said.votes) != numbers:
            return Fault(f"not exactly one vote for each number from 1 to {len(numbers)}")
        return said

    profile = ballot.debate.profile
    about = {**shown_profile(profile, config), "interests": listed}
    text = config.wording.fill("vote", count=len(numbers), debate=as_data(about))
    return seat.question_for(profile, ", vote", text, check)


def _arbiter_question(ballot: Ballot, seat: Seat, config: HopSettings) -> Question[Verdicts, Verdicts]:
    listed: list[dict[str, Any]] = [
        {
            "number": one.number,
            "interest": one.text,
            "demands": one.demands,
            "status": one.outcome,
            "votes": f"{len(one.yes)} of {len(ballot.voters)}",
            "challenges": one.against,
        }
        for one in ballot.candidates
        if one.outcome != "out"
    ]
    accepted = {one.number for one in ballot.with_outcome("kept")}
    contested = [one.number for one in ballot.with_outcome("contested")]

    def check(said: Verdicts) -> Verdicts | Fault:
        if sorted(one.number for one in said.verdicts) != contested:
            return Fault(f"not exactly one verdict for each contested number, which are {contested}")
        left = accepted | {one.number for one in said.verdicts if one.keep}
        numbers = [number for one in said.merges for number in (one.into, *one.sources)]
        if strange := sorted(set(numbers) - left):
            return Fault(f"a merge names what is not kept: {strange[:9]}; only these can be merged: {sorted(left)}")
        if len(set(numbers)) != len(numbers):
            return Fault(FAULTS["merged_twice"])
        return said

    profile = ballot.debate.profile
    about = {**shown_profile(profile, config), "interests": listed}
    contested_text = ", ".join(map(str, contested)) or "none"
    return seat.question_for(
        profile, "", config.wording.fill("arbiter", contested=contested_text, debate=as_data(about)), check
    )
