"""The interests of every user: what a request reads, and the whole graph it was made from."""

import itertools
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.engine import Connection

from searec.data.schema import DAY
from searec.errors import DataError
from searec.interests.interest_graph import InterestGraph
from searec.interests.user_interests import Interest
from searec.store.connection import Database
from searec.store.interest_cache import InterestCache
from searec.store.tables import CHUNK, chunks, insert, interest_graphs, interests

_HEAD = 27
"""Bytes before the interests in an entry of the cache: time (16 digits), 1 if marked as stale, revision (10 digits)."""
_READ = "SELECT served, written_at, stale, revision FROM interests WHERE user_id = ?"


@dataclass(frozen=True, slots=True)
class StoredInterests:
    """The stored interests of a user, for a request.

    Attributes:
        served: the interests as compact JSON, see `interests`.
        written_at: microseconds since 1970.
        stale: older than `fresh_days`, or marked.
        revision: how often they have been written, from 1.
    """

    served: bytes
    written_at: int
    stale: bool
    revision: int

    def interests(self) -> list[Interest]:
        """Return the interests, most confident first.

        Raises:
            DataError: the bytes are no interests.
        """
        try:
            return list(map(Interest._make, from_json(self.served)))
        except (ValueError, TypeError):
            raise DataError(
                "stored interests cannot be read", got=repr(self.served[:60]), remedy="refresh the user"
            ) from None


class InterestStore:
    """Reads and writes interests; see `StoreSettings` for how long they are fresh."""

    def __init__(self, database: Database, cache: InterestCache | None = None) -> None:
        self.cache = cache
        self._database = database
        self._settings = database.settings

    def read(self, user: str) -> StoredInterests | None:
        """Return what a request needs of a user, or None; never waits for a writer.

        Raises:
            StorageError: the database fails, or takes longer than `read_timeout`.
            UnicodeError: no id that a store can hold.
        """
        entry = self.cache.get(user) if self.cache is not None else None
        if entry is not None:
            row = _decoded(entry, user)
        else:
            row = self._database.first_row(_READ, user)
            if row is None:
                return None
            if self.cache is not None:
                self.cache.put(user, _entry(*row), replace=False)
        served, written_at, marked, revision = row
        fresh = not marked and is_fresh(written_at, self._database.local_now(), self._settings.lifetime)
        return StoredInterests(bytes(served), written_at, not fresh, revision)

    def read_graph(self, user: str) -> InterestGraph | None:
        """Return the whole graph of a user, or None.

        Raises:
            DataError: what is stored is no graph.
        """
        with self._database.reading() as db:
            packed = db.execute(
                sa.select(interest_graphs.c.graph).where(interest_graphs.c.user_id == user)
            ).scalar_one_or_none()
        return None if packed is None else unpack_graph(packed, user)

    def write(self, graphs: Iterable[InterestGraph]) -> None:
        """Store graphs that were made outside of the queue; jobs are left as they are."""
        rest = iter(graphs)
        while part := {graph.user: graph for graph in itertools.islice(rest, CHUNK)}:
            with self._database.writing() as db:
                now = self._database.now(db)
                entries = self.save(db, [part[user] for user in sorted(part)], now)
            self.publish(entries)

    def save(self, db: Connection, graphs: Sequence[InterestGraph], now: int) -> dict[str, bytes]:
        """Write graphs of different users, by user id, in the caller's transaction.

        Args:
            db: a connection in a transaction.
            graphs: in one order for all writers, so that they cannot wait for one another in a circle.
            now: microseconds since 1970.

        Returns:
            The entries for `publish`, once the transaction is committed.
        """
        rows = [
            {
                "user_id": graph.user,
                "written_at": now,
                "stale": False,
                "revision": 1,
                "served": served_bytes(graph, self._settings.max_served),
            }
            for graph in graphs
        ]
        add = insert(db, interests)
        changed = {name: add.excluded[name] for name in ("written_at", "stale", "served")}
        changed["revision"] = interests.c.revision + 1
        db.execute(add.on_conflict_do_update(index_elements=["user_id"], set_=changed), rows)
        add = insert(db, interest_graphs)
        add = add.on_conflict_do_update(index_elements=["user_id"], set_={"graph": add.excluded.graph})
        db.execute(add, [{"user_id": graph.user, "graph": pack_graph(graph)} for graph in graphs])
        if self.cache is None:
            return {}
        users = [graph.user for graph in graphs]
        columns = (
            interests.c.user_id,
            interests.c.served,
            interests.c.written_at,
            interests.c.stale,
            interests.c.revision,
        )
        saved = db.execute(sa.select(*columns).where(interests.c.user_id.in_(users)))
        return {row[0]: _entry(*row[1:]) for row in saved}

    def publish(self, entries: dict[str, bytes]) -> None:
        """Put entries of committed interests into the cache."""
        if self.cache is not None:
            for user, entry in entries.items():
                self.cache.put(user, entry)

    def mark_stale(self, users: Sequence[str]) -> int:
        """Mark the interests of users as stale; return how many were fresh."""
        marked = 0
        for part in chunks(sorted(set(users))):
            with self._database.writing() as db:
                now = self._database.now(db)
                condition = interests.c.user_id.in_(part) & ~interests.c.stale
                query = sa.select(interests.c.user_id, interests.c.written_at).where(condition)
                rows = db.execute(query.order_by(interests.c.user_id).with_for_update()).all()
                if rows:
                    change = sa.update(interests).where(interests.c.user_id.in_([row[0] for row in rows]))
                    db.execute(change.values(stale=True))
            marked += sum(is_fresh(row[1], now, self._settings.lifetime) for row in rows)
            self._uncache(part)
        return marked

    def prune(self, days: float) -> int:
        """Delete interests written more than `days` ago; return how many."""
        pruned, size = 0, CHUNK
        while size == CHUNK:
            with self._database.writing() as db:
                before = self._database.now(db) - int(days * DAY)
                query = sa.select(interests.c.user_id).where(
                    interests.c.stale.in_([False, True]), interests.c.written_at < before
                )
                users = list(db.scalars(query.order_by(interests.c.user_id).limit(CHUNK).with_for_update()))
                self.delete(db, users)
            self._uncache(users)
            size = len(users)
            pruned += size
        return pruned

    def delete(self, db: Connection, users: Sequence[str]) -> None:
        """Delete what is stored of users in the caller's transaction; `forget_cached` follows.

        Args:
            db: a connection in a transaction.
            users: user ids.
        """
        for table in (interests, interest_graphs):
            db.execute(sa.delete(table).where(table.c.user_id.in_(users)))

    def forget_cached(self, users: Sequence[str]) -> None:
        """Remove users from the cache."""
        self._uncache(users)

    def fresh_users(self, db: Connection, users: Sequence[str], now: int) -> set[str]:
        """Return those of the users whose interests are fresh.

        Args:
            db: an open connection.
            users: user ids.
            now: microseconds since 1970.
        """
        query = sa.select(interests.c.user_id).where(interests.c.user_id.in_(users), self._fresh(now))
        return set(db.scalars(query))

    def counts(self, db: Connection, now: int) -> tuple[int, int]:
        """Return how many users have interests, and how many of these are fresh.

        Args:
            db: an open connection.
            now: microseconds since 1970.
        """
        count = sa.select(sa.func.count()).select_from(interests)
        return db.execute(count).scalar_one(), db.execute(count.where(self._fresh(now))).scalar_one()

    def _fresh(self, now: int) -> Any:
        lifetime, written_at = self._settings.lifetime, interests.c.written_at
        return ~interests.c.stale & (written_at > now - lifetime) & (written_at < now + lifetime)

    def _uncache(self, users: Sequence[str]) -> None:
        if self.cache is not None:
            self.cache.delete(list(users))


def is_fresh(written_at: int, now: int, lifetime: int) -> bool:
    """Return whether interests are fresh by their age; far ahead means that a clock was set back, and is not fresh.

    Args:
        written_at: microseconds since 1970.
        now: microseconds since 1970.
        lifetime: microseconds.
    """
    return abs(now - written_at) < lifetime


def served_bytes(graph: InterestGraph, count: int) -> bytes:
    """Return the most confident interests as JSON: [[text, confidence, reason], ...].

    Args:
        graph: the interests of a user.
        count: how many at most.
    """
    rows = [[one.text, round(one.confidence, 4), one.reason] for one in graph.interests()[:count]]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()


def pack_graph(graph: InterestGraph) -> bytes:
    """Return a graph as compressed JSON."""
    return zlib.compress(graph.to_json().encode())


def unpack_graph(stored: bytes, user: str) -> InterestGraph:
    """Return the graph that `pack_graph` packed.

    Args:
        stored: compressed JSON.
        user: the user id, for errors.

    Raises:
        DataError: it is something else.
    """
    try:
        return InterestGraph.from_json(zlib.decompress(stored))
    except zlib.error as error:
        raise DataError(
            "not an interest graph", where=f"stored of user {user!r}", got=str(error), remedy="refresh the user"
        ) from None


def _entry(served: bytes, written_at: int, stale: bool, revision: int) -> bytes:
    return b"%016d%d%010d" % (written_at, stale, revision) + bytes(served)


def _decoded(entry: bytes, user: str) -> tuple[bytes, int, bool, int]:
    try:
        return entry[_HEAD:], int(entry[:16]), entry[16:17] == b"1", int(entry[17:_HEAD])
    except ValueError:
        raise DataError(
            "cached interests cannot be read", where=f"user {user!r}", got=repr(entry[:_HEAD]), remedy="clear the cache"
        ) from None
