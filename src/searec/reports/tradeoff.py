"""What one task costs the other in runs of gensar.

Accuracy in both by scheme and by share of shared codebooks, and what each run takes.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searec.data.batch import Batch
from searec.data.candidates import sampled_requests
from searec.data.schema import TASKS, Task
from searec.data.split import Requests, Split
from searec.errors import SettingsError
from searec.evaluation.compare import Cell, Comparison, Table
from searec.evaluation.protocol import chosen
from searec.models.capabilities import WritesIdentifiers, supports
from searec.pipeline.run import Run
from searec.pipeline.run_folder import ARTIFACTS
from searec.progress import progress
from searec.reports.timing import batches, seconds_of
from searec.training.training_log import FILE as LOG
from searec.training.training_log import read_rows

METRIC = "ndcg@5"
RETRIEVED = 10
"""Items that a beam search is timed for."""
_BATCH, _ROUNDS = 256, 5


@dataclass(frozen=True)
class Times:
    """Milliseconds per request on one thread, the batch made beforehand.

    One figure is for ranking its candidates, one for retrieving `RETRIEVED` items.
    """

    rank: float
    retrieve: float


@dataclass(frozen=True)
class Cost:
    """What a generative run is made of and takes.

    shared, specific: codebooks, which schemes other than joint have in one. places: codes of an identifier, with the
    extra one if any.
    collisions: share of colliding items by what was quantised, before and after they were spread. parameters: trained
        ones.
    seconds: of training, without the making of identifiers; None if its log is gone. times: of each task learnt.
    """

    scheme: str
    shared: int
    specific: int
    places: int
    collisions: Mapping[str, tuple[float, float]]
    parameters: int
    seconds: float | None
    times: Mapping[Task, Times]

    @property
    def share(self) -> float | None:
        """Shared codebooks among all; None where one vector is quantised, which leaves nothing to share."""
        return self.shared / (self.shared + self.specific) if self.scheme == "joint" else None

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return vars(self) | {
            "share": self.share,
            "collisions": {
                name: {"before": before, "after": after} for name, (before, after) in self.collisions.items()
            },
            "times": {
                task: {"rank_ms": figures.rank, "retrieve_ms": figures.retrieve} for task, figures in self.times.items()
            },
        }


@dataclass(frozen=True)
class Outcome:
    """One line of the trade-off.

    ndcg: NDCG@5 of each task, None of one that was not learnt. cost: None of a run that is no gensar.
    """

    label: str
    model: str
    ndcg: Mapping[Task, Cell | None]
    cost: Cost | None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks learnt."""
        return tuple(task for task, cell in self.ndcg.items() if cell is not None)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        figures: dict[str, Any] = {"label": self.label, "model": self.model, "tasks": list(self.tasks)}
        for task, cell in self.ndcg.items():
            figures[task] = (
                None if cell is None else {METRIC: cell.mean, "low": cell.low, "high": cell.high, "p_holm": _p(cell)}
            )
        return figures | {"cost": None if self.cost is None else self.cost.as_json()}


@dataclass(frozen=True)
class Series:
    """NDCG@5 of both tasks by the number of shared codebooks of `books`, all else equal."""

    books: int
    values: list[int]
    cells: Mapping[Task, list[Cell]]


@dataclass(frozen=True)
class Tradeoff:
    """What was measured in runs of gensar on one dataset; `tables` are of the sampled protocol, by task."""

    outcomes: list[Outcome]
    series: Series | None
    tables: Mapping[Task, Table]
    about: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        by_shared: dict[str, Any] | None = None
        if self.series is not None:
            by_shared = {"books": self.series.books, "shared": self.series.values}
            by_shared |= {task: [cell.mean for cell in cells] for task, cells in self.series.cells.items()}
        return {"runs": [outcome.as_json() for outcome in self.outcomes], "by_shared": by_shared, **self.about}


def _p(cell: Cell) -> float | None:
    return None if cell.difference is None else cell.difference.p_holm


def tradeoff(runs: Sequence[Run], comparison: Comparison, *, requests: int = 200, seed: int = 0) -> Tradeoff:
    """Set both tasks of runs against each other; where a label has several seeds, its cost is that of the first one.

    Args:
        runs: of one dataset; those that are no gensar have figures and no cost.
        comparison: of all of them, with the sampled protocol.
        requests: of the test of each task that times are measured on.
        seed: of the draw of requests.

    Raises:
        SettingsError: none of the runs is one of gensar.
    """
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.label, run)
    models = {label: run.model for label, run in first.items() if supports(run.model, WritesIdentifiers)}
    if not models:
        raise SettingsError(
            "nothing to look into", got=", ".join(run.model.name for run in runs), expected="a run of gensar at least"
        )
    tables = {table.task: table for table in comparison.tables if table.protocol == "sampled"}
    ndcg = {task: {row.label: row.metrics[METRIC] for row in table.rows} for task, table in tables.items()}
    split = first[next(iter(models))].split
    drawn = {}
    for task in tables:
        held = sampled_requests(split, task, "test")
        rows = chosen(len(held.requests), requests, seed)
        drawn[task] = (held.requests[rows], held.candidates[rows])
    taken = times(models, split, drawn)
    outcomes = [
        Outcome(
            label,
            run.model.name,
            {task: ndcg.get(task, {}).get(label) for task in TASKS},
            cost(run, models[label], taken[label]) if label in models else None,
        )
        for label, run in first.items()
    ]
    about = {
        "requests": {task: len(requests_of) for task, (requests_of, _) in drawn.items()},
        "threads": 1,
        "candidates": max(lists.shape[1] for _, lists in drawn.values()),
        "retrieved": RETRIEVED,
    }
    return Tradeoff(outcomes, _series({label: first[label] for label in models}, ndcg), tables, about)


def cost(run: Run, model: Any, taken: Mapping[Task, Times]) -> Cost:
    """What a run is made of, and its times.

    Args:
        run: with its artifacts.
        model: of the run.
        taken: times of each task.
    """
    prepared = json.loads((run.folder / ARTIFACTS / "about.json").read_text(encoding="utf-8"))
    logged = [row["seconds"] for row in read_rows(run.folder / LOG) if "seconds" in row]
    return Cost(
        scheme=model.config.scheme,
        shared=model.config.shared,
        specific=model.config.specific,
        places=model.identifier_length,
        collisions={name: (share["before"], share["after"]) for name, share in prepared["collisions"].items()},
        parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        seconds=logged[-1] if logged else None,
        times=taken,
    )


@torch.no_grad()
def times(
    models: Mapping[str, Any], split: Split, drawn: Mapping[Task, tuple[Requests, NDArray[np.integer[Any]]]]
) -> dict[str, dict[Task, Times]]:
    """Times of each model in each task that it has learnt.

    All take turns, and the best round counts, as others may use the machine.

    Args:
        models: by label.
        split: of the requests.
        drawn: task -> requests and their candidates.
    """
    work: dict[tuple[str, Task, Callable[[Any, Sequence[Batch]], None]], Callable[[], None]] = {}
    for label, model in models.items():
        for task in model.train_tasks:
            prepared = batches(split, model, *drawn[task])
            work |= {(label, task, each): functools.partial(each, model, prepared) for each in (_rank, _retrieve)}
    best = dict.fromkeys(work, np.inf)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with progress("Timing", (_ROUNDS + 1) * len(work)) as advance:
            for number in range(_ROUNDS + 1):
                for key, run in work.items():
                    label, task, _ = key
                    seconds = seconds_of(run, models[label].device)
                    if number:  # the first round warms up
                        best[key] = min(best[key], 1e3 * seconds / len(drawn[task][0]))
                    advance(1, label)
    finally:
        torch.set_num_threads(threads)
    return {
        label: {task: Times(best[label, task, _rank], best[label, task, _retrieve]) for task in model.train_tasks}
        for label, model in models.items()
    }


def _rank(model: Any, prepared: Sequence[Batch]) -> None:
    for batch in prepared:
        model.score(batch)


def _retrieve(model: Any, prepared: Sequence[Batch]) -> None:
    for batch in prepared:
        model.retrieve(batch, RETRIEVED)


def _series(runs: Mapping[str, Run], ndcg: Mapping[Task, Mapping[str, Cell]]) -> Series | None:
    """Return the largest group of joint runs for both tasks that differ only in the share of shared codebooks."""
    groups: dict[str, dict[int, str]] = {}
    for label, run in runs.items():
        settings = run.config["settings"]
        model = dict(settings["model"])
        shared, specific = model.pop("shared"), model.pop("specific")
        if model["scheme"] == "joint" and set(run.model.train_tasks) == set(TASKS):
            others = (run.model.name, model, settings["train"], shared + specific)
            groups.setdefault(repr(others), {}).setdefault(shared, label)
    best = max(groups.values(), key=len, default={})
    if len(best) < 2:
        return None
    values = sorted(best)
    model = runs[best[values[0]]].config["settings"]["model"]
    cells = {task: [ndcg[task][best[value]] for value in values] for task in TASKS}
    return Series(model["shared"] + model["specific"], values, cells)
