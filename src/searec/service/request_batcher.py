"""Request batching: requests that arrive at the same time are answered together, and pipelines are swapped in between.

A request alone costs as many small operations as sixteen together. Requests that arrive while the pipeline is busy wait
for the next batch.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Generic, Literal, TypeVar

from searec.config import Count, settings
from searec.errors import Overloaded, SearecError
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Request, Response, Suggestions, SuggestRequest

In = TypeVar("In")
Out = TypeVar("Out")


@settings
class BatcherSettings:
    """How requests are batched.

    Attributes:
        max_batch_size: requests that are answered together, at most.
        max_queue: requests that may wait; further ones are refused.
    """

    max_batch_size: Count = 16
    max_queue: Count = 512


class _Queue(Generic[In, Out]):
    """Waiting requests of one kind, and the thread that answers them by the pipeline's method of that name."""

    def __init__(
        self,
        name: Literal["recommend", "search", "suggest"],
        use: Callable[[], AbstractContextManager[Pipeline]],
        config: BatcherSettings,
    ) -> None:
        self._name, self._use = name, use
        self._config = config
        self._pending: queue.SimpleQueue[tuple[In, Future[Out]] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"searec-{name}", daemon=True)
        self._thread.start()

    def put(self, request: In) -> "Future[Out]":
        future: Future[Out] = Future()
        with self._lock:
            if self._closed:
                raise Overloaded("the service is closing", remedy="try again")
            if self._pending.qsize() >= self._config.max_queue:
                raise Overloaded("too many requests wait", got=self._pending.qsize(), remedy="try again a little later")
            self._pending.put((request, future))
        return future

    def close(self) -> None:
        """Answer what waits, then end."""
        with self._lock:
            self._closed = True
            self._pending.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            waiting = [self._pending.get()]
            with contextlib.suppress(queue.Empty):
                while len(waiting) < self._config.max_batch_size:
                    waiting.append(self._pending.get_nowait())
            last = None in waiting
            batch = [one for one in waiting if one is not None and one[1].set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                with self._use() as pipeline:
                    responses = getattr(pipeline, self._name)([request for request, _ in batch])
            except Exception as error:  # our fault is the caller's to see, and the thread must live on
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), response in zip(batch, responses, strict=True):
                if isinstance(response, SearecError):
                    future.set_exception(response)
                else:
                    future.set_result(response)


class RequestBatcher:
    """Accepts requests from any thread. Results are futures; an error of a request is its future's error.

    Args:
        pipeline: answers them.
        config: how they are batched.
    """

    def __init__(self, pipeline: Pipeline, config: BatcherSettings | None = None) -> None:
        config = config or BatcherSettings()
        self._pipeline = pipeline
        self._users: dict[int, int] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._feed: _Queue[Request, Response] = _Queue("recommend", self.use, config)
        self._search: _Queue[Request, Response] = _Queue("search", self.use, config)
        self._suggest: _Queue[SuggestRequest, Suggestions] = _Queue("suggest", self.use, config)

    def recommend(self, request: Request) -> "Future[Response]":
        """Return a page of the feed.

        Raises:
            Overloaded: too many requests wait, or the service is closed.
        """
        return self._feed.put(request)

    def search(self, request: Request) -> "Future[Response]":
        """Return a page of results; as `recommend`."""
        return self._search.put(request)

    def suggest(self, user: str | None, prefix: str, k: int) -> "Future[Suggestions]":
        """Return suggested queries; as `recommend`.

        Args:
            user: external id, or None.
            prefix: which the queries begin with.
            k: how many.
        """
        return self._suggest.put(SuggestRequest(user, prefix, k))

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that answers the next request."""
        return self._pipeline

    def swap(self, pipeline: Pipeline) -> None:
        """Answer by another pipeline from now on; the old one is closed once its requests are answered."""
        with self._lock:
            old, self._pipeline = self._pipeline, pipeline
            while self._users.get(id(old)):
                self._idle.wait()
        old.close()

    def close(self) -> None:
        """Accept no more, answer what waits, and close the pipeline."""
        for pending in (self._feed, self._search, self._suggest):
            pending.close()
        self._pipeline.close()

    @contextlib.contextmanager
    def use(self) -> Iterator[Pipeline]:
        """Yield the pipeline, which is not closed within the block."""
        with self._lock:
            pipeline = self._pipeline
            self._users[id(pipeline)] = self._users.get(id(pipeline), 0) + 1
        try:
            yield pipeline
        finally:
            with self._lock:
                self._users[id(pipeline)] -= 1
                if not self._users[id(pipeline)]:
                    del self._users[id(pipeline)]
                    self._idle.notify_all()
