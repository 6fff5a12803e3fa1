"""deploy/retrain.sh against a running service.

What happened is trained on and served, and nothing is left of what fails.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from searec.data.dataset import load
from searec.data.synthetic.simulate import World, simulate
from searec.experiments import run_training
from searec.service.client import Client
from searec.store.store import Store

SCRIPT = Path(__file__).parent.parent / "deploy" / "retrain.sh"
SEAREC = [sys.executable, "-m", "searec"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a release of a small shop, an event store with an admin key in `key`.

    And `searec` on the way to programs.
    """
    home = tmp_path / "home"
    release = home / "releases" / "first"
    folder = simulate(
        release / "shop", World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)
    )
    data = load(folder)
    for model in ("itemknn", "bm25"):
        run_training.train(model, data, release / model)
    (home / "current").symlink_to("releases/first")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "searec"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m searec "$@"\n')
    program.chmod(0o755)
    with Store(address(home)) as store:
        (tmp_path / "key").write_text(store.keys.add("admin", "admin"))
    return home


def address(home: Path) -> str:
    return f"sqlite:///{home / 'events.db'}"


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    """The service over the home, running."""
    current = home / "current"
    runs = ["--recommend", current / "itemknn", "--search", current / "bm25"]
    deployment = current / "deployment.json"
    subprocess.run([*SEAREC, "deploy", current / "shop", *runs, "--out", deployment], check=True)
    command = [*SEAREC, "serve", deployment, "--store", address(home), "--port", "0"]
    log = home / "log.txt"
    with log.open("wb") as file, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as running:
        try:
            assert running.stdout is not None
            told = running.stdout.readline()
            assert told.startswith("searec: listening at "), log.read_text()
            yield told.split()[-1]
            running.terminate()
            assert running.wait(timeout=60) == 0
        finally:
            running.kill()


def retrain(home: Path, url: str, **changes: str) -> Any:
    own = {
        "PATH": f"{home.parent / 'bin'}:{os.environ['PATH']}",
        "SEAREC_HOME": str(home),
        "SEAREC_URL": url,
        "SEAREC_STORE": address(home),
        "SEAREC_KEY": (home.parent / "key").read_text(),
        "SEAREC_FEED_MODEL": "itemknn",
        "SEAREC_FEED_ARGS": "--seed 1 --label later",
        **changes,
    }
    return subprocess.run([SCRIPT], capture_output=True, text=True, check=False, env={**os.environ, **own})


def test_what_happened_is_trained_on_and_served(home: Path, url: str) -> None:
    idle = retrain(home, url)
    assert idle.returncode == 0 and "nothing happened" in idle.stdout, idle.stderr
    key = (home.parent / "key").read_text()
    with Client(url, key=key) as client:
        first = client.deployment()
        event = {"event_id": "e1", "user_id": "newcomer", "type": "click", "timestamp": "2025-01-01T00:00:00Z"}
        client.report([{**event, "item_id": client.recommend(k=1).items[0].item_id}])
        refused = retrain(home, url, SEAREC_KEY="searec_wrong")
        assert refused.returncode == 1 and "does not let us deploy" in refused.stderr
        broken = retrain(home, url, SEAREC_FEED_ARGS="--set nothing=1")
        assert broken.returncode != 0
        assert [path.name for path in (home / "releases").iterdir()] == ["first"] and client.deployment() == first

        done = retrain(home, url)
        assert done.returncode == 0, done.stderr
        assert key not in done.stdout + done.stderr
        release = (home / "current").resolve()
        now = client.deployment()
        assert now["number"] > first["number"] and now["data"] == str(release / "shop") and release.name != "first"
        assert now["recommend"] == [str(release / "itemknn")] and now["search"] == [str(release / "bm25")]
        assert client.recommend("newcomer", k=3).items and client.models().models
        assert "newcomer" in load(release / "shop").users
        assert {"export.json", "recommend.json", "search.json"} <= {path.name for path in release.iterdir()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SEAREC_STORE": ""}, "SEAREC_STORE is not set"),
        ({"SEAREC_KEY": ""}, "SEAREC_KEY is not set"),
        ({"SEAREC_HOME": "/var/a b"}, "SEAREC_HOME is /var/a b"),
        ({"SEAREC_HOME": "/nowhere"}, "/nowhere/current/shop is no folder"),
        ({"SEAREC_FEED_MODEL": "bm25"}, "both bm25"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_done(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    given = {"SEAREC_STORE": "sqlite:///x.db", "SEAREC_KEY": "key", "SEAREC_HOME": str(tmp_path), **changes}
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False, env={**os.environ, **given})
    assert done.returncode == 1 and said in done.stderr and not list(tmp_path.iterdir())
