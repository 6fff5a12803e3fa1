"""Leaks: whatever lets a model read what is newer than its target or held out, found with the row it comes from.

Every check is a pure function over whole columns. What may be read follows from the held-out requests themselves, not
from the times that training goes by, so that a mistake there is found as well.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searec.data.candidates import Seen, has_enough_left
from searec.data.dataset import Dataset
from searec.data.leakage.cutoff import NOTHING, Cutoff
from searec.data.leakage.findings import (
    Finding,
    Leaks,
    Row,
    Table,
    event_at,
    first_click,
    name_of,
    row_at,
    row_of,
    row_of_click,
    when,
)
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import TASKS, Part, Task
from searec.data.split import NEVER, PARTS, STREAMS, Requests, Split, late_histories

_TABLES: tuple[Table, ...] = ("interactions", "searches")
_SHOWN = 3


def bounds(split: Split, tasks: Sequence[Task]) -> tuple[Ints, Ints]:
    """Return two times for each user [U + 1]: before which a model for `tasks` may read, and learn from, the events.

    The earliest of the user's held-out requests; `NEVER` where there is none. In a global split its time, if that is
    earlier, for everybody. Of unseen users nothing may be learned.

    Args:
        split: the split.
        tasks: what the model learns for.
    """
    limit = NEVER if split.split_at is None else split.split_at
    read = np.full(split.data.sizes.users + 1, limit, dtype=np.int64)
    for task, part in itertools.product(split.bounding(tasks), PARTS):
        held = split.held_out(task, part)
        np.minimum.at(read, held.user, held.time)
    return read, np.where(split.known, read, NOTHING)


def data_leaks(split: Split) -> Leaks:
    """Check what any training on a dataset reads: requests of each task and both, candidate lists, and negatives."""
    total = Leaks()
    for tasks in (*((task,) for task in TASKS), TASKS):
        total += split_leaks(split, tasks, held=len(tasks) == 1)
    return total + candidate_leaks(split) + negative_leaks(split, TASKS)


# --- requests ---


def request_leaks(data: Dataset, requests: Requests, name: str, limit: Ints | None = None) -> list[Finding]:
    """Histories that reach their own time or another user's events; and targets that may not be learned from.

    Args:
        data: the dataset.
        name: of the requests, in findings.
        requests: [R]; name: what they are, for people.
        limit: [U + 1] the time before which targets must lie; None for held-out requests.
    """
    findings = []
    ends = {
        "interactions": requests.feed_end,
        "searches": requests.search_end,
        "click_history": requests.click_end,
        "dislikes": requests.dislike_end,
    }
    for stream in STREAMS:
        wrong, _ = late_histories(data, requests, stream)
        if wrong.any():
            row = int(np.argmax(wrong))
            newest = event_at(data, stream, int(ends[stream][row]) - 1)
            findings.append(
                Finding(
                    "error",
                    f"{int(wrong.sum()):,} histories in {stream} are not older than their targets",
                    f"{name}, request {row} of user {name_of(data, requests.user[row])!r}",
                    () if newest is None else (newest,),
                    int(wrong.sum()),
                    f"events of that user before {when(requests.time[row])}",
                    "build requests with split.requests_at",
                )
            )
    if limit is not None and (late := requests.time >= limit[requests.user]).any():
        row = int(np.argmax(late))
        target = row_of_click(data, int(requests.user[row]), int(requests.time[row]), int(requests.target[row]))
        findings.append(
            Finding(
                "error",
                f"{int(late.sum()):,} training targets lie in the validation or test period",
                f"{name}, request {row} of user {name_of(data, requests.user[row])!r}",
                () if target is None else (target,),
                int(late.sum()),
                f"targets before {when(limit[requests.user[row]])}",
                "train on split.train",
            )
        )
    return findings


def split_leaks(
    split: Split, tasks: Sequence[Task], *, last: bool | None = None, feed_only: bool = False, held: bool = True
) -> Leaks:
    """Check the requests that a model for `tasks` learns from and is measured on.

    Args:
        split: the split.
        tasks: what the model learns for.
        feed_only: as in `Split.sequences`.
        last: whether it learns from each user's last event alone (`Split.sequences`, with `feed_only`) or from all;
            both
                if None.
        held: look at the held-out requests too.
    """
    limit = bounds(split, tasks)[1]
    parts: dict[str, tuple[Requests, Ints | None]] = {}
    if not last:
        parts |= {f"training requests, {task}": (split.train(task, tasks), limit) for task in tasks}
    if last is not False:
        kinds = (False, True) if last is None else (feed_only,)
        parts |= {
            f"last training clicks{' in the feed' * kind}": (split.sequences(tasks, feed_only=kind), limit)
            for kind in kinds
        }
    if held:
        parts |= {f"{part} requests, {task}": (split.held_out(task, part), None) for task in tasks for part in PARTS}
    findings = [
        one for name, (requests, limit) in parts.items() for one in request_leaks(split.data, requests, name, limit)
    ]
    return Leaks({name: len(requests) for name, (requests, _) in parts.items()}, tuple(findings))


# --- negatives and candidates ---


def negative_leaks(split: Split, tasks: Sequence[Task]) -> Leaks:
    """Warn of negatives that their user chose after the cut-off.

    Training must not know better: to leave them out would tell it what is held out.

    Args:
        split: the split.
        tasks: what the model learns for.
    """
    data = split.data
    user, item, old = clicks_of(split, bounds(split, tasks)[1])
    seen = Seen.of(user[old], item[old], data.sizes.items)
    later = np.flatnonzero(~old & split.known[user])
    later = later[~seen.contains(user[later], item[later])]
    pairs, first = np.unique(user[later].astype(np.int64) * (data.sizes.items + 1) + item[later], return_index=True)
    requested = np.zeros(data.sizes.users + 1)
    for task in tasks:
        requested += np.bincount(split.train(task, tasks).user, minlength=len(requested))
    owner = pairs // (data.sizes.items + 1)
    left = data.sizes.items - np.bincount(seen.keys // (data.sizes.items + 1), minlength=len(requested))
    each = requested / np.maximum(left, 1)  # chance that a negative is a given item, times requests
    share = float(each[owner].sum() / max(requested.sum(), 1))
    checked = {"items that negatives are drawn from, by user": int(left[split.known][1:].sum())}
    learning = requested[owner] > 0
    if not learning.any():
        return Leaks(checked)
    places = np.sort(later[first[learning]])[:_SHOWN].tolist()
    rows = dict.fromkeys(row_at(data, position) for position in places)  # one search may have led to several
    return Leaks(
        checked,
        (
            Finding(
                "warning",
                f"negatives may be items that their user chose after the cut-off ({int(learning.sum()):,} pairs, "
                f"{share:.3%} of the draws)",
                f"training negatives, {' and '.join(tasks)}",
                tuple(rows),
                int(learning.sum()),
            ),
        ),
    )


def candidate_leaks(split: Split) -> Leaks:
    """Check the stored candidate lists of the held-out requests: target first, and no other item ever chosen."""
    total = Leaks()
    for task, part in itertools.product(TASKS, PARTS):
        for path in sorted(split.data.folder.glob(f"candidates-{task}-{part}-{split.requests_key}-*.npy")):
            total += list_leaks(split, task, part, np.load(path, mmap_mode="r"), path.name)
    return total


def list_leaks(split: Split, task: Task, part: Part, lists: NDArray[np.integer], name: str) -> Leaks:
    """Check candidate lists as `candidate_leaks` does.

    Args:
        split: the split.
        task: the task.
        part: "val" or "test".
        lists: [R, N] candidates of each held-out request.
        name: of the lists, in findings.
    """
    data, requests = split.data, split.held_out(task, part)
    checked = {"candidates": int(lists.size)}
    remedy = "remove the file; the lists are drawn again"
    if lists.ndim != 2 or len(lists) != len(requests) or (lists[:, 0] != requests.target).any():
        got = "other requests" if lists.ndim != 2 or len(lists) != len(requests) else "other targets"
        finding = Finding(
            "error", f"the candidates are of {got}", name, expected=f"the {part} targets of {task} first", remedy=remedy
        )
        return Leaks(checked, (finding,))
    rows = np.flatnonzero(has_enough_left(split, requests))  # the lists of the others hold the target alone
    lists, others = lists[rows], np.asarray(lists[rows, 1:])
    chosen = Seen.ever(data).contains(requests.user[rows, None], others)
    findings = [
        Finding(
            "error",
            f"{int(wrong.sum()):,} candidates are {what}",
            f"{name}, list {int(rows[np.argmax(wrong.any(axis=1))])}",
            expected=expected,
            remedy=remedy,
        )
        for what, wrong, expected in (
            ("the target once more", others == lists[:, :1], "each item once"),
            ("no items", (others < 1) | (others > data.sizes.items), f"items 1 to {data.sizes.items}"),
        )
        if wrong.any()
    ]
    if chosen.any():
        rows, places = (axis[:_SHOWN].tolist() for axis in np.nonzero(chosen))
        events = (
            first_click(data, int(requests.user[row]), int(others[row, place]))
            for row, place in zip(rows, places, strict=True)
        )
        findings.append(
            Finding(
                "warning",
                f"{int(chosen.sum()):,} candidates are items that their user chose at some time "
                f"({chosen.mean():.3%} of them)",
                name,
                tuple(event for event in events if event is not None),
                int(chosen.sum()),
                remedy=remedy,
            )
        )
    return Leaks(checked, tuple(findings))


# --- counts ---


def count_leaks(split: Split, tasks: Sequence[Task], counts: Ints, name: str) -> Leaks:
    """Items that a model counts more often than they were clicked before the cut-off of `tasks`.

    Args:
        split: the split.
        tasks: what the model learns for.
        name: of the model, in findings.
        counts: [I + 1] clicks in the feed and after searches, by internal item id.
    """
    data = split.data
    _, item, old = clicks_of(split, bounds(split, tasks)[1])
    allowed = np.bincount(item[old], minlength=data.sizes.items + 1)
    more = np.flatnonzero(np.asarray(counts) > allowed)
    checked = {"counts of items": data.sizes.items}
    if not len(more):
        return Leaks(checked)
    later = np.flatnonzero(~old)
    later = later[np.isin(item[later], more)]
    # The item whose count is most beyond what it may be, of those that a later click explains.
    explained = np.unique(item[later])
    first = int(max(explained if len(explained) else more, key=lambda one: (counts[one] - allowed[one], -one)))
    rows = later[item[later] == first]
    rows = rows[np.argsort(data.click_history.time[rows], kind="stable")][:_SHOWN].tolist()
    return Leaks(
        checked,
        (
            Finding(
                "error",
                f"{len(more):,} items are counted more often than they were clicked before the cut-off",
                f"{name}, item {data.items.to_external(np.array([first]))[0]!r}: {int(counts[first]):,} clicks",
                tuple(row_at(data, row) for row in rows),
                max(len(rows), int((item[later] == first).sum())),
                f"{int(allowed[first]):,} clicks of that item, without those that follow the cut-off",
                "train it again",
            ),
        ),
    )


def clicks_of(split: Split, limit: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Return user and item of every click [E], and whether it lies before the user's limit.

    Args:
        split: the split.
        limit: [U + 1] times.
    """
    click_history = split.data.click_history
    user = np.repeat(np.arange(len(click_history.offsets) - 1, dtype=np.int32), np.diff(click_history.offsets))
    return user, np.asarray(click_history.item), np.asarray(click_history.time) < limit[user]


# --- what was made beforehand ---


def cutoff_leaks(
    split: Split, tasks: Sequence[Task], cutoff: Cutoff, name: str, *, grown: bool = False
) -> list[Finding]:
    """Events that something made beforehand has read and a model for `tasks` may not, with the first of them.

    Args:
        split: the split.
        tasks: what the model learns for.
        cutoff: of the artifact.
        name: what was made, and where it lies.
        grown: whether the dataset is that of the cut-off, grown since.
    """
    data = split.data
    remedy = "make it again for this split and these tasks"
    if cutoff.data != data.fingerprint and not grown:
        return [
            Finding(
                "error",
                "made of other data",
                name,
                expected=f"data {data.fingerprint}, not {cutoff.data or 'by hand'}",
                remedy=remedy,
            )
        ]
    findings = []
    for times, limit, how in zip(cutoff.on(data), bounds(split, tasks), ("read", "learned from"), strict=True):
        if (late := read_late(data, limit, times)) is not None:
            users, user, row = late
            findings.append(
                Finding(
                    "error",
                    f"events after the cut-off were {how} ({users:,} users)",
                    f"{name}, user {row.user!r}: events before {when(times[user])} were {how}",
                    (row,),
                    users,
                    f"events before {when(limit[user])}"
                    if limit[user] != NOTHING
                    else "nothing: the user is kept from training",
                    remedy,
                )
            )
    return findings


def read_late(data: Dataset, limit: Ints, times: Ints) -> tuple[int, int, Row] | None:
    """Count the users with events from `limit` on and before `times`, and find the first of these events.

    Args:
        data: the dataset.
        limit: [U + 1] times from which events may not be read.
        times: [U + 1] times before which events were read.

    Returns:
        The number of users, the first of them, and their first event; None if there is none.
    """
    late = {table: _between(data, limit, times, table) for table in _TABLES}
    users = np.flatnonzero(np.logical_or.reduce([is_late for _, is_late in late.values()]))
    if not len(users):
        return None
    user = int(users[0])
    rows = [row_of(data, table, int(first[user])) for table, (first, is_late) in late.items() if is_late[user]]
    return len(users), user, min(rows, key=lambda one: one.time)


def _between(data: Dataset, low: Ints, high: Ints, table: Table) -> tuple[Ints, NDArray[np.bool_]]:
    """[U + 1] each: position of every user's first event not before `low`, and whether it is before `high`."""
    events = getattr(data, table)
    first = first_not_before(events.time, events.offsets[:-1], events.offsets[1:], low)
    inside = first < events.offsets[1:]
    is_late = inside.copy()
    is_late[inside] = events.time[first[inside]] < high[inside]
    return first, is_late
