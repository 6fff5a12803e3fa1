"""User histories that are put together outside of a dataset: events since it was made, or users who came later."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from searec.data.batch import Batch, Batcher, Needs
from searec.data.dataset import ClickHistory, Dataset, Interactions, Searches
from searec.data.ragged import Ints, Ragged, gather_windows
from searec.data.schema import Task
from searec.data.split import NEVER, Requests

_NONE = np.zeros(0, dtype=np.int64)
_NO_WEIGHTS = np.zeros(0, dtype=np.float32)
Weights = NDArray[np.float32]


@dataclass(frozen=True)
class UserHistory:
    """The history of one user, old to new. All ids are internal.

    Attributes:
        user: internal id; 0 for a user the training did not know.
        feed_item: [n] items of feed events.
        feed_time: [n] microseconds since 1970.
        feed_weight: [n] of the events; empty if all weigh 1.
        search_query: [m] query id of each search; 0 where the text is new.
        search_text: texts of those that are new, in order.
        search_time: [m].
        search_click: [m] clicked items of each search.
        click_item: [t] clicked items of feed and search, merged by time.
        click_time: [t].
        time: of the request; everything in the history is strictly older.
    """

    user: int = 0
    feed_item: Ints = field(default_factory=_NONE.copy)
    feed_time: Ints = field(default_factory=_NONE.copy)
    feed_weight: Weights = field(default_factory=_NO_WEIGHTS.copy)
    search_query: Ints = field(default_factory=_NONE.copy)
    search_text: tuple[str, ...] = ()
    search_time: Ints = field(default_factory=_NONE.copy)
    search_click: Ragged = field(default_factory=lambda: Ragged.of([]))
    click_item: Ints = field(default_factory=_NONE.copy)
    click_time: Ints = field(default_factory=_NONE.copy)
    time: int = int(NEVER)

    def __bool__(self) -> bool:
        return bool(len(self.click_item) or len(self.search_query) or len(self.feed_item))

    @property
    def weights(self) -> Weights:
        """[n] the weights of the feed events."""
        return self.feed_weight if len(self.feed_weight) else np.ones(len(self.feed_item), dtype=np.float32)

    @classmethod
    def of(cls, data: Dataset, user: int, *, newest: int, before: int | None = None) -> "UserHistory":
        """Return what a dataset holds of a user.

        Args:
            data: the dataset.
            user: internal id; 0 for an unknown user.
            newest: how many events of each kind, the newest ones.
            before: microseconds since 1970; only strictly older events count. None for all.
        """
        time = int(NEVER) if before is None else before
        if not user:
            return cls(time=time)
        rec, src, click_history = (
            _window(stream, user, newest, before) for stream in (data.interactions, data.searches, data.click_history)
        )
        clicks = data.searches.clicks
        offsets = clicks.offsets[src.start : src.stop + 1]
        return cls(
            user=user,
            feed_item=data.interactions.item[rec],
            feed_time=data.interactions.time[rec],
            feed_weight=data.interactions.weight[rec],
            search_query=data.searches.query[src],
            search_time=data.searches.time[src],
            search_click=Ragged(offsets - offsets[0], clicks.values[offsets[0] : offsets[-1]]),
            click_item=data.click_history.item[click_history],
            click_time=data.click_history.time[click_history],
            time=time,
        )

    def merged(
        self, searches: "UserHistory", feed: tuple[Ints, Ints, Weights], clicks: tuple[Ints, Ints]
    ) -> "UserHistory":
        """Return the history with later events merged in by time; of equal times this history's come first.

        Args:
            searches: their `search_*` are added.
            feed: items, times and weights of feed events.
            clicks: items and times of all clicks.
        """
        feed_item, feed_time, feed_order = _by_time(self.feed_item, self.feed_time, *feed[:2])
        feed_weight = np.concatenate((self.weights, feed[2]))[feed_order]
        click_item, click_time, _ = _by_time(self.click_item, self.click_time, *clicks)
        search_query, search_time, order = _by_time(
            self.search_query, self.search_time, searches.search_query, searches.search_time
        )
        new_texts = np.array([*self.search_text, *searches.search_text], dtype=object)
        is_new = np.concatenate((self.search_query, searches.search_query)) == 0
        text = np.cumsum(is_new) - 1
        rows = Ragged.joined([self.search_click, searches.search_click])
        return UserHistory(
            user=self.user,
            feed_item=feed_item,
            feed_time=feed_time,
            feed_weight=feed_weight,
            search_query=search_query,
            search_text=tuple(new_texts[text[order][is_new[order]]]),
            search_time=search_time,
            search_click=rows.at(order),
            click_item=click_item,
            click_time=click_time,
            time=self.time,
        )


def batch_of(
    data: Dataset,
    histories: Sequence[UserHistory],
    needs: Needs,
    task: Task,
    queries: Sequence[str] = (),
    candidates: NDArray[np.integer] | None = None,
) -> Batch:
    """Return the batch that `Batcher.batch` makes of dataset users with these histories.

    Args:
        data: the dataset that the ids refer to.
        histories: [B] of the users.
        needs: of the model.
        task: of the requests.
        queries: [B] texts of search requests, which the dataset need not hold; none for the feed.
        candidates: [B, N] internal item ids, or None for the whole catalog.
    """
    none = np.zeros(0, dtype=np.int32)

    def stream(ids: Sequence[Ints], times: Sequence[Ints]) -> tuple[Ints, Ints, Ints]:
        """Offsets by user id, which begin at 1; ids and times."""
        rows = Ragged.of(ids)
        return np.concatenate(([0], rows.offsets)), rows.values.astype(np.int32), np.concatenate([*times, _NONE])

    feed = stream([one.feed_item for one in histories], [one.feed_time for one in histories])
    search = stream([one.search_query for one in histories], [one.search_time for one in histories])
    click = stream([one.click_item for one in histories], [one.click_time for one in histories])
    clicked = Ragged.joined([history.search_click for history in histories])
    clicked = Ragged(clicked.offsets, clicked.values.astype(np.int32, copy=False))
    weights = np.concatenate([*(one.weights for one in histories), _NO_WEIGHTS])
    feed_events, clicks = Interactions(*feed, none, weights), ClickHistory(*click, none, _NO_WEIGHTS)
    streams = Streams(feed_events, Searches(*search, clicked), clicks)
    count = len(histories)
    requests = Requests(
        task=task,
        user=np.arange(1, count + 1, dtype=np.int32),
        time=np.array([history.time for history in histories], dtype=np.int64),
        query=np.zeros(count, dtype=np.int32),
        target=np.zeros(count, dtype=np.int32),
        feed_end=feed[0][2:],
        search_end=search[0][2:],
        click_end=click[0][2:],
        dislike_end=np.zeros(count, dtype=np.int64),
        new_texts=tuple(queries) if queries else None,
    )
    texts = [text for history in histories for text in history.search_text]
    users = np.array([history.user for history in histories], dtype=np.int32)
    return Batcher(data, needs).fill(streams, requests, users, candidates, new_queries=texts)


def padded(rows: Sequence[Ints], dtype: type[np.integer] = np.int32) -> Ints:
    """Return rows as one array [n, longest, at least 1], 0 at the end.

    Args:
        rows: n arrays.
        dtype: of the result.
    """
    ragged = Ragged.of(rows)
    return gather_windows(ragged.values.astype(dtype, copy=False), ragged.offsets[:-1], ragged.lengths)


@dataclass(frozen=True)
class Streams:
    """The histories of some users in the layout of a dataset."""

    interactions: Interactions
    searches: Searches
    click_history: ClickHistory


def _window(stream: Interactions | Searches | ClickHistory, user: int, newest: int, before: int | None) -> slice:
    first, end = int(stream.offsets[user]), int(stream.offsets[user + 1])
    if before is not None:
        end = first + int(np.searchsorted(stream.time[first:end], before))
    return slice(max(first, end - newest), end)


def _by_time(values: Ints, times: Ints, more: Ints, more_times: Ints) -> tuple[Ints, Ints, Ints]:
    """Two histories as one by time, the first before the second at equal times; and the order."""
    time = np.concatenate((times, more_times))
    order = np.argsort(time, kind="stable")
    return np.concatenate((values, more))[order], time[order], order
