"""Reasoners and a real language model on transformers' own server.

Random weights never write JSON, and that is what must be said.
"""

from pathlib import Path

from minds import GARDEN, SHOES

from searec.interests.chat_reasoner import ChatReasoner
from searec.interests.debate_reasoner import DebateReasoner
from searec.interests.profile import Profile
from searec.text.chat import Chat, ChatSettings


def test_answers_without_sense_are_repaired_once_named_and_replayed(
    tiny_model: tuple[str, str], tmp_path: Path
) -> None:
    model, url = tiny_model
    config = ChatSettings(model=model, base_url=url, max_tokens=12, concurrency=2, retries=0)
    profiles = [SHOES, GARDEN, Profile("silent", 9)]
    with Chat(config, folder=tmp_path) as chat:
        thoughts = ChatReasoner(chat).infer(profiles)
        assert chat.usage.as_json()["calls"] == 2 * 2 and chat.usage.as_json()["completion_tokens"] == 4 * 12
        debate = DebateReasoner([chat]).infer([GARDEN])[0]
        assert chat.usage.as_json()["calls"] == 4 + 3 * 2
    for thought in thoughts[:2]:
        assert thought.graph is None and thought.problem is not None
        assert "hop 1: no JSON of the form asked for" in thought.problem and "before its one repair" in thought.problem
    assert thoughts[2].graph is not None
    assert debate.graph is None and "nobody was heard" in str(debate.problem) and len(debate.transcript) == 1 + 3 + 1
    with Chat(ChatSettings(model=model, base_url=url, max_tokens=12, offline=True), folder=tmp_path) as chat:
        assert ChatReasoner(chat).infer(profiles) == thoughts
        assert DebateReasoner([chat]).infer([GARDEN]) == [debate]
