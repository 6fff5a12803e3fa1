"""What happened comes back as a dataset to train on.

And interests are made by workers that may die, or reach nobody.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running_service import Running, channels, click, command, eventually, in_data, left_out
from small_shop import Shop

from chat_server import Reply
from searec.data.dataset import load
from searec.experiments import run_training
from searec.service.client import Client
from searec.store.store import Store

Services = Callable[..., Running]


def told(client: Client, user: str) -> Counter[tuple[str, str | None, str | None]]:
    """What a user did, and how often."""
    return Counter((one.type, one.item_id, one.query) for one in client.user(user).history)


def test_an_export_closes_the_loop(services: Services, shop: Shop, tmp_path: Path) -> None:
    service, (old, items) = services(search=("bm25",)), (in_data(shop)[0], shop.data.items.texts.to_list())
    with service.client() as client:
        asked = {**click("asked-today", old, ""), "type": "search", "query": "a query of today"}
        del asked["item_id"]
        client.put_items([{"item_id": "brand-new", "title": "a brand new thing"}])
        client.report(
            [click("e1", old, items[0]), click("e2", "newcomer", items[1]), click("e3", "newcomer", items[2]), asked]
        )
        client.report(
            [{**click("e4", old, items[3]), "search_id": "asked-today"}, click("e5", "newcomer", "brand-new")]
        )
        before = {user: told(client, user) for user in (old, "newcomer")}
        assert not client.user("newcomer").known
        command("export", "dataset", str(shop.folder), str(tmp_path / "learned"), "--store", service.store)
        learned = load(tmp_path / "learned")
        runs = {}
        for model in ("itemknn", "popular"):
            run_training.train(model, learned, tmp_path / model)
            runs[model] = str(tmp_path / model)
        client.report([click("while-training", old, items[4])])  # after the export, so it must still count
        client.deploy({"data": str(tmp_path / "learned"), "recommend": [*runs.values()], "search": []})
        assert client.user("newcomer").known, "the training knows the user now"
        after = {user: told(client, user) for user in (old, "newcomer")}
        assert after["newcomer"] == before["newcomer"]
        assert after[old] == before[old] + Counter([("click", items[4], None)])
        page = client.recommend("newcomer", k=100)
        assert "itemknn" in channels(page)
        assert not {items[1], items[2], "brand-new"} & {item.item_id for item in page.items}
        assert items[4] not in {item.item_id for item in client.recommend(old, k=100).items}
        client.report([click("afterwards", "newcomer", items[5])])
        assert told(client, "newcomer") == before["newcomer"] + Counter([("click", items[5], None)])
        assert "brand-new" in {item.item_id for item in client.search("brand new thing").items}


class Workers:
    """`searec interests worker` processes."""

    def __init__(self, shop: Shop, store: str, log: Path) -> None:
        self._words = ["interests", "worker", str(shop.folder), "--store", store]
        self._log = log
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "searec", *self._words, *words]
            self.running.append(subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment))
        return self.running[-1]


@pytest.fixture
def workers(shop: Shop, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(shop, f"sqlite:///{tmp_path / 'store.db'}", tmp_path / "worker.txt")
    yield made
    for process in made.running:
        process.kill()
        process.wait()


def test_a_worker_dies_and_a_language_model_is_away(
    services: Services, workers: Workers, shop: Shop, server: Any, clock_library: Path, tmp_path: Path
) -> None:
    interests = f"sqlite:///{tmp_path / 'store.db'}"
    service, users = services(store=interests), in_data(shop)
    chat = {"SEAREC_CHAT_MODEL": "toy", "SEAREC_CHAT_RETRIES": "0", "OPENAI_API_KEY": "none"}
    away = {**chat, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    with service.client() as client, Store(interests) as store:
        user = users[0]
        # the language model is away: the service goes on, the job waits
        client.refresh(user)
        worker = workers.start("--reasoner", "chat", "--set", "chat_model=toy", **away)
        eventually(lambda: store.jobs.counts().waiting)
        page = client.recommend(user)
        assert page.items and not left_out(page) and page.interests == "none"
        assert store.jobs.counts().dead == 0 and worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        assert store.jobs.counts().queued + store.jobs.counts().waiting == 1, "it waits, and nobody is to blame"
        # a worker dies while it thinks
        server.behave = lambda number, body: Reply(delay=30)
        shift = tmp_path / "shift"
        shift.write_text("120")
        later = {
            "LD_PRELOAD": str(clock_library),
            "CLOCK_SHIFT": str(shift),
        }  # so that nobody has to wait for its wait to be over
        worker = workers.start(
            "--reasoner", "chat", "--set", "chat_model=toy", **chat, OPENAI_BASE_URL=server.url, **later
        )
        eventually(lambda: server.bodies)
        assert store.jobs.counts().leased == 1
        worker.kill()
        worker.wait()
        page = client.recommend(user)
        assert page.items and page.interests == "none"
        # another one, later still: the lease of the dead one has run out
        shift.write_text("600")
        workers.start("--reasoner", "offline", **later)
        eventually(lambda: client.recommend(user).interests == "fresh" or store.interests.read(user) is not None)
        kept = store.interests.read(user)
        assert kept is not None and kept.revision == 1
        eventually(lambda: store.jobs.counts().leased == 0)
        assert store.jobs.counts().dead == 0
        assert client.interests(user).source in ("fresh", "none")
        # what the user does makes them stale, and they are made again
        client.report([click("news", user, shop.data.items.texts[0])])
        eventually(lambda: (found := store.interests.read(user)) is not None and found.stale)
        # whoever asks has them made again, though not with every request
        eventually(
            lambda: client.recommend(user) and (found := store.interests.read(user)) is not None and found.revision == 2
        )
    assert service.stop() == 0
    assert "Traceback" not in service.log
