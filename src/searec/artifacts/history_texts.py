"""Histories before a cut-off as columns, to write summaries and prompts from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import Dataset
from searec.data.ragged import Ints, first_not_before
from searec.errors import DataError
from searec.files import fingerprint

LIMIT = 20
"""Newest clicks and newest search sessions of a user that are read (the paper's R_u and S_u)."""
CLICKS = 5
"""Clicks of one search session that are read, the first ones."""
BY_HAND = "by hand"
"""In place of a cut-off's digest where histories were given, not cut out of a dataset."""

Item = str | Mapping[str, Any]
"""A title, or a mapping with `title` and, if known, `categories`."""


@dataclass(frozen=True)
class Histories:
    """Histories of users 1..U on both sides, at most `limit` events a side, newest first within a user.

    Attributes:
        searches: user, query (row of `queries`) of each session; sorted by user.
        search_clicks: session (row of `searches`), item (row of `items`) of each click after a search, by session.
        clicks: user, item of each click in the feed; sorted by user.
        items: title, categories (list of texts).
        cutoff: digest of the dataset and of the times cut at, or `BY_HAND`.
    """

    users: int
    limit: int
    cutoff: str
    searches: pl.DataFrame
    search_clicks: pl.DataFrame
    clicks: pl.DataFrame
    queries: pl.Series
    items: pl.DataFrame

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], *, limit: int = LIMIT, clicks: int = CLICKS) -> "Histories":
        """Return histories of users that no dataset has; record n becomes user n + 1.

        Args:
            records: each {"searches": [(query, [items]), ...], "clicks": [items]}, oldest first as in a dataset;
                either may be missing.
            limit: newest sessions, and newest feed clicks, of a user.
            clicks: clicks of one session, the first ones.

        Raises:
            DataError: another key, an empty query or an item without a title.
        """
        queries: dict[str, int] = {}
        items: dict[tuple[str, tuple[str, ...]], int] = {}
        searches: list[tuple[int, int]] = []
        after_search: list[tuple[int, int]] = []
        clicked: list[tuple[int, int]] = []
        for user, record in enumerate(records, start=1):
            where = f"record {user - 1}"
            if record.keys() - {"searches", "clicks"}:
                raise DataError(
                    "unknown part of a history", where=where, got=sorted(record), expected="searches, clicks"
                )
            for query, after in reversed(record.get("searches", [])[-limit:]):
                if not isinstance(query, str) or not query.strip():
                    raise DataError("empty query", where=where, got=repr(query))
                after_search += [
                    (len(searches), items.setdefault(_item(item, where), len(items))) for item in after[:clicks]
                ]
                searches.append((user, queries.setdefault(query, len(queries))))
            clicked += [
                (user, items.setdefault(_item(item, where), len(items)))
                for item in reversed(record.get("clicks", [])[-limit:])
            ]
        return cls(
            users=len(records),
            limit=limit,
            cutoff=BY_HAND,
            searches=pl.DataFrame(searches, schema={"user": pl.Int32, "query": pl.Int32}, orient="row"),
            search_clicks=pl.DataFrame(after_search, schema={"session": pl.Int64, "item": pl.Int32}, orient="row"),
            clicks=pl.DataFrame(clicked, schema={"user": pl.Int32, "item": pl.Int32}, orient="row"),
            queries=pl.Series("query", list(queries), dtype=pl.String),
            items=pl.DataFrame(
                list(items), schema={"title": pl.String, "categories": pl.List(pl.String)}, orient="row"
            ),
        )

    def between(self, first: int, last: int) -> "Histories":
        """Return the histories of some users, who keep their numbers.

        Args:
            first: the first user.
            last: the last user, included.
        """
        start, end = _places(self.searches["user"], first, last + 1)
        begin, stop = _places(self.search_clicks["session"], start, end)
        low, high = _places(self.clicks["user"], first, last + 1)
        return Histories(
            self.users,
            self.limit,
            self.cutoff,
            self.searches[start:end],
            self.search_clicks[begin:stop].with_columns(pl.col("session") - start),
            self.clicks[low:high],
            self.queries,
            self.items,
        )

    def found_by(self) -> pl.DataFrame:
        """user, item of each click after a search."""
        owners = self.searches["user"].gather(self.search_clicks["session"])
        return pl.DataFrame([owners.alias("user"), self.search_clicks["item"]])

    def written(self) -> pl.DataFrame:
        """Return user, recommend, search: each history as lines, newest first; null where empty.

        Users without both are left out.

        A search is a line `query: title; title`; a click in the feed is a line with its title.
        """
        titles = self.items["title"]
        after = (
            self.search_clicks.with_columns(title=titles.gather(self.search_clicks["item"]))
            .group_by("session", maintain_order=True)
            .agg(pl.col("title"))
        )
        line = pl.concat_str(pl.col("text"), pl.lit(": ") + pl.col("title").list.join("; "), ignore_nulls=True)
        searches = (
            self.searches.with_columns(text=self.queries.gather(self.searches["query"]))
            .with_row_index("session")
            .with_columns(pl.col("session").cast(pl.Int64))
            .join(after, on="session", how="left", maintain_order="left")
            .group_by("user", maintain_order=True)
            .agg(search=line.str.join("\n"))
        )
        clicks = (
            self.clicks.with_columns(title=titles.gather(self.clicks["item"]))
            .group_by("user", maintain_order=True)
            .agg(recommend=pl.col("title").str.join("\n"))
        )
        return (
            clicks.join(searches, on="user", how="full", coalesce=True)
            .select("user", "recommend", "search")
            .sort("user")
        )


def _places(column: pl.Series, *values: int) -> list[int]:
    """Return where each value belongs in a sorted column."""
    return [int(place) for place in np.searchsorted(column.to_numpy(), values)]


def _item(item: Item, where: str) -> tuple[str, tuple[str, ...]]:
    title = item if isinstance(item, str) else item.get("title")
    if not isinstance(title, str) or not title.strip():
        raise DataError(
            "an item without a title", where=where, got=repr(item), expected="a title, or a mapping with one"
        )
    return title, () if isinstance(item, str) else tuple(item.get("categories") or ())


def histories_of(data: Dataset, cutoff: Ints, *, limit: int = LIMIT, clicks: int = CLICKS) -> Histories:
    """Return what every user of a dataset did strictly before a time.

    Args:
        data: the dataset.
        cutoff: [U + 1] microseconds since 1970, one a user, as `split.Split.cutoff` gives them.
        limit: newest sessions, and newest feed clicks, of a user.
        clicks: clicks of one session, the first ones.

    Raises:
        DataError: `cutoff` is not one time a user.
    """
    if cutoff.shape != (data.sizes.users + 1,):
        raise DataError("one cut-off a user is needed", got=cutoff.shape, expected=f"({data.sizes.users + 1},)")
    user, place = _newest(data.interactions.offsets, data.interactions.time, cutoff, limit)
    searcher, session_row = _newest(data.searches.offsets, data.searches.time, cutoff, limit)
    offsets = data.searches.clicks.offsets
    first = offsets[session_row]
    session, step = _steps(np.minimum(offsets[session_row + 1] - first, clicks))
    has_categories = "categories" in data.item_table.columns
    return Histories(
        users=data.sizes.users,
        limit=limit,
        cutoff=digest(data, cutoff),
        searches=pl.DataFrame({"user": searcher, "query": (data.searches.query[session_row] - 1).astype(np.int32)}),
        search_clicks=pl.DataFrame(
            {"session": session, "item": (data.searches.clicks.values[first[session] + step] - 1).astype(np.int32)}
        ),
        clicks=pl.DataFrame({"user": user, "item": (data.interactions.item[place] - 1).astype(np.int32)}),
        queries=data.queries.texts,
        items=data.item_table.select(
            pl.col("title").fill_null(""),
            pl.col("categories").fill_null([])
            if has_categories
            else pl.lit([], pl.List(pl.String)).alias("categories"),
        ),
    )


def digest(data: Dataset, cutoff: Ints) -> str:
    """Return 32 hex digits over a dataset and the times that its histories end before.

    Args:
        data: the dataset.
        cutoff: [U + 1] microseconds since 1970.
    """
    return fingerprint(
        data.fingerprint, hashlib.blake2b(np.ascontiguousarray(cutoff, dtype=np.int64).tobytes()).hexdigest()
    )


def _newest(offsets: Ints, time: Ints, cutoff: Ints, limit: int) -> tuple[Ints, Ints]:
    """User and position [n] of each user's newest `limit` events before the cut-off, newest first."""
    end = first_not_before(time, offsets[:-1], offsets[1:], cutoff)
    user, step = _steps(np.minimum(end - offsets[:-1], limit))
    return user.astype(np.int32), end[user] - 1 - step


def _steps(counts: Ints) -> tuple[Ints, Ints]:
    """Owner and step (0..count - 1) [sum of counts] of every place."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
