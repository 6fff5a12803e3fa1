"""Findings: what an audit for leaks has found, each with the events of the log it comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from searec.data.dataset import FEED, Dataset
from searec.data.leakage.cutoff import NOTHING
from searec.data.split import NEVER
from searec.errors import LeakError

Severity = Literal["error", "warning"]
Table = Literal["interactions", "searches", "dislikes"]


@dataclass(frozen=True)
class Row:
    """An event of the log.

    position: its place in the dataset's arrays of the table. time: microseconds since 1970. query: of a search.
    """

    table: Table
    position: int
    user: str
    time: int
    items: tuple[str, ...] = ()
    query: str | None = None

    def __str__(self) -> str:
        of_what = "" if self.query is None else f" for {self.query!r}"
        items = f" of {', '.join(map(repr, self.items))}" if self.items else ""
        return f"{self.table} of {self.user!r} at {when(self.time)}{of_what}{items} (position {self.position})"


@dataclass(frozen=True)
class Finding:
    """Something that a model reads and must not (error), or that is worth knowing (warning).

    Attributes:
        what: in a sentence. where: in which requests, model or artefact, and whose.
        rows: the offending events, the first ones of `count`.
        expected: what would be right. remedy: what to do.
    """

    severity: Severity
    what: str
    where: str
    rows: tuple[Row, ...] = ()
    count: int = 1
    expected: str = ""
    remedy: str = ""

    @property
    def described(self) -> str:
        """The rows in words."""
        more = f" and {self.count - len(self.rows):,} more" if self.rows and self.count > len(self.rows) else ""
        return "; ".join(map(str, self.rows)) + more

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = [{**asdict(row), "items": list(row.items)} for row in self.rows]
        return {**asdict(self), "rows": rows}

    def error(self, others: int = 0) -> LeakError:
        """As an error. others: findings beside it."""
        what = self.what + (f" ({others} other {'leaks' if others > 1 else 'leak'} beside it)" if others else "")
        return LeakError(
            what,
            where=self.where,
            got=self.described or None,
            expected=self.expected or None,
            remedy=self.remedy or None,
        )


@dataclass(frozen=True)
class Leaks:
    """What an audit looked at, in numbers, and what it found."""

    checked: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that must not be."""
        return tuple(one for one in self.findings if one.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The others."""
        return tuple(one for one in self.findings if one.severity == "warning")

    def __add__(self, other: "Leaks") -> "Leaks":
        names = dict.fromkeys((*self.checked, *other.checked))
        checked = {name: self.checked.get(name, 0) + other.checked.get(name, 0) for name in names}
        return Leaks(checked, (*self.findings, *other.findings))

    def refuse(self) -> None:
        """Stop at an error.

        Raises:
            LeakError: the first one, with how many there are beside it.
        """
        if self.errors:
            raise self.errors[0].error(len(self.errors) - 1)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"checked": dict(self.checked), "findings": [one.as_json() for one in self.findings]}

    def render(self) -> str:
        """As plain text."""
        looked = [f"  {name:<{max(map(len, self.checked))}}  {count:>12,}" for name, count in self.checked.items()]
        counts = " and ".join(
            f"{len(group)} {name}{'s' * (len(group) != 1)}"
            for name, group in (("error", self.errors), ("warning", self.warnings))
        )
        lines = [f"leaks: {counts}; looked at", *looked]
        for one in (*self.errors, *self.warnings):
            lines.append(f"  {one.severity}: {one.what}; {one.where}")
            lines += [f"    {row}" for row in one.rows]
            lines += [f"    and {one.count - len(one.rows):,} more"] if one.rows and one.count > len(one.rows) else []
            lines += [f"    expected: {one.expected}"] if one.expected else []
            lines += [f"    what to do: {one.remedy}"] if one.remedy else []
        return "\n".join(lines) + "\n"


def when(time: int) -> str:
    """A time, microseconds since 1970, in words."""
    return "never" if time in (NEVER, NOTHING) else str(np.datetime64(int(time), "us"))


def row_at(data: Dataset, position: int) -> Row:
    """Return the event behind a click.

    Args:
        data: the dataset.
        position: in the click history.
    """
    user = int(np.searchsorted(data.click_history.offsets, position, side="right")) - 1
    time, item, source = (
        int(column[position])
        for column in (data.click_history.time, data.click_history.item, data.click_history.source)
    )
    return next(_rows_of_click(data, user, time, item, feed=source == FEED))


def first_click(data: Dataset, user: int, item: int) -> Row | None:
    """Return the first click of a user on an item; None without one.

    Args:
        data: the dataset.
        user: internal id.
        item: internal id.
    """
    user_rows = slice(int(data.click_history.offsets[user]), int(data.click_history.offsets[user + 1]))
    places = np.flatnonzero(np.asarray(data.click_history.item[user_rows]) == item)
    return row_at(data, user_rows.start + int(places[0])) if len(places) else None


def event_at(data: Dataset, stream: str, position: int) -> Row | None:
    """Return the event at a position of a stream; None outside of it.

    Args:
        data: the dataset.
        stream: one of `split.STREAMS`.
        position: in the stream.
    """
    if not 0 <= position < len(getattr(data, stream).time):
        return None
    return row_at(data, position) if stream == "click_history" else row_of(data, stream, position)


def row_of(data: Dataset, table: Any, position: int) -> Row:
    """Return the event at a position of a table.

    Args:
        data: the dataset.
        table: "interactions", "searches" or "dislikes", which are interactions of negative weight.
        position: in the table.
    """
    events = getattr(data, table)
    user = int(np.searchsorted(events.offsets, position, side="right")) - 1
    if table != "searches":
        items, query = data.items.to_external(events.item[position : position + 1]), None
    else:
        items, query = (
            data.items.to_external(events.clicks.row(position)),
            data.queries.texts[int(events.query[position]) - 1],
        )
    return Row(table, position, name_of(data, user), int(events.time[position]), tuple(items), query)


def _rows_of_click(data: Dataset, user: int, time: int, item: int, *, feed: bool | None = None) -> Iterator[Row]:
    """The events by which a user clicked an item at a time."""
    if feed is not False:
        user_rows = slice(int(data.interactions.offsets[user]), int(data.interactions.offsets[user + 1]))
        same = (np.asarray(data.interactions.time[user_rows]) == time) & (
            np.asarray(data.interactions.item[user_rows]) == item
        )
        yield from (row_of(data, "interactions", user_rows.start + place) for place in np.flatnonzero(same).tolist())
    if feed is not True:
        first, end = int(data.searches.offsets[user]), int(data.searches.offsets[user + 1])
        for position in first + np.flatnonzero(np.asarray(data.searches.time[first:end]) == time):
            if item in data.searches.clicks.row(int(position)):
                yield row_of(data, "searches", int(position))


def row_of_click(data: Dataset, user: int, time: int, item: int) -> Row | None:
    """Return the first event by which a user clicked an item at a time; None without one.

    Args:
        data: the dataset.
        user: internal id.
        time: microseconds since 1970.
        item: internal id.
    """
    return next(_rows_of_click(data, user, time, item), None)


def name_of(data: Dataset, user: Any) -> str:
    """Return the external id of a user.

    Args:
        data: the dataset.
        user: internal id.
    """
    return str(data.users.to_external(np.array([user]))[0])
