"""Update of a run against training anew: seconds of both, and their quality on the events of tomorrow.

The packaged sample is cut in time: a run is trained for serving on the events up to one time (yesterday), then updated
with those up to a later time (today), or trained anew on them. Both are measured on what comes after (tomorrow): the
newest event of each user, ranked among the whole catalogue, where the user has not had the target before. The run of
yesterday is measured on the same requests.

The time of training anew is that of the final training alone; its validated twin, which chooses the number of steps,
is a figure of its own. Everything is made in an empty cache.

    python benchmarks/bench_update.py --models sasrec,gserec
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import load
from searec.data.schema import TASKS
from searec.data.synthetic.simulate import sample_folder
from searec.evaluation.protocol import evaluate
from searec.experiments import run_training, run_update
from searec.pipeline.run import Run, read_run

SETTINGS: dict[str, dict[str, Any]] = {"sasrec": {"epochs": 30, "patience": 0}}
"""A small log has few steps in an epoch, where patience ends a training by chance."""


def cut(source: Path, folder: Path, until: Any) -> Path:
    """Write the events of a dataset folder before a time, with all its users and items."""
    folder.mkdir(parents=True)
    for name in ("items", "users"):
        pl.read_parquet(source / f"{name}.parquet").write_parquet(folder / f"{name}.parquet")
    for name in ("interactions", "searches"):
        table = pl.read_parquet(source / f"{name}.parquet")
        table = table if until is None else table.filter(pl.col("timestamp") < until)
        table.write_parquet(folder / f"{name}.parquet")
    return folder


def ranks(run: Run) -> pl.DataFrame:
    """user_id, time, rank of the requests of tomorrow that the run has not read, new targets alone."""
    result = evaluate(run.model, run.split, "recommend", "full")
    scores = result.scores.filter(pl.col("slice:new"))
    return scores.select("user_id", "time", "rank")


def ndcg(rank: pl.Series) -> float:
    """Return the mean NDCG@10 of one target each."""
    value = np.where(rank.to_numpy() <= 10, 1 / np.log2(1 + rank.to_numpy()), 0.0)
    return float(value.mean())


def measure(model: str, folders: dict[str, Path], room: Path, passes: int, seed: int) -> dict[str, Any]:
    """Return times, ratio and quality of one model and seed."""
    yesterday, today, tomorrow = (load(folders[name]) for name in ("yesterday", "today", "tomorrow"))
    settings = {"seed": seed, **SETTINGS.get(model, {"patience": 0})}
    old = run_training.train(model, yesterday, room / model / "old", final=True, **settings)
    started = time.perf_counter()
    new = run_update.update(old.folder, today, room / model / "new", passes=passes)
    update_seconds = time.perf_counter() - started
    started = time.perf_counter()
    twin = run_training.train(model, today, room / model / "twin", **settings)
    twin_seconds = time.perf_counter() - started
    started = time.perf_counter()
    anew = run_training.train(model, today, room / model / "anew", final=True, twin=twin.folder, **settings)
    anew_seconds = time.perf_counter() - started
    tables = [ranks(read_run(run.folder, tomorrow, device="cpu")) for run in (old, new, anew)]
    both = tables[0].join(tables[1], on=["user_id", "time"], suffix="_new")
    both = both.join(tables[2], on=["user_id", "time"], suffix="_anew")
    return {
        "update_seconds": round(update_seconds, 2),
        "anew_seconds": round(anew_seconds, 2),
        "twin_seconds": round(twin_seconds, 2),
        "anew_over_update": round(anew_seconds / update_seconds, 1),
        "requests": both.height,
        "ndcg@10_not_updated": round(ndcg(both["rank"]), 4),
        "ndcg@10_updated": round(ndcg(both["rank_new"]), 4),
        "ndcg@10_anew": round(ndcg(both["rank_anew"]), 4),
        "steps_updated": new.config["training"][0]["steps"],
        "steps_anew": anew.config["training"][0]["steps"],
    }


def mean_over_seeds(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each figure, and the standard error over seeds of what the update adds."""
    gains = [one["ndcg@10_updated"] - one["ndcg@10_not_updated"] for one in figures]
    error = (
        {"gain_standard_error": round(float(np.std(gains, ddof=1)) / len(gains) ** 0.5, 4)} if len(gains) > 1 else {}
    )
    return {name: round(float(np.mean([one[name] for one in figures])), 4) for name in figures[0]} | error


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="sasrec,gserec")
    parser.add_argument("--data", type=Path, default=sample_folder())
    parser.add_argument("--yesterday", type=float, default=0.85, help="share of all events up to yesterday")
    parser.add_argument("--today", type=float, default=0.9, help="share of all events up to today")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model; figures are means over them")
    given = parser.parse_args()
    times = pl.concat(
        [pl.read_parquet(given.data / f"{name}.parquet")["timestamp"] for name in ("interactions", "searches")]
    ).sort()
    with tempfile.TemporaryDirectory() as room:
        os.environ["SEAREC_CACHE"] = str(Path(room) / "cache")
        until = {
            "yesterday": times[int(len(times) * given.yesterday)],
            "today": times[int(len(times) * given.today)],
            "tomorrow": None,
        }
        folders = {name: cut(given.data, Path(room) / name, at) for name, at in until.items()}
        models = {
            name: mean_over_seeds(
                [measure(name, folders, Path(room) / f"runs{seed}", given.passes, seed) for seed in range(given.seeds)]
            )
            for name in given.models.split(",")
        }
    print(json.dumps({"benchmark": "update", "task": TASKS[0], "passes": given.passes, "models": models}))


if __name__ == "__main__":
    main()
