"""Structured output: questions whose answers are strict JSON, validated, with one question for repair."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from searec.interests.templates import FAULTS, PromptTemplates, as_data
from searec.text.chat import Answer, Chat, Prompt
from searec.text.multi_client import ask_chats
from searec.text.response_cache import unfenced

S = TypeVar("S", bound=BaseModel)
R = TypeVar("R")

LONGEST_ANSWER = 50_000
"""Characters; what is longer is not read."""
_SENT_BACK = 4_000
_SHOWN = 4


@dataclass(frozen=True)
class Fault:
    """A fault of an answer, in words for the model."""

    problem: str


@dataclass(frozen=True)
class Question(Generic[S, R]):
    """One question; `name` is for errors, `check` turns the validated answer into a value or returns its fault."""

    chat: Chat
    name: str
    text: str
    check: Callable[[S], R | Fault]


@dataclass(frozen=True)
class Reply(Generic[R]):
    """The value of a question, or the problem that prevented it.

    repaired: the first answer was faulty. when: time of the used answer (UTC, ISO 8601); empty without an answer.
    """

    value: R | None
    problem: str | None = None
    repaired: bool = False
    when: str = ""


@dataclass(frozen=True)
class _Said(Generic[S]):
    text: str
    value: S | Fault


def ask_all(questions: Sequence[Question[S, R]], shape: type[S], wording: PromptTemplates) -> list[Reply[R]]:
    """Return one reply a question, in order; a faulty answer is sent back once, with its fault.

    Faulty answers are cached too, so that a replay gives the same result.

    Args:
        questions: sent all at once.
        shape: the form of the answers.
        wording: the prompts.

    Raises:
        SearecError: the server cannot be used at all, as `ask_chats`.
    """
    first = _ask(questions, [question.text for question in questions], shape, wording)
    replies = [_reply(question, answer, None) for question, answer in zip(questions, first, strict=True)]
    bad = [
        (place, answer.value.text, reply.problem or "")
        for place, (reply, answer) in enumerate(zip(replies, first, strict=True))
        if reply.problem is not None and answer.value is not None
    ]
    if bad:
        again = [questions[place] for place, _, _ in bad]
        texts = [
            wording.fill("repair", question=questions[place].text, answer=as_data(said[:_SENT_BACK]), fault=fault)
            for place, said, fault in bad
        ]
        for (place, _, fault), question, answer in zip(bad, again, _ask(again, texts, shape, wording), strict=True):
            replies[place] = _reply(question, answer, fault)
    return replies


def read_json(text: str, shape: type[S]) -> S | Fault:
    """Validate an answer strictly; with or without a code fence.

    Args:
        text: the answer.
        shape: its form.

    >>> class One(BaseModel):
    ...     word: str
    >>> read_json('{"word": "so"}', One), read_json("so", One).problem.partition(": ")[2]
    (One(word='so'), 'Invalid JSON: expected value at line 1 column 1')
    """
    if not text.strip():
        return Fault("the answer is empty, or was cut short while thinking")
    if len(text) > LONGEST_ANSWER:
        return Fault(f"the answer has {len(text)} characters, more than {LONGEST_ANSWER}")
    try:
        return shape.model_validate_json(unfenced(text))
    except ValidationError as error:
        problems = [
            ": ".join(filter(None, [".".join(map(str, one["loc"]))[:80], one["msg"]]))
            for one in error.errors()[:_SHOWN]
        ]
        return Fault(FAULTS["shape"] + "; ".join(problems))


def _ask(
    questions: Sequence[Question[S, R]], texts: Sequence[str], shape: type[S], wording: PromptTemplates
) -> list[Answer[_Said[S]]]:
    def parse(text: str) -> _Said[S]:
        return _Said(text, read_json(text, shape))

    prompts = [
        (question.chat, Prompt(question.name, wording.version, text))
        for question, text in zip(questions, texts, strict=True)
    ]
    return ask_chats(prompts, parse) if prompts else []


def _reply(question: Question[S, R], answer: Answer[_Said[S]], before: str | None) -> Reply[R]:
    """Return the reply of an answer; before: the fault of the first answer, where this is the second."""
    if answer.value is None:
        result: R | Fault = Fault(answer.problem or "no answer")
    else:
        said = answer.value.value
        result = said if isinstance(said, Fault) else question.check(said)
    if not isinstance(result, Fault):
        return Reply(result, None, before is not None, answer.when)
    problem = result.problem if before is None else f"{result.problem}; and before its one repair: {before}"
    return Reply(None, problem, before is not None, answer.when)
