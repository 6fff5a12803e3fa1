"""A client of any OpenAI-compatible chat server: cached, retried, and within limits of pace, time and cost."""

import contextlib
import email.utils
import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from searec.config import Count, Natural, NonNegative, Positive, configure, settings
from searec.errors import ChatError, Interrupted, SearecError, SettingsError, optional_package
from searec.files import cache_folder
from searec.progress import progress
from searec.text.response_cache import CachedResponse, ResponseCache, cut_thinking
from searec.text.usage_log import UsageLog

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

T = TypeVar("T")

KEYS = ("SEAREC_OPENAI_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key, the first one found counts; it is read from nowhere else."""

_VARIABLES = "SEAREC_CHAT_"
_HOPELESS = (401, 403, 404)  # no other question would fare better
_AGAIN = (408, 409, 429)  # and every 5xx
_SHOWN = 5


@settings
class ChatSettings:
    """How to send requests to a chat server.

    Attributes:
        model: the server's name for it.
        base_url: the server; $OPENAI_BASE_URL if None, else the library's own default.
        timeout: seconds to wait for an answer.
        retries: further requests after one that failed (timeout, broken connection, 408, 409, 429, 5xx).
        attempts: most requests in one run for a prompt whose answers cannot be read.
        failures: questions of one `ask` that may fail before it is stopped.
        concurrency: requests under way at once.
        temperature: None leaves it to the server.
        max_tokens: of an answer, its thinking included.
        token_budget, cost_budget: once one `Chat` has spent this much, it sends no request; those under way complete.
        price_in, price_out: for a million tokens of prompt and of answer, in any currency.
        first_wait, longest_wait: seconds before the first retry, doubled each time up to the longest. A server that
            demands more than `longest_wait` stops the run.
        seed: of the jitter of these waits.
        offline: use cached answers only, send nothing.
    """

    model: Annotated[str, Field(min_length=1)]
    base_url: str | None = None
    timeout: Positive = 120.0
    retries: Natural = 5
    attempts: Count = 3
    failures: Natural = 10
    concurrency: Count = 8
    temperature: NonNegative | None = 0.0
    max_tokens: Count = 2048
    token_budget: Count | None = None
    cost_budget: Positive | None = None
    price_in: NonNegative = 0.0
    price_out: NonNegative = 0.0
    first_wait: Positive = 0.5
    longest_wait: Positive = 60.0
    seed: Natural = 0
    offline: bool = False


def chat_settings(model: str) -> ChatSettings:
    """Return the settings that the variables SEAREC_CHAT_CONCURRENCY, SEAREC_CHAT_COST_BUDGET and so on hold.

    Raises:
        SettingsError: no model is named; a variable that names no setting, or a bad value.
    """
    if not model:
        remedy = "--set chat_model=NAME (train, codes) or --chat-model NAME (interests), as the server calls it"
        raise SettingsError("no chat model is named", where="chat_model", remedy=remedy)
    given = {
        name.removeprefix(_VARIABLES).lower(): value
        for name, value in os.environ.items()
        if name.startswith(_VARIABLES)
    }
    return configure(ChatSettings, {**given, "model": model}, where=f"{_VARIABLES}*")


@dataclass(frozen=True)
class Prompt:
    """One question."""

    name: str  # what errors call it ("user 3, search"); no part of its key
    version: str  # of the wording, part of its key
    text: str


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came of a prompt: a value, or the problem that left it without one.

    when: the server gave it (UTC, ISO 8601), in this run or the one that it is replayed from; empty if it gave none.
    """

    prompt: Prompt
    value: T | None
    problem: str | None = None
    replayed: bool = False
    when: str = ""


class _Failed(Exception):
    """One question failed for good."""


class _Stopped(Exception):
    """Another question's error, or Ctrl-C, has ended the run; nobody looks at this one."""


class Chat:
    """A client of one chat server. Answers are cached: no prompt is answered twice, in this run or a later one.

    Two processes that send the same prompt at the same time may both pay for it.

    Args:
        config: see `ChatSettings`.
        folder: of the answer cache; the user's cache folder by default.

    Raises:
        SettingsError: a cost budget without prices.
    """

    def __init__(self, config: ChatSettings, *, folder: Path | None = None) -> None:
        if config.cost_budget is not None and not (config.price_in or config.price_out):
            raise SettingsError(
                "a cost budget needs prices", got="price_in = price_out = 0", remedy="set price_in and price_out"
            )
        self.config = config
        self.usage = UsageLog()
        self._cache = ResponseCache((folder or cache_folder() / "answers") / "answers.sqlite")
        self._jitter = np.random.default_rng(config.seed)
        self._jitter_lock = threading.Lock()
        self._stop = threading.Event()
        self._failed_before = 0

    def close(self) -> None:
        """Close the connections and the answer cache."""
        self._cache.close()
        if "_client" in self.__dict__:
            self._client.close()

    def stop(self) -> None:
        """End the `ask` under way with Interrupted, as Ctrl-C does; call it from another thread."""
        self._stop.set()

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, prompts: Sequence[Prompt], parse: Callable[[str], T | None]) -> list[Answer[T]]:
        """Answer every prompt, in order, from the cache or from the server; equal prompts are sent once.

        Args:
            prompts: what to send.
            parse: reads an answer without its thinking; None if it cannot, and the prompt is sent again, up to
                `attempts` times.

        Returns:
            One answer a prompt. A value of None comes with its problem; a later call sends these prompts only.

        Raises:
            ChatError: an answer is missing offline; the server refuses or fails too often; the budget is spent. Answers
                so far stay.
            Interrupted: on Ctrl-C or `stop`; requests under way complete and are cached.
            DependencyError: the `openai` package is not installed.
            StorageError: answers cannot be cached.
        """
        keys = [self._key(prompt) for prompt in prompts]
        distinct = dict(zip(keys, prompts, strict=True))
        known = self._cache.find(list(distinct))
        answers: dict[bytes, Answer[T]] = {}
        for key, responses in known.items():
            said = ((parse(cut_thinking(one.answer)), one) for one in reversed(responses))
            value, used = next(((value, one) for value, one in said if value is not None), (None, responses[-1]))
            if value is not None or self.config.offline:
                self.usage.replayed(responses, usable=value is not None)
                answers[key] = self._read(distinct[key], value, used, replayed=True)
        missing = [key for key in distinct if key not in answers]
        if missing and self.config.offline:
            names = "; ".join(distinct[key].name for key in missing[:_SHOWN])
            raise ChatError(
                f"{len(missing)} of {len(distinct)} answers are not cached, and nothing is sent offline",
                where=names + ("; ..." if len(missing) > _SHOWN else ""),
                got=f"model {self.config.model!r}, prompts {distinct[missing[0]].version!r}",
                remedy="run once with offline off, with the same model, prompts and parameters",
            )
        if missing:
            self._ask_server({key: distinct[key] for key in missing}, parse, answers)
        return [_under(prompt, answers[key]) for key, prompt in zip(keys, prompts, strict=True)]

    def _ask_server(
        self, prompts: dict[bytes, Prompt], parse: Callable[[str], T | None], answers: dict[bytes, Answer[T]]
    ) -> None:
        """Send up to `concurrency` at once and fill `answers`; the first error stops what has not been sent."""
        client = self._client  # missing packages and keys show here, not in a thread
        self._stop.clear()
        self._failed_before = self.usage.failures
        pool = ThreadPoolExecutor(self.config.concurrency, thread_name_prefix="searec-chat")
        under_way: dict[Future[Answer[T]], bytes] = {
            pool.submit(self._one, client, key, prompts[key], parse): key for key in prompts
        }
        done, stopped = 0, False
        try:
            with progress("Asking the chat server", len(prompts)) as advance:
                for future in as_completed(under_way):
                    with contextlib.suppress(_Stopped):  # the error that stopped it comes with another one
                        answers[under_way[future]] = future.result()
                        done += 1
                        advance(1, f"{self.usage.tokens} tokens")
        except KeyboardInterrupt:
            stopped = True
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
        if stopped or done < len(prompts):
            raise Interrupted(
                "requests to the chat server were stopped",
                got=f"{done} of {len(prompts)} answered",
                remedy="run the same command again; it sends only the rest",
            )

    def _one(self, client: "OpenAI", key: bytes, prompt: Prompt, parse: Callable[[str], T | None]) -> Answer[T]:
        """Send one prompt, cache and read the answer; send it again while the answer cannot be read."""
        response = None
        for _ in range(self.config.attempts):
            try:
                response = self._request(client, prompt)
            except _Failed as error:
                return self._failed(Answer(prompt, None, str(error)))
            except SearecError:
                self._stop.set()  # here, so that this thread does not begin the next prompt
                raise
            self._cache.store(key, response)
            value = parse(cut_thinking(response.answer))
            self.usage.answered(response, usable=value is not None)
            if value is not None:
                return self._read(prompt, value, response, replayed=False)
        assert response is not None  # attempts >= 1
        return self._failed(self._read(prompt, None, response, replayed=False))

    def _request(self, client: "OpenAI", prompt: Prompt) -> CachedResponse:
        """One answer, after as many requests as it takes; `_Failed` if they are used up."""
        import openai

        for attempt in range(self.config.retries + 1):
            if self._stop.is_set():
                raise _Stopped
            self._check_budget()
            self.usage.called(again=attempt > 0)
            start = time.monotonic()
            wait_for = 0.0
            try:
                completion = client.chat.completions.create(**self._body(prompt))
                return self._response(prompt, completion, time.monotonic() - start)
            except openai.APIStatusError as error:
                status = error.status_code
                problem = f"HTTP {status}: {self._safe(error.message)}"
                if status in _HOPELESS:
                    raise self._refused(problem) from None
                if status not in _AGAIN and status < 500:
                    raise _Failed(problem) from None
                wait_for = _retry_after(error.response.headers.get("retry-after"))
            except (
                openai.APIError,
                ValueError,
            ) as error:  # a timeout, a broken connection, an answer that is no answer
                problem = self._safe(f"{type(error).__name__}: {error}")
            if wait_for > self.config.longest_wait:
                raise ChatError(
                    "the chat server demands a longer wait than allowed",
                    where=self._where(),
                    got=f"{wait_for:.0f} s ({problem})",
                    expected=f"at most longest_wait = {self.config.longest_wait:g} s",
                    remedy="run the same command later; answers so far are cached",
                )
            if attempt < self.config.retries:
                self._stop.wait(max(wait_for, self._backoff(attempt)))
        raise _Failed(problem)

    def _check_budget(self) -> None:
        config, usage = self.config, self.usage
        if usage.uncounted and (config.token_budget or config.cost_budget):
            raise ChatError(
                "the chat server does not report tokens, so no budget can be held",
                where=self._where(),
                remedy="set token_budget and cost_budget to none",
            )
        for name, spent, budget in (
            ("token", usage.tokens, config.token_budget),
            ("cost", usage.cost, config.cost_budget),
        ):
            if budget is not None and spent >= budget:
                raise ChatError(
                    f"the {name} budget is spent",
                    got=round(spent, 6),
                    expected=f"{name}_budget = {budget}",
                    remedy=f"raise {name}_budget and run the same command again; answers so far are cached",
                )

    def _backoff(self, attempt: int) -> float:
        """Seconds before retry `attempt` + 1: doubled each time, less up to a half by chance."""
        with self._jitter_lock:
            return float(
                min(self.config.longest_wait, self.config.first_wait * 2**attempt) * self._jitter.uniform(0.5, 1)
            )

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        """What is sent: the model, the messages and the parameters that change an answer."""
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt.text}],
            "max_tokens": self.config.max_tokens,
        }
        return body if self.config.temperature is None else {**body, "temperature": self.config.temperature}

    def _key(self, prompt: Prompt) -> bytes:
        return hashlib.blake2b(json.dumps([prompt.version, self._body(prompt)]).encode(), digest_size=16).digest()

    def _response(self, prompt: Prompt, completion: "ChatCompletion", seconds: float) -> CachedResponse:
        """The answer to cache; ValueError if the server's reply holds none."""
        # the library lets any JSON through
        first = next(iter(getattr(completion, "choices", None) or ()), None)
        message, usage = getattr(first, "message", None), getattr(completion, "usage", None)
        content = getattr(message, "content", None)
        if first is None or message is None or not isinstance(content, str | None):
            raise ValueError("the reply holds no answer")
        tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        cost = ((tokens_in or 0) * self.config.price_in + (tokens_out or 0) * self.config.price_out) / 1e6
        return CachedResponse(
            model=self.config.model,
            version=prompt.version,
            input=json.dumps(self._body(prompt), ensure_ascii=False),
            answer=self._safe(
                (content or "").encode(errors="replace").decode(), whole=True
            ),  # half a surrogate pair cannot be kept
            finish=str(getattr(first, "finish_reason", None) or ""),
            prompt_tokens=tokens_in,
            completion_tokens=tokens_out,
            cost=cost,
            seconds=seconds,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @staticmethod
    def _read(prompt: Prompt, value: T | None, response: CachedResponse, *, replayed: bool) -> Answer[T]:
        problem = None if value is not None else f"an answer that says nothing (finish reason {response.finish!r})"
        return Answer(prompt, value, problem, replayed, response.time)

    def _failed(self, answer: Answer[T]) -> Answer[T]:
        """Count a question that failed; too many are an error."""
        if self.usage.failed() - self._failed_before > self.config.failures:
            self._stop.set()
            raise ChatError(
                "too many questions failed",
                where=f"{self._where()}, {answer.prompt.name}",
                got=answer.problem,
                expected=f"at most failures = {self.config.failures}",
                remedy="see that the server is well, then run the same command again; answers so far are cached",
            )
        return answer

    def _refused(self, problem: str) -> ChatError:
        variable = next((name for name in KEYS if os.environ.get(name)), None)
        return ChatError(
            "the chat server refuses",
            where=self._where(),
            got=problem,
            remedy=f"check base_url, the model's name and the key in {variable or ' or '.join(KEYS)}",
        )

    def _where(self) -> str:
        """The model and the server, without what a URL may hold of user names and passwords."""
        url = urlsplit(self.config.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1")
        host = url.hostname or ""
        return f"{self.config.model} at {url.scheme}://{host}{f':{url.port}' if url.port else ''}{url.path}"

    def _safe(self, text: str, *, whole: bool = False) -> str:
        """The text without the key, should a server send it back; cut to one line unless `whole`."""
        for secret in filter(None, map(os.environ.get, KEYS)):
            text = text.replace(secret, "***")
        return text if whole else " ".join(text.split())[:300]

    @functools.cached_property
    def _client(self) -> "OpenAI":
        with optional_package("the chat client is not installed", "chat"):
            from openai import OpenAI
        key = next(filter(None, map(os.environ.get, KEYS)), None)
        if key is None and not (self.config.base_url or os.environ.get("OPENAI_BASE_URL")):
            raise SettingsError(
                "no key and no address for a chat server",
                where="environment",
                remedy=f"set {KEYS[0]}, or base_url to a server that needs no key",
            )
        # the library's own retries are off: there is one policy, the one above
        return OpenAI(api_key=key or "none", base_url=self.config.base_url, timeout=self.config.timeout, max_retries=0)


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None


def _under(prompt: Prompt, answer: Answer[T]) -> Answer[T]:
    """The same answer for another prompt of the same words."""
    return answer if answer.prompt is prompt else replace(answer, prompt=prompt)


def _retry_after(header: str | None) -> float:
    """Seconds of a Retry-After header, given as a number or a date; 0 if there is none."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (until - datetime.now(until.tzinfo)).total_seconds())
