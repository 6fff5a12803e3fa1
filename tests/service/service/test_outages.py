"""The database and the cache of interests go away with kill -9 and come back, while requests go on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_service import Askers, Running, click, eventually, in_data, left_out, reporting
from small_shop import Shop

from redis_server import RedisServer, redis_in
from searec.errors import StorageError
from searec.interests.interest_graph import Edge, InterestGraph
from searec.service.client import Client
from searec.store.store import Store


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from redis_in(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="module")
def service(module_services: Callable[..., Running], module_postgres: Any, redis: RedisServer) -> Running:
    url = module_postgres.new_database()
    return module_services(recommend=("itemknn", "serendipity"), search=("bm25",), store=url, cache=redis.url)


def grown(some: list[Any], count: int) -> None:
    """Wait until there are so many more."""
    goal = len(some) + count
    eventually(lambda: len(some) >= goal)


def ready(service: Running) -> tuple[int, Any]:
    answer = httpx.get(f"{service.url}/readyz", timeout=60)
    return answer.status_code, answer.json()


def test_the_database_goes_and_comes_back(service: Running, module_postgres: Any, shop: Shop) -> None:
    users, query = in_data(shop), shop.data.item_table["title"][0]
    acknowledged: list[str] = []
    calls: dict[str, Callable[[Client, int], Any]] = {
        "recommend": lambda client, n: client.recommend(users[n % len(users)]),
        "search": lambda client, n: client.search(query, users[n % len(users)]),
        "report": reporting(shop, acknowledged),
    }
    with Askers(service, calls) as askers, service.client() as client:
        before = client.deployment()
        for _ in range(2):
            askers.more(5)
            assert ready(service)[0] == 200
            assert all("events" not in left_out(askers.answers[kind][-1]) for kind in ("recommend", "search"))
            module_postgres.kill()
            eventually(lambda: all("events" in left_out(askers.answers[kind][-1]) for kind in ("recommend", "search")))
            grown(askers.failures["report"], 3)
            code, told = ready(service)
            assert code == 503 and "event store" in told["reasons"][0]
            with pytest.raises(StorageError):
                client.deploy({"recommend": [shop.runs["sasrec"]]})
            with pytest.raises(StorageError):
                client.user(users[0])
            assert client.deployment() == before
            module_postgres.start()
            eventually(lambda: ready(service)[0] == 200)
            grown(acknowledged, 3)
            eventually(
                lambda: not any("events" in left_out(askers.answers[kind][-1]) for kind in ("recommend", "search"))
            )
        assert not askers.unexpected()
        assert all(page.items for kind in ("recommend", "search") for page in askers.answers[kind])
        assert {type(error) for error in askers.failures["report"]} == {StorageError}
    assert set(acknowledged) <= service.stored()
    assert "Traceback" not in service.log


def graph(user: str, text: str) -> InterestGraph:
    up = Edge(source="something", target="anything", relation="hypernym", signal="query", confidence=0.8)
    return InterestGraph(
        user, time.time_ns() // 1000, (up, Edge(source="anything", target=text, relation="co-hyponym", confidence=0.9))
    )


def test_the_cache_goes_and_comes_back(service: Running, redis: RedisServer, shop: Shop) -> None:
    with service.client() as client, Store(service.store, cache=redis.url) as store:
        users = in_data(shop, 60)
        user = next(user for user in users if client.interests(user).source == "run")
        trained = client.interests(user).interests
        store.interests.write([graph(user, "yoga mats")])
        eventually(lambda: client.recommend(user).interests == "fresh")
        assert [one.text for one in client.interests(user).interests] == ["yoga mats"]
        with Askers(service, {"recommend": lambda client, n: client.recommend(user)}) as askers:
            askers.more(3)
            redis.kill()
            askers.more(10)
            client.refresh(user)
            assert client.report([click("while-redis-was-gone", "somebody", shop.data.items.texts[0])]).new == 1
            redis.start()
            askers.more(5)
        assert not askers.unexpected() and not any(askers.failures.values())
        assert all(page.items and not left_out(page) for page in askers.answers["recommend"])
        assert {page.interests for page in askers.answers["recommend"]} <= {"fresh", "last"}, "the database has them"
        assert trained != client.interests(user).interests
        client.report([click("redis-is-back", user, shop.data.items.texts[0])])
        eventually(lambda: client.recommend(user).interests == "last")  # what follows from events goes on as well


def test_what_was_acknowledged_outlives_the_service(service: Running, shop: Shop) -> None:
    killed_while_writing(service, shop)


def killed_while_writing(service: Running, shop: Shop) -> None:
    """kill -9 while several threads write; whatever was acknowledged is there and counts afterwards."""
    acknowledged: list[str] = []
    with Askers(service, {"report": reporting(shop, acknowledged, "k")}, threads=4) as askers:
        eventually(lambda: len(acknowledged) > 40)
        service.kill()
        eventually(lambda: len(askers.failures["report"]) > 3)
    assert set(acknowledged) <= service.stored()
    service.start()
    with service.client() as client:
        item = shop.data.items.texts.to_list()[int(acknowledged[-1].removeprefix("k")) % shop.data.sizes.items]
        user = f"k-user{int(acknowledged[-1].removeprefix('k')) % 7}"
        page = client.recommend(user, k=100)
        assert page.known and not left_out(page)
        assert item not in {one.item_id for one in page.items}, "it was clicked"
        assert item in {one.item_id for one in client.user(user).history}


def test_on_sqlite_too(services: Callable[..., Running], shop: Shop) -> None:
    service = services()
    killed_while_writing(service, shop)
    acknowledged: list[str] = []
    users = in_data(shop)
    calls: dict[str, Callable[[Client, int], Any]] = {
        "report": reporting(shop, acknowledged, "s"),
        "recommend": lambda client, n: client.recommend(users[n % len(users)]),
    }
    with Askers(service, calls, threads=3) as askers:
        askers.more(10)
        assert service.stop() == 0
        eventually(lambda: all(askers.failures.values()))
    failures = [error for some in askers.failures.values() for error in some]
    assert all("cannot be reached" in str(error) for error in failures), "what was accepted was answered"
    assert set(acknowledged) <= service.stored()
    assert "Traceback" not in service.log


def test_a_full_disk_loses_nothing(services: Callable[..., Running], shop: Shop, small_disk: Path) -> None:
    service = services(store=f"sqlite:///{small_disk / 'store.db'}", search=("bm25",))
    acknowledged: list[str] = []
    users, filler = in_data(shop), small_disk / "filler"
    calls: dict[str, Callable[[Client, int], Any]] = {
        "report": reporting(shop, acknowledged),
        "recommend": lambda client, n: client.recommend(users[n % len(users)]),
        "user": lambda client, n: client.user(users[n % len(users)]),
    }
    with Askers(service, calls) as askers:
        askers.more(5)
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        eventually(lambda: len(askers.failures["report"]) > 2)
        askers.more(0)
        answer = httpx.post(f"{service.url}/v1/events", json={"events": [click("full", "w", users[0])]}, timeout=60)
        while answer.status_code == 200:  # there is still a little room
            answer = httpx.post(
                f"{service.url}/v1/events",
                json={"events": [click(f"full{time.time_ns()}", "w" * 200, "i")]},
                timeout=60,
            )
        assert answer.status_code == 503 and answer.headers["content-type"] == "application/problem+json"
        assert "disk is full" in answer.json()["detail"] and "Retry-After" in answer.headers
        read = {kind: len(askers.answers[kind]) for kind in ("recommend", "user")}
        eventually(lambda: all(len(askers.answers[kind]) > count + 5 for kind, count in read.items()))
        filler.unlink()
        grown(acknowledged, 5)
    assert not askers.unexpected()
    assert not any(left_out(page) for page in askers.answers["recommend"])
    assert all(isinstance(error, StorageError) for error in askers.failures["report"])
    assert set(acknowledged) <= service.stored()
    assert service.stop() == 0
