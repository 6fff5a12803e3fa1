"""The whole table: every line measured alike, joint models alone too.

Killed at any moment, it ends in the same table.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from searec.data.dataset import Dataset
from searec.errors import RunError, SettingsError, StorageError
from searec.experiments import run_training
from searec.experiments.study import FIGURES, RECORD, REPORT, StudyResult, study
from searec.experiments.study_config import StudyConfig, settings_by_model
from searec.models import model_named, model_names

SMALL = {"width": 8, "inner": 8, "epochs": 1, "epoch_steps": 0, "batch": 64}
FIXED = {"sasrec": SMALL, "unisar": {**SMALL, "feed": 5, "searches": 5}}
MODELS = ("popular", "itemknn", "bm25", "sasrec", "unisar")


def made(
    data: Dataset, out: Path, on_progress: Callable[[str], None] = lambda line: None, **changes: Any
) -> StudyResult:
    return study(
        data,
        out,
        StudyConfig(**{"models": MODELS, "seeds": 2, "trials": 2, "fixed": FIXED, **changes}),
        on_progress=on_progress,
    )


@pytest.fixture(scope="module")
def whole(small_world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    """A study of five models."""
    out = tmp_path_factory.mktemp("study") / "out"
    return out, made(small_world, out)


def stamps(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("*/**/*") if path.is_file()}


def test_every_model_stands_in_the_tables_of_its_tasks(whole: tuple[Path, StudyResult]) -> None:
    out, found = whole
    assert found.comparison is not None and not found.failed and not found.left_out
    lines = {table.name: [row.label for row in table.rows] for table in found.comparison.tables}
    assert lines == {
        "recommend/sampled/test": ["popular", "itemknn", "sasrec", "unisar"],
        "recommend/full/test": ["popular", "itemknn", "sasrec", "unisar"],
        "search/sampled/test": ["popular", "bm25", "unisar"],
        "search/full/test": ["popular", "bm25", "unisar"],
    }
    seeds = {row.label: len(row.metrics["ndcg@5"].seeds) for row in found.comparison.tables[0].rows}
    assert seeds == {"popular": 1, "itemknn": 1, "sasrec": 2, "unisar": 2}
    for model, one in found.tuned.items():
        folder = model if model_named(model).learns == "fit" else f"{model}-0"
        config = json.loads((out / "runs" / folder / "config.json").read_text())["settings"]
        flat = config["model"] | config.get("train", {})
        assert {name: flat[name] for name in one.settings} == one.settings
        assert len(one.trials) == 2


def test_joint_models_are_shown_alone_and_together(whole: tuple[Path, StudyResult], small_world: Dataset) -> None:
    out, found = whole
    assert list(found.transfers) == ["itemknn", "sasrec", "unisar"]
    assert [table.name for table in found.transfers["unisar"].comparison.tables] == [
        "recommend/sampled/test",
        "recommend/full/test",
        "search/sampled/test",
        "search/full/test",
    ]
    alone, both = found.transfers["unisar"].learnt["recommend"]
    assert alone >= both > 0
    config = json.loads((out / "runs" / "unisar, search alone-1" / "config.json").read_text())
    assert (config["settings"]["model"]["tasks"], config["seed"]) == (["search"], 1)
    rows = {row.label: row for row in found.transfers["sasrec"].comparison.tables[0].rows}
    assert rows["together"].metrics["ndcg@5"].mean == next(
        row.metrics["ndcg@5"].mean
        for row in found.comparison.tables[0].rows
        if row.label == "sasrec"  # type: ignore[union-attr]
    )


def test_the_report_links_its_pages_and_says_how_settings_were_chosen(whole: tuple[Path, StudyResult]) -> None:
    out, found = whole
    page = (out / REPORT).read_text()
    for model in found.transfers:
        assert f'href="transfer-{model}.html"' in page
        assert (out / f"transfer-{model}.html").read_text().count("<svg") == len(
            found.transfers[model].comparison.tables
        )
    assert 'id="tuning"' in page and "NDCG@10 over the whole catalogue, of the feed on new targets" in page
    figures = json.loads((out / FIGURES).read_text())
    assert figures["tuning"]["bm25"]["settings"] == found.tuned["bm25"].settings
    assert set(figures["transfer"]) == set(found.transfers) and figures["missing"] == {}


def test_the_same_command_does_nothing_again(whole: tuple[Path, StudyResult], small_world: Dataset) -> None:
    out, found = whole
    before, lines = stamps(out), []
    again = made(small_world, out, lines.append)
    assert stamps(out) == before
    assert again.comparison is not None and found.comparison is not None
    assert again.comparison.as_json() == found.comparison.as_json()
    assert sum("there already" in line for line in lines) == 3 + 2 * 2 + 1 + 2 + 2 * 2
    part = made(small_world, out, models=("bm25",))
    assert stamps(out) == before, "a process may take some of the models"
    assert part.comparison is not None and [row.label for row in part.comparison.tables[0].rows] == ["bm25"]


def test_other_settings_or_data_in_the_same_folder_are_refused(
    whole: tuple[Path, StudyResult], small_world: Dataset, checkerboard: Any, tmp_path: Path
) -> None:
    out, _ = whole
    with pytest.raises(RunError, match=r"study of other data or settings.*got: seeds 3.*expected: seeds 2"):
        made(small_world, out, seeds=3)
    with pytest.raises(RunError, match=r"other data or settings.*got: data"):
        made(checkerboard.data, out)
    with pytest.raises(RunError, match=r"got: fixed"):
        made(small_world, out, fixed={})
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="something else than a study"):
        made(small_world, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / RECORD).write_text("[")
    with pytest.raises(RunError, match="file is damaged"):
        made(small_world, tmp_path / "damaged")


def test_what_fails_is_named_and_the_others_go_on(
    small_world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = run_training.train

    def broken(model: str, *given: Any, **options: Any) -> Any:
        if model == "bm25" or options.get("feed_only"):
            raise error("torn in two")
        return train(model, *given, **options)

    monkeypatch.setattr(run_training, "train", broken)
    error: type[Exception] = RunError
    lines: list[str] = []
    found = made(small_world, tmp_path / "out", lines.append, models=("bm25", "itemknn"))
    assert set(found.failed) == {"bm25", "itemknn, recommend alone"} and not found.transfers
    assert "bm25 failed: torn in two" in lines
    assert "bm25 is missing: torn in two" in (tmp_path / "out" / REPORT).read_text()
    with pytest.raises(RunError, match=r"no model of the study could be measured.*torn in two"):
        made(small_world, tmp_path / "none", models=("bm25",))
    error = StorageError
    with pytest.raises(StorageError):
        made(small_world, tmp_path / "full", models=("bm25", "itemknn"))
    monkeypatch.undo()
    mended = made(small_world, tmp_path / "out", models=("bm25", "itemknn"))
    assert not mended.failed and list(mended.transfers) == ["itemknn"]


def test_data_without_searches_leaves_search_out(make_data: Callable[..., Dataset], tmp_path: Path) -> None:
    items = {f"i{n}": f"thing {n}" for n in range(20)}
    feed = [(f"u{user}", f"i{(user + 3 * step) % 20}", 60.0 * step) for user in range(12) for step in range(6)]
    data = make_data(items=items, users=[f"u{n}" for n in range(12)], feed=feed)
    found = made(data, tmp_path / "out", models=("itemknn", "bm25", "unisar"), seeds=1)
    assert list(found.left_out) == ["bm25"]
    assert "too few events of search" in found.left_out["bm25"]
    assert not found.failed and found.comparison is not None
    assert [table.name for table in found.comparison.tables] == ["recommend/sampled/test", "recommend/full/test"]
    assert found.lines["unisar"].tasks == ("recommend",)
    assert list(found.transfers) == ["itemknn"], "with one task there is nothing together"


def test_plans_are_checked() -> None:
    assert StudyConfig().models == model_names()
    for bad in (
        {"models": ("sasrek",)},
        {"models": ()},
        {"seeds": 0},
        {"trials": -1},
        {"minutes": -1.0},
        {"fixed": {"sasrek": {}}},
    ):
        with pytest.raises((SettingsError, ValueError)):
            StudyConfig(**bad)
    for given in ({"width": "3"}, {"sasrec.": "3"}):
        with pytest.raises(SettingsError, match=r"MODEL\.KEY=VALUE"):
            settings_by_model(given)


# --- the command ---


def test_the_command_names_an_unknown_model(searec: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, error = searec("study", tmp_path, "--model", "sasrek")
    assert code == 1 and "did you mean 'sasrec'" in error


COMMAND = ("--seeds", "2", "--trials", "2", "--model", "itemknn", "--model", "sasrec")
SETTINGS = [f"sasrec.{name}={value}" for name, value in {**SMALL, "epochs": 2}.items()]


def start(data: Path, out: Path) -> subprocess.Popen[bytes]:
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [sys.executable, "-m", "searec", "study", str(data), "--out", str(out), *COMMAND, *options]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def finished(out: Path) -> dict[str, int]:
    """Records of trials, and figures of runs, with the time of their last writing."""
    found = {}
    for name in (
        "tuning/*/*/trial.json",
        "tuning/*/*/metrics.json",
        "runs/*/metrics.json",
    ):  # no `**`: folders come and go
        for path in out.glob(name):
            with contextlib.suppress(FileNotFoundError):
                found[str(path.relative_to(out))] = path.stat().st_mtime_ns
    return found


def test_killed_at_any_moment_it_goes_on_and_ends_in_the_same_table(tmp_path: Path) -> None:
    from searec.data.synthetic.simulate import World, simulate

    data = simulate(
        tmp_path / "world", World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)
    )
    with start(data, tmp_path / "whole") as process:
        assert process.wait(240) == 0
    out, kills, done = tmp_path / "killed", 0, {}
    while True:
        with start(data, out) as process:
            # Killed where one more piece of work has ended, or in the middle of the next.
            while process.poll() is None and len(finished(out)) < len(done) + 2 + kills % 2:
                time.sleep(0.02)
            time.sleep(0.2 * (kills % 3))
            process.kill()
            process.wait()
        now = finished(out)
        kept = [name for name in done if now.get(name) == done[name]]
        assert len(done) - len(kept) <= 1, "nothing is lost but the one in flight"
        done = now
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 2
    first, second = (json.loads((tmp_path / name / FIGURES).read_text()) for name in ("whole", "killed"))
    for figures in (first, second):
        for one in figures["tuning"].values():
            del one["seconds"]
    assert first == second
