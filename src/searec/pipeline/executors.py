"""Lanes: a thread for each part of the engine, so that one that is late or broken costs an answer that part and nothing else."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

import torch

from searec.errors import SearecError
from searec.pipeline.types import SkipReason

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)


class Skipped(Exception):
    """A part that an answer does without."""

    def __init__(self, why: SkipReason, error: BaseException | None = None) -> None:
        super().__init__(why)
        self.why: SkipReason = why
        self.error = error


class Pending(Generic[Result]):
    """Something a lane does for one request."""

    def __init__(self, lane: "Executor", future: "Future[Result] | None") -> None:
        self._lane = lane
        self._future = future

    def result(self, due: float) -> Result:
        """What came of it, by a time of `time.monotonic`.

        Raises:
            Skipped: it is late, or failed.
        """
        if self._future is None:
            raise Skipped("late")
        try:
            return self._future.result(max(0.0, due - time.monotonic()))
        except FutureTimeoutError:
            if not self._future.cancel():
                self._lane.stuck(self._future)
            raise Skipped("late") from None
        except Exception as error:  # whatever is wrong with one part, the answer has the others; `note` tells the log
            self._lane.note(error)
            raise Skipped("failed", error) from error


class Executor:
    """One part's thread. While something it does is over its time, it takes nothing new."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last_error = ""
        self._pool = ThreadPoolExecutor(
            1, thread_name_prefix=f"searec-{name}", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._stuck: Future[object] | None = None
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], Result]) -> Pending[Result]:
        """Have it done by the lane's thread, without gradients."""
        with self._lock:
            if self._stuck is not None and not self._stuck.done():
                return Pending(self, None)
            self._stuck = None

        def quiet() -> Result:
            with torch.inference_mode():
                return work()

        return Pending(self, self._pool.submit(quiet))

    def stuck(self, future: "Future[Result]") -> None:
        """This one is over its time."""
        with self._lock:
            self._stuck = future  # type: ignore[assignment]

    def note(self, error: BaseException) -> None:
        """Keep what went wrong last, and tell the log; where it comes from too, if it is a fault of ours."""
        self.last_error = f"{type(error).__name__}: {error}"[:300]
        _LOG.error(
            "%s fails: %s", self.name, self.last_error, exc_info=None if isinstance(error, SearecError) else error
        )

    def close(self) -> None:
        """End the thread once it is done."""
        self._pool.shutdown(wait=True, cancel_futures=True)
