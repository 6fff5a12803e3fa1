"""Splits: the requests of each part, and which events a model may learn from.

Leave-one-out in time: per user and task the last event is the test target and the one before it the validation target.
A model that learns for some tasks reads, of each user, only the events strictly older than that user's earliest
validation target among those tasks. Other users' events may be newer than a request.

Global split: a model reads only the events, of all users, strictly before one time. The time after it is halved at
the median event: in each half the last event of a user and task is a target, first of validation, then of test.

In both a request sees only what is strictly older than its time.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.global_split import event_times, iso, median_time_from
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import TASKS, Part, Task
from searec.errors import DataError, LeakError, SettingsError

NEVER = np.iinfo(np.int64).max
PARTS: tuple[Part, ...] = ("val", "test")
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
    """Leave-one-out split of a dataset, or a global split at one time.

    min_events: users with fewer events of a task are not held out in it; without effect in a global split, where one
        event is enough.
    unseen: share of users, drawn with a fixed seed, that nothing is learned from; they are measured all the same, which
        shows what a model makes of users who came after its training.
    split_at: microseconds since 1970 at which training ends for everybody (`global_split.split_time`); None for
        leave-one-out.
    final: nothing is held out; every event may be learned from. For a model that is served, not measured.
    joint: what either task holds out ends what a model of one task learns from too, so that it may serve the other.
    read_before: [U + 1] for each user a time, microseconds since 1970, before which a model has read the events already
        (a run that is measured or trained further on data that has grown). Older requests are not held out.

    Raises:
        SettingsError: on construction, if `unseen` is not from 0 to less than 1, `split_at` lies outside of the log, or
            a final split is to hold something out.
        DataError: on construction, if no click lies before `split_at`, or no event with a click in a half after it.
    """

    data: Dataset
    min_events: int = 3
    unseen: float = 0.0
    split_at: int | None = None
    final: bool = False
    joint: bool = False
    read_before: Ints | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.unseen < 1:
            raise SettingsError("bad share of unseen users", got=self.unseen, expected="0 to less than 1")
        if self.final and (self.unseen or self.split_at is not None):
            got = f"unseen {self.unseen}" if self.unseen else "a global split"
            raise SettingsError(
                "a final split holds nothing out", got=got, remedy="leave it out, or train without final"
            )
        if self.split_at is not None:
            self._refuse_empty_parts(self.split_at)

    def _refuse_empty_parts(self, split_at: int) -> None:
        times = event_times(self.data)
        if not len(times) or not times.min() < split_at <= times.max():
            span = f"after {iso(times.min())} and up to {iso(times.max())}" if len(times) else "a log with events"
            raise SettingsError("the split time lies outside of the log", got=iso(split_at), expected=span)
        clicks = self.data.click_history.time
        if not len(clicks) or clicks.min() >= split_at:
            raise DataError(
                "nothing to train on", got=f"no click before {iso(split_at)}", remedy="choose a later split time"
            )
        parts: tuple[tuple[Part, str], ...] = (("val", "validate"), ("test", "test"))
        for part, verb in parts:
            low, high = self._period(part)
            if not any(len(self._held(task, part)[0]) for task in TASKS):
                got = f"no click from {iso(low)}" + ("" if high == NEVER else f" and before {iso(high)}")
                raise DataError(f"nothing to {verb} on", got=got, remedy="choose an earlier split time")

    @functools.cached_property
    def test_at(self) -> int:
        """Time at which validation ends and test begins, microseconds since 1970; of a global split alone."""
        assert self.split_at is not None
        return median_time_from(self.data, self.split_at)

    def _period(self, part: Part) -> tuple[int, int]:
        """Return the first time of a part of a global split, and the time that ends it."""
        assert self.split_at is not None
        return (self.split_at, self.test_at) if part == "val" else (self.test_at, NEVER)

    @property
    def description(self) -> str:
        """The kind of split with its times, in words."""
        if self.split_at is None:
            return "leave-one-out"
        return f"global split at {iso(self.split_at)} (test from {iso(self.test_at)})"

    @property
    def requests_key(self) -> str:
        """Text in names of files about the held-out requests; splits with other requests have another."""
        return str(self.min_events) if self.split_at is None else f"at{self.split_at}"

    @functools.cached_property
    def known(self) -> NDArray[np.bool_]:
        """[U + 1] users who are there in training; row 0 is padding.

        In a global split these have an event before it.
        """
        drawn = np.random.default_rng([_UNSEEN_SEED, self.data.sizes.users]).random(self.data.sizes.users + 1)
        known = drawn >= self.unseen
        if self.split_at is not None:
            known &= ~self.new_users
        known[0] = True
        return known

    @functools.cached_property
    def new_users(self) -> NDArray[np.bool_]:
        """[U + 1] users without an event, feed or search, before a global split."""
        assert self.split_at is not None
        is_new = np.ones(self.data.sizes.users + 1, dtype=bool)
        for stream in (self.data.interactions, self.data.searches):
            first = np.asarray(stream.offsets[:-1])
            has_events = stream.offsets[1:] > first
            is_new[has_events] &= stream.time[first[has_events]] >= self.split_at
        return is_new

    @functools.cached_property
    def new_items(self) -> NDArray[np.bool_]:
        """[I + 1] items that nobody clicked, in the feed or after a search, before a global split."""
        assert self.split_at is not None
        clicks = self.data.click_history
        is_new = np.ones(self.data.sizes.items + 1, dtype=bool)
        is_new[clicks.item[clicks.time < self.split_at]] = False
        return is_new

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

    def _held(self, task: Task, part: Part) -> tuple[Ints, Ints]:
        """Users held out in a task and part [R], and the position [R] of the event that is their request."""
        offsets, positions = self._events[task]
        if self.split_at is None:
            users = np.flatnonzero(np.diff(offsets) >= self.min_events)
            return users.astype(np.int32), positions[offsets[users + 1] - (2 if part == "val" else 1)]
        time = self._time(task)[positions]
        limits = (np.full(len(offsets) - 1, limit, dtype=np.int64) for limit in self._period(part))
        first, end = (first_not_before(time, offsets[:-1], offsets[1:], limit) for limit in limits)
        users = np.flatnonzero(end > first)
        return users.astype(np.int32), positions[end[users] - 1]

    def _time(self, task: Task) -> Ints:
        return self.data.interactions.time if task == "recommend" else self.data.searches.time

    def bounding(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """Return the tasks whose held-out events end what a model for `tasks` learns from."""
        return TASKS if self.joint else tasks

    @cached_by_arguments
    def cutoff(self, tasks: Sequence[Task]) -> Ints:
        """[U + 1] for each user, the time before which events may be learned from for `tasks`; `NEVER` if not held out.

        In a global split this is its time. Of unseen users nothing may be.
        """
        return np.where(self.known, self.visible(tasks), np.iinfo(np.int64).min)

    def visible(self, tasks: Sequence[Task]) -> Ints:
        """Return [U + 1] the time before which a user's events precede all held-out ones of `tasks`."""
        if self.split_at is not None:
            return np.full(self.data.sizes.users + 1, self.split_at, dtype=np.int64)
        limit = np.full(self.data.sizes.users + 1, NEVER, dtype=np.int64)
        for task, part in itertools.product(self.bounding(tasks), PARTS):
            users, positions = self._unread(task, *self._held(task, part))
            limit[users] = np.minimum(limit[users], self._time(task)[positions])
        return limit

    @cached_by_arguments
    def held_out(self, task: Task, part: Part) -> Requests:
        """Return the held-out requests of a task, by user; a search's target is its first clicked item.

        Args:
            task: the task.
            part: "val" or "test".
        """
        return self._ask(task, *self._unread(task, *self._held(task, part)))

    def is_unread(self, task: Task, part: Part) -> NDArray[np.bool_]:
        """Return which requests `held_out` would have without `read_before` and `final` it has.

        Args:
            task: the task.
            part: "val" or "test".
        """
        return self._is_unread(task, *self._held(task, part))

    def _is_unread(self, task: Task, users: Ints, positions: Ints) -> NDArray[np.bool_]:
        if self.final or self.read_before is None:
            return np.full(len(users), not self.final)
        return self._time(task)[positions] >= self.read_before[users]

    def _unread(self, task: Task, users: Ints, positions: Ints) -> tuple[Ints, Ints]:
        """Return those of the held-out events that a model has not read."""
        is_unread = self._is_unread(task, users, positions)
        return users[is_unread], positions[is_unread]

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


def _has_history(data: Dataset, requests: Requests) -> NDArray[np.bool_]:
    feed = requests.feed_end > data.interactions.offsets[requests.user]
    return feed | (requests.search_end > data.searches.offsets[requests.user])
