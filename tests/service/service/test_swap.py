"""Runs are swapped while requests go on, by every process; what cannot be used changes nothing.

And a restart remembers.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running_service import Askers, Running, channels, eventually, in_data
from small_shop import Shop

from searec.data.dataset import load
from searec.data.synthetic.simulate import World, simulate
from searec.errors import DataError, RunError, SearecError, SettingsError
from searec.experiments import run_training
from searec.store.store import Store

Services = Callable[..., Running]


@pytest.fixture(scope="module")
def service(module_services: Services) -> Running:
    return module_services(recommend=("itemknn",), search=("bm25",))


@pytest.fixture(scope="module")
def bad_runs(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What cannot be deployed, by what is wrong with it."""
    room = tmp_path_factory.mktemp("bad")
    truncated = room / "truncated"
    shutil.copytree(shop.runs["sasrec"], truncated)
    weights = max(truncated.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    other = simulate(room / "other", World(users=20, items=90, clicks=5.0, searches=10.0, families=2, types=3, seed=4))
    run_training.train("popular", load(other), room / "popular")
    return {
        "missing run": {"recommend": [str(room / "nothing")]},
        "truncated weights": {"recommend": [str(truncated)]},
        "of other data": {"recommend": [str(room / "popular")]},
        "cannot recommend": {"recommend": [shop.runs["dense"]]},
        "missing data": {"data": str(room / "nothing")},
        "data that the runs were not trained on": {"data": str(other)},
        "misspelt": {"recomend": [shop.runs["sasrec"]]},
        "no list": {"recommend": 7},
        "a name that is too long": {"data": "x" * 5000},
        "no name": {"recommend": ["a\0b"]},
    }


def test_a_swap_fails_no_request(shop: Shop, service: Running) -> None:
    users = in_data(shop)
    queries = shop.data.queries.texts.to_list()
    calls = {
        "recommend": lambda client, n: client.recommend(users[n % len(users)]),
        "search": lambda client, n: client.search(queries[n % len(queries)], users[n % len(users)]),
        "user": lambda client, n: client.user(users[n % len(users)]),
    }
    with service.client() as client, Askers(service, calls, threads=2) as askers:
        for before, after in (("itemknn", "sasrec"), ("sasrec", "itemknn"), ("itemknn", "sasrec")):
            askers.more(8)
            assert client.deploy({"recommend": [shop.runs[after]]}).number
            answered = len(askers.answers["recommend"])
            askers.more(8)
            brought = [channels(page) for page in askers.answers["recommend"]]
            # those that were under way at the swap, at most one for each thread, may be of either
            assert before in brought[0] or before != "itemknn"
            assert all(before not in one for one in brought[answered + 2 :]), "and no longer"
        assert not any(askers.failures.values())
        assert all(page.items for page in askers.answers["recommend"])
        assert not any(page.left_out for page in askers.answers["recommend"] + askers.answers["search"])
        assert {line.label for line in client.models().models} == {"sasrec", "bm25"}


def test_what_cannot_be_used_changes_nothing(service: Running, shop: Shop, bad_runs: dict[str, dict[str, Any]]) -> None:
    with service.client() as client:
        client.deploy({"recommend": [shop.runs["itemknn"]]})
        before = client.deployment()
        for what, config in bad_runs.items():
            with pytest.raises(SearecError) as error:
                client.deploy(config)
            assert isinstance(error.value, DataError | RunError | SettingsError), (what, error.value)
            assert "\n" not in str(error.value), (what, error.value)
            assert client.deployment() == before, what
            assert channels(client.recommend(in_data(shop)[0])) <= {"itemknn", "popular"}, what
        assert client.ready()


def test_a_restart_serves_what_was_swapped_in(service: Running, shop: Shop) -> None:
    with service.client() as client:
        number = client.deploy({"recommend": [shop.runs["sasrec"]]}).number
    assert service.stop() == 0
    service.start()
    assert service.followed(number, [shop.runs["sasrec"]]), "the same command line"
    assert service.stop() == 0
    service.search = ()
    service.start()
    with service.client() as client:
        assert client.deployment()["recommend"] == [shop.runs["itemknn"]], "another command line counts"
        assert client.deployment()["search"] == []


@pytest.fixture
def two(services: Services) -> Iterator[tuple[Running, list[int]]]:
    service = services(workers=2)
    workers = service.children()
    assert len(workers) == 2
    yield service, workers
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)


def deployment(service: Running) -> dict[str, Any]:
    with service.client() as client:
        return client.deployment()


def test_all_processes_follow(two: tuple[Running, list[int]], shop: Shop, tmp_path: Path) -> None:
    service, workers = two
    own = tmp_path / "own"
    shutil.copytree(shop.runs["sasrec"], own)
    users = in_data(shop)
    with Askers(service, {"recommend": lambda client, n: client.recommend(users[n % len(users)])}, threads=4) as askers:
        askers.more(5)
        with service.client() as client:
            number = client.deploy({"recommend": [str(own)]}).number
        askers.more(5)
    assert not any(askers.failures.values())
    with Store(service.store) as store:  # what a service would never write must not end their watching
        nonsense = store.events.deploy({"nonsense": 1})
        eventually(lambda: str(nonsense) in str(deployment(service)["problem"]))
    with service.client() as client:
        number = client.deploy({"recommend": [str(own)]}).number
    for only, other in (workers, workers[::-1]):  # the other cannot answer for it
        os.kill(other, signal.SIGSTOP)
        eventually(lambda: service.followed(number, [str(own)]))
        with service.client() as client:
            assert "sasrec" in channels(client.recommend(users[0])), only
        os.kill(other, signal.SIGCONT)
    assert service.stop() == 0
