"""Chat reasoner: one language model on a server, two hops a profile (arXiv 2508.04032, Stage 1)."""

import json
from collections.abc import Mapping, Sequence
from typing import Self

from typing_extensions import override

from searec.config import as_dict, configure
from searec.data.schema import Task
from searec.data.split import Split
from searec.files import fingerprint
from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import BuiltInReasoner, ReasoningResult
from searec.interests.two_hop import RULES, TEXTS, HopSettings, Proposal, Seat, count_dropped, two_hops
from searec.text.chat import Chat, chat_settings


class ChatReasoner(BuiltInReasoner):
    """`reasoner.Reasoner` by a chat server: hypernyms in one question, hyponyms and co-hyponyms in the next.

    A profile without queries gets an empty graph, without a question. `InterestGraph.origin` holds reasoner, version,
    prompts, model, when (the time of the newest answer, so that a replay makes the same graph), the number of repaired
    answers and of dropped entries by reason.

    Args:
        chat: the server's client.
        config: of the two hops.

    Raises:
        SettingsError: no such version of the prompts.
    """

    name = "chat"

    def __init__(self, chat: Chat, config: HopSettings | None = None) -> None:
        self.chat = chat
        self.config = config or HopSettings()
        self.wording = self.config.wording

    @classmethod
    @override
    def open(cls, split: Split, tasks: Sequence[Task], options: Mapping[str, str]) -> Self:
        values = dict(options)
        chat = Chat(chat_settings(values.pop("chat_model", "")))
        return cls(chat, configure(HopSettings, values, where="chat reasoner"))

    @property
    def version(self) -> str:
        """The prompts' version and a digest of wording, rules, model and settings."""
        config = json.dumps(as_dict(self.config), sort_keys=True)
        digest = fingerprint(self.wording.fingerprint(*TEXTS), RULES, *model_of(self.chat), config)
        return f"{self.config.prompts}-{digest[:12]}"

    @override
    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        seat = Seat(self.name, self.chat)
        proposals = two_hops([(seat, profile) for profile in profiles], self.config)
        return [self._thought(profile, proposal) for profile, proposal in zip(profiles, proposals, strict=True)]

    def _thought(self, profile: Profile, proposal: Proposal) -> ReasoningResult:
        if proposal.problem is not None:
            return ReasoningResult(profile, None, f"user {profile.user}, {self.chat.config.model}, {proposal.problem}")
        origin = {
            "reasoner": self.name,
            "version": self.version,
            "prompts": self.config.prompts,
            "model": self.chat.config.model,
            "when": proposal.when,
            "repaired": proposal.repaired,
            "dropped": count_dropped((proposal.demands, proposal.interests)),
        }
        graph = InterestGraph(profile.user, profile.at, (*proposal.demands.edges, *proposal.interests.edges), origin)
        return ReasoningResult(profile, graph.novel(profile, lowest=self.config.lowest).top(self.config.interests))


def model_of(chat: Chat) -> tuple[str, str, str]:
    """Return the settings of a chat that change its answers."""
    return chat.config.model, str(chat.config.temperature), str(chat.config.max_tokens)
