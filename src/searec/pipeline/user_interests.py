"""User interests for the interest channel: read from the store, else inferred at training."""

import contextlib
import queue
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from searec.artifacts.interests import catalogue_of
from searec.errors import DataError, SearecError
from searec.interests.interest_graph import InterestGraph
from searec.interests.interest_table import InterestTable, graph_texts
from searec.interests.user_interests import UserInterests
from searec.models.serendipity.batch_interests import BatchInterests
from searec.pipeline.run_folder import ARTIFACTS
from searec.store.interest_reader import Reader

if TYPE_CHECKING:
    from searec.pipeline.run import Run

_MOST_WAITING = 1_000
_BATCH = 64


class InterestEncoder:
    """Encodes interests in words as the model reads them: vectors and the categories they mean.

    Texts of the training are known; others are encoded by a thread of its own and count from then on.

    Args:
        run: of a model that retrieves by interest.
    """

    def __init__(self, run: "Run") -> None:
        self.run = run
        model: Any = run.model
        self._model = model
        table = InterestTable.load(run.folder / ARTIFACTS)
        self._row = {text: row for row, text in enumerate(table.texts, start=1)}
        self._vectors = [np.zeros_like(table.vectors[0]), *table.vectors[1:]]
        # Those of the table are numbered as in the data of the training, the model's as in the data at hand.
        self._categories = list(model.interest_categories.cpu().numpy())
        self._lock = threading.Lock()
        self._queue: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._queued: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self.last_error = ""

    def encode(self, users: Sequence[UserInterests]) -> tuple[BatchInterests, list[list[int]]]:
        """Return the encoded interests of B users, and the positions of the encoded ones among each one's interests."""
        most = int(self._model.config.interests)
        rows, positions = [], []
        for user in users:
            known = [(self._row.get(one.text, 0), position) for position, one in enumerate(user.interests)]
            for row, position in known:
                if not row:
                    self._enqueue(user.interests[position].text)
            encoded = [(row, position) for row, position in known if row][:most]
            rows.append([row for row, _ in encoded])
            positions.append([position for _, position in encoded])
        width = max([1, *map(len, rows)])
        vectors = np.zeros((len(rows), width, len(self._vectors[0])), dtype=np.float32)
        confidence = np.zeros((len(rows), width), dtype=np.float32)
        categories = np.zeros((len(rows), width, self._categories[0].shape[0]), dtype=np.int32)
        for number, (user_rows, at) in enumerate(zip(rows, positions, strict=True)):
            for column, (row, position) in enumerate(zip(user_rows, at, strict=True)):
                vectors[number, column], categories[number, column] = self._vectors[row], self._categories[row]
                confidence[number, column] = users[number].interests[position].confidence
        parts = (torch.from_numpy(part).to(self._model.device) for part in (vectors, confidence, categories))
        return BatchInterests(*parts), positions

    def _enqueue(self, text: str) -> None:
        with self._lock:
            if text in self._queued or self._queue.full() or self._closing.is_set():
                return
            self._queued.add(text)
            self._queue.put_nowait(text)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="searec-interests", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        """Encode what is queued until closed. The None that wakes the thread may be read as one of a batch."""
        config = self._model.config
        catalog = None
        while not self._closing.is_set() and (text := self._queue.get()) is not None:
            texts = [text]
            while len(texts) < _BATCH and not self._queue.empty() and (more := self._queue.get()) is not None:
                texts.append(more)
            try:
                catalog = catalog or catalogue_of(self.run.data, config)
                vectors = catalog.encode(texts)
                meanings = catalog.find(texts, near=config.near, most=self._categories[0].shape[0])
            except (SearecError, RuntimeError) as error:  # the next request enqueues them again
                self.last_error = str(error)
                with self._lock:
                    self._queued.difference_update(texts)
                continue
            for one, vector, meant in zip(texts, vectors, meanings, strict=True):
                categories = np.zeros_like(self._categories[0])
                categories[: len(meant)] = [meaning.category for meaning in meant]
                self._vectors.append(vector)
                self._categories.append(categories)
                self._row[one] = len(self._vectors) - 1

    def close(self) -> None:
        """End the thread after its current batch; nobody needs what is queued."""
        with self._lock:
            self._closing.set()
            with contextlib.suppress(queue.Full):  # it sees the event when it reads the next text
                self._queue.put_nowait(None)
        if self._thread is not None:
            self._thread.join()


class InterestSource:
    """The interests of users: what the store has, else what was inferred at training.

    Args:
        run: of a model that retrieves by interest, or None.
        reader: of the interest store, or None.
    """

    def __init__(self, run: "Run | None", reader: Reader | None = None) -> None:
        self.reader = reader
        self._graphs = graph_texts(run.folder / ARTIFACTS) if run is not None else {}
        self.encoder = InterestEncoder(run) if run is not None else None

    def of(self, user: str | None, before: int | None = None) -> UserInterests:
        """Return the interests of one user; none of nobody.

        Args:
            user: external id.
            before: microseconds since 1970; interests inferred at training count if they are not newer. None for all.
        """
        if user is None:
            return UserInterests()
        if self.reader is not None and (interests := self.reader.interests(user)).interests:
            return interests
        graph = self._from_training(user)
        return (
            UserInterests() if graph and before is not None and graph.at > before else UserInterests.from_graph(graph)
        )

    def graph(self, user: str) -> InterestGraph | None:
        """Return the whole graph behind the interests of a user.

        Raises:
            StorageError: the store fails.
        """
        if self.reader is not None:
            with contextlib.suppress(DataError):  # damaged; a worker will write it anew
                if (graph := self.reader.store.interests.read_graph(user)) is not None:
                    return graph
        return self._from_training(user)

    def _from_training(self, user: str) -> InterestGraph | None:
        text = self._graphs.get(user)
        return None if text is None else InterestGraph.from_json(text)

    def close(self) -> None:
        """End the thread; reader and store stay open."""
        if self.encoder is not None:
            self.encoder.close()
