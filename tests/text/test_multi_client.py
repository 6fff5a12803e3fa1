"""Several chats at once: who is asked what, and what is left when one of them fails."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from searec.config import configure
from searec.errors import ChatError, Interrupted
from searec.progress import progress
from searec.text.chat import KEYS, Chat, ChatSettings, Prompt
from searec.text.multi_client import ask_chats

pytest.importorskip("openai")

Chats = Callable[..., Chat]


@pytest.fixture
def chats(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chats]:
    """Chats with the server by the names of their models."""
    for name in (*KEYS, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    made: list[Chat] = []

    def make(model: str, **values: object) -> Chat:
        start = {"model": model, "base_url": server.url, "retries": 0, "timeout": 20.0}
        made.append(Chat(configure(ChatSettings, start | values), folder=tmp_path))
        return made[-1]

    yield make
    for chat in made:
        chat.close()


def questions(*chats: Chat) -> list[tuple[Chat, Prompt]]:
    return [(chat, Prompt(f"q{n}", "v1", f"question {n}")) for n in range(3) for chat in chats]


def test_each_answers_its_own_in_order(server: Any, chats: Chats, reply: Any) -> None:
    one, two = chats("one"), chats("two")
    server.behave = lambda number, body: reply(f"{body['model']} on {body['messages'][0]['content']}")
    answers = ask_chats(questions(one, two), str)
    assert [answer.value for answer in answers] == [
        f"{model} on question {n}" for n in range(3) for model in ("one", "two")
    ]
    assert all(answer.when.endswith("+00:00") for answer in answers)
    again = ask_chats(questions(one, two), str)
    assert [(answer.value, answer.when) for answer in again] == [(answer.value, answer.when) for answer in answers]
    assert all(answer.replayed for answer in again) and len(server.bodies) == 6
    assert ask_chats([], str) == []


def test_two_servers_do_not_wait_for_one_another(server: Any, chats: Chats, reply: Any) -> None:
    """Neither answers before both are asked."""
    both = threading.Barrier(2, timeout=10)

    def ask(model: str) -> Any:
        def parse(text: str) -> str:
            both.wait()
            return text

        return chats(model, concurrency=1), parse

    one, parse = ask("one")
    two, _ = ask("two")
    answers = ask_chats([(one, Prompt("a", "v1", "a")), (two, Prompt("b", "v1", "b"))], parse)
    assert all(answer.value for answer in answers)


def test_one_that_refuses_leaves_the_others_their_answers(server: Any, chats: Chats, reply: Any) -> None:
    one, two = chats("one"), chats("two")
    server.behave = lambda number, body: reply("no", status=401) if body["model"] == "two" else reply("yes")
    answers = ask_chats(questions(one, two), str)
    assert [answer.value for answer in answers[::2]] == ["yes"] * 3
    assert all(answer.value is None and "refuses" in (answer.problem or "") for answer in answers[1::2])
    server.behave = lambda number, body: reply("no", status=401)
    with pytest.raises(ChatError, match="refuses"):
        ask_chats(questions(chats("three"), two), str)


def test_a_replay_does_not_go_on_without_an_answer_it_lacks(server: Any, chats: Chats) -> None:
    ask_chats(questions(chats("one")), str)
    with pytest.raises(ChatError, match="3 of 3 answers are not cached"):
        ask_chats(questions(chats("one", offline=True), chats("two", offline=True)), str)


def test_ctrl_c_ends_them_all(server: Any, chats: Chats, reply: Any) -> None:
    one, two = chats("one", concurrency=1), chats("two", concurrency=1)

    def behave(number: int, body: dict[str, Any]) -> Any:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return reply(delay=0.3)

    server.behave = behave
    with pytest.raises(Interrupted, match="were stopped"):
        ask_chats([(chat, Prompt(f"q{n}", "v1", str(n))) for chat in (one, two) for n in range(20)], str)
    assert len(server.bodies) < 20
    server.behave = lambda number, body: reply()
    ask_chats([(chat, Prompt(f"q{n}", "v1", str(n))) for chat in (one, two) for n in range(20)], str)
    assert len(server.bodies) == 40, "what came was kept"


def test_a_stop_from_outside_is_an_interruption(server: Any, chats: Chats, reply: Any) -> None:
    chat = chats("one", concurrency=1)

    def behave(number: int, body: dict[str, Any]) -> Any:
        if number == 1:
            chat.stop()
        return reply()

    server.behave = behave
    with pytest.raises(Interrupted, match=r"got: 2 of 3 answered"):
        chat.ask([prompt for _, prompt in questions(chat)], str)
    assert len(chat.ask([prompt for _, prompt in questions(chat)], str)) == 3 and len(server.bodies) == 3


def test_an_answer_says_when_it_was_given_and_not_when_a_worse_one_was(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: reply("good", delay=1.1) if number else reply("bad")
    prompts = [Prompt("q", "v1", "q")]

    def parse(text: str) -> str | None:
        return text if text == "good" else None

    first = chats("one").ask(prompts, str)[0]
    second = chats("one").ask(prompts, parse)[0]
    again = chats("one", offline=True).ask(prompts, parse)[0]
    assert first.when < second.when == again.when and (first.value, again.value) == ("bad", "good")


def test_half_a_character_is_kept_as_a_question_mark(server: Any, chats: Chats, reply: Any) -> None:
    said = json.dumps(
        {
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "caps \ud83d and hats"},
                }
            ]
        }
    )
    server.behave = lambda number, body: reply(body=said.encode())
    assert chats("one").ask([Prompt("q", "v1", "q")], str)[0].value == "caps ? and hats"


def test_only_one_thread_shows_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two at once are an error of older versions of rich, and unreadable in newer ones."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown: list[str] = []

    def second() -> None:
        with progress("second bar", 3) as advance:
            advance(3, "")
            shown.append("second")

    with progress("first bar", 3) as advance:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
        advance(3, "")
    assert shown == ["second"]
    assert "second bar" not in capsys.readouterr().err
    second()
    assert "second bar" in capsys.readouterr().err
