"""Batches: what a model reads, as typed tensors, filled by vectorised gathers from histories in CSR layout.

The same `Batcher` serves training, evaluation and online requests. A batch is only as long as its longest history, and
each distinct query occurs in it once.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.dataset import ClickHistory, Dataset, Interactions, Searches
from searec.data.ragged import Ints, Ragged, Windows, gather_windows
from searec.data.schema import Task
from searec.data.split import Requests, check_no_leak

_PER_QUERY = ("words", "query_id")
"""Tensors of a batch with a row for each distinct query, not for each request."""


class Histories(Protocol):
    """Histories by user in CSR layout, as a `Dataset` holds them."""

    @property
    def interactions(self) -> Interactions:
        """Feed events."""
        ...

    @property
    def searches(self) -> Searches:
        """Search sessions."""
        ...

    @property
    def click_history(self) -> ClickHistory:
        """Clicks of feed and search by time."""
        ...


@dataclass(frozen=True)
class Needs:
    """How much of each history a model reads; 0 leaves that history out.

    Attributes:
        feed: feed events (L).
        searches: search sessions (S).
        search_clicks: clicked items of a session (P).
        clicks: clicked items of feed and search merged by time (T).
        words: words of a query (W).
        text: whether it reads the texts of the requests' queries.
        queries: whether it reads the texts of all distinct queries of the batch.
    """

    feed: int = 0
    searches: int = 0
    search_clicks: int = 5
    clicks: int = 0
    words: int = 0
    text: bool = False
    queries: bool = False


@dataclass(frozen=True)
class Batch:
    """Requests of one task with what their users did strictly before. All ids are internal, 0 pads at the end.

    Histories run from old to new. A width is that of the batch's longest history, at least 1.
    """

    task: Task
    user: Tensor  # [B] int32
    time: Tensor  # [B] int64, microseconds since 1970
    feed_item: Tensor  # [B, L]
    feed_time: Tensor  # [B, L] int64
    feed_weight: Tensor  # [B, L] float32, of the event
    search_query: Tensor  # [B, S] row of `words`
    search_click: Tensor  # [B, S, P]
    search_time: Tensor  # [B, S] int64
    click_item: Tensor  # [B, T]
    click_time: Tensor  # [B, T] int64
    query: Tensor  # [B] row of `words`; 0 for recommendation
    words: Tensor  # [Q, W] word ids of the batch's distinct queries; row 0 is empty
    query_id: Tensor  # [Q] dataset query id of each row of `words`, 0 for row 0 and for texts that are new
    target: Tensor  # [B] the item that followed; 0 where unknown
    candidates: Tensor | None = None  # [B, N]; None for the whole catalog
    negatives: Tensor | None = None  # [B, T, M] items not clicked, for each position of a causal model's history
    query_text: tuple[str, ...] = ()  # [B] for models that read text
    texts: tuple[str, ...] = ()  # [Q] of each row of `words`, for models that read texts; row 0 is empty

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in dataclasses.fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return dataclasses.replace(self, **moved)

    def with_candidates(self, candidates: Tensor | None) -> "Batch":
        """Return the same requests over other candidates [B, N]."""
        return dataclasses.replace(self, candidates=candidates)

    def at(self, rows: Tensor) -> "Batch":
        """Return some of the requests, each as often as it is named.

        Args:
            rows: [n] of the requests.
        """
        parts: dict[str, Any] = {
            f.name: value[rows]
            for f in dataclasses.fields(self)
            if isinstance(value := getattr(self, f.name), Tensor) and f.name not in _PER_QUERY
        }
        texts = tuple(self.query_text[row] for row in rows.tolist()) if self.query_text else ()
        return dataclasses.replace(self, **parts, query_text=texts)


class Batcher:
    """Fills batches to a model's needs.

    Args:
        data: the dataset that all ids refer to.
        needs: of the model.
    """

    def __init__(self, data: Dataset, needs: Needs) -> None:
        self.data = data
        self.needs = needs

    def lengths(self, requests: Requests) -> Ints:
        """Return a number [R] to sort requests by, so that batches of neighbours have little padding.

        Requests of similar numbers of sessions (1, 2, 3-4, 5-8, ...) come together, and then those of as many clicks.
        """
        needs, data = self.needs, self.data

        def length(limit: int, offsets: Ints, end: Ints) -> Ints:
            shorter: Ints = np.minimum(end - offsets[requests.user], limit)
            return shorter

        sessions = length(needs.searches, data.searches.offsets, requests.search_end)
        clicks = length(needs.feed, data.interactions.offsets, requests.feed_end)
        click_history = length(needs.clicks, data.click_history.offsets, requests.click_end)
        bucket: Ints = np.ceil(np.log2(sessions + 1)).astype(np.int64)
        key: Ints = (bucket * (needs.feed + 1) + clicks) * (needs.clicks + 1) + click_history
        return key

    def batch(self, requests: Requests, candidates: NDArray[np.integer] | None = None) -> Batch:
        """Return one batch of requests by users of the dataset.

        Args:
            requests: [B] requests of one task.
            candidates: [B, N] internal item ids, or None for the whole catalog.

        Raises:
            LeakError: a request's history is not strictly older than its time.
        """
        limits = {"interactions": self.needs.feed, "searches": self.needs.searches, "click_history": self.needs.clicks}
        check_no_leak(self.data, requests, [stream for stream, limit in limits.items() if limit])
        return self.fill(self.data, requests, requests.user, candidates)

    def fill(
        self,
        streams: Histories,
        requests: Requests,
        users: Ints,
        candidates: NDArray[np.integer] | None = None,
        new_queries: Sequence[str] = (),
    ) -> Batch:
        """Return one batch of requests whose histories may lie outside of the dataset.

        Args:
            streams: the histories; `requests` refers to their rows and positions.
            requests: [B] requests of one task.
            users: [B] internal user ids as the model reads them.
            candidates: [B, N] internal item ids, or None for the whole catalog.
            new_queries: the texts of the searches with query id 0, in order.
        """
        needs = self.needs
        rec = _windows(streams.interactions.offsets, requests.user, requests.feed_end, needs.feed)
        src = _windows(streams.searches.offsets, requests.user, requests.search_end, needs.searches)
        click_history = _windows(streams.click_history.offsets, requests.user, requests.click_end, needs.clicks)
        searches, request_query, known = streams.searches.query, requests.query, len(self.data.queries.words)
        if new_queries:
            searches = searches.astype(np.int64)
            searches[searches == 0] = known + np.arange(len(new_queries))
        if requests.new_texts is not None:
            request_query = known + len(new_queries) + np.arange(len(requests))
        texts = (*new_queries, *(requests.new_texts or ()))
        query, search_query, words, query_id = self._words(request_query, src.gather(searches), texts)
        return Batch(
            task=requests.task,
            user=_tensor(users),
            time=_tensor(requests.time),
            feed_item=_tensor(rec.gather(streams.interactions.item)),
            feed_time=_tensor(rec.gather(streams.interactions.time)),
            feed_weight=_tensor(rec.gather(streams.interactions.weight)),
            search_query=_tensor(search_query),
            search_click=_tensor(self._clicks(src, streams.searches.clicks)),
            search_time=_tensor(src.gather(streams.searches.time)),
            click_item=_tensor(click_history.gather(streams.click_history.item)),
            click_time=_tensor(click_history.gather(streams.click_history.time)),
            query=_tensor(query),
            words=_tensor(words),
            query_id=_tensor(np.where(query_id < known, query_id, 0).astype(np.int32)),
            target=_tensor(requests.target),
            candidates=None if candidates is None else _tensor(candidates),
            query_text=tuple(requests.texts(self.data)) if needs.text and requests.task == "search" else (),
            texts=self._texts(query_id, texts) if needs.queries else (),
        )

    def _texts(self, query_id: Ints, new: Sequence[str]) -> tuple[str, ...]:
        """[Q] the texts of the distinct-query table; new ones are at its end."""
        known = query_id[1:][query_id[1:] < len(self.data.queries.words)].astype(np.int64) - 1
        first = len(self.data.queries.words)
        later = (new[number - first] for number in query_id[1 + len(known) :].tolist())
        return ("", *self.data.queries.texts.gather(known).to_list(), *later)

    def _clicks(self, sessions: Windows, clicks: Ragged) -> Ints:
        """[B, S, P] the clicked items of each session in the windows."""
        if not self.needs.searches or len(clicks) == 0:
            return np.zeros((*sessions.mask.shape, 1), dtype=np.int32)
        start = clicks.offsets.take(sessions.position)
        count = np.minimum(clicks.offsets.take(sessions.position + 1) - start, self.needs.search_clicks)
        count *= sessions.mask
        return gather_windows(clicks.values, start, count)

    def _words(self, query: Ints, search_query: Ints, texts: Sequence[str]) -> tuple[Ints, Ints, Ints, Ints]:
        """Rows of the distinct-query table for requests [B] and sessions [B, S], its words [Q, W] and query ids [Q].

        Query ids from the number of the dataset's queries on refer to `texts`.
        """
        width = self.needs.words
        if not width and not self.needs.queries:
            none = np.zeros(1, dtype=np.int32)
            return np.zeros(len(query), dtype=np.int32), np.zeros(search_query.shape, dtype=np.int32), none[None], none
        known = len(self.data.queries.words)
        # A mark for each query finds the distinct ones without sorting.
        marks = np.zeros(known + len(texts), dtype=bool)
        marks[0] = True
        marks[query] = True
        marks[search_query] = True
        distinct = np.flatnonzero(marks)
        row = np.empty(len(marks), dtype=np.int32)
        row[distinct] = np.arange(len(distinct), dtype=np.int32)
        in_data = distinct[distinct < known]
        words = self.data.queries.words.pad(in_data, width)
        if len(in_data) < len(distinct):
            index, analyse = self.data.word_index if width else {}, self.data.analyser.terms
            spoken = [
                [index[word] for word in analyse(texts[number - known]) if word in index][:width]
                for number in distinct[len(in_data) :].tolist()
            ]
            table = np.zeros((len(distinct), max(words.shape[1], *map(len, spoken))), dtype=np.int32)
            table[: len(in_data), : words.shape[1]] = words
            for place, numbers in enumerate(spoken, start=len(in_data)):
                table[place, : len(numbers)] = numbers
            words = table
        return row[query], row[search_query], words, distinct


def _windows(offsets: Ints, user: Ints, end: Ints, limit: int) -> Windows:
    """Each user's last `limit` events before `end` [B]; none if the limit is 0."""
    if not limit:
        return Windows(np.zeros((len(user), 1), dtype=np.int64), np.zeros((len(user), 1), dtype=bool))
    length = np.minimum(end - offsets[user], limit)
    return Windows.of(end - length, length)


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))  # a read-only view is copied
