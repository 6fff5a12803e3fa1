"""Debate reasoner: agents propose, challenge and vote; an arbiter decides close votes (arXiv 2508.04032)."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from typing_extensions import override

from searec.config import as_dict, configure, nearest
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import SettingsError
from searec.files import fingerprint
from searec.interests.chat_reasoner import model_of
from searec.interests.debate_rounds import Debate, DebateSettings, first_texts, next_round, open_debate
from searec.interests.debate_voting import ARBITER, Ballot, arbitrate, concluded, mean_edge, vote
from searec.interests.interest_graph import Edge, InterestGraph, InterestPath
from searec.interests.novelty import stems
from searec.interests.profile import Profile
from searec.interests.reasoner import BuiltInReasoner, ReasoningResult
from searec.interests.two_hop import RULES as HOP_RULES
from searec.interests.two_hop import TEXTS, Seat, two_hops
from searec.text.chat import Chat, chat_settings

RULES = "1"
"""Changes with every change to how a debate is held."""


class DebateReasoner(BuiltInReasoner):
    """`reasoner.Reasoner` by a debate; `ReasoningResult.transcript` has all of it, in the form of `format_transcript`.

    An agent whose answer cannot be used after one repair is left out of that round and named in the transcript. With
    fewer than two usable agents, the result is a named problem.

    Args:
        chats: clients of the agents, in turn; one for all, or one for each model or server.
        config: of the debate.
        arbiter: another model for the last word; the first of `chats` by default.

    Raises:
        SettingsError: no chat or more chats than agents, an unknown persona, or no such version of the prompts.
    """

    name = "debate"

    def __init__(
        self, chats: Sequence[Chat], config: DebateSettings | None = None, *, arbiter: Chat | None = None
    ) -> None:
        self.config = config or DebateSettings()
        self.wording = self.config.wording
        if not 0 < len(chats) <= self.config.agents:
            raise SettingsError("each chat needs an agent", got=f"{len(chats)} chats, {self.config.agents} agents")
        for persona in self.config.personas:
            if persona not in self.wording.personas:
                remedy = nearest(persona, self.wording.personas)
                raise SettingsError("no such persona", where="personas", got=repr(persona), remedy=remedy)
        self.seats = [self._seat(number, chats[number % len(chats)]) for number in range(self.config.agents)]
        self.arbiter = Seat(ARBITER, arbiter or chats[0])

    @classmethod
    @override
    def open(cls, split: Split, tasks: Sequence[Task], options: Mapping[str, str]) -> Self:
        values = dict(options)
        models = dict.fromkeys(values.pop("chat_model", "").split(","))
        return cls(
            [Chat(chat_settings(name)) for name in models], configure(DebateSettings, values, where="debate reasoner")
        )

    def _seat(self, number: int, chat: Chat) -> Seat:
        persona = self.config.personas[number % len(self.config.personas)]
        turn = number // len(self.config.personas)
        name = persona if turn == 0 else f"{persona} {turn + 1}"
        return Seat(name, chat, self.wording.fill(f"personas/{persona}", name=name))

    @property
    def version(self) -> str:
        """The prompts' version and a digest of wording, rules, models and settings."""
        personas = [f"personas/{name}" for name in sorted(set(self.config.personas))]
        texts = (*TEXTS, "debate", "vote", "arbiter", *personas)
        models = [part for seat in (*self.seats, self.arbiter) for part in model_of(seat.chat)]
        config = json.dumps(as_dict(self.config), sort_keys=True)
        digest = fingerprint(self.wording.fingerprint(*texts), HOP_RULES, RULES, *models, config)
        return f"{self.config.prompts}-{digest[:12]}"

    @override
    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        debates = {place: self._opened(profile) for place, profile in enumerate(profiles) if profile.queries}
        pairs = [(seat, debate.profile) for debate in debates.values() for seat in self.seats]
        proposals = two_hops(pairs, self.config)
        for number, debate in enumerate(debates.values()):
            first = number * len(self.seats)
            open_debate(debate, self.seats, proposals[first : first + len(self.seats)])
        for _ in range(self.config.rounds):
            going_on = [debate for debate in debates.values() if debate.problem is None and not debate.agreed]
            next_round(going_on, self.seats, self.config)
        ballots = {place: Ballot.of(debate) for place, debate in debates.items() if debate.problem is None}
        vote(list(ballots.values()), self.seats, self.config)
        ballots = {place: ballot for place, ballot in ballots.items() if ballot.debate.problem is None}
        merged = arbitrate(list(ballots.values()), self.arbiter, self.config)
        thoughts = {
            place: self._thought(ballot, merged.get(number, {}))
            for number, (place, ballot) in enumerate(ballots.items())
        }
        return [
            thoughts.get(place) or self._without(profile, debates.get(place)) for place, profile in enumerate(profiles)
        ]

    def _opened(self, profile: Profile) -> Debate:
        personas = itertools.cycle(self.config.personas)
        agents = [
            {"name": seat.name, "model": seat.chat.config.model, "persona": persona}
            for seat, persona in zip(self.seats, personas, strict=False)
        ]
        queries = [one.text for one in profile.queries]
        opening = {"kind": "opening", "user": profile.user, "at": profile.at, "queries": queries, "agents": agents}
        return Debate(profile, [opening | {"arbiter": self.arbiter.chat.config.model}])

    def _thought(self, ballot: Ballot, merged: dict[int, int]) -> ReasoningResult:
        debate, profile = ballot.debate, ballot.debate.profile
        names = first_texts(debate.upward)
        same: dict[object, list[Edge]] = {}
        for edge in debate.upward:
            same.setdefault(edge.key, []).append(edge)
        upward = [replace(one, target=names[stems(one.target)]) for one in map(mean_edge, same.values())]
        widening = [replace(edge, source=names[stems(edge.source)]) for edge in concluded(ballot, merged)]
        graph = InterestGraph(profile.user, profile.at, (*upward, *widening), self._made(debate))
        graph = graph.novel(profile, lowest=self.config.lowest).top(self.config.interests)
        won = [_won(one, ballot, merged) for one in graph.interests()]
        debate.transcript.append({"kind": "outcome", "interests": won})
        return ReasoningResult(profile, graph, None, tuple(debate.transcript))

    def _without(self, profile: Profile, debate: Debate | None) -> ReasoningResult:
        """Return the result of a failed debate, or of none."""
        if debate is not None:
            return ReasoningResult(profile, None, debate.problem, tuple(debate.transcript))
        return ReasoningResult(profile, InterestGraph(profile.user, profile.at, (), self._made(Debate(profile))))

    def _made(self, debate: Debate) -> dict[str, Any]:
        return {
            "reasoner": self.name,
            "version": self.version,
            "prompts": self.config.prompts,
            "model": " + ".join(dict.fromkeys(seat.chat.config.model for seat in self.seats)),
            "arbiter": self.arbiter.chat.config.model,
            "agents": [seat.name for seat in self.seats],
            "rounds": debate.rounds,
            "when": debate.when,
            "repaired": debate.repaired,
            "dropped": dict(sorted(debate.dropped.items())),
        }


def _won(interest: InterestPath, ballot: Ballot, merged: Mapping[int, int]) -> dict[str, Any]:
    """Return an interest of the graph with the agents that proposed it under any of its names."""
    candidate = next(one for one in ballot.candidates if one.text == interest.text)
    names = [candidate, *(one for one in ballot.with_outcome("kept") if merged.get(one.number) == candidate.number)]
    return {
        "interest": interest.text,
        "demand": interest.demand,
        "query": interest.signal,
        "confidence": interest.confidence,
        "agents": [agent for agent in ballot.debate.present if any(agent in one.edges for one in names)],
        "voters": [agent for agent in ballot.voters if any(agent in one.yes for one in names)],
    }
