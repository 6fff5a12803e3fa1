"""Waits between tries."""

import threading

import numpy as np


class Backoff:
    """Returns waits that double from `first` to `longest` seconds, less up to a half by chance; threads may share one.

    >>> waits = Backoff(1.0, 60.0, np.random.default_rng(0))
    >>> [half <= waits.seconds(attempt) <= 2 * half for attempt, half in ((1, 0.5), (2, 1.0), (4, 4.0), (5000, 30.0))]
    [True, True, True, True]
    """

    def __init__(self, first: float, longest: float, rng: np.random.Generator) -> None:
        self._first, self._longest, self._rng = first, longest, rng
        self._lock = threading.Lock()  # a generator is not made for threads

    def seconds(self, attempt: int) -> float:
        """Return the seconds to wait after try `attempt`, counted from 1."""
        whole = min(self._longest, self._first * 2.0 ** min(attempt - 1, 100))
        with self._lock:
            return float(whole * self._rng.uniform(0.5, 1))
