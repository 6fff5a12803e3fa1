"""Reasoners and a real language model on transformers' own server, in this process and by command.

Random weights never write JSON, and that is what must be said; nothing is claimed of their quality. Summaries by the
same server: tests/text/test_transformers_server.py.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from minds import GARDEN, SHOES

from searec.data.synthetic.simulate import sample_folder
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


def test_chat_and_debate_are_measured_by_command(
    tiny_model: tuple[str, str], searec: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users with a recent query get nothing from such a model, the others the interests of their clicks."""
    model, url = tiny_model
    values = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "SEAREC_CHAT_MAX_TOKENS": "8"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    given = ("--reasoner", "chat", "--reasoner", "debate", "--clicks", "4", "--set", f"chat_model={model}")
    code, out, err = searec("interests", "hits", sample_folder(), *given, "--json", "-")
    assert code == 0, err
    figures = json.loads(out)
    assert set(figures["hits"]) == {"popular untouched", "random untouched", "chat", "debate"}
    assert 0 < figures["clicks"] <= 4
    assert figures["hits"]["chat"] == figures["hits"]["debate"], "neither hears a word of sense"
    assert figures["hits"]["chat"]["named"] < 8
