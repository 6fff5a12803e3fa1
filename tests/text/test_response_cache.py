"""Answers: thinking is cut, one JSON field is read strictly, plain text stands and is flagged, what is kept stays."""

import sqlite3
from pathlib import Path

import pytest

from searec.errors import StorageError
from searec.text.response_cache import CachedResponse, FieldText, ResponseCache, cut_thinking, read_field


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        ("<think>who is this?</think>\n\ntacos", "tacos"),
        ("  <think>\nlong\n</think>tacos", "tacos"),
        ("who is this?</think>tacos", "tacos"),  # the template opened it in the prompt
        ("<think></think>", ""),
        ("<think>cut short in the midd", ""),
        ("tacos", "tacos"),
        ("likes the <think> tag and its </think>", "likes the <think> tag and its </think>"),
        ("", ""),
    ],
)
def test_thinking_is_cut(answer: str, rest: str) -> None:
    assert cut_thinking(answer) == rest


@pytest.mark.parametrize(
    "answer",
    [
        '{"likes": "tacos"}',
        '```json\n{"likes": "tacos"}\n```',
        'Here it is:\n```\n{"likes": " tacos "}\n```\nAnything else?',
    ],
)
def test_json_is_read_with_and_without_a_fence(answer: str) -> None:
    assert read_field(answer, "likes") == FieldText("tacos", plain=False)


@pytest.mark.parametrize("answer", ["likes tacos", '{"likes": "tac', "{likes: tacos}"])
def test_what_is_no_json_stands_as_plain_text(answer: str) -> None:
    assert read_field(answer, "likes") == FieldText(answer, plain=True)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        '{"likes": ""}',
        '{"likes": 3}',
        '{"likes": ["tacos"]}',
        '{"loves": "tacos"}',
        '{"likes": "tacos", "age": "30"}',
        '["tacos"]',
    ],
)
def test_nothing_and_json_of_another_shape_say_nothing(answer: str) -> None:
    assert read_field(answer, "likes") is None


def kept(answer: str) -> CachedResponse:
    return CachedResponse("m", "v", "{}", answer, "stop", 7, None, 0.25, 1.5, "2024-01-01T00:00:00+00:00")


def test_answers_are_found_again_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answers.sqlite"
    cache, other = ResponseCache(path), ResponseCache(path)
    cache.store(b"a", kept(""))
    other.store(b"a", kept("tacos"))
    other.store(b"b", kept("sushi"))
    assert cache.find([b"b", b"c", b"a"]) == {b"a": [kept(""), kept("tacos")], b"b": [kept("sushi")]}
    assert len(cache.find([bytes([n, m]) for n in range(40) for m in range(40)] + [b"a"])) == 1
    cache.close()
    other.close()


def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=r"kept answers.*answers\.sqlite"):
        ResponseCache(path)
    path.unlink()
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE answers (other TEXT)")
    store.close()
    cache = ResponseCache(path)
    with pytest.raises(StorageError, match="move a damaged file away"):
        cache.store(b"a", kept("tacos"))
    cache.close()
