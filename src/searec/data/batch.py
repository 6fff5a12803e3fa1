"""Batch: what a model reads, as typed tensors, assembled by vectorised gathers.

The same `Batcher` serves training, evaluation and online requests. A batch is only as long as its
longest history, and each distinct query stands in it once.
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

    rec: feed events (L); src: search sessions (S); src_clicks: clicked items of a session (P);
    trail: clicked items of feed and search merged by time (T); words: words of a query (W).
    text: the texts of the requests' queries; queries: those of all distinct queries of the batch.
    """

    rec: int = 0
    src: int = 0
    src_clicks: int = 5
    trail: int = 0
    words: int = 0
    text: bool = False
    queries: bool = False


@dataclass(frozen=True)
class Batch:
    """Requests of one task with what their users did strictly before. All ids are inside ids, 0 pads at the end.

    Histories run from old to new. A width is that of the batch's longest history, at least 1.
    """

    task: Task
    user: Tensor  # [B] int32
    time: Tensor  # [B] int64, microseconds since 1970
    rec_item: Tensor  # [B, L]
    rec_time: Tensor  # [B, L] int64
    src_query: Tensor  # [B, S] row of `words`
    src_click: Tensor  # [B, S, P]
    src_time: Tensor  # [B, S] int64
    trail_item: Tensor  # [B, T]
    trail_time: Tensor  # [B, T] int64
    query: Tensor  # [B] row of `words`; 0 for recommendation
    words: Tensor  # [Q, W] word ids of the batch's distinct queries; row 0 is empty
    query_id: Tensor  # [Q] dataset query id of each row of `words`, 0 for row 0 and for texts that are new
    target: Tensor  # [B] the item that followed; 0 where unknown
    candidates: Tensor | None = None  # [B, N]; None asks for the whole catalogue
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
        """[R] a number to sort requests by, so that neighbours have histories of like lengths and batches little padding.

        Requests with about as many sessions (1, 2, 3-4, 5-8, ...) stand together, and among them those of as many clicks.
        """
        needs, data = self.needs, self.data

        def length(limit: int, offsets: Ints, end: Ints) -> Ints:
            shorter: Ints = np.minimum(end - offsets[requests.user], limit)
            return shorter

        sessions = length(needs.src, data.searches.offsets, requests.src_end)
        clicks = length(needs.rec, data.interactions.offsets, requests.rec_end)
        trail = length(needs.trail, data.trail.offsets, requests.trail_end)
        bucket: Ints = np.ceil(np.log2(sessions + 1)).astype(np.int64)
        key: Ints = (bucket * (needs.rec + 1) + clicks) * (needs.trail + 1) + trail
        return key

    def batch(self, requests: Requests, candidates: NDArray[np.integer] | None = None) -> Batch:
        """One batch of all the given requests.

        Args:
            requests: [B] requests of one task.
            candidates: [B, N] inside item ids, or None for the whole catalogue.

        Raises:
            LeakError: a request's history is not strictly older than its time.
        """
        data, needs = self.data, self.needs
        limits = {"interactions": needs.rec, "searches": needs.src, "trail": needs.trail}
        check_no_leak(data, requests, [stream for stream, limit in limits.items() if limit])
        rec = _windows(data.interactions.offsets, requests.user, requests.rec_end, needs.rec)
        src = _windows(data.searches.offsets, requests.user, requests.src_end, needs.src)
        trail = _windows(data.trail.offsets, requests.user, requests.trail_end, needs.trail)
        query, src_query, words, query_id = self._words(requests, src.gather(data.searches.query))
        return Batch(
            task=requests.task,
            user=_tensor(requests.user),
            time=_tensor(requests.time),
            rec_item=_tensor(rec.gather(data.interactions.item)),
            rec_time=_tensor(rec.gather(data.interactions.time)),
            src_query=_tensor(src_query),
            src_click=_tensor(self._clicks(src)),
            src_time=_tensor(src.gather(data.searches.time)),
            trail_item=_tensor(
                trail.gather(data.trail.item) if needs.trail else np.zeros((len(requests), 1), dtype=np.int32)
            ),
            trail_time=_tensor(
                trail.gather(data.trail.time) if needs.trail else np.zeros((len(requests), 1), dtype=np.int64)
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
        """[Q] the texts of the distinct-query table; new ones stand at its end."""
        new = requests.new_texts or ()
        known = query_id[1 : len(query_id) - len(new)].astype(np.int64) - 1
        return ("", *self.data.queries.texts.gather(known).to_list(), *new)

    def _clicks(self, sessions: Windows) -> Ints:
        """[B, S, P] the clicked items of each session in the windows."""
        clicks = self.data.searches.clicks
        if not self.needs.src or len(clicks) == 0:
            return np.zeros((*sessions.inside.shape, 1), dtype=np.int32)
        start = clicks.offsets.take(sessions.position)
        count = np.minimum(clicks.offsets.take(sessions.position + 1) - start, self.needs.src_clicks)
        count *= sessions.inside
        return gather_windows(clicks.values, start, count)

    def _words(self, requests: Requests, src_query: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Rows of the distinct-query table for requests [B] and sessions [B, S], its words [Q, W] and query ids [Q]."""
        width = self.needs.words
        if not width and not self.needs.queries:
            none = np.zeros(1, dtype=np.int32)
            return np.zeros(len(requests), dtype=np.int32), np.zeros_like(src_query), none[None], none
        # A mark for each query of the dataset finds the distinct ones without sorting.
        marks = np.zeros(len(self.data.queries.words), dtype=bool)
        marks[0] = True
        marks[requests.query] = True
        marks[src_query] = True
        distinct = np.flatnonzero(marks)
        row = np.empty(len(marks), dtype=np.int32)
        row[distinct] = np.arange(len(distinct), dtype=np.int32)
        words = self.data.queries.words.pad(distinct, width)
        query, src_row = row[requests.query], row[src_query]
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
        return query, src_row, words, distinct


def _windows(offsets: Ints, user: Ints, end: Ints, limit: int) -> Windows:
    """Each user's last `limit` events before `end` [B]; none if the limit is 0."""
    if not limit:
        return Windows(np.zeros((len(user), 1), dtype=np.int64), np.zeros((len(user), 1), dtype=bool))
    length = np.minimum(end - offsets[user], limit)
    return Windows.of(end - length, length)


def _tensor(values: Ints) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))  # a read-only view is copied
