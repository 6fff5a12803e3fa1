"""What users may want and have not asked for, as the interest channel reads it: from the nearline store, else from the training."""

import contextlib
import queue
import threading
from collections.abc import Sequence

import numpy as np
import torch

from searec.artifacts.interests import catalogue_of
from searec.errors import DataError, SearecError
from searec.interests.interest_graph import InterestGraph
from searec.interests.interest_table import InterestTable, graph_texts
from searec.interests.user_interests import UserInterests
from searec.models.serendipity.batch_interests import BatchInterests
from searec.models.serendipity.model import Serendipity
from searec.pipeline.run import ARTIFACTS, Run
from searec.store.interest_reader import Reader

_WAITING = 1_000
_AT_ONCE = 64


class TrainingGraphs:
    """The graphs that a run was trained on, read as they are needed."""

    def __init__(self, run: Run) -> None:
        self._graphs = graph_texts(run.folder / ARTIFACTS)

    def graph(self, user: str) -> InterestGraph | None:
        """The newest graph of a user."""
        text = self._graphs.get(user)
        return None if text is None else InterestGraph.from_json(text)


class InterestEncoder:
    """Interests in words -> what the towers read: a vector and the categories meant.

    Texts of the training are known; others are encoded by a thread of their own, and count from then on.
    """

    def __init__(self, run: Run) -> None:
        model = run.model
        assert isinstance(model, Serendipity)
        self.run = run
        self._model = model
        table = InterestTable.load(run.folder / ARTIFACTS)
        self._row = {text: row for row, text in enumerate(table.texts, start=1)}
        self._vectors = [np.zeros_like(table.vectors[0]), *table.vectors[1:]]
        self._categories = list(table.categories)
        self._data = run.data
        self._lock = threading.Lock()
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._asked: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self.last_error = ""

    def wishes(self, interests: Sequence[UserInterests]) -> tuple[BatchInterests, list[list[int]]]:
        """The wishes of B users and, for each, the place among its interests that every one of them stands for."""
        most = int(self._model.config.interests)
        rows, places = [], []
        for longing in interests:
            known = [(self._row.get(one.text, 0), place) for place, one in enumerate(longing.interests)]
            for row, place in known:
                if not row:
                    self._learn(longing.interests[place].text)
            kept = [(row, place) for row, place in known if row][:most]
            rows.append([row for row, _ in kept])
            places.append([place for _, place in kept])
        width = max([1, *map(len, rows)])
        vectors = np.zeros((len(rows), width, len(self._vectors[0])), dtype=np.float32)
        confidence = np.zeros((len(rows), width), dtype=np.float32)
        categories = np.zeros((len(rows), width, self._categories[0].shape[0]), dtype=np.int32)
        for user, (own, at) in enumerate(zip(rows, places, strict=True)):
            for place, (row, interest) in enumerate(zip(own, at, strict=True)):
                vectors[user, place], categories[user, place] = self._vectors[row], self._categories[row]
                confidence[user, place] = interests[user].interests[interest].confidence
        device = self._model.device
        parts = (torch.from_numpy(part).to(device) for part in (vectors, confidence, categories))
        return BatchInterests(*parts), places

    def _learn(self, text: str) -> None:
        with self._lock:
            if text in self._asked or self._waiting.full() or self._closing.is_set():
                return
            self._asked.add(text)
            self._waiting.put_nowait(text)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._encode, name="searec-interests", daemon=True)
                self._thread.start()

    def _encode(self) -> None:
        """Until closed. The None that wakes it up at the end may be taken as one of many: the event says it all the same."""
        config = self._model.config
        catalogue = None
        while not self._closing.is_set() and (text := self._waiting.get()) is not None:
            texts = [text]
            while len(texts) < _AT_ONCE and not self._waiting.empty() and (more := self._waiting.get()) is not None:
                texts.append(more)
            try:
                catalogue = catalogue or catalogue_of(self._data, config)
                vectors = catalogue.encode(texts)
                found = catalogue.find(texts, near=config.near, most=self._categories[0].shape[0])
            except (SearecError, RuntimeError) as error:  # they are asked for again by the next request
                self.last_error = str(error)
                with self._lock:
                    self._asked.difference_update(texts)
                continue
            for one, vector, meanings in zip(texts, vectors, found, strict=True):
                categories = np.zeros_like(self._categories[0])
                categories[: len(meanings)] = [meaning.category for meaning in meanings]
                self._vectors.append(vector)
                self._categories.append(categories)
                self._row[one] = len(self._vectors) - 1

    def close(self) -> None:
        """End the thread after what it is at; nobody needs what waits."""
        with self._lock:
            self._closing.set()
            with contextlib.suppress(queue.Full):  # it sees that we close when it takes the next one
                self._waiting.put_nowait(None)
        if self._thread is not None:
            self._thread.join()


class InterestSource:
    """The interests of users: what the store has, else what the training had.

    Args:
        run: a serendipity run, or None.
        reader: of the nearline store, or None.
    """

    def __init__(self, run: Run | None, reader: Reader | None = None) -> None:
        self.reader = reader
        self._training = TrainingGraphs(run) if run is not None else None
        self.interest_encoder = InterestEncoder(run) if run is not None else None

    def of(self, user: str | None) -> UserInterests:
        """Of one user; nothing of nobody."""
        if user is None:
            return UserInterests()
        if self.reader is not None:
            found = self.reader.interests(user)
            if found.interests:
                return found
        return UserInterests.from_graph(self._training.graph(user)) if self._training is not None else UserInterests()

    def graph(self, user: str) -> InterestGraph | None:
        """The whole graph that `of` speaks of.

        Raises:
            StorageError: the store fails.
        """
        kept = None
        if self.reader is not None:
            try:
                kept = self.reader.store.interests.read_graph(user)
            except DataError:  # damaged; a worker will write it anew
                kept = None
        if kept is None and self._training is not None:
            return self._training.graph(user)
        return kept

    def close(self) -> None:
        """End the thread; reader and store stay open."""
        if self.interest_encoder is not None:
            self.interest_encoder.close()
