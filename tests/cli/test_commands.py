"""The command line as a user meets it: exit codes, one clear line for each bad input, and nothing lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.torch import load_file

from searec.data.synthetic.simulate import sample_folder

SAMPLE = sample_folder()
QUICK = ["--set", "epochs=2", "--set", "width=8", "--set", "batch=64", "--set", "validation_requests=100"]
QUICK += ["--set", "epoch_steps=0"]  # an epoch is one pass


def one_line(error: str) -> str:
    """The single line of a known error."""
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("searec: ")
    return lines[0]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sample that a test may spoil."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "shop"))


def spoil(folder: Path, table: str, *changes: pl.Expr) -> None:
    """Change the first row of a table."""
    path = folder / f"{table}.parquet"
    frame = pl.read_parquet(path).with_row_index("row")
    for change in changes:
        name = change.meta.output_name()
        frame = frame.with_columns(pl.when(pl.col("row") == 0).then(change).otherwise(pl.col(name)).alias(name))
    frame.drop("row").write_parquet(path)


def test_from_data_to_report(tmp_path: Path, searec: Any) -> None:
    figures = tmp_path / "check.json"
    code, out, _ = searec("check", SAMPLE, "--json", figures)
    assert code == 0 and "every row obeys them" in out
    assert json.loads(figures.read_text())["counts"]["users"] == 800

    runs = [tmp_path / "knn", tmp_path / "sas"]
    assert searec("train", "itemknn", SAMPLE, "--out", runs[0], "--set", "neighbours=20")[0] == 0
    code, out, _ = searec("train", "sasrec", SAMPLE, "--out", runs[1], *QUICK)
    assert code == 0 and "best validation full-ndcg@10" in out
    assert json.loads((runs[0] / "config.json").read_text())["settings"]["model"]["neighbours"] == 20

    code, out, _ = searec("evaluate", runs[0], SAMPLE, "--protocol", "full", "--json", "-")
    summary = json.loads(out)
    assert code == 0 and summary["protocol"] == "full" and 0 < summary["metrics"]["ndcg@10"] < 1
    assert {"sparse", "rich"} <= summary["slices"].keys()

    report = tmp_path / "report.html"
    code, out, _ = searec("compare", *runs, SAMPLE, "--out", report)
    assert code == 0 and str(report) in out and "itemknn" in report.read_text()
    tables = json.loads(report.with_suffix(".json").read_text())["tables"]

    code, out, _ = searec("compare", *runs, SAMPLE, "--out", report, "--slice", "sparse", "--baseline", "sasrec")
    cell = tables[0]["rows"][0]["slices"]["sparse"]
    assert code == 0 and f"sparse: {tables[0]['slices']['sparse']:,} requests" in out
    line = next(line for line in out.split("sparse:")[1].splitlines() if "itemknn" in line)
    assert line.split()[:5] == ["itemknn", f"{cell['mean']:.4f}", f"{cell['low']:.4f}", "to", f"{cell['high']:.4f}"]
    assert "baseline" in next(line for line in out.split("sparse:")[1].splitlines() if "sasrec" in line)
    code, _, error = searec("compare", *runs, SAMPLE, "--out", report, "--slice", "spars")
    assert code == 1 and "no such slice" in error and "'sparse'" in error


def test_a_study_that_stopped_goes_on(tmp_path: Path, searec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from searec.experiments import recipes
    from searec.experiments.recipe import Recipe, RecipeLine

    plan = Recipe("two", (RecipeLine("popular", "popular"), RecipeLine("knn", "itemknn")), protocols=("sampled",))
    monkeypatch.setitem(recipes.RECIPES, "two", lambda: plan)
    out = tmp_path / "study"
    assert searec("recipe", "two", SAMPLE, "--out", out)[0] == 0
    before = (out / "popular" / "weights.safetensors").stat().st_mtime_ns
    shutil.rmtree(out / "knn")
    assert searec("recipe", "two", SAMPLE, "--out", out)[0] == 0
    assert (out / "popular" / "weights.safetensors").stat().st_mtime_ns == before
    assert (out / "knn" / "weights.safetensors").is_file() and (out / "report.html").is_file()


def test_wrong_usage_is_2(searec: Any) -> None:
    assert searec("train", "sasrec")[0] == 2
    assert searec("no-such-command")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "sasrek", SAMPLE, "--out", "x"], ["unknown model 'sasrek'", "'sasrec'"]),
        (["train", "sasrec", SAMPLE, "--out", "x", "--set", "dropuot=0.1"], ["unknown setting 'dropuot'", "'dropout'"]),
        (
            ["train", "sasrec", SAMPLE, "--out", "x", "--set", "dropout=2"],
            ["bad value for setting 'dropout'", "less than 1"],
        ),
        (["train", "sasrec", SAMPLE, "--out", "x", "--set", "dropout"], ["bad --set", "KEY=VALUE"]),
        (["train", "sasrec", SAMPLE, "--out", "x", "--preset", "papr"], ["unknown preset 'papr'", "'paper'"]),
        (["train", "popular", "nowhere", "--out", "x"], ["no such dataset folder", "nowhere"]),
        (["evaluate", "nowhere", SAMPLE], ["no finished run", "searec train"]),
        (["evaluate", "nowhere", SAMPLE, "--task", "serch"], ["bad --task", "recommend or search"]),
        (["simulate", "x", "--set", "drfit=1"], ["unknown setting 'drfit'", "'drift'"]),
        (["recipe", "baseline", SAMPLE, "--out", "x"], ["unknown recipe 'baseline'", "'baselines'"]),
    ],
)
def test_bad_arguments(
    arguments: list[str], words: list[str], tmp_path: Path, searec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = searec(*arguments)
    assert code == 1
    assert all(word in one_line(error) for word in words), error
    assert not (tmp_path / "x").exists()


TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("table", "change", "rule"),
    [
        ("interactions", pl.lit("nobody").alias("user_id"), "unknown user"),
        ("interactions", pl.lit("nothing").alias("item_id"), "unknown item"),
        ("interactions", pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("timestamp"), "no valid time"),
        ("interactions", pl.lit(TOMORROW).cast(pl.Datetime("us", "UTC")).alias("timestamp"), "no valid time"),
        ("searches", pl.lit("  ").alias("query"), "empty query"),
        ("items", pl.lit("").alias("title"), "empty title"),
    ],
)
def test_a_bad_row_stops_training_and_is_named(
    table: str, change: pl.Expr, rule: str, copy: Path, tmp_path: Path, searec: Any
) -> None:
    spoil(copy, table, change)
    code, _, error = searec("train", "popular", copy, "--out", tmp_path / "run")
    assert code == 1
    assert f"{table}.parquet row 1: {rule}" in one_line(error)
    assert not (tmp_path / "run").exists()
    code, out, error = searec("check", copy)
    assert code == 1 and rule in out and "row" in one_line(error)


def test_a_missing_a_truncated_and_a_mistyped_file(copy: Path, tmp_path: Path, searec: Any) -> None:
    def refused() -> str:
        code, _, error = searec("train", "popular", copy, "--out", tmp_path / "run")
        assert code == 1
        return one_line(error)

    path = copy / "searches.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refused() and "searches.parquet" in refused()
    pl.read_parquet(SAMPLE / "searches.parquet").with_columns(pl.col("user_id").hash()).write_parquet(path)
    assert "column 'user_id' has the wrong type" in refused()
    path.unlink()
    assert "missing file" in refused()


def test_a_run_is_not_overwritten(tmp_path: Path, searec: Any) -> None:
    run = tmp_path / "run"
    assert searec("train", "popular", SAMPLE, "--out", run)[0] == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, _, error = searec("train", "popular", SAMPLE, "--out", run)
    assert code == 1 and "finished run" in one_line(error)
    code, _, error = searec("train", "itemknn", SAMPLE, "--out", run, "--resume")
    assert code == 1 and "other settings" in one_line(error)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (run / "weights.safetensors").write_bytes(b"no tensors")
    code, _, error = searec("evaluate", run, SAMPLE)
    assert code == 1 and "weights.safetensors" in one_line(error)


def test_a_run_of_other_data_is_refused(copy: Path, tmp_path: Path, searec: Any) -> None:
    run = tmp_path / "run"
    assert searec("train", "popular", SAMPLE, "--out", run)[0] == 0
    frame = pl.read_parquet(copy / "interactions.parquet")
    frame.head(frame.height - 1).write_parquet(copy / "interactions.parquet")
    code, output, _ = searec("evaluate", run, copy)
    assert code == 0 and "requests are left out, already read" in output
    items = pl.read_parquet(copy / "items.parquet")
    items.with_columns(pl.col("title").reverse()).write_parquet(copy / "items.parquet")
    code, _, error = searec("evaluate", run, copy)
    assert code == 1 and "other data" in one_line(error)


def test_a_full_disk_while_encoding(tmp_path: Path, searec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import numpy as np

    monkeypatch.setenv("SEAREC_CACHE", str(tmp_path / "cache"))
    written = np.save

    def full(path: Path, array: object) -> None:
        if Path(path).name.startswith("click_history"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(path, array)  # type: ignore[arg-type]

    monkeypatch.setattr(np, "save", full)
    code, _, error = searec("train", "popular", SAMPLE, "--out", tmp_path / "run")
    assert code == 1 and "the disk is full" in one_line(error)
    assert not list((tmp_path / "cache" / "datasets").iterdir())
    monkeypatch.undo()
    assert searec("train", "popular", SAMPLE, "--out", tmp_path / "run")[0] == 0


def test_ctrl_c_and_resume_give_the_unbroken_result(tmp_path: Path, searec: Any) -> None:
    quick = ["--set", "epochs=6", *QUICK[2:], "--seed", "3"]
    assert searec("train", "sasrec", SAMPLE, "--out", tmp_path / "whole", *quick)[0] == 0

    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "searec", "train", "sasrec", str(SAMPLE), "--out", str(broken), *quick]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = broken / "log.jsonl"
    while process.poll() is None and not (log.is_file() and '"validate"' in log.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1, error
    assert "--resume" in error.strip().splitlines()[-1] and "Traceback" not in error
    assert not (broken / "config.json").exists()

    code, _, error = searec("train", "sasrec", SAMPLE, "--out", broken, *quick)
    assert code == 1 and "--resume" in one_line(error)
    assert searec("train", "sasrec", SAMPLE, "--out", broken, *quick, "--resume")[0] == 0
    whole, resumed = (load_file(folder / "weights.safetensors") for folder in (tmp_path / "whole", broken))
    assert whole.keys() == resumed.keys()
    assert all((whole[name] == resumed[name]).all() for name in whole)


def test_help_is_quick_to_load() -> None:
    program = (
        "import sys, searec.cli; print([name for name in ('torch', 'polars', 'matplotlib', "
        "'scipy') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        == "[]"
    )
