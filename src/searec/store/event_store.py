"""Events, items, users and deployments in the database: see docs/events.md for what is promised."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from searec.errors import DataError
from searec.store import tables
from searec.store.connection import Database
from searec.store.event_checks import checked, columns, name, plain
from searec.store.events import Event, ItemChange, Stored
from searec.store.tables import chunks, insert, take_numbers

_C = tables.events.c
_COLUMNS = ("event_id", "user_id", "kind", "time", "item_id", "query", "search_id", "clicked", "shown", "number")
_EVENTS = sa.select(*(_C[column] for column in _COLUMNS))
_KNOWN = _EVENTS.where(_C.event_id.in_(sa.bindparam("ids", expanding=True)))
_NEW = _EVENTS.where(_C.number > sa.bindparam("after"))
_OF_USERS = _NEW.where(_C.user_id.in_(sa.bindparam("users", expanding=True))).order_by(_C.time, _C.number)
_OF_USER = _NEW.where(_C.user_id == sa.bindparam("user")).order_by(_C.time, _C.number)
_ALL = _NEW.order_by(_C.number).limit(sa.bindparam("count", type_=sa.Integer))


class EventStore:
    """Events, items and users reported since the training, shared by threads and processes.

    Failures of the database are a StorageError, and nothing of that call is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, events: Sequence[Event]) -> Stored:
        """Store events; they are on disk when this returns.

        Raises:
            DataError: an event id that is known with other contents; nothing of the call is stored.
        """
        rows: dict[str, dict[str, Any]] = {}
        repeated = []
        for event in events:
            row = checked(event)
            if rows.setdefault(row["event_id"], row) is not row:
                repeated.append(row)
        for row in repeated:
            _refuse_change(row, rows[row["event_id"]])
        if not rows:
            return Stored(0, 0)
        with self._database.failures():
            try:
                known = self._append(rows)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # the connection was a stale one; what had been committed after all is known by now
                known = self._append(rows)
        return Stored(len(rows) - len(known), len(known) + len(repeated), already=known)

    def _append(self, rows: Mapping[str, dict[str, Any]]) -> frozenset[str]:
        """Store events that differ in their ids, in one transaction; return the ids that were known."""
        with self._database.begin() as db:
            first = take_numbers(db, len(rows))
            add = insert(db, tables.events).on_conflict_do_nothing(index_elements=[_C.event_id])
            if db.execute(add, _numbered(rows.values(), first)).rowcount == len(rows):
                return frozenset()
            # Some are known. All of ours are deleted again, so that the new ones get numbers without a gap.
            db.execute(sa.delete(tables.events).where(_C.number >= first))
            known = set()
            for part in chunks(list(rows)):
                for stored in db.execute(_KNOWN, {"ids": part}):
                    _refuse_change(rows[stored.event_id], {**stored._mapping})
                    known.add(stored.event_id)
            take_numbers(db, -len(known))
            new = [row for row in rows.values() if row["event_id"] not in known]
            if new:
                db.execute(sa.insert(tables.events), _numbered(new, first))
        return frozenset(known)

    def of_users(self, users: Sequence[str], *, after: int = 0) -> dict[str, list[Event]]:
        """Return the events of users, by time and then number; users without any are left out.

        Args:
            users: user ids.
            after: only events with a higher number.
        """
        events: dict[str, list[Event]] = {}
        names = list(dict.fromkeys(name(user, "user", "of_users") for user in users))
        with self._database.reading() as db:
            if len(names) == 1:
                rows = db.execute(_OF_USER, {"user": names[0], "after": after}).all()
                return {names[0]: [_event(row) for row in rows]} if rows else {}
            for part in chunks(names):
                for row in db.execute(_OF_USERS, {"users": part, "after": after}):
                    events.setdefault(row[1], []).append(_event(row))
        return events

    def all_events(self, *, after: int = 0, count: int = 10_000) -> list[Event]:
        """Return events by number.

        Args:
            after: only events with a higher number.
            count: at most.
        """
        with self._database.reading() as db:
            return [_event(row) for row in db.execute(_ALL, {"after": after, "count": count})]

    def last_number(self) -> int:
        """Return the highest number given so far."""
        counter = tables.counter.c
        with self._database.reading() as db:
            return int(db.execute(sa.select(counter.number).where(counter.id == tables.NUMBER)).scalar_one())

    def put_items(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Add items, or replace what is known of them: "item_id", "title", and any other column."""
        rows = dict(columns(item, "item_id", "item", "title") for item in items)
        self._put_items(rows, "about", "removed")

    def hide_items(self, items: Sequence[str], hidden: bool = True) -> None:
        """Hide items from every response, or show them again.

        Args:
            items: item ids.
            hidden: False to show them.
        """
        names: dict[str, Any] = {name(item, "item", "hide_items"): {} for item in items}
        self._put_items(names, "hidden", hidden=bool(hidden))

    def remove_items(self, items: Sequence[str]) -> None:
        """Take items out of the catalog; putting them again restores them."""
        names: dict[str, Any] = {name(item, "item", "remove_items"): {} for item in items}
        self._put_items(names, "removed", removed=True)

    def items_since(self, number: int) -> list[ItemChange]:
        """Return the items that have changed since a number, each as it is now, by number."""
        table = tables.items.c
        query = sa.select(table.item_id, table.about, table.hidden, table.removed, table.number)
        with self._database.reading() as db:
            return [ItemChange(*row) for row in db.execute(query.where(table.number > number).order_by(table.number))]

    def put_users(self, users: Sequence[Mapping[str, Any]]) -> None:
        """Add users, or replace what is known of them: "user_id" and any attribute."""
        rows = dict(columns(user, "user_id", "user") for user in users)
        attributes = [{"user_id": user, "attributes": about} for user, about in rows.items()]
        self._upsert(tables.users, attributes, "attributes")

    def users_of(self, users: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the attributes of users who were put; others are left out."""
        table, attributes = tables.users.c, {}
        names = list(dict.fromkeys(name(user, "user", "users_of") for user in users))
        with self._database.reading() as db:
            for part in chunks(names):
                rows = db.execute(sa.select(table.user_id, table.attributes).where(table.user_id.in_(part)))
                attributes.update({row[0]: row[1] for row in rows})
        return {user: attributes[user] for user in names if user in attributes}

    def all_users(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of every user who was put."""
        table = tables.users.c
        with self._database.reading() as db:
            rows = db.execute(sa.select(table.user_id, table.attributes).order_by(table.number))
            return {row[0]: row[1] for row in rows}

    def delete_user(self, db: Connection, user: str) -> int:
        """Delete the events and attributes of a user in the caller's transaction; return how many events.

        Args:
            db: a connection in a transaction.
            user: the user id.
        """
        take_numbers(db, 0)
        db.execute(sa.delete(tables.users).where(tables.users.c.user_id == user))
        return db.execute(sa.delete(tables.events).where(_C.user_id == user)).rowcount

    def deploy(self, config: Mapping[str, Any]) -> int:
        """Store what is to be served from now on; return its number."""
        checked_config = plain(config, "the configuration", "deploy")
        with self._database.writing() as db:
            number = take_numbers(db, 1)
            db.execute(sa.insert(tables.deployments), {"number": number, "config": checked_config})
        return number

    def deployed(self) -> tuple[int, dict[str, Any]] | None:
        """Return the newest configuration that was stored with `deploy`, and its number."""
        table = tables.deployments.c
        with self._database.reading() as db:
            row = db.execute(sa.select(table.number, table.config).order_by(table.number.desc()).limit(1)).first()
        return None if row is None else (row[0], row[1])

    def close(self) -> None:
        """Close the connections of the database, also those of the other parts of the store."""
        self._database.close()

    def _put_items(
        self, about: Mapping[str, Mapping[str, Any]], *changed: str, hidden: bool = False, removed: bool = False
    ) -> None:
        flags = {"hidden": hidden, "removed": removed}
        self._upsert(tables.items, [{"item_id": item, "about": of, **flags} for item, of in about.items()], *changed)

    def _upsert(self, table: sa.Table, rows: list[dict[str, Any]], *changed: str) -> None:
        """Add rows by their key; of those that exist, change these columns and the number."""
        if not rows:
            return
        with self._database.writing() as db:
            add = insert(db, table)
            add = add.on_conflict_do_update(
                index_elements=list(table.primary_key),
                set_={column: add.excluded[column] for column in (*changed, "number")},
            )
            db.execute(add, _numbered(rows, take_numbers(db, len(rows))))


def _numbered(rows: Iterable[Mapping[str, Any]], first: int) -> list[dict[str, Any]]:
    return [{**row, "number": first + offset} for offset, row in enumerate(rows)]


def _event(row: Sequence[Any]) -> Event:
    event_id, user, kind, time, item, query, search, clicked, shown, number = row
    event = object.__new__(Event)
    # all at once: a frozen class sets its fields one by one, which is most of the time that reading takes
    event.__dict__.update(
        event_id=event_id,
        user=user,
        kind=kind,
        time=time,
        item=item,
        query=query,
        search=search,
        clicked=tuple(clicked),
        shown=tuple(shown),
        number=number,
    )
    return event


def _refuse_change(row: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse an event whose id is known with other contents."""
    other = [column for column in row if row[column] != known[column]]
    if other:
        raise DataError(
            "an event id that is known with other contents",
            where=f"event {row['event_id']!r}",
            got=f"another {', '.join(other)}",  # and not what it was, which may be another reporter's
            remedy="give every event an id of its own; nothing of the call was kept",
        )


def existing_users(database: Database, users: Sequence[str]) -> set[str]:
    """Return those of the users that have events or attributes in the store.

    Args:
        database: of the store.
        users: outside ids.
    """
    existing: set[str] = set()
    names = list(dict.fromkeys(name(user, "user", "existing_users") for user in users))
    with database.reading() as db:
        for part in chunks(names):
            for column in (tables.events.c.user_id, tables.users.c.user_id):
                existing.update(db.scalars(sa.select(column).where(column.in_(part)).distinct()))
    return existing
