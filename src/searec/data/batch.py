"""Batch: what a model reads, as typed tensors, assembled by vectorised gathers.

The same `Batcher` serves training, evaluation and online requests. A batch is only as long as its
longest history, and it holds each distinct query once.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.dataset import Dataset
from searec.data.ragged import Ints, Windows, gather_windows
from searec.data.schema import Task
from searec.data.split import Requests, check_no_leak
from searec.text.analysis import words_of


@dataclass(frozen=True)
class Needs:
    """How much of each history a model reads; 0 leaves that history out.

    feed: feed events (L); searches: search sessions (S); search_clicks: clicked items of a session (P);
    clicks: clicked items of feed and search merged by time (T); words: words of a query (W).
    text: the texts of the requests' queries; queries: those of all distinct queries of the batch.
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
    """Requests of one task with what their users did strictly before. All ids are internal ids, 0 pads at the end.

    Histories run from old to new. A width is that of the batch's longest history, at least 1.
    """

    task: Task
    user: Tensor  # [B] int32
    time: Tensor  # [B] int64, microseconds since 1970
    feed_item: Tensor  # [B, L]
    feed_time: Tensor  # [B, L] int64
    search_query: Tensor  # [B, S] row of `words`
    search_click: Tensor  # [B, S, P]
    search_time: Tensor  # [B, S] int64
    click_item: Tensor  # [B, T]
    click_time: Tensor  # [B, T] int64
    query: Tensor  # [B] row of `words`; 0 for recommendation
    words: Tensor  # [Q, W] word ids of the batch's distinct queries; row 0 is empty
    query_id: Tensor  # [Q] dataset query id of each row of `words`, 0 for row 0 and for texts that are new
    target: Tensor  # [B] the item that followed; 0 where unknown
    candidates: Tensor | None = None  # [B, N]; None means the whole catalogue
    negatives: Tensor | None = None  # [B, T, M] items not clicked, for each position of a causal model's history
    query_text: tuple[str, ...] = ()  # [B] for models that read text
    texts: tuple[
        str, ...
    ] = ()  # [Q] of each row of `words`, for models that read the texts of histories; row 0 is empty

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in dataclasses.fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return dataclasses.replace(self, **moved)

    def with_candidates(self, candidates: Tensor | None) -> "Batch":
        """The same requests over other candidates [B, N]."""
        return dataclasses.replace(self, candidates=candidates)


class Batcher:
    """Assembles batches of a dataset to a model's needs."""

    def __init__(self, data: Dataset, needs: Needs) -> None:
        self.data = data
        self.needs = needs

    def lengths(self, requests: Requests) -> Ints:
        """Return [R] a sort key that puts requests with histories of like lengths together, so that batches pad little.

        Requests with about as many sessions (1, 2, 3-4, 5-8, ...) are neighbours, and so are those with as
        many clicks among them.
        """
        needs, data = self.needs, self.data

        def length(limit: int, offsets: Ints, end: Ints) -> Ints:
            shorter: Ints = np.minimum(end - offsets[requests.user], limit)
            return shorter

        sessions = length(needs.searches, data.searches.offsets, requests.search_end)
        clicks = length(needs.feed, data.interactions.offsets, requests.feed_end)
        clicked = length(needs.clicks, data.click_history.offsets, requests.click_end)
        bucket: Ints = np.ceil(np.log2(sessions + 1)).astype(np.int64)
        key: Ints = (bucket * (needs.feed + 1) + clicks) * (needs.clicks + 1) + clicked
        return key

    def batch(self, requests: Requests, candidates: NDArray[np.integer] | None = None) -> Batch:
        """One batch of all the given requests.

        Args:
            requests: [B] requests of one task.
            candidates: [B, N] internal item ids, or None for the whole catalogue.

        Raises:
            LeakError: a request's history is not strictly older than its time.
        """
        data, needs = self.data, self.needs
        limits = {"interactions": needs.feed, "searches": needs.searches, "click_history": needs.clicks}
        check_no_leak(data, requests, [stream for stream, limit in limits.items() if limit])
        feed = _windows(data.interactions.offsets, requests.user, requests.feed_end, needs.feed)
        searches = _windows(data.searches.offsets, requests.user, requests.search_end, needs.searches)
        clicked = _windows(data.click_history.offsets, requests.user, requests.click_end, needs.clicks)
        query, search_query, words, query_id = self._words(requests, searches.gather(data.searches.query))
        return Batch(
            task=requests.task,
            user=_tensor(requests.user),
            time=_tensor(requests.time),
            feed_item=_tensor(feed.gather(data.interactions.item)),
            feed_time=_tensor(feed.gather(data.interactions.time)),
            search_query=_tensor(search_query),
            search_click=_tensor(self._clicks(searches)),
            search_time=_tensor(searches.gather(data.searches.time)),
            click_item=_tensor(
                clicked.gather(data.click_history.item)
                if needs.clicks
                else np.zeros((len(requests), 1), dtype=np.int32)
            ),
            click_time=_tensor(
                clicked.gather(data.click_history.time)
                if needs.clicks
                else np.zeros((len(requests), 1), dtype=np.int64)
            ),
            query=_tensor(query),
            words=_tensor(words),
            query_id=_tensor(query_id),
            target=_tensor(requests.target),
            candidates=None if candidates is None else _tensor(candidates),
            query_text=tuple(requests.texts(data)) if needs.text and requests.task == "search" else (),
            texts=self._texts(requests, query_id) if needs.queries else (),
        )

    def _texts(self, requests: Requests, query_id: Ints) -> tuple[str, ...]:
        """[Q] the texts of the distinct-query table; new ones are at its end."""
        new = requests.new_texts or ()
        known = query_id[1 : len(query_id) - len(new)].astype(np.int64) - 1
        return ("", *self.data.queries.texts.gather(known).to_list(), *new)

    def _clicks(self, sessions: Windows) -> Ints:
        """[B, S, P] the clicked items of each session in the windows."""
        clicks = self.data.searches.clicks
        if not self.needs.searches or len(clicks) == 0:
            return np.zeros((*sessions.mask.shape, 1), dtype=np.int32)
        start = clicks.offsets.take(sessions.position)
        count = np.minimum(clicks.offsets.take(sessions.position + 1) - start, self.needs.search_clicks)
        count *= sessions.mask
        return gather_windows(clicks.values, start, count)

    def _words(self, requests: Requests, search_query: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Rows of the distinct-query table for requests [B] and sessions [B, S], its words [Q, W] and query ids [Q]."""
        width = self.needs.words
        if not width and not self.needs.queries:
            none = np.zeros(1, dtype=np.int32)
            return np.zeros(len(requests), dtype=np.int32), np.zeros_like(search_query), none[None], none
        # A mark for each query of the dataset finds the distinct ones without sorting.
        marks = np.zeros(len(self.data.queries.words), dtype=bool)
        marks[0] = True
        marks[requests.query] = True
        marks[search_query] = True
        distinct = np.flatnonzero(marks)
        row = np.empty(len(marks), dtype=np.int32)
        row[distinct] = np.arange(len(distinct), dtype=np.int32)
        words = self.data.queries.words.pad(distinct, width)
        query, search_row = row[requests.query], row[search_query]
        if requests.new_texts is not None:
            spoken = [[self.data.word_index.get(word, 0) for word in words_of(text)] for text in requests.new_texts]
            known = [[word for word in line if word][:width] for line in spoken]
            table = np.zeros(
                (len(distinct) + len(known), max([words.shape[1], *(len(line) for line in known)])), dtype=np.int32
            )
            table[: len(distinct), : words.shape[1]] = words
            for place, line in enumerate(known, start=len(distinct)):
                table[place, : len(line)] = line
            query, words = np.arange(len(distinct), len(table), dtype=np.int32), table
            distinct = np.concatenate((distinct, np.zeros(len(known), dtype=distinct.dtype)))
        return query, search_row, words, distinct


def _windows(offsets: Ints, user: Ints, end: Ints, limit: int) -> Windows:
    """Each user's last `limit` events before `end` [B]; none if the limit is 0."""
    if not limit:
        return Windows(np.zeros((len(user), 1), dtype=np.int64), np.zeros((len(user), 1), dtype=bool))
    length = np.minimum(end - offsets[user], limit)
    return Windows.of(end - length, length)


def _tensor(values: Ints) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))  # a read-only view is copied
