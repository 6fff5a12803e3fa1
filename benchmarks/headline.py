"""The headline table: models with default settings and their learned deployment, over the whole catalogue.

python benchmarks/headline.py run DATA --out DIR      trains, deploys and measures; what is finished is not done again
python benchmarks/headline.py table DIR...            joins such folders: one column each

Figures are NDCG@10 on test requests, of the feed on new targets alone, with half of the 95 % interval over users and
seeds; beside them processor seconds of training (of a deployment: of its fitting), the mean over seeds. A gain is over
the best single run, of event-transformer over the best run of another model; * if p < 0.05.
"""

import argparse
import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from searec.cli.serve import deploy
from searec.data.dataset import Dataset, load
from searec.data.global_split import split_time
from searec.data.schema import TASKS, Task
from searec.evaluation.compare import ALPHA, compare
from searec.evaluation.result import Evaluation
from searec.experiments.recipe import RecipeLine
from searec.experiments.recipes import recipe_named
from searec.experiments.run_comparison import evaluation_of
from searec.files import write_json
from searec.metrics import parse_metrics
from searec.pipeline.deployment import read_deployment
from searec.pipeline.served_lists import evaluate_deployment
from searec.training.training_log import FILE as LOG
from searec.training.training_log import read_rows

METRIC = "ndcg@10"
DEPLOYMENT = "deployment"
EVENTS: dict[Task, str] = {"recommend": "event-transformer", "search": "event-transformer-joint"}
RESULT, SECONDS = "headline.json", "seconds.json"
DEPLOYED: dict[Task, tuple[str, ...]] = {
    "recommend": ("itemknn", "ease", "sasrec", "event-transformer"),
    "search": ("bm25", "dense", "itemknn-joint", "event-transformer-joint"),
}
"""Lines that serve a task. Those of search have not read the clicks that it holds out (docs/fusion.md)."""
TITLES: dict[Task, str] = {"recommend": "feed, new targets", "search": "search"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="train, deploy and measure on one data set")
    one.add_argument("data", help="dataset folder")
    one.add_argument("--out", type=Path, required=True, help="folder of runs and figures; its name heads the column")
    one.add_argument("--seeds", type=int, default=3, help="of what learns by steps, and of the deployment")
    one.add_argument("--split-at", help="measure on a global split: a quantile of all event times, or a time")
    one.add_argument("--only", action="append", help="only this line of the recipe; may be given many times")
    one.add_argument("--requests", type=int, help="at most so many test requests of a task, drawn with a fixed seed")
    joined = commands.add_parser("table", help="join the figures of several folders")
    joined.add_argument("folders", nargs="+", type=Path, help="folders that `run` wrote")
    given = parser.parse_args()
    if given.command == "run":
        headline(given.data, given.out, given.seeds, given.split_at, given.only, given.requests)
    print(table([given.out] if given.command == "run" else given.folders))


def headline(
    data: str,
    out: Path,
    seeds: int = 3,
    split_at: str | None = None,
    only: Sequence[str] | None = None,
    requests: int | None = None,
) -> None:
    """Train the lines of the recipe `headline`, deploy them seed by seed, measure all and write the figures."""
    dataset = load(data)
    recipe = recipe_named("headline").at(split_time(dataset, split_at))
    lines = recipe.lines if only is None else recipe.only(only)
    evaluations = [
        evaluation
        for line in lines
        for seed in line.seeds[:seeds]
        for evaluation in measured(line, dataset, out, seed, requests)
    ]
    for seed in range(seeds):
        evaluations += deployed(data, lines, out, seed, requests)
    tasks = dict.fromkeys(one.task for one in evaluations)
    figures = {task: summary(task, evaluations, read_seconds(out)) for task in tasks}
    write_json(out / RESULT, figures)


def measured(line: RecipeLine, data: Dataset, out: Path, seed: int, requests: int | None) -> list[Evaluation]:
    """Train the run of a seed and measure it on its tasks."""
    folder = out / line.folder(seed)
    is_new = not folder.exists()
    started = time.process_time()
    run = line.train(data, out, seed)
    seconds = time.process_time() - started
    if folder.name not in read_seconds(out).get(line.label, {}):
        log = read_rows(folder / LOG)
        record(out, line.label, folder.name, seconds if is_new or not log else log[-1]["seconds"])
    return [evaluation_of(run, task, "full", "test", max_requests=requests) for task in run.model.train_tasks]


def deployed(data: str, lines: Sequence[RecipeLine], out: Path, seed: int, requests: int | None) -> list[Evaluation]:
    """Deploy the runs of a seed with the fusion that validation prefers, and measure what is served."""
    file = out / f"{DEPLOYMENT}-{seed}.json"
    figures = file.with_suffix("")
    folders = {line.label: out / line.folder(seed if seed in line.seeds else line.seeds[0]) for line in lines}
    runs = {task: [folders[label] for label in labels if label in folders] for task, labels in DEPLOYED.items()}
    if not file.is_file():
        started = time.process_time()
        with file.with_suffix(".log").open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            deploy(data, recommend=runs["recommend"], search=runs["search"], out=file)
        record(out, DEPLOYMENT, file.stem, time.process_time() - started)
    stored = [Evaluation.find(figures, task, "full", "test", METRIC) for task in TASKS]
    if all(stored):
        return [one for one in stored if one is not None]
    found = evaluate_deployment(
        read_deployment(file), name=DEPLOYMENT, max_requests=requests, options={"metrics": METRIC}
    )
    figures.mkdir(exist_ok=True)
    for one in found.values():
        one.save(figures)
    return list(found.values())


def summary(task: Task, evaluations: Sequence[Evaluation], seconds: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the figures of a task: requests, the rows, and what is gained over the best of the others."""
    of_task = [dataclasses.replace(one, metrics=parse_metrics(METRIC)) for one in evaluations if one.task == task]
    (compared,) = compare(of_task).tables
    rows = {}
    for row in compared.rows:
        cell, of_row = row.metrics[METRIC], seconds[row.label].values()
        rows[row.label] = {
            "mean": cell.mean,
            "half": (cell.high - cell.low) / 2,
            "seeds": len(cell.seeds),
            "seconds": sum(of_row) / len(of_row),
        }
    gains = {EVENTS[task]: {*EVENTS.values(), DEPLOYMENT}, DEPLOYMENT: {DEPLOYMENT}}
    return {
        "requests": compared.requests,
        "rows": rows,
        "gains": {
            label: gain(of_task, rows, label, left_out)
            for label, left_out in gains.items()
            if label in rows and rows.keys() - left_out
        },
    }


def gain(evaluations: Sequence[Evaluation], rows: dict[str, Any], label: str, left_out: set[str]) -> dict[str, Any]:
    """Return the best other row, the gain over it as a share of it, and the p of the paired test."""
    best = max((other for other in rows if other not in left_out), key=lambda other: rows[other]["mean"])
    pair = [one for one in evaluations if one.label in (label, best)]
    (compared,) = compare(pair, baseline=best).tables
    difference = next(row.metrics[METRIC].difference for row in compared.rows if row.label == label)
    assert difference is not None
    return {"over": best, "share": difference.mean / rows[best]["mean"], "p": difference.p_holm}


def table(folders: Sequence[Path]) -> str:
    """Return the figures of folders as a Markdown table, best in bold."""
    figures = [json.loads((folder / RESULT).read_text(encoding="utf-8")) for folder in folders]
    lines = [["NDCG@10", *(folder.resolve().name for folder in folders)], ["---"] * (1 + len(folders))]
    for task, title in TITLES.items():
        of_task = [column.get(task, {"requests": 0, "rows": {}, "gains": {}}) for column in figures]
        lines.append([f"**{title}**", *(f"{column['requests']:,} requests" for column in of_task)])
        labels = dict.fromkeys(label for column in of_task for label in column["rows"] if label != DEPLOYMENT)
        lines += [[label, *(_cell(column["rows"], label) for column in of_task)] for label in (*labels, DEPLOYMENT)]
        for label in (EVENTS[task], DEPLOYMENT):
            gains = [column["gains"].get(label) for column in of_task]
            lines.append([f"gain of {label}", *(_gain(one) for one in gains)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(rows: dict[str, Any], label: str) -> str:
    if label not in rows:
        return "-"
    row, best = rows[label], max(f"{row['mean']:.4f}" for row in rows.values())
    mean = f"{row['mean']:.4f}"
    return (f"**{mean}**" if mean == best else mean) + f" ±{row['half']:.3f}, {row['seconds']:.0f} s"


def _gain(gain: dict[str, Any] | None) -> str:
    if gain is None:
        return "-"
    star = "*" if gain["p"] < ALPHA else ""
    return f"{gain['share']:+.0%}{star} over {gain['over']}"


def record(out: Path, label: str, folder: str, seconds: float) -> None:
    """Add the seconds of a folder to those of its label."""
    known = read_seconds(out)
    known.setdefault(label, {})[folder] = seconds
    write_json(out / SECONDS, known)


def read_seconds(out: Path) -> dict[str, dict[str, float]]:
    """Return label -> folder -> seconds, as recorded so far."""
    file = out / SECONDS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


if __name__ == "__main__":
    main()
