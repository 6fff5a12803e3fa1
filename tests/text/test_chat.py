"""The chat client against a real server: what reaches it, what is kept, what it costs, and how it fails."""

import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from searec.config import as_dict, configure
from searec.errors import ChatError, DependencyError, Interrupted, SettingsError
from searec.text.chat import KEYS, Answer, Chat, ChatSettings, Prompt, _retry_after, chat_settings
from searec.text.response_cache import FieldText, read_field

pytest.importorskip("openai")

PARSE = functools.partial(read_field, field="preferences")
TACOS = FieldText("likes tacos", plain=False)
Chats = Callable[..., Chat]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KEYS, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def chats(server: Any, tmp_path: Path) -> Iterator[Chats]:
    """Chats with the server, one after another over one folder of answers."""
    made: list[Chat] = []

    def make(**values: object) -> Chat:
        start = {"model": "toy", "base_url": server.url, "first_wait": 0.01, "timeout": 20.0}
        made.append(Chat(configure(ChatSettings, start | values), folder=tmp_path))
        return made[-1]

    yield make
    for chat in made:
        chat.close()


def prompts(count: int, version: str = "v1") -> list[Prompt]:
    return [Prompt(f"user {n}", version, f"question {n}") for n in range(count)]


def values(answers: list[Answer[FieldText]]) -> list[FieldText | None]:
    return [answer.value for answer in answers]


def test_each_question_is_asked_once_and_never_again(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: reply(f'{{"preferences": "re {body["messages"][0]["content"]}"}}')
    asked = prompts(6)
    first = chats().ask([*asked, asked[2]], PARSE)
    assert values(first) == [FieldText(f"re question {n}", plain=False) for n in (0, 1, 2, 3, 4, 5, 2)]
    assert server.times == {f"question {n}": 1 for n in range(6)}
    again = chats().ask(asked, PARSE)
    assert values(again) == values(first[:6])
    assert all(answer.replayed for answer in again)
    assert len(server.bodies) == 6
    assert server.bodies[0] == {
        "model": "toy",
        "messages": [{"role": "user", "content": server.asked[0]}],
        "max_tokens": 2048,
        "temperature": 0.0,
    }


@pytest.mark.parametrize(
    ("changes", "version", "requests"),
    [
        ({"model": "other"}, "v1", 2),
        ({"temperature": 0.5}, "v1", 2),
        ({"temperature": None}, "v1", 2),
        ({"max_tokens": 9}, "v1", 2),
        ({}, "v2", 2),
        ({"timeout": 3.0, "retries": 1, "concurrency": 2, "price_in": 9.0, "seed": 4}, "v1", 1),
    ],
)
def test_what_changes_an_answer_is_part_of_its_key(
    server: Any, chats: Chats, changes: dict[str, Any], version: str, requests: int
) -> None:
    chats().ask(prompts(1), PARSE)
    chats(**changes).ask(prompts(1, version), PARSE)
    assert len(server.bodies) == requests


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_failing_server_is_asked_again(server: Any, chats: Chats, reply: Any, status: int) -> None:
    server.behave = lambda number, body: reply("busy", status=status) if number < 2 else reply()
    chat = chats()
    assert values(chat.ask(prompts(1), PARSE)) == [TACOS]
    assert len(server.bodies) == 3
    ledger = chat.usage.as_json()
    assert (ledger["calls"], ledger["retries"], ledger["failures"], ledger["prompt_tokens"]) == (3, 2, 0, 7)


def test_a_slow_server_and_a_broken_connection_are_asked_again(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: (reply(delay=1.5), reply(drop=True), reply())[number]
    assert values(chats(timeout=0.5).ask(prompts(1), PARSE)) == [TACOS]
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    "body", [{"hello": "world"}, {"choices": []}, {"choices": [{"message": {"content": 3}}]}, "text", [1]]
)
def test_a_reply_that_is_no_completion_is_a_failure(server: Any, chats: Chats, reply: Any, body: Any) -> None:
    server.behave = lambda number, _: reply(body=body) if number == 0 else reply()
    assert values(chats().ask(prompts(1), PARSE)) == [TACOS]
    assert len(server.bodies) == 2


def test_the_server_says_how_long_to_wait(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: (
        reply("slow down", status=429, headers={"retry-after": "0.4"}) if number == 0 else reply()
    )
    chats().ask(prompts(1), PARSE)
    assert server.when[1] - server.when[0] >= 0.4
    server.behave = lambda number, body: reply("come back tomorrow", status=429, headers={"retry-after": "86400"})
    with pytest.raises(ChatError, match=r"demands a longer wait.*86400 s.*longest_wait = 60"):
        chats().ask(prompts(2), PARSE)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert [_retry_after(header) for header in (None, "3", "-3", "soon")] == [0, 3, 0, 0]
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < _retry_after(soon) <= 100
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_waits_double_and_vary_by_the_seed(chats: Chats) -> None:
    def waits(seed: int) -> list[float]:
        chat = chats(first_wait=1.0, longest_wait=8.0, seed=seed)
        return [chat._backoff(attempt) for attempt in range(6)]

    assert waits(1) == waits(1) != waits(2)
    assert all(low / 2 <= wait <= low for wait, low in zip(waits(3), (1, 2, 4, 8, 8, 8), strict=True))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_ends_the_run_at_once(server: Any, chats: Chats, reply: Any, status: int) -> None:
    server.behave = lambda number, body: reply("no such model", status=status)
    with pytest.raises(ChatError, match=f"refuses; where: toy at http://127.0.0.1:.*HTTP {status}: .*no such model"):
        chats(concurrency=1).ask(prompts(5), PARSE)
    assert len(server.bodies) == 1


def test_one_bad_question_does_not_stop_the_others(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: (
        reply("too long", status=400) if body["messages"][0]["content"] == "question 1" else reply()
    )
    chat = chats()
    answers = chat.ask(prompts(4), PARSE)
    assert values(answers) == [TACOS, None, TACOS, TACOS]
    assert "HTTP 400" in str(answers[1].problem)
    assert server.times["question 1"] == 1
    assert chat.usage.as_json()["failures"] == 1


def test_too_many_failures_end_the_run_and_what_was_answered_is_kept(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: reply("broken", status=500) if number >= 2 else reply()
    with pytest.raises(ChatError, match=r"too many questions failed.*HTTP 500.*at most failures = 1"):
        chats(concurrency=1, retries=1, failures=1).ask(prompts(8), PARSE)
    assert len(server.bodies) == 2 + 2 * 2
    server.behave = lambda number, body: reply()
    chats().ask(prompts(8), PARSE)
    assert len(server.bodies) == 6 + 6


def test_failures_of_an_earlier_ask_are_not_held_against_a_later_one(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: (
        reply("too long", status=400) if body["messages"][0]["content"] == "question 1" else reply()
    )
    chat = chats(failures=1)
    for _ in range(3):  # as a worker asks, batch by batch
        assert values(chat.ask(prompts(2), PARSE)) == [TACOS, None]
    assert chat.usage.as_json()["failures"] == 3


def test_nobody_listens(chats: Chats) -> None:
    with pytest.raises(
        ChatError,
        match=r"too many questions failed; where: toy at http://127.0.0.1:1/v1, user 0; got: APIConnectionError",
    ):
        chats(base_url="http://name:pass@127.0.0.1:1/v1?key=x", failures=0, retries=1).ask(prompts(1), PARSE)


def test_an_answer_that_says_nothing_is_asked_for_again_a_few_times(server: Any, chats: Chats, reply: Any) -> None:
    nothing = (
        reply(""),
        reply("<think>still thinking", finish="length"),
        reply('{"preferences": "<think>x</think> no, this is it"}'),
    )
    server.behave = lambda number, body: nothing[number]
    chat = chats()
    assert chat.ask(prompts(1), PARSE)[0].value is not None
    assert chat.usage.as_json()["unusable"] == 2
    replayed = chats()
    replayed.ask(prompts(1), PARSE)
    assert replayed.usage.as_json()["replayed"]["prompt_tokens"] == 3 * 7

    server.behave = lambda number, body: (
        reply(None, finish="length") if body["messages"][0]["content"] == "question 2" else reply()
    )
    answers = chats(attempts=2).ask(prompts(4), PARSE)
    assert [answer.value is None for answer in answers] == [False, False, True, False]
    assert answers[2].problem == "an answer that says nothing (finish reason 'length')"
    assert server.times == {"question 0": 3, "question 1": 1, "question 2": 2, "question 3": 1}
    offline = chats(offline=True).ask(prompts(4), PARSE)
    assert offline[2].value is None
    server.behave = lambda number, body: reply()
    assert values(chats().ask(prompts(4), PARSE))[2] == TACOS
    assert server.times["question 2"] == 3, "asked past the cache, and only this one"
    assert len(server.bodies) == 3 + 1 + 3 + 1


def test_never_more_at_once_than_allowed(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: reply(delay=0.1)
    chats(concurrency=3).ask(prompts(12), PARSE)
    assert server.most_at_once == 3


def test_the_token_budget_stops_the_run_and_keeps_what_came(server: Any, chats: Chats) -> None:
    # 10 tokens an answer: after the third, 30 >= 25 are spent
    with pytest.raises(
        ChatError, match=r"token budget is spent; got: 30; expected: token_budget = 25.*raise token_budget"
    ):
        chats(token_budget=25, concurrency=1).ask(prompts(6), PARSE)
    assert len(server.bodies) == 3
    chats(token_budget=30, concurrency=1).ask(prompts(6), PARSE)
    assert server.times == {f"question {n}": 1 for n in range(6)}


def test_the_cost_budget_counts_prices_a_million_tokens(server: Any, chats: Chats) -> None:
    # 7 tokens at 1 and 3 at 2 a token: 13 a question
    chat = chats(price_in=1e6, price_out=2e6, cost_budget=14.0, concurrency=1)
    with pytest.raises(ChatError, match=r"cost budget is spent; got: 26"):
        chat.ask(prompts(6), PARSE)
    assert chat.usage.as_json()["cost"] == 26
    with pytest.raises(SettingsError, match="cost budget needs prices"):
        chats(cost_budget=1.0)


def test_no_budget_without_counted_tokens(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: reply(tokens=None)
    with pytest.raises(ChatError, match="does not report tokens"):
        chats(token_budget=100, concurrency=1).ask(prompts(3), PARSE)
    assert len(server.bodies) == 1
    chat = chats()
    chat.ask(prompts(3), PARSE)
    ledger = chat.usage.as_json()
    assert (ledger["uncounted"], ledger["prompt_tokens"], ledger["from_cache"]) == (2, 0, 1)


def test_a_replay_costs_nothing_and_says_what_it_had_cost(server: Any, chats: Chats, reply: Any) -> None:
    server.behave = lambda number, body: reply(tokens=(11 + number, 5), delay=0.02)
    prices = {"price_in": 0.1, "price_out": 0.7}
    first, second = chats(**prices), chats(offline=True)
    said = first.ask(prompts(5), PARSE)
    assert values(second.ask(prompts(5), PARSE)) == values(said)
    spent, replayed = first.usage.as_json(), second.usage.as_json()
    sums = ("prompt_tokens", "completion_tokens", "cost", "seconds")
    assert spent["prompt_tokens"] == 11 + 12 + 13 + 14 + 15
    assert spent["cost"] == pytest.approx((65 * 0.1 + 25 * 0.7) / 1e6, rel=1e-12)
    assert spent["seconds"] >= 5 * 0.02
    assert replayed["replayed"] == {name: spent[name] for name in sums}
    assert {replayed[name] for name in ("calls", *sums)} == {0}
    assert (spent["calls"], spent["from_cache"], replayed["from_cache"]) == (5, 0, 5)
    assert len(server.bodies) == 5


def test_offline_names_what_is_missing_and_sends_nothing(server: Any, chats: Chats) -> None:
    chats().ask(prompts(2), PARSE)
    with pytest.raises(
        ChatError, match=r"1 of 3 answers are not cached.*where: user 2; got: model 'toy', prompts 'v1'"
    ):
        chats(offline=True).ask(prompts(3), PARSE)
    assert len(server.bodies) == 2


def test_a_question_in_error_leaves_what_is_under_way_to_be_kept(server: Any, chats: Chats, reply: Any) -> None:
    def behave(number: int, body: dict[str, Any]) -> Any:
        return (
            reply("bad key", status=401, delay=0.4)
            if body["messages"][0]["content"] == "question 0"
            else reply(delay=0.8)
        )

    server.behave = behave
    with pytest.raises(ChatError, match="bad key"):
        chats(concurrency=3).ask(prompts(3), PARSE)
    count = len(server.bodies)
    server.behave = lambda number, body: reply()
    chats().ask(prompts(3), PARSE)
    assert len(server.bodies) == 3 + 1 == count + 1


def test_ctrl_c_keeps_what_came(server: Any, chats: Chats, reply: Any) -> None:
    def behave(number: int, body: dict[str, Any]) -> Any:
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
            return reply(delay=0.3)
        return reply()

    server.behave = behave
    with pytest.raises(Interrupted, match=r"were stopped; got: [012] of 6 answered"):
        chats(concurrency=1).ask(prompts(6), PARSE)
    chats().ask(prompts(6), PARSE)
    assert server.times == {f"question {n}": 1 for n in range(6)}


SCRIPT = """
import sys
from pathlib import Path
from searec.text.chat import Chat, ChatSettings, Prompt

chat = Chat(ChatSettings(model="toy", base_url=sys.argv[1], concurrency=1), folder=Path(sys.argv[2]))
chat.ask([Prompt(f"user {n}", "v1", f"question {n}") for n in range(6)], lambda text: text)
"""


def test_a_killed_process_has_kept_every_answer_that_came(
    server: Any, chats: Chats, reply: Any, tmp_path: Path
) -> None:
    server.behave = lambda number, body: reply(delay=60 if number == 3 else 0)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, str(tmp_path)])
    limit = time.monotonic() + 60
    while len(server.bodies) < 4 and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert len(server.bodies) == 4
    server.behave = lambda number, body: reply()
    chats().ask(prompts(6), PARSE)
    assert server.times == {f"question {n}": 2 if n == 3 else 1 for n in range(6)}


def test_several_clients_write_one_file(server: Any, chats: Chats) -> None:
    parts = [chats(concurrency=4) for _ in range(3)]
    asked = prompts(60)
    threads = [
        threading.Thread(target=chat.ask, args=(asked[20 * n : 20 * n + 20], PARSE)) for n, chat in enumerate(parts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(chats(offline=True).ask(asked, PARSE)) == [TACOS] * 60


@pytest.mark.parametrize("name", KEYS)
def test_the_key_goes_to_the_server_and_nowhere_else(
    server: Any,
    chats: Chats,
    reply: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "sk-very-secret-123"
    monkeypatch.setenv(name, secret)
    caplog.set_level(logging.DEBUG)
    server.behave = lambda number, body: reply(f"your key is {secret}")
    chat = chats()
    answers = chat.ask(prompts(1), PARSE)
    assert server.headers[0]["authorization"] == f"Bearer {secret}"
    server.behave = lambda number, body: reply(f"incorrect key {secret}", status=401)
    with pytest.raises(ChatError, match=rf"incorrect key \*\*\*.*the key in {name}$") as error:
        chat.ask(prompts(2), PARSE)
    shown = (
        "".join(traceback.format_exception(error.value))
        + str(answers)
        + str(chat.usage.as_json())
        + str(as_dict(chat.config))
    )
    assert secret not in shown + caplog.text
    chat.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"your key is ***" in kept
    assert secret.encode() not in kept


def test_no_address_and_no_key_is_an_error_before_anything_is_sent(chats: Chats) -> None:
    with pytest.raises(SettingsError, match=r"no key and no address.*SEAREC_OPENAI_API_KEY"):
        chats(base_url=None).ask(prompts(1), PARSE)


def test_the_address_may_come_from_the_environment(server: Any, chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    chats(base_url=None).ask(prompts(1), PARSE)
    assert len(server.bodies) == 1


def test_the_client_library_is_named_if_it_is_missing(chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(
        DependencyError, match=r"pip install '\.\[chat\]' in a checkout of searec, or pip install openai"
    ):
        chats().ask(prompts(1), PARSE)


def test_nothing_to_ask_needs_no_server(tmp_path: Path) -> None:
    with Chat(ChatSettings(model="toy"), folder=tmp_path) as chat:
        assert chat.ask([], PARSE) == []


def test_chat_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAREC_CHAT_CONCURRENCY", "3")
    assert chat_settings("m").concurrency == 3
    monkeypatch.setenv("SEAREC_CHAT_CONCURENCY", "3")
    with pytest.raises(SettingsError, match="'concurrency'"):
        chat_settings("m")
