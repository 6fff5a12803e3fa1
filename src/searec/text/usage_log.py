"""The usage of one chat client: requests, tokens and cost, and the original cost of replayed answers."""

import math
import threading
from dataclasses import dataclass, field
from typing import Any

from searec.text.response_cache import CachedResponse


@dataclass
class _Sums:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    costs: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, response: CachedResponse) -> None:
        self.prompt_tokens += response.prompt_tokens or 0
        self.completion_tokens += response.completion_tokens or 0
        self.cost += response.cost
        self.costs.append(response.cost)
        self.seconds.append(response.seconds)

    def as_json(self) -> dict[str, Any]:
        """Return the sums; by fsum, for the same total whichever thread answered first."""
        tokens = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        return {**tokens, "cost": math.fsum(self.costs), "seconds": round(math.fsum(self.seconds), 3)}


class UsageLog:
    """Counts of one `Chat`, safe to write from several threads.

    Attributes:
        calls: requests sent to the server, repeated ones included.
        from_cache: distinct questions answered by a kept answer.
        retries: requests repeated because the one before failed.
        unusable: answers that came but said nothing that can be read.
        failures: questions left without a usable answer.
        uncounted: answers whose tokens the server did not report; they count as 0.
    """

    def __init__(self) -> None:
        self.calls = self.from_cache = self.retries = self.unusable = self.failures = self.uncounted = 0
        self._spent, self._replayed = _Sums(), _Sums()
        self._lock = threading.Lock()

    @property
    def tokens(self) -> int:
        """Tokens of this run's own requests, prompts and answers together."""
        return self._spent.prompt_tokens + self._spent.completion_tokens

    @property
    def cost(self) -> float:
        """Cost of this run's own requests, in the currency of the prices; to the last digit in `as_json`."""
        return self._spent.cost

    def called(self, *, again: bool) -> None:
        """A request goes out; `again` after a failed one."""
        with self._lock:
            self.calls += 1
            self.retries += again

    def answered(self, response: CachedResponse, *, usable: bool) -> None:
        """Count an answer of the server.

        Args:
            response: the answer.
            usable: whether it could be read.
        """
        with self._lock:
            self._spent.add(response)
            self.unusable += not usable
            self.uncounted += response.prompt_tokens is None or response.completion_tokens is None

    def replayed(self, responses: list[CachedResponse], *, usable: bool) -> None:
        """Count a request answered from the cache.

        Args:
            responses: all answers it took at the time.
            usable: whether one could be read.
        """
        with self._lock:
            self.from_cache += 1
            self.failures += not usable
            for one in responses:
                self._replayed.add(one)

    def failed(self) -> int:
        """A question stays without a usable answer; returns how many do."""
        with self._lock:
            self.failures += 1
            return self.failures

    def as_json(self) -> dict[str, Any]:
        """Return counts, tokens, cost and seconds of this run; `replayed` has the original cost of cached answers."""
        names = ("calls", "from_cache", "retries", "unusable", "failures", "uncounted")
        with self._lock:
            counts = {name: getattr(self, name) for name in names}
            return {**counts, **self._spent.as_json(), "replayed": self._replayed.as_json()}
