"""Proposals: the two hops of many profiles, hop by hop, by one model or several."""

from collections.abc import Sequence
from dataclasses import dataclass

from searec.interests.profile import Profile
from searec.interests.structured_output import Fault, Question, Reply, ask_all
from searec.interests.templates import PromptTemplates, as_data
from searec.interests.two_hop import (
    Demands,
    Hop,
    HopSettings,
    Widenings,
    demand_edges,
    interest_edges,
    known_texts,
    shown_profile,
)
from searec.text.chat import Chat

TEXTS = ("hop1", "hop2", "repair")
"""The files of a version that are read here."""
_NOTHING = Hop(())


@dataclass(frozen=True)
class Seat:
    """A proposing agent: a model with a persona.

    Attributes:
        name: of the agent.
        chat: client of its model.
        part: text above each question; empty for none.
    """

    name: str
    chat: Chat
    part: str = ""

    def question(self, text: str) -> str:
        """Return the text below the part."""
        return f"{self.part.strip()}\n\n{text}" if self.part else text


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


def two_hops(pairs: Sequence[tuple[Seat, Profile]], config: HopSettings, wording: PromptTemplates) -> list[Proposal]:
    """Send hop 1 of all pairs at once, then hop 2 of those with demands; nothing for a profile without queries.

    Args:
        pairs: agents and profiles.
        config: of the hops.
        wording: the prompts.

    Returns:
        One proposal a pair, in order.

    Raises:
        SearecError: the server cannot be used at all.
    """
    first = [place for place, (_, profile) in enumerate(pairs) if profile.queries]
    upward = ask_all([_hop1(*pairs[place], config, wording) for place in first], Demands, wording)
    demands = dict(zip(first, upward, strict=True))
    second = {place: reply.value for place, reply in demands.items() if reply.value is not None and reply.value.edges}
    widening = ask_all(
        [_hop2(*pairs[place], hop, config, wording) for place, hop in second.items()], Widenings, wording
    )
    interests = dict(zip(second, widening, strict=True))
    return [_proposal(demands.get(place), interests.get(place)) for place in range(len(pairs))]


def _hop1(seat: Seat, profile: Profile, config: HopSettings, wording: PromptTemplates) -> Question[Demands, Hop]:
    text = wording.fill("hop1", demands=config.demands, profile=as_data(shown_profile(profile, config)))

    def check(said: Demands) -> Hop | Fault:
        return demand_edges(said, profile, config)

    return Question(seat.chat, f"user {profile.user}, {seat.name}, hop 1", seat.question(text), check)


def _hop2(
    seat: Seat, profile: Profile, hop: Hop, config: HopSettings, wording: PromptTemplates
) -> Question[Widenings, Hop]:
    about = {
        **shown_profile(profile, config),
        "demands": list(dict.fromkeys(edge.target for edge in hop.edges)),
        "known": known_texts(profile, config),
    }
    text = wording.fill("hop2", interests=config.candidates, profile=as_data(about))

    def check(said: Widenings) -> Hop | Fault:
        return interest_edges(said.interests, hop.edges, profile, config)

    return Question(seat.chat, f"user {profile.user}, {seat.name}, hop 2", seat.question(text), check)


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
