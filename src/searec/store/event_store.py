"""The event store on SQLite or PostgreSQL, by SQLAlchemy: see docs/events.md for what it promises."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

from searec.errors import DataError, DependencyError, SettingsError
from searec.store.event_checks import checked, columns, name, plain
from searec.store.events import ROLES, Event, ItemChange, Key, Role, Stored
from searec.store.keys import hash_of, new_key

try:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import Connection
    from sqlalchemy.exc import DBAPIError
except ImportError as error:
    raise DependencyError("SQLAlchemy is not installed", remedy="pip install 'searec[service]'") from error

from searec.store import event_tables as tables
from searec.store.connection import Database, EventSettings

T = TypeVar("T")
_CHUNK = 500
"""Ids that one statement names."""
_COLUMNS = ("event_id", "user_id", "kind", "time", "item_id", "query", "search_id", "clicked", "shown", "number")
_EVENT = [tables.events.c[column] for column in _COLUMNS]
_KNOWN = sa.select(*_EVENT).where(tables.events.c.event_id.in_(sa.bindparam("ids", expanding=True)))
_OF_USERS = (
    sa.select(*_EVENT)
    .where(
        tables.events.c.user_id.in_(sa.bindparam("users", expanding=True)),
        tables.events.c.number > sa.bindparam("after"),
    )
    .order_by(tables.events.c.time, tables.events.c.number)
)
_OF_USER = (
    sa.select(*_EVENT)
    .where(tables.events.c.user_id == sa.bindparam("user"), tables.events.c.number > sa.bindparam("after"))
    .order_by(tables.events.c.time, tables.events.c.number)
)
_ALL = (
    sa.select(*_EVENT)
    .where(tables.events.c.number > sa.bindparam("after"))
    .order_by(tables.events.c.number)
    .limit(sa.bindparam("count", type_=sa.Integer))
)
_TAKE = (
    sa.update(tables.counter)
    .values(number=tables.counter.c.number + sa.bindparam("count"))
    .returning(tables.counter.c.number)
)


class SqlEvents:
    """An `EventStore` in an SQLite file (WAL, one machine) or a PostgreSQL database (many machines).

    It may be used by many threads, and after a fork by both sides.

    Args:
        url: see `open_events`.

    Raises:
        SettingsError: the address cannot be read.
        StorageError: it cannot be opened, holds something else, or is newer than this code.
        DependencyError: the client is not installed.
    """

    def __init__(self, url: str, settings: EventSettings | None = None) -> None:
        self._database = Database(url, settings or EventSettings())

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Events

    def append(self, events: Sequence[Event]) -> Stored:
        rows: dict[str, dict[str, Any]] = {}
        twice = []
        for event in events:
            row = checked(event)
            if rows.setdefault(row["event_id"], row) is not row:
                twice.append(row)
        for row in twice:
            _same(row, rows[row["event_id"]])
        if not rows:
            return Stored(0, 0)
        with self._database.failures():
            try:
                known = self._append(rows)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                known = self._append(
                    rows
                )  # the connection was a stale one; what had been committed after all is known by now
        return Stored(len(rows) - len(known), len(known) + len(twice), already=known)

    def _append(self, rows: Mapping[str, dict[str, Any]]) -> frozenset[str]:
        """Keep events that differ in their ids, in one transaction; the ids that were known."""
        with self._database.begin() as db:
            first = _numbers(db, len(rows))
            insert = _insert(db, tables.events).on_conflict_do_nothing(index_elements=[tables.events.c.event_id])
            if db.execute(insert, _numbered(rows.values(), first)).rowcount == len(rows):
                return frozenset()
            # Some are known. All of ours go again, so that the new ones get numbers without a gap.
            db.execute(sa.delete(tables.events).where(tables.events.c.number >= first))
            known = set()
            for part in _parts(list(rows)):
                for found in db.execute(_KNOWN, {"ids": part}):
                    _same(rows[found.event_id], {**found._mapping})
                    known.add(found.event_id)
            _numbers(db, -len(known))
            new = [row for row in rows.values() if row["event_id"] not in known]
            if new:
                db.execute(sa.insert(tables.events), _numbered(new, first))
        return frozenset(known)

    def of_users(self, users: Sequence[str], *, after: int = 0) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        names = list(dict.fromkeys(name(user, "user", "of_users") for user in users))
        with self._database.reading() as db:
            if len(names) == 1:
                rows = db.execute(_OF_USER, {"user": names[0], "after": after}).all()
                return {names[0]: [_event(row) for row in rows]} if rows else {}
            for part in _parts(names):
                for row in db.execute(_OF_USERS, {"users": part, "after": after}):
                    found.setdefault(row[1], []).append(_event(row))
        return found

    def all_events(self, *, after: int = 0, count: int = 10_000) -> list[Event]:
        with self._database.reading() as db:
            return [_event(row) for row in db.execute(_ALL, {"after": after, "count": count})]

    def last_number(self) -> int:
        with self._database.reading() as db:
            return int(db.execute(sa.select(tables.counter.c.number)).scalar_one())

    # Items

    def put_items(self, items: Sequence[Mapping[str, Any]]) -> None:
        rows = dict(columns(item, "item_id", "item", "title") for item in items)
        self._upsert(
            tables.items,
            [{"item_id": item, "about": about, "hidden": False, "removed": False} for item, about in rows.items()],
            "about",
            "removed",
        )

    def hide_items(self, items: Sequence[str], hidden: bool = True) -> None:
        names = dict.fromkeys(name(item, "item", "hide_items") for item in items)
        self._upsert(
            tables.items,
            [{"item_id": item, "about": {}, "hidden": bool(hidden), "removed": False} for item in names],
            "hidden",
        )

    def remove_items(self, items: Sequence[str]) -> None:
        names = dict.fromkeys(name(item, "item", "remove_items") for item in items)
        self._upsert(
            tables.items,
            [{"item_id": item, "about": {}, "hidden": False, "removed": True} for item in names],
            "removed",
        )

    def items_since(self, number: int) -> list[ItemChange]:
        table = tables.items.c
        query = sa.select(table.item_id, table.about, table.hidden, table.removed, table.number)
        with self._database.reading() as db:
            return [ItemChange(*row) for row in db.execute(query.where(table.number > number).order_by(table.number))]

    # Users

    def put_users(self, users: Sequence[Mapping[str, Any]]) -> None:
        rows = dict(columns(user, "user_id", "user") for user in users)
        self._upsert(
            tables.users, [{"user_id": user, "attributes": about} for user, about in rows.items()], "attributes"
        )

    def users_of(self, users: Sequence[str]) -> dict[str, dict[str, Any]]:
        table, found = tables.users.c, {}
        names = list(dict.fromkeys(name(user, "user", "users_of") for user in users))
        with self._database.reading() as db:
            for part in _parts(names):
                found.update(
                    {
                        row[0]: row[1]
                        for row in db.execute(sa.select(table.user_id, table.attributes).where(table.user_id.in_(part)))
                    }
                )
        return {user: found[user] for user in names if user in found}

    def all_users(self) -> dict[str, dict[str, Any]]:
        table = tables.users.c
        with self._database.reading() as db:
            return {
                row[0]: row[1] for row in db.execute(sa.select(table.user_id, table.attributes).order_by(table.number))
            }

    def forget(self, user: str) -> int:
        name(user, "user", "forget")
        with self._database.writing() as db:
            _numbers(db, 0)
            db.execute(sa.delete(tables.users).where(tables.users.c.user_id == user))
            gone = db.execute(sa.delete(tables.events).where(tables.events.c.user_id == user)).rowcount
        self._database.wipe()
        return gone

    # Keys and deployments

    def add_key(self, name: str, role: Role) -> str:
        key, public = new_key()
        _named(name)
        if role not in ROLES:
            raise SettingsError("no such role of a key", got=repr(role), expected=" or ".join(ROLES))
        table = tables.api_keys
        with self._database.writing() as db:
            number = _numbers(db, 1)
            if db.execute(sa.select(table.c.name).where(table.c.name == name)).first() is not None:
                raise SettingsError(
                    "the name of the key is taken", got=repr(name), remedy="give another name, or revoke that key first"
                )
            row = {"name": name, "role": role, "public": public, "hashed": hash_of(key), "number": number}
            db.execute(sa.insert(table), row)
        return key

    def keys(self) -> list[Key]:
        table = tables.api_keys.c
        with self._database.reading() as db:
            found = [Key(*row) for row in db.execute(sa.select(table.name, table.role, table.public, table.hashed))]
        return sorted(found, key=lambda key: key.name)  # here, where every database agrees on the order

    def revoke_key(self, name: str) -> bool:
        _named(name)
        with self._database.writing() as db:
            _numbers(db, 0)
            return bool(db.execute(sa.delete(tables.api_keys).where(tables.api_keys.c.name == name)).rowcount)

    def deploy(self, config: Mapping[str, Any]) -> int:
        kept = plain(config, "the configuration", "deploy")
        with self._database.writing() as db:
            number = _numbers(db, 1)
            db.execute(sa.insert(tables.deployments), {"number": number, "config": kept})
        return number

    def deployed(self) -> tuple[int, dict[str, Any]] | None:
        table = tables.deployments.c
        with self._database.reading() as db:
            row = db.execute(sa.select(table.number, table.config).order_by(table.number.desc()).limit(1)).first()
        return None if row is None else (row[0], row[1])

    def _upsert(self, table: sa.Table, rows: list[dict[str, Any]], *changed: str) -> None:
        """Add rows by their key; of those that are there, change these columns and the number."""
        if not rows:
            return
        with self._database.writing() as db:
            insert = _insert(db, table)
            insert = insert.on_conflict_do_update(
                index_elements=list(table.primary_key),
                set_={column: insert.excluded[column] for column in (*changed, "number")},
            )
            db.execute(insert, _numbered(rows, _numbers(db, len(rows))))


def _insert(db: Connection, table: sa.Table) -> Any:
    """An INSERT that can say what is to be done about a row that is there."""
    return (postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert)(table)


def _numbers(db: Connection, count: int) -> int:
    """The first of `count` numbers that nobody had before; from here to the commit nobody else gets any."""
    return int(db.execute(_TAKE, {"count": count}).scalar_one()) - count + 1


def _numbered(rows: Iterable[Mapping[str, Any]], first: int) -> list[dict[str, Any]]:
    return [{**row, "number": first + place} for place, row in enumerate(rows)]


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


def _same(row: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse an event whose id is known with other contents."""
    other = [column for column in row if row[column] != known[column]]
    if other:
        raise DataError(
            "an event id that is known with other contents",
            where=f"event {row['event_id']!r}",
            got=f"another {', '.join(other)}",  # and not what it was, which may be somebody else's
            remedy="give every event an id of its own; nothing of the call was kept",
        )


def _named(text: str) -> None:
    try:
        name(text, "name of a key", "keys")
    except DataError as error:
        raise SettingsError(error.what, where=error.where, got=error.got, expected=error.expected) from None


def _parts(names: list[T]) -> Iterator[list[T]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))
