"""`searec interests worker`, in this process and as one that is stopped from outside."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from searec.data.simulate import sample_folder
from searec.nearline.graph import Edge, Graph
from searec.nearline.profile import Profile
from searec.nearline.reasoner import Thought
from searec.nearline.reasoners import REASONERS
from searec.nearline.store import open_store

SAMPLE = sample_folder()


class Toy:
    """Finds something new for everybody of whom anything is known."""

    name, version = "toy", "1"

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix

    @classmethod
    def open(cls, data: Any, options: dict[str, str]) -> "Toy":
        assert data.sizes.users == 800
        return cls(options.get("suffix", "gear"))

    def think(self, profiles: Sequence[Profile]) -> list[Thought]:
        return [Thought(one, self._graph(one)) for one in profiles]

    def _graph(self, profile: Profile) -> Graph:
        edges = []
        for text in [*(asked.text for asked in profile.queries), *profile.earlier, *(one.title for one in profile.clicks)][:1]:
            edges.append(Edge(source=text, target="wanted", relation="hypernym", signal="query"))
            edges.append(Edge(source="wanted", target=f"brand new {self._suffix}", relation="co-hyponym", confidence=0.5))
        return Graph(profile.user, profile.at, tuple(edges))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REASONERS, "toy", (__name__, "Toy"))


def test_users_are_refreshed_once(tmp_path: Path, searec: Any, toy: None) -> None:
    url = f"sqlite:///{tmp_path / 'interests.db'}"
    command = ("interests", "worker", SAMPLE, "--store", url, "--reasoner", "toy", "--once")
    code, out, error = searec(*command, "--enqueue", "u1", "--enqueue", "u2", "--set", "suffix=deluxe")
    assert (code, error) == (0, "")
    assert out == "jobs: 2 refreshed\nstore: 2 users, 2 of them fresh; queue: 0 to do, 0 for later, 0 on the shelf\n"
    with open_store(url) as store:
        graph = store.read_graph("u1")
        assert graph is not None and graph.interests()[0].text == "brand new deluxe"
        store.enqueue(["stranger"], "missing")
    code, out, _ = searec(*command, "--concurrency", "3", "--enqueue", "all", "--json", tmp_path / "figures.json")
    assert code == 0 and "799 refreshed" in out, "two of 800 were fresh, and a stranger was asked for"
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["jobs"] == {"refreshed": 799} and figures["store"]["fresh"] == 801
    assert json.loads(searec(*command, "--enqueue", "u1", "--json", "-")[1])["jobs"] == {"refreshed": 1}, "nothing but JSON"
    with open_store(url) as store:
        kept, stranger = store.read("u1"), store.read("stranger")
        assert kept is not None and kept.revision == 2
        assert stranger is not None and stranger.interests() == []


def test_the_store_may_come_from_the_environment(tmp_path: Path, searec: Any, toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert searec("interests", "worker", SAMPLE, "--once")[0] == 2
    monkeypatch.setenv("SEAREC_STORE", f"sqlite:///{tmp_path / 'interests.db'}")
    assert searec("interests", "worker", SAMPLE, "--reasoner", "toy", "--once")[0] == 0


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (["--reasoner", "ofline"], ["unknown reasoner 'ofline'", "'offline'"]),
        (["--store", "mysql://me:pa55word@host/db"], ["mysql://host/db", "sqlite:///FILE"]),
        (["--store", "sqlite:////proc/no/interests.db"], ["/proc/no/interests.db"]),
        (["--reasoner", "toy", "--enqueue", "u9999"], ["'u9999'"]),
        (["--set", "suffix"], ["KEY=VALUE"]),
    ],
)
def test_wrong_arguments_are_one_clear_line(tmp_path: Path, searec: Any, toy: None, changes: list[str], names: list[str]) -> None:
    start = {"--store": f"sqlite:///{tmp_path / 'interests.db'}", "--reasoner": "toy"}
    options = [word for name, value in start.items() if name not in changes for word in (name, value)]
    code, _, error = searec("interests", "worker", SAMPLE, "--once", *options, *changes)
    assert code == 1 and len(error.strip().splitlines()) == 1 and all(name in error for name in names), error
    assert "pa55word" not in error


def test_a_worker_serves_metrics_until_it_is_stopped(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from searec.nearline.reasoners import REASONERS\nREASONERS['toy'] = ({Path(__file__).stem!r}, 'Toy')\n"
        "from searec.cli import main\nmain()\n"
    )
    url = f"sqlite:///{tmp_path / 'interests.db'}"
    options = ["--store", url, "--reasoner", "toy", "--metrics-port", "0", "--enqueue", "all", "--concurrency", "2"]
    running = subprocess.Popen(
        [sys.executable, program, "interests", "worker", SAMPLE, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert running.stderr is not None
        told = running.stderr.readline()
        port = told.rpartition(":")[2].partition("/")[0]
        deadline, seen = time.monotonic() + 120, ""
        while 'searec_nearline_jobs_total{outcome="refreshed"} 800.0' not in seen:
            assert time.monotonic() < deadline and running.poll() is None, seen or told
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                seen = answer.read().decode()
        running.send_signal(signal.SIGTERM)
        out, error = running.communicate(timeout=60)
        assert running.returncode == 0, error
        assert "jobs: 800 refreshed" in out
    finally:
        running.kill()
        running.wait()


def test_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys, searec.cli; sys.argv = ['searec', 'interests', 'worker', '--help']\ntry: searec.cli.main()\nexcept SystemExit: pass\n"
        "print(*(name for name in ('torch', 'polars', 'numpy', 'redis', 'prometheus_client') if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--reasoner" in done.stdout and done.stderr.split() == []
