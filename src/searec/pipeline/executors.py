"""Executors: each part of the pipeline has a thread of its own, so that a late or broken part costs nothing else."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, Protocol, TypeVar

import torch

from searec.errors import SearecError
from searec.pipeline.types import SkipReason

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
_LOG = logging.getLogger(__name__)


class Skipped(Exception):
    """A part did not answer in time."""

    def __init__(self, why: SkipReason) -> None:
        super().__init__(why)
        self.why: SkipReason = why


class Pending(Protocol[Result_co]):
    """The result of submitted work."""

    def result(self, due: float) -> Result_co:
        """Return the result by a time of `time.monotonic`.

        Raises:
            Skipped: it is late or failed.
        """
        ...


class Runner(Protocol):
    """Runs the work of one part."""

    last_error: str

    def submit(self, work: Callable[[], Result]) -> Pending[Result]:
        """Start the work without gradients."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class _Scheduled(Generic[Result]):
    """Work in an executor's thread; None where the executor accepted nothing."""

    def __init__(self, executor: "Executor", future: "Future[Result] | None") -> None:
        self._executor = executor
        self._future = future

    def result(self, due: float) -> Result:
        if self._future is None:
            raise Skipped("late")
        try:
            return self._future.result(max(0.0, due - time.monotonic()))
        except FutureTimeoutError:
            if not self._future.cancel():
                self._executor.mark_stuck(self._future)
            raise Skipped("late") from None
        except Exception as error:  # whatever is wrong with one part, the response has the others; it is logged
            self._executor.record_error(error)
            raise Skipped("failed") from error


class Executor:
    """A thread for one part. While a task is over its time, no new one is accepted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last_error = ""
        self._pool = ThreadPoolExecutor(
            1, thread_name_prefix=f"searec-{name}", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._stuck: Future[object] | None = None
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], Result]) -> Pending[Result]:
        """Run the work in the thread, without gradients."""
        with self._lock:
            if self._stuck is not None and not self._stuck.done():
                return _Scheduled(self, None)
            self._stuck = None
        return _Scheduled(self, self._pool.submit(_without_gradients, work))

    def mark_stuck(self, future: "Future[Result]") -> None:
        """Accept nothing until this task, which is over its time, has ended."""
        with self._lock:
            self._stuck = future  # type: ignore[assignment]

    def record_error(self, error: BaseException) -> None:
        """Remember and log the last error, with a traceback if it is not one of ours."""
        self.last_error = f"{type(error).__name__}: {error}"[:300]
        _LOG.error(
            "%s fails: %s", self.name, self.last_error, exc_info=None if isinstance(error, SearecError) else error
        )

    def close(self) -> None:
        """End the thread after its current task."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Done(Generic[Result]):
    """Work that is done."""

    def __init__(self, value: Result) -> None:
        self._value = value

    def result(self, due: float) -> Result:
        return self._value


class Inline:
    """Runs work at once in the caller's thread, without deadlines; errors are the caller's. For evaluation."""

    last_error = ""

    def __init__(self, name: str) -> None:
        self.name = name

    def submit(self, work: Callable[[], Result]) -> Pending[Result]:
        """Run the work now, without gradients."""
        return _Done(_without_gradients(work))

    def close(self) -> None:
        """Do nothing."""


def _without_gradients(work: Callable[[], Result]) -> Result:
    with torch.inference_mode():
        return work()
