"""An engine and stores for tests of HTTP alone: they answer at once, record their requests, and fail on demand."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from searec.data.events import EventWeights
from searec.errors import DataError, Overloaded, SettingsError, StorageError, UnknownIdError
from searec.pipeline.types import (
    Highlights,
    HistoryEvent,
    InterestsView,
    ItemView,
    LeftOut,
    RankedItem,
    Request,
    Response,
    ServedRun,
    SuggestedQuery,
    Suggestions,
    UserView,
)
from searec.search.facets import Facet, FacetValue
from searec.search.highlight import Snippet
from searec.search.query import SearchQuery
from searec.search.relaxation import Relaxed
from searec.service.http import logs
from searec.service.http.app import create_app
from searec.service.http.http_config import HttpSettings
from searec.store.events import Event, Stored
from searec.store.keys import Key

SECRETS = {"read": "sk-read-4711", "write": "sk-write-4712", "admin": "sk-admin-4713"}
SHOES = RankedItem("i1", "Trail shoe", 0.9, "behaviour", "like what you had", ("shoes", "trail"), True)
HAT = RankedItem("i2", "Hat", 0.5, "popular", "many have it", ("hats",), False)


def done(value: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


class Engine:
    """A pipeline and its views."""

    ready = True
    event_weights = EventWeights()

    def __init__(self) -> None:
        self.views = self

    def user(self, user: str) -> UserView:
        return UserView(
            user,
            True,
            {"age": "30"},
            [HistoryEvent("search", 2_000_000, query="shoes"), HistoryEvent("click", 1_000_000, "i1", "Shoe")],
        )

    def users(self, prefix: str, count: int) -> list[str]:
        return [prefix + "a", prefix + "b"][:count]

    def interests(self, user: str) -> InterestsView:
        return InterestsView(user, "own", 1_000_000, [("camping", 0.8, "likes trails")], {"edges": []}, "<svg/>")

    def item(self, item: str) -> ItemView:
        if item == "missing":
            raise UnknownIdError("no such item", where="catalogue", got=repr(item))
        if item == "boom":
            raise ZeroDivisionError("secret internals of user u77")
        return ItemView(item, "Trail shoe", {"brand": "acme", "price": 9.5})

    def similar(self, item: str, k: int) -> tuple[str, list[tuple[str, str, float]]]:
        self.item(item)
        return "feed", [("i2", "Hat", 0.9), ("i3", "Sock", 0.5)][:k]

    def values(self) -> dict[str, list[str]]:
        return {"categories": ["shoes"], "brand": ["acme"]}

    def served_runs(self) -> list[ServedRun]:
        return [ServedRun("feed", "sasrec", ["feed ranker"], {"recommend full test": {"ndcg@10": 0.1}})]


class Front:
    """slow: seconds that an answer takes."""

    def __init__(self, slow: float = 0.0) -> None:
        self.pipeline = Engine()
        self.asked: list[Any] = []
        self.fail: Exception | None = None
        self.fails_first = 0
        self.slow = slow
        self.closed: list[str] = []
        self.forgotten: Callable[[str], int] = lambda user: 0

    def _answer(self, ask: Any, answer: Any) -> "Future[Any]":
        self.asked.append(ask)
        if self.fails_first > 0:
            self.fails_first -= 1
            raise Overloaded("too many wait")
        if self.fail is not None:
            return done(self.fail)
        if self.slow:
            future: Future[Any] = Future()
            threading.Timer(self.slow, future.set_result, (answer,)).start()
            return future
        return done(answer)

    def recommend(self, ask: Request) -> "Future[Response]":
        return self._answer(ask, Response([SHOES, HAT], "more", True, "fresh", [LeftOut("sasrec", "late")], 0.012))

    def search(self, ask: Request) -> "Future[Response]":
        marked = replace(SHOES, highlights=Highlights([(6, 10)], Snippet("A shoe.", [(2, 6)])))
        facets = {"brand": Facet([FacetValue("acme", 3)]), "price": Facet([FacetValue("..20", 2)], 9.5, 20)}
        query = SearchQuery("running shoes", "runing shoes", (), suggestion="trail shoes", redirect="https://shop/run")
        found = Response([marked], total=3, facets=facets, query=query, relaxed=Relaxed("most words", ("running",)))
        return self._answer(ask, found)

    def suggest(self, user: str | None, prefix: str, k: int) -> "Future[Suggestions]":
        return self._answer(
            (user, prefix, k), Suggestions([SuggestedQuery("running shoes", 0.7, "gensar", "asked by many")])
        )

    def refresh(self, user: str) -> None:
        self.asked.append(user)

    def forget(self, user: str) -> int:
        return self.forgotten(user)

    def deploy(self, config: Mapping[str, Any]) -> int:
        if "recommend" not in config:
            raise SettingsError("nothing to serve", expected="recommend")
        return 2

    def deployed(self) -> dict[str, Any]:
        return {"recommend": ["runs/a"]}

    def close(self) -> None:
        self.closed.append("front")


class Recorder:
    def __init__(self, closed: list[str]) -> None:
        self.kept: dict[str, Event] = {}
        self.closed = closed

    def append(self, events: Sequence[Event]) -> "Future[Stored]":
        for one in events:
            if self.kept.get(one.event_id, one) != one:
                return done(DataError("the event is known with other contents", got=repr(one.event_id)))
        new = sum(one.event_id not in self.kept for one in events)
        self.kept.update((one.event_id, one) for one in events)
        return done(Stored(new, len(events) - new))

    def close(self) -> None:
        self.closed.append("recorder")


class Events:
    """As much of an event store as routes touch."""

    def __init__(self, closed: list[str]) -> None:
        self.did: list[Any] = []
        self.fails = False
        self.closed = closed

    def last_number(self) -> int:
        if self.fails:
            raise StorageError("the disk is full", where="postgresql://secret@host")
        return 1

    def put_items(self, items: Sequence[Mapping[str, Any]]) -> None:
        self.did.append(("items", items))

    def hide_items(self, items: Sequence[str], hidden: bool = True) -> None:
        self.did.append(("hide", items, hidden))

    def remove_items(self, items: Sequence[str]) -> None:
        self.did.append(("remove", items))

    def put_users(self, users: Sequence[Mapping[str, Any]]) -> None:
        self.did.append(("users", users))

    def forget(self, user: str) -> int:
        self.did.append(("forget", user))
        return 3

    def close(self) -> None:
        self.closed.append("events")


class Keyring:
    def check(self, text: str) -> Key | None:
        role = next((role for role, secret in SECRETS.items() if secret == text), None)
        return None if role is None else Key(f"{role}-key", role, "", b"")  # type: ignore[arg-type]


class Made:
    """An application and what it stands on."""

    def __init__(
        self,
        *,
        keys: bool = False,
        page: Path = Path("nowhere"),
        front: Front | None = None,
        stream: Any = None,
        **settings: Any,
    ) -> None:
        self.front = front or Front()
        self.recorder, self.events = Recorder(self.front.closed), Events(self.front.closed)
        self.front.forgotten = self.events.forget
        self.lines = io.BytesIO()
        self.settings = HttpSettings(**{"rate": 0, **settings})
        self.app = create_app(
            self.front,
            self.recorder,
            self.events,  # type: ignore[arg-type]
            Keyring() if keys else None,
            self.settings,
            page=page,
            log=logs.logger(stream or self.lines),
        )

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]

    def ask(
        self, method: str, path: str, *, role: str | None = None, host: str = "127.0.0.1", **options: Any
    ) -> httpx.Response:
        """One request, without a network."""

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(host, 4711))
            headers = {**options.pop("headers", {}), **({"Authorization": f"Bearer {SECRETS[role]}"} if role else {})}
            async with httpx.AsyncClient(transport=transport, base_url="http://searec") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(one())


def click(event_id: str = "e1", **more: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "user_id": "u1",
        "type": "click",
        "timestamp": "2026-11-20T09:00:00Z",
        "item_id": "i1",
        **more,
    }


class Slow(Events):
    """Does not answer in time."""

    def last_number(self) -> int:
        time.sleep(0.5)
        return 1
