"""benchmarks/headline.py: trains, deploys and measures, resumes, and joins folders to one table."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from searec.data.synthetic.simulate import World, simulate
from searec.evaluation.result import stored_figures

FILE = Path(__file__).parents[2] / "benchmarks" / "headline.py"
LINES = ("popular", "itemknn", "itemknn-joint", "bm25")


@pytest.fixture(scope="module")
def headline() -> ModuleType:
    spec = importlib.util.spec_from_file_location("headline", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_folder_holds_the_figures_of_runs_and_deployment_and_is_resumed(headline: ModuleType, tmp_path: Path) -> None:
    world = World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)
    data, out = str(simulate(tmp_path / "data", world)), tmp_path / "world"
    headline.headline(data, out, seeds=1, only=LINES)
    figures = json.loads((out / headline.RESULT).read_text())
    assert set(figures["recommend"]["rows"]) == {"popular", "itemknn", "itemknn-joint", "deployment"}
    assert set(figures["search"]["rows"]) == {"popular", "bm25", "deployment"}
    own = stored_figures(out / "bm25")["search/full/test"]["ndcg@10"]
    assert figures["search"]["rows"]["bm25"]["mean"] == pytest.approx(own)
    gain = figures["search"]["gains"]["deployment"]
    rows = figures["search"]["rows"]
    assert gain["over"] == max(("popular", "bm25"), key=lambda label: rows[label]["mean"])
    assert gain["share"] == pytest.approx(rows["deployment"]["mean"] / rows[gain["over"]]["mean"] - 1)

    files = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    headline.headline(data, out, seeds=1, only=LINES)
    assert files == {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    assert json.loads((out / headline.RESULT).read_text()) == figures


def test_a_single_line_gains_over_nothing(headline: ModuleType, tmp_path: Path) -> None:
    world = World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)
    headline.headline(str(simulate(tmp_path / "data", world)), tmp_path / "one", seeds=1, only=["bm25"])
    assert set(json.loads((tmp_path / "one" / headline.RESULT).read_text())) == {"search"}


def test_the_table_has_a_column_for_each_folder_and_its_best_in_bold(headline: ModuleType, tmp_path: Path) -> None:
    def row(mean: float) -> dict[str, float]:
        return {"mean": mean, "half": 0.01, "seeds": 1, "seconds": 2.4}

    for name, rows in (("one", {"itemknn": row(0.1), "deployment": row(0.2)}), ("two", {"ease": row(0.3)})):
        (tmp_path / name).mkdir()
        gains = {"deployment": {"over": "itemknn", "share": 1.0, "p": 0.004}} if name == "one" else {}
        of_task = {"requests": 1_000, "rows": rows, "gains": gains}
        (tmp_path / name / headline.RESULT).write_text(json.dumps({"recommend": of_task}))
    lines = headline.table([tmp_path / "one", tmp_path / "two"]).splitlines()
    assert lines[0] == "| NDCG@10 | one | two |"
    assert "| itemknn | 0.1000 ±0.010, 2 s | - |" in lines
    assert "| ease | - | **0.3000** ±0.010, 2 s |" in lines
    assert "| deployment | **0.2000** ±0.010, 2 s | - |" in lines
    assert "| gain of deployment | +100%* over itemknn | - |" in lines
