"""Prompts to several chat servers at once, each server at its own pace."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from searec.errors import ChatError, Interrupted
from searec.text.chat import Answer, Chat, Prompt

T = TypeVar("T")

_LOOK = 0.2
"""Seconds; a wait without end may not notice Ctrl-C."""


def ask_chats(questions: Sequence[tuple[Chat, Prompt]], parse: Callable[[str], T | None]) -> list[Answer[T]]:
    """Return one answer a question, in order; the prompts of each chat are one `Chat.ask`, all chats at once.

    A chat that fails altogether (ChatError) leaves its prompts without a value, the error as their problem, as long
    as another one answers.

    Args:
        questions: prompts, each with its chat.
        parse: as for `Chat.ask`.

    Raises:
        ChatError: no chat answers; or an offline one lacks an answer, since a replay must not differ unnoticed.
        Interrupted: on Ctrl-C; requests under way complete and are cached.
        SearecError: otherwise as `Chat.ask`.
    """
    chats = list({id(chat): chat for chat, _ in questions}.values())
    places = {id(chat): [place for place, (other, _) in enumerate(questions) if other is chat] for chat in chats}
    if len(chats) == 1:
        return chats[0].ask([prompt for _, prompt in questions], parse)

    def ask(chat: Chat) -> list[Answer[T]]:
        return chat.ask([questions[place][1] for place in places[id(chat)]], parse)

    answers: dict[int, Answer[T]] = {}
    failed: list[tuple[Chat, ChatError]] = []
    for chat, future in _all(ask, chats):
        try:
            said = future.result()
        except ChatError as error:
            failed.append((chat, error))
            said = [Answer(questions[place][1], None, str(error)) for place in places[id(chat)]]
        answers.update(zip(places[id(chat)], said, strict=True))
    for chat, cause in failed:
        if chat.config.offline or len(failed) == len(chats):
            raise cause
    return [answers[place] for place in range(len(questions))]


def _all(ask: Callable[[Chat], list[Answer[T]]], chats: Sequence[Chat]) -> list[tuple[Chat, Future[list[Answer[T]]]]]:
    """The chats with their results, in order; all have ended."""
    with ThreadPoolExecutor(max(1, len(chats)), thread_name_prefix="searec-chats") as pool:
        submitted = [(chat, pool.submit(ask, chat)) for chat in chats]
        try:
            while wait([future for _, future in submitted], timeout=_LOOK).not_done:
                pass
        except KeyboardInterrupt:
            for chat in chats:
                chat.stop()
            raise Interrupted(
                "requests to the chat server were stopped", remedy="run the same command again; it sends only the rest"
            ) from None
    return submitted
