"""The chat client and transformers' own server, with a language model made here: tiny, and its weights random."""

import functools
from pathlib import Path

from searec.artifacts.history_texts import Histories
from searec.artifacts.summaries import chat_summaries
from searec.text.chat import Chat, ChatSettings, Prompt
from searec.text.response_cache import read_field


def test_questions_are_answered_counted_and_kept(tiny_model: tuple[str, str], tmp_path: Path) -> None:
    model, url = tiny_model
    config = ChatSettings(model=model, base_url=url, max_tokens=12, concurrency=2)
    prompts = [Prompt(f"user {n}", "v1", f"coffee grinder {n}") for n in range(4)]
    parse = functools.partial(read_field, field="preferences")
    with Chat(config, folder=tmp_path) as chat:
        answers = chat.ask(prompts, parse)
        ledger = chat.usage.as_json()
    assert all(answer.value is not None and answer.value.plain for answer in answers), "random weights write no JSON"
    assert (ledger["calls"], ledger["completion_tokens"], ledger["uncounted"]) == (4, 4 * 12, 0)
    assert ledger["prompt_tokens"] > 4 * 2
    with Chat(config, folder=tmp_path) as chat:
        assert [answer.value for answer in chat.ask(prompts, parse)] == [answer.value for answer in answers]
        assert chat.usage.as_json()["calls"] == 0


def test_summaries_of_a_whole_history(tiny_model: tuple[str, str], tmp_path: Path) -> None:
    model, url = tiny_model
    histories = Histories.of(
        [{"searches": [("tacos", ["Taco Bar"])], "clicks": ["Sushi Place"]}, {"clicks": ["Pizza"]}]
    )
    with Chat(ChatSettings(model=model, base_url=url, max_tokens=10), folder=tmp_path) as chat:
        summaries = chat_summaries(histories, chat)
    assert summaries.has().tolist() == [[False, False], [True, True], [True, False]]
    assert summaries.about["plain"] == 3
