"""`searec interests build`, `show` and `worker`, in this process and as one that is stopped from outside."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from searec.data.synthetic.simulate import sample_folder
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult
from searec.interests.reasoner_registry import REASONERS
from searec.store.store import Store

SAMPLE = sample_folder()


class Toy:
    """Finds something new for everybody of whom anything is known."""

    name, version = "toy", "1"

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix

    @classmethod
    def open(cls, split: Any, tasks: Any, options: dict[str, str]) -> "Toy":
        assert split.data.sizes.users == 800
        return cls(options.get("suffix", "gear"))

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        return [ReasoningResult(one, self._graph(one)) for one in profiles]

    def _graph(self, profile: Profile) -> InterestGraph:
        edges = []
        for text in [
            *(asked.text for asked in profile.queries),
            *profile.earlier,
            *(one.title for one in profile.clicks),
        ][:1]:
            edges.append(Edge(source=text, target="wanted", relation="hypernym", signal="query"))
            edges.append(
                Edge(source="wanted", target=f"brand new {self._suffix}", relation="co-hyponym", confidence=0.5)
            )
        return InterestGraph(profile.user, profile.at, tuple(edges))


class Free(Toy):
    """Opens over any dataset."""

    @classmethod
    def open(cls, split: Any, tasks: Any, options: dict[str, str]) -> "Free":
        return cls("gear")


class Half(Toy):
    """Fails on u2."""

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        return [
            ReasoningResult(one, None, f"no words for {one.user}")
            if one.user == "u2"
            else ReasoningResult(one, self._graph(one))
            for one in profiles
        ]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REASONERS.built_in, "toy", f"{__name__}:Toy")


def test_users_are_refreshed_once(tmp_path: Path, searec: Any, toy: None) -> None:
    url = f"sqlite:///{tmp_path / 'interests.db'}"
    command = ("interests", "worker", SAMPLE, "--store", url, "--reasoner", "toy", "--once")
    code, out, error = searec(*command, "--enqueue", "u1", "--enqueue", "u2", "--set", "suffix=deluxe")
    assert (code, error) == (0, "")
    assert out == "jobs: 2 refreshed\nstore: 2 users, 2 of them fresh; queue: 0 to do, 0 for later, 0 dead\n"
    with Store(url) as store:
        graph = store.interests.read_graph("u1")
        assert graph is not None and graph.interests()[0].text == "brand new deluxe"
        store.jobs.enqueue(["stranger"], "missing")
    code, out, _ = searec(*command, "--concurrency", "3", "--enqueue", "all", "--json", tmp_path / "figures.json")
    assert code == 0 and "798 refreshed, 1 unknown" in out, "two of 800 were fresh, and a stranger does not exist"
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["jobs"] == {"refreshed": 798, "unknown": 1} and figures["store"]["fresh"] == 800
    assert json.loads(searec(*command, "--enqueue", "u1", "--json", "-")[1])["jobs"] == {"refreshed": 1}, (
        "nothing but JSON"
    )
    with Store(url) as store:
        kept, stranger = store.interests.read("u1"), store.interests.read("stranger")
        assert kept is not None and kept.revision == 2
        assert stranger is None, "no row of a user who does not exist"


def test_who_asks_for_something_else_is_refreshed(
    tmp_path: Path, searec: Any, monkeypatch: pytest.MonkeyPatch, make_folder: Callable[..., Path]
) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setitem(REASONERS.built_in, "free", f"{__name__}:Free")
    asked = {"mover": ["tent", "sleeping bag"], "stayer": ["tent", "sleeping bag"], "quiet": ["tent"]}
    searches = [(user, text, 100.0 + place, []) for user, texts in asked.items() for place, text in enumerate(texts)]
    shop = make_folder(items={"i1": {"title": "x"}}, users=list(asked), searches=searches)
    url = f"sqlite:///{tmp_path / 'interests.db'}"

    def graph(user: str, *queries: str) -> InterestGraph:
        return InterestGraph(
            user, 0, tuple(Edge(source=text, target="things", relation="hypernym", signal="query") for text in queries)
        )

    with Store(url) as store:
        store.interests.write(
            [graph("mover", "tax law"), graph("stayer", "tents", "sleeping bags"), graph("quiet", "tax law")]
        )
    code, out, error = searec(
        "interests", "worker", shop, "--store", url, "--reasoner", "free", "--once", "--enqueue", "drifted"
    )
    assert code == 0 and "jobs: 1 refreshed" in out, error
    with Store(url) as store:
        revisions = {user: kept.revision for user in asked if (kept := store.interests.read(user)) is not None}
    assert revisions == {"mover": 2, "stayer": 1, "quiet": 1}, "one query says nothing"


def test_build_then_show(tmp_path: Path, searec: Any, toy: None) -> None:
    url = f"sqlite:///{tmp_path / 'interests.db'}"
    command = ("interests", "build", SAMPLE, "--store", url, "--reasoner", "toy")
    code, out, error = searec(*command, "--user", "u1", "--user", "u2")
    assert (code, error) == (0, "") and out == "2 users built, 1.0 interests each; 0 were fresh; 0 failed\n"
    figures = json.loads(searec(*command, "--set", "suffix=deluxe", "--json", "-")[1])
    assert (figures["built"], figures["fresh"], figures["failed"]) == (798, 2, 0), "nobody is asked twice"
    with Store(url) as store:
        assert store.interests.mark_stale(["u3", "u4"]) == 2
    figures = json.loads(searec(*command, "--json", "-")[1])
    assert (figures["built"], figures["fresh"]) == (2, 798), "but who has become stale"
    drawing = tmp_path / "u1.svg"
    code, out, error = searec("interests", "show", "u1", "--store", url, "--picture", drawing)
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("u1, written 20") and lines[0].endswith("UTC, fresh")
    assert lines[1].split()[1:4] == ["brand", "new", "gear"] and "wanted" in lines[1] and "u1.svg" in lines[2]
    assert drawing.read_text().startswith("<svg") and "brand new gear" in drawing.read_text()
    assert searec(*command, "--user", "u1", "--again", "--set", "suffix=deluxe")[0] == 0
    told = json.loads(searec("interests", "show", "u1", "--store", url, "--json", "-")[1])
    assert told["user"] == "u1" and {"brand new deluxe", "brand new gear"} & {
        edge["target"] for edge in told["edges"]
    } == {"brand new deluxe"}


def test_build_says_whom_it_left_out(tmp_path: Path, searec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REASONERS.built_in, "half", f"{__name__}:Half")
    url = f"sqlite:///{tmp_path / 'interests.db'}"
    code, out, error = searec(
        "interests", "build", SAMPLE, "--store", url, "--reasoner", "half", "--user", "u1", "--user", "u2"
    )
    assert code == 1 and "1 of 2 users" in error and "no words for u2" in error and "1 users built" in out
    code, _, error = searec("interests", "show", "u2", "--store", url)
    assert code == 1 and "'u2'" in error and "interests build" in error
    assert searec("interests", "show", "u1", "--store", url)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--run", "nowhere"], ["cannot read the interests", "nowhere"]),
        (["--run", "nowhere", "--picture", "x.png"], ["--picture", ".svg"]),
    ],
)
def test_show_tells_what_is_wrong(searec: Any, arguments: list[str], names: list[str]) -> None:
    code, _, error = searec("interests", "show", "u1", *arguments)
    assert code == 1 and len(error.strip().splitlines()) == 1 and all(name in error for name in names), error


def test_the_store_may_come_from_the_environment(
    tmp_path: Path, searec: Any, toy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_wrong_arguments_are_one_clear_line(
    tmp_path: Path, searec: Any, toy: None, changes: list[str], names: list[str]
) -> None:
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
        "from searec.interests.reasoner_registry import REASONERS\n"
        f"REASONERS.built_in['toy'] = '{Path(__file__).stem}:Toy'\n"
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
        "import sys, searec.cli; sys.argv = ['searec', 'interests', 'worker', '--help']\ntry: searec.cli.main()\n"
        "except SystemExit: pass\n"
        "print(*(name for name in ('torch', 'polars', 'numpy', 'redis', "
        "'prometheus_client') if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--reasoner" in done.stdout and done.stderr.split() == []
