"""Minds for the chat server."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from searec.config import configure
from searec.text.chat import KEYS, Chat, ChatSettings

sys.path.insert(0, str(Path(__file__).parent))  # modules of these tests, importable under any import mode


@pytest.fixture
def chats(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Chat]]:
    """Chats with the server, all over one folder of answers."""
    pytest.importorskip("openai")
    for name in (*KEYS, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    made: list[Chat] = []

    def make(model: str = "toy", **values: object) -> Chat:
        start = {"model": model, "base_url": server.url, "retries": 0, "timeout": 20.0}
        made.append(Chat(configure(ChatSettings, start | values), folder=tmp_path))
        return made[-1]

    yield make
    for chat in made:
        chat.close()
