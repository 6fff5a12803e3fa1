"""What one user did, given by hand or merged from several sources, and the batch that a model reads of it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset
from searec.data.ragged import Ints, gather_windows
from searec.data.schema import Task
from searec.data.split import NEVER
from searec.text.analysis import words_of

_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class UserHistory:
    """Histories of one user, old to new, all ids internal ids.

    Attributes:
        user: internal id; 0 for a user unknown to the training.
        feed_item, feed_time: [n] feed events, microseconds since 1970.
        search_query: [m] query id of each search; 0 where the text is new.
        search_text: texts of those that are new, in order.
        search_time: [m].
        search_click: [m] clicked items of each search.
        click_item, click_time: [t] clicked items of feed and search, merged by time.
    """

    user: int = 0
    feed_item: Ints = field(default_factory=_NONE.copy)
    feed_time: Ints = field(default_factory=_NONE.copy)
    search_query: Ints = field(default_factory=_NONE.copy)
    search_text: tuple[str, ...] = ()
    search_time: Ints = field(default_factory=_NONE.copy)
    search_click: tuple[Ints, ...] = ()
    click_item: Ints = field(default_factory=_NONE.copy)
    click_time: Ints = field(default_factory=_NONE.copy)

    def __bool__(self) -> bool:
        return bool(len(self.click_item) or len(self.search_query) or len(self.feed_item))

    @classmethod
    def of(cls, data: Dataset, user: int, *, newest: int) -> "UserHistory":
        """Return the newest events of each history that a dataset holds of a user.

        Args:
            data: the dataset.
            user: internal id; 0 gives an empty history.
            newest: most events of each history.
        """
        if not user:
            return cls()
        feed, searches, click_history = (
            slice(max(int(stream.offsets[user]), int(stream.offsets[user + 1]) - newest), int(stream.offsets[user + 1]))
            for stream in (data.interactions, data.searches, data.click_history)
        )
        clicks = data.searches.clicks
        bounds = clicks.offsets[searches.start : searches.stop + 1].tolist()
        return cls(
            user=user,
            feed_item=data.interactions.item[feed],
            feed_time=data.interactions.time[feed],
            search_query=data.searches.query[searches],
            search_time=data.searches.time[searches],
            search_click=tuple(clicks.values[first:end] for first, end in itertools.pairwise(bounds)),
            click_item=data.click_history.item[click_history],
            click_time=data.click_history.time[click_history],
        )


def batch_of(
    data: Dataset,
    histories: Sequence[UserHistory],
    needs: Needs,
    task: Task,
    queries: Sequence[str] = (),
    candidates: NDArray[np.integer] | None = None,
) -> Batch:
    """The batch that `Batcher` would make of users with these histories, asking after everything in them.

    Args:
        data: the dataset.
        histories: B histories.
        needs: what the model reads.
        task: the task.
        queries: [B] texts of search requests, which the dataset need not hold; none for the feed.
        candidates: [B, N] internal item ids, or None for the whole catalogue.
    """
    feed = [_newest(history.feed_item, needs.feed) for history in histories]
    click_history = [_newest(history.click_item, needs.clicks) for history in histories]
    searches = [min(len(history.search_query), needs.searches) for history in histories]
    table = _Queries(data, needs)
    search_query = padded([table.rows(history, count) for history, count in zip(histories, searches, strict=True)])
    query = np.array([table.add(text) for text in queries] or [0] * len(histories), dtype=np.int32)
    return Batch(
        task=task,
        user=_tensor(np.array([history.user for history in histories], dtype=np.int32)),
        time=torch.full((len(histories),), NEVER),
        feed_item=_tensor(padded(feed)),
        feed_time=_tensor(padded([_newest(history.feed_time, needs.feed) for history in histories], np.int64)),
        search_query=_tensor(search_query),
        search_click=_tensor(_clicks(histories, searches, needs.search_clicks, search_query.shape[1])),
        search_time=_tensor(
            padded(
                [_newest(history.search_time, count) for history, count in zip(histories, searches, strict=True)],
                np.int64,
            )
        ),
        click_item=_tensor(padded(click_history)),
        click_time=_tensor(padded([_newest(history.click_time, needs.clicks) for history in histories], np.int64)),
        query=_tensor(query if needs.words or needs.queries else np.zeros_like(query)),
        words=_tensor(padded(table.words) if needs.words else np.zeros((len(table.words), 1), dtype=np.int32)),
        query_id=_tensor(np.array(table.ids, dtype=np.int32)),
        target=torch.zeros(len(histories), dtype=torch.int32),
        candidates=None if candidates is None else _tensor(candidates),
        query_text=tuple(queries) if needs.text and task == "search" else (),
        texts=tuple(table.texts) if needs.queries else (),
    )


class _Queries:
    """The distinct queries of a batch: words, ids and texts as `Batch` has them. Row 0 is empty."""

    def __init__(self, data: Dataset, needs: Needs) -> None:
        self._data = data
        self._needs = needs
        self._known: dict[int | str, int] = {}
        self.words: list[Ints] = [_NONE]
        self.ids = [0]
        self.texts = [""]

    def rows(self, history: UserHistory, count: int) -> Ints:
        """[count] rows of the newest searches of a past."""
        ids = history.search_query[len(history.search_query) - count :].tolist()
        texts = list(history.search_text)
        new = texts[len(texts) - ids.count(0) :] if 0 in ids else []
        turn = iter(new)
        return np.array(
            [self.add(next(turn)) if number == 0 else self._of_id(number) for number in ids], dtype=np.int32
        )

    def add(self, text: str) -> int:
        """The row of a text."""
        if text not in self._known:
            index = self._data.word_index if self._needs.words else {}
            known = [index[word] for word in words_of(text) if word in index]
            self._keep(text, np.array(known[: self._needs.words], dtype=np.int32), 0, text)
        return self._known[text]

    def _of_id(self, number: int) -> int:
        if number not in self._known:
            words = self._data.queries.words.row(number)[: self._needs.words] if self._needs.words else _NONE
            self._keep(number, words, number, self._data.queries.texts[number - 1] if self._needs.queries else "")
        return self._known[number]

    def _keep(self, key: int | str, words: Ints, number: int, text: str) -> None:
        self._known[key] = len(self.ids)
        self.words.append(words)
        self.ids.append(number)
        self.texts.append(text)


def _newest(values: Ints, count: int) -> Ints:
    return values[max(0, len(values) - count) :]


def padded(rows: Sequence[Ints], dtype: type[np.integer] = np.int32) -> Ints:
    """Return rows as one array [n, longest, at least 1], 0 at the end.

    Args:
        rows: n arrays.
        dtype: of the result.
    """
    lengths = np.array([len(row) for row in rows])
    flat = np.concatenate([*rows, _NONE]).astype(dtype, copy=False)
    return gather_windows(flat, np.cumsum(lengths) - lengths, lengths)


def _clicks(histories: Sequence[UserHistory], searches: Sequence[int], most: int, width: int) -> Ints:
    """[B, S, P] the first clicked items of each search."""
    lists = [
        [items[:most] for items in history.search_click[len(history.search_click) - count :]]
        for history, count in zip(histories, searches, strict=True)
    ]
    longest = max((len(items) for clicked in lists for items in clicked), default=0)
    table = np.zeros((len(histories), width, max(1, longest)), dtype=np.int32)
    for row, clicked in enumerate(lists):
        for place, items in enumerate(clicked):
            table[row, place, : len(items)] = items
    return table


def _tensor(values: Ints) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))
