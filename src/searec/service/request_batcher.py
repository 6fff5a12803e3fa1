"""Front: requests that come at the same time are answered together, and engines are swapped between two of them.

A request alone costs as many small operations as sixteen together. Whoever comes while the engine is busy waits for the next turn.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from searec.config import Count, settings
from searec.errors import Overloaded, SearecError
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Request, Response, Suggestions, SuggestRequest

Asked = TypeVar("Asked")
Told = TypeVar("Told")


@settings
class BatcherSettings:
    """together: requests that are answered at once, at most. waiting: requests that may wait; further ones are refused."""

    max_batch_size: Count = 16
    max_queue: Count = 512


class _Queue(Generic[Asked, Told]):
    """One kind of requests: those who wait, and the thread that answers them."""

    def __init__(
        self, name: str, answer: Callable[[Sequence[Asked]], Sequence[Told | SearecError]], config: BatcherSettings
    ) -> None:
        self._answer = answer
        self._config = config
        self._pending: queue.SimpleQueue[tuple[Asked, Future[Told]] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"searec-{name}", daemon=True)
        self._thread.start()

    def ask(self, asked: Asked) -> "Future[Told]":
        future: Future[Told] = Future()
        with self._lock:
            if self._closed:
                raise Overloaded("the service is closing", remedy="ask again")
            if self._pending.qsize() >= self._config.max_queue:
                raise Overloaded("too many requests wait", got=self._pending.qsize(), remedy="ask again a little later")
            self._pending.put((asked, future))
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
            batch = [self._pending.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < self._config.max_batch_size:
                    batch.append(self._pending.get_nowait())
            last = None in batch
            mine = [one for one in batch if one is not None and one[1].set_running_or_notify_cancel()]
            if not mine:
                continue
            try:
                told = self._answer([asked for asked, _ in mine])
            except Exception as error:  # a fault of ours is the caller's to see, and the thread must live on
                for _, future in mine:
                    future.set_exception(error)
                continue
            for (_, future), one in zip(mine, told, strict=True):
                if isinstance(one, SearecError):
                    future.set_exception(one)
                else:
                    future.set_result(one)


class RequestBatcher:
    """Where requests come in, from any thread. Results are futures; what a request does wrong is its future's error."""

    def __init__(self, engine: Pipeline, config: BatcherSettings | None = None) -> None:
        config = config or BatcherSettings()
        self._engine = engine
        self._using: dict[int, int] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._feed: _Queue[Request, Response] = _Queue("feed", self._with(lambda engine: engine.recommend), config)
        self._search: _Queue[Request, Response] = _Queue("search", self._with(lambda engine: engine.search), config)
        self._suggest: _Queue[SuggestRequest, Suggestions] = _Queue(
            "suggest", self._with(lambda engine: engine.suggest), config
        )

    def recommend(self, ask: Request) -> "Future[Response]":
        """A page of the feed.

        Raises:
            Overloaded: too many wait, or the front is closed.
        """
        return self._feed.ask(ask)

    def search(self, ask: Request) -> "Future[Response]":
        """A page of results; as `recommend`."""
        return self._search.ask(ask)

    def suggest(self, user: str | None, prefix: str, k: int) -> "Future[Suggestions]":
        """Queries to ask next; as `recommend`."""
        return self._suggest.ask(SuggestRequest(user, prefix, k))

    @property
    def engine(self) -> Pipeline:
        """The engine that the next request goes to."""
        return self._engine

    def swap(self, engine: Pipeline) -> None:
        """Answer by another engine from now on; the old one is closed once the requests it has are answered."""
        with self._lock:
            old, self._engine = self._engine, engine
            while self._using.get(id(old)):
                self._idle.wait()
        old.close()

    def close(self) -> None:
        """Take no more, answer what waits, and close the engine."""
        for desk in (self._feed, self._search, self._suggest):
            desk.close()
        self._engine.close()

    @contextlib.contextmanager
    def use(self) -> Iterator[Pipeline]:
        """The engine, which will not be closed within the block."""
        with self._lock:
            engine = self._engine
            self._using[id(engine)] = self._using.get(id(engine), 0) + 1
        try:
            yield engine
        finally:
            with self._lock:
                self._using[id(engine)] -= 1
                if not self._using[id(engine)]:
                    del self._using[id(engine)]
                    self._idle.notify_all()

    def _with(
        self, way: Callable[[Pipeline], Callable[[Sequence[Asked]], Sequence[Told | SearecError]]]
    ) -> Callable[[Sequence[Asked]], Sequence[Told | SearecError]]:
        def answer(asked: Sequence[Asked]) -> Sequence[Told | SearecError]:
            with self.use() as engine:
                return way(engine)(asked)

        return answer
