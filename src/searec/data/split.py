"""Leave-one-out in time: the requests of each part, and which events a model may learn from.

Per user and task the last event is the test target and the one before it the validation target. A
request sees only what is strictly older than its time. A model that learns for some tasks reads, of each user,
only the events strictly older than that user's earliest validation target among those tasks.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import FEED, Dataset
from searec.data.ragged import Ints, first_not_before, gather_windows
from searec.data.schema import TASKS, Part, Task
from searec.errors import LeakError, SettingsError

NEVER = np.iinfo(np.int64).max
_UNSEEN_SEED = 7
STREAMS = ("interactions", "searches", "click_history", "dislikes")
"""The histories a request may see."""


@dataclass(frozen=True)
class Requests:
    """R requests of one task: user, time, query, what followed, and where the visible history ends.

    `*_end` are positions in the dataset's arrays: the user's events before them are the history.
    """

    task: Task
    user: Ints  # [R]
    time: Ints  # [R] microseconds since 1970
    query: Ints  # [R] query id; 0 for recommendation and for new texts
    target: Ints  # [R] item id; 0 where unknown
    feed_end: Ints  # [R] into Dataset.interactions
    search_end: Ints  # [R] into Dataset.searches
    click_end: Ints  # [R] into Dataset.click_history
    dislike_end: Ints  # [R] into Dataset.dislikes
    new_texts: tuple[str, ...] | None = None  # [R] query texts that the dataset may not hold

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: NDArray[np.generic] | slice) -> "Requests":
        """The requests at the given rows (indices or a mask)."""
        texts = None if self.new_texts is None else tuple(np.array(self.new_texts, dtype=object)[rows])
        user, time, query, target = self.user[rows], self.time[rows], self.query[rows], self.target[rows]
        return Requests(
            self.task,
            user,
            time,
            query,
            target,
            self.feed_end[rows],
            self.search_end[rows],
            self.click_end[rows],
            self.dislike_end[rows],
            texts,
        )

    def texts(self, data: Dataset) -> list[str]:
        """[R] the query texts of search requests."""
        if self.new_texts is not None:
            return list(self.new_texts)
        return data.queries.texts.gather(self.query.astype(np.int64) - 1).to_list()


def requests_at(
    data: Dataset,
    task: Task,
    user: Ints,
    time: Ints,
    *,
    query: Ints | None = None,
    target: Ints | None = None,
    new_texts: Sequence[str] | None = None,
) -> Requests:
    """Requests at given times, each with the history strictly older than its time.

    Args:
        data: the dataset.
        task: the task.
        target: [R] item ids; 0 if not given.
        user: [R] internal user ids.
        time: [R] microseconds since 1970.
        query: [R] query ids; 0 if not given.
        new_texts: [R] query texts, for searches that are not in the dataset.
    """
    none = np.zeros(len(user), dtype=np.int32)

    def end(stream_offsets: Ints, stream_time: Ints) -> Ints:
        return first_not_before(stream_time, stream_offsets[user], stream_offsets[np.asarray(user) + 1], time)

    return Requests(
        task,
        np.asarray(user),
        np.asarray(time),
        none if query is None else query,
        none if target is None else target,
        end(data.interactions.offsets, data.interactions.time),
        end(data.searches.offsets, data.searches.time),
        end(data.click_history.offsets, data.click_history.time),
        end(data.dislikes.offsets, data.dislikes.time),
        None if new_texts is None else tuple(new_texts),
    )


def check_no_leak(data: Dataset, requests: Requests, streams: Sequence[str] = STREAMS) -> None:
    """Refuse requests whose history in any of `streams` reaches their own time or another user's events.

    Args:
        data: the dataset.
        requests: R requests.
        streams: which of `STREAMS` to check.

    Raises:
        LeakError: naming the user, the time and the newer event's position.
    """
    for stream in streams:
        wrong, newest = late_histories(data, requests, stream)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise LeakError(
                f"history in {stream} is not older than its target",
                where=f"user {data.users.to_external(requests.user[row : row + 1])[0]!r}, request {row}",
                got=f"an event at {np.datetime64(int(newest[row]), 'us')} "
                f"(position {int(_ends(requests, stream)[row]) - 1})",
                expected=f"events before {np.datetime64(int(requests.time[row]), 'us')}",
                remedy="build requests with split.requests_at",
            )


def late_histories(data: Dataset, requests: Requests, stream: str) -> tuple[NDArray[np.bool_], Ints]:
    """Find histories that reach their request's time or another user's events.

    Args:
        data: the dataset.
        requests: R requests.
        stream: one of `STREAMS`.

    Returns:
        [R] whether a history is at fault, and the time of its last event.
    """
    events, end = getattr(data, stream), _ends(requests, stream)
    first, limit = events.offsets[requests.user], events.offsets[requests.user + 1]
    has_events = end > first
    inside = has_events & (end <= len(events.time))
    newest = events.time[np.where(inside, end - 1, 0)] if len(events.time) else np.zeros(len(end), np.int64)
    return (end < first) | (end > limit) | (has_events & (newest >= requests.time)), newest


def _ends(requests: Requests, stream: str) -> Ints:
    ends = (requests.feed_end, requests.search_end, requests.click_end, requests.dislike_end)
    return dict(zip(STREAMS, ends, strict=True))[stream]


def excluded_items(data: Dataset, requests: Requests) -> Ints:
    """Return [R, E] items that a list for each request leaves out: clicked before it, or refused; 0 pads.

    Args:
        data: the dataset.
        requests: R requests.
    """
    first = np.asarray(data.click_history.offsets[requests.user])
    clicked = gather_windows(data.click_history.item, first, requests.click_end - first)
    return np.concatenate((clicked, disliked_items(data, requests)), axis=1).astype(np.int64)


def disliked_items(data: Dataset, requests: Requests) -> Ints:
    """Return [R, M] items that each request's user refused before it and has not chosen since; 0 pads.

    Args:
        data: the dataset.
        requests: R requests.
    """
    dislikes = data.dislikes
    first = np.asarray(dislikes.offsets[requests.user])
    item, until = (
        gather_windows(column, first, requests.dislike_end - first) for column in (dislikes.item, dislikes.until)
    )
    return np.where(until >= np.asarray(requests.time)[:, None], item, 0)


Method = TypeVar("Method", bound=Callable[..., Any])


def cached_by_arguments(method: Method) -> Method:
    """Store what a method returns on its object, so that checks, training and validation do not compute it again."""

    @functools.wraps(method)
    def cached(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Tasks come as lists and as tuples.
        key = tuple(tuple(arg) if isinstance(arg, list) else arg for arg in (method.__name__, *args, *kwargs.items()))
        results = self.__dict__.setdefault("_results", {})
        if key not in results:
            results[key] = method(self, *args, **kwargs)
        return results[key]

    return cached  # type: ignore[return-value]


@dataclass(frozen=True)
class Split:
    """Leave-one-out split of a dataset.

    min_events: users with fewer events of a task are not held out in it.
    unseen: share of users, drawn with a fixed seed, that nothing is learned from; they are measured all the same, which
        shows what a model makes of users who came after its training.

    Raises:
        SettingsError: on construction, if `unseen` is not from 0 to less than 1.
    """

    data: Dataset
    min_events: int = 3
    unseen: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.unseen < 1:
            raise SettingsError("bad share of unseen users", got=self.unseen, expected="0 to less than 1")

    @functools.cached_property
    def known(self) -> NDArray[np.bool_]:
        """[U + 1] users who are there in training; row 0 is padding."""
        drawn = np.random.default_rng([_UNSEEN_SEED, self.data.sizes.users]).random(self.data.sizes.users + 1)
        return drawn >= self.unseen

    @functools.cached_property
    def items_clicked(self) -> Ints:
        """[U + 1] how many items each user has ever clicked."""
        history, size = self.data.click_history, self.data.sizes.items + 1
        user = np.repeat(np.arange(len(history.offsets) - 1), np.diff(history.offsets))
        pairs = np.unique(user.astype(np.int64) * size + history.item)
        return np.bincount(pairs // size, minlength=self.data.sizes.users + 1)

    @functools.cached_property
    def _events(self) -> dict[Task, tuple[Ints, Ints]]:
        """For each task: [U + 2] offsets by user, and [E] positions of its events in the dataset's arrays.

        A search is an event of its task if something was clicked.
        """
        searches = self.data.searches
        clicked = np.flatnonzero(searches.clicks.lengths > 0)
        return {
            "recommend": (np.asarray(self.data.interactions.offsets), np.arange(len(self.data.interactions.time))),
            "search": (np.searchsorted(clicked, searches.offsets), clicked),
        }

    def _held(self, task: Task, back: int) -> tuple[Ints, Ints]:
        """Users held out in a task [R], and the position [R] of their `back`-th event from the end."""
        offsets, positions = self._events[task]
        users = np.flatnonzero(np.diff(offsets) >= self.min_events)
        return users.astype(np.int32), positions[offsets[users + 1] - back]

    def _time(self, task: Task) -> Ints:
        return self.data.interactions.time if task == "recommend" else self.data.searches.time

    @cached_by_arguments
    def cutoff(self, tasks: Sequence[Task]) -> Ints:
        """[U + 1] for each user, the time before which events may be learned from for `tasks`; `NEVER` if not held out.

        Of unseen users nothing may be.
        """
        return np.where(self.known, self.visible(tasks), np.iinfo(np.int64).min)

    def visible(self, tasks: Sequence[Task]) -> Ints:
        """Return [U + 1] the time before which a user's events precede all held-out ones of `tasks`."""
        limit = np.full(self.data.sizes.users + 1, NEVER, dtype=np.int64)
        for task in tasks:
            users, positions = self._held(task, back=2)
            limit[users] = np.minimum(limit[users], self._time(task)[positions])
        return limit

    @cached_by_arguments
    def held_out(self, task: Task, part: Part) -> Requests:
        """Return the held-out requests of a task, by user; a search's target is its first clicked item.

        Args:
            task: the task.
            part: "val" or "test".
        """
        users, positions = self._held(task, back=2 if part == "val" else 1)
        return self._ask(task, users, positions)

    @cached_by_arguments
    def train(self, task: Task, tasks: Sequence[Task] = TASKS) -> Requests:
        """Return every training event of a task as a request, by user and time.

        A search with several clicks gives one request for each clicked item. Events without history are left out.

        Args:
            task: the task of the events.
            tasks: what the model learns for; they set the cut-off.
        """
        offsets, positions = self._events[task]
        users = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
        old = self._time(task)[positions] < self.cutoff(tasks)[users]
        requests = self._ask(task, users[old], positions[old], every_click=True)
        return requests[_has_history(self.data, requests)]

    @cached_by_arguments
    def sequences(self, tasks: Sequence[Task], *, feed_only: bool) -> Requests:
        """Return the newest training click of each user as a request.

        A causal model learns the earlier clicks from its history.

        Args:
            tasks: what the model learns for.
            feed_only: leave out clicks after searches.
        """
        stream = self.data.interactions if feed_only else self.data.click_history
        users = np.arange(1, self.data.sizes.users + 1, dtype=np.int32)
        end = first_not_before(stream.time, stream.offsets[users], stream.offsets[users + 1], self.cutoff(tasks)[users])
        has_events = end - stream.offsets[users] >= 2
        users, newest = users[has_events], end[has_events] - 1
        requests = requests_at(self.data, "recommend", users, stream.time[newest], target=stream.item[newest])
        visible = (requests.feed_end if feed_only else requests.click_end) > stream.offsets[requests.user]
        return requests[visible]

    def train_clicks(self, tasks: Sequence[Task]) -> tuple[Ints, Ints, Ints]:
        """User, item and source (FEED or SEARCH) [E] of every click that a model for `tasks` may learn from."""
        click_history = self.data.click_history
        user = np.repeat(np.arange(len(click_history.offsets) - 1, dtype=np.int32), np.diff(click_history.offsets))
        old = click_history.time < self.cutoff(tasks)[user]
        return user[old], click_history.item[old], click_history.source[old]

    def train_weights(self, tasks: Sequence[Task]) -> NDArray[np.float32]:
        """Return the weights [E] of `train_clicks`: an event's over the median of those in the feed, 1 after a search.

        All are 1 where the feed has events of one weight.

        Args:
            tasks: what the model learns for.
        """
        click_history = self.data.click_history
        user = np.repeat(np.arange(len(click_history.offsets) - 1, dtype=np.int32), np.diff(click_history.offsets))
        old = click_history.time < self.cutoff(tasks)[user]
        return relative_weights(click_history.weight[old], click_history.source[old])

    def _ask(self, task: Task, users: Ints, positions: Ints, *, every_click: bool = False) -> Requests:
        data = self.data
        if task == "recommend":
            return requests_at(
                data, task, users, data.interactions.time[positions], target=data.interactions.item[positions]
            )
        clicks = data.searches.clicks
        if every_click:
            target, origin = clicks.take(positions)
            users, positions = users[origin], positions[origin]
        else:
            target = clicks.values[clicks.offsets[positions]]
        return requests_at(
            data, task, users, data.searches.time[positions], query=data.searches.query[positions], target=target
        )


def relative_weights(weight: NDArray[np.float32], source: Ints) -> NDArray[np.float32]:
    """Return weights of clicks [E] on one scale: of the feed over their median, 1 after a search.

    Args:
        weight: [E] of events.
        source: [E] FEED or SEARCH.
    """
    in_feed = source == FEED
    relative = np.ones(len(weight), dtype=np.float32)
    if in_feed.any():
        relative[in_feed] = weight[in_feed] / np.median(weight[in_feed])
    return relative


def _has_history(data: Dataset, requests: Requests) -> NDArray[np.bool_]:
    feed = requests.feed_end > data.interactions.offsets[requests.user]
    return feed | (requests.search_end > data.searches.offsets[requests.user])
