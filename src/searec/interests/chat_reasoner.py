"""Chat reasoner: one language model on a server, two hops a profile (arXiv 2508.04032, Stage 1)."""

import json
from collections.abc import Mapping, Sequence

from searec.config import as_dict, configure
from searec.data.schema import Task
from searec.data.split import Split
from searec.files import fingerprint
from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import Profile
from searec.interests.proposals import TEXTS, Proposal, Seat, two_hops
from searec.interests.reasoner import ReasoningResult
from searec.interests.templates import PromptTemplates
from searec.interests.two_hop import RULES, HopSettings, count_dropped
from searec.text.chat import Chat, chat_settings


class ChatReasoner:
    """`reasoner.Reasoner` by a chat server: hypernyms in one question, hyponyms and co-hyponyms in the next.

    A profile without queries gets an empty graph, and nothing is asked. `InterestGraph.made` holds reasoner, version, prompts, model, when (the
    time of the newest answer, so that a replay makes the same graph), repaired answers, and how many entries were left out, by why.

    Raises:
        SettingsError: no such version of the prompts.
    """

    name = "chat"

    def __init__(self, chat: Chat, config: HopSettings | None = None) -> None:
        self.chat = chat
        self.config = config or HopSettings()
        self.wording = PromptTemplates.of(self.config.prompts)

    @classmethod
    def open(cls, split: Split, tasks: Sequence[Task], options: Mapping[str, str]) -> "ChatReasoner":
        """By settings as text: `chat_model`, as the server calls it, and those of `HopSettings`; of the events it needs nothing.

        Raises:
            SettingsError: no model, no such setting, or a bad value.
        """
        own = dict(options)
        chat = Chat(chat_settings(own.pop("chat_model", "")))
        return cls(chat, configure(HopSettings, own, where="chat reasoner"))

    @property
    def version(self) -> str:
        """The prompts' version and a digest of wording, rules, model and settings."""
        parts = (
            self.wording.fingerprint(*TEXTS),
            RULES,
            *model_of(self.chat),
            json.dumps(as_dict(self.config), sort_keys=True),
        )
        return f"{self.config.prompts}-{fingerprint(*parts)[:12]}"

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        """One thought a profile, in order; all profiles' questions of a hop go out together.

        Raises:
            SearecError: as `Chat.ask`, where nothing can be asked at all.
        """
        seat = Seat(self.name, self.chat)
        proposals = two_hops([(seat, profile) for profile in profiles], self.config, self.wording)
        return [self._thought(profile, proposal) for profile, proposal in zip(profiles, proposals, strict=True)]

    def _thought(self, profile: Profile, proposal: Proposal) -> ReasoningResult:
        if proposal.problem is not None:
            return ReasoningResult(profile, None, f"user {profile.user}, {self.chat.config.model}, {proposal.problem}")
        made = {
            "reasoner": self.name,
            "version": self.version,
            "prompts": self.config.prompts,
            "model": self.chat.config.model,
            "when": proposal.when,
            "repaired": proposal.repaired,
            "dropped": count_dropped((proposal.demands, proposal.interests)),
        }
        graph = InterestGraph(profile.user, profile.at, (*proposal.demands.edges, *proposal.interests.edges), made)
        return ReasoningResult(profile, graph.novel(profile, lowest=self.config.lowest).top(self.config.interests))


def model_of(chat: Chat) -> tuple[str, str, str]:
    """What of a chat's settings changes what it says."""
    return chat.config.model, str(chat.config.temperature), str(chat.config.max_tokens)
