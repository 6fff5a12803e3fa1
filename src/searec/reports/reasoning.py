"""What reasoning does in runs of lcr-ser.

Accuracy by depth, where states move, what a step costs, and how settings matter.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.batch import Batch
from searec.data.candidates import sampled_requests
from searec.data.split import Requests, Split
from searec.errors import SettingsError
from searec.evaluation.compare import Cell, Comparison, Table
from searec.evaluation.protocol import chosen, full_ranks
from searec.models.capabilities import ReasonsInSteps, supports
from searec.pipeline.run import Run
from searec.progress import progress
from searec.reports.timing import batches, seconds_of
from searec.training.early_exit import depths

VARIED = {"steps": "K", "margin": "m", "kl_weight": "lambda_KL", "noise": "gamma"}
"""Settings whose effect is drawn, and their names in the paper."""
GROUPS = ("low-similarity", "high-similarity")
_BATCH, _ROUNDS = 256, 5
_TAIL = 0.8
"""Share of the items, the least clicked ones, that make the long tail."""
_THRESHOLDS = 12


@dataclass(frozen=True)
class Series:
    """NDCG@5 by one setting, all else equal."""

    setting: str
    values: list[float]
    cells: list[Cell]


@dataclass(frozen=True)
class Cost:
    """Milliseconds a request on one thread, the batch made beforehand.

    ms: of encoding, reasoning and scoring the candidates; ratio: to the run without reasoning, nan if there is none.
    reasoning_ms: of reasoning alone. steps: the mean a request.
    """

    label: str
    ms: float
    ratio: float
    reasoning_ms: float
    steps: float
    ndcg: float


@dataclass(frozen=True)
class Movement:
    """Mean distance from the target to a side's mean state after 0..K steps [K + 1, sides].

    A second array has it without each step's cross term.
    """

    label: str
    crossed: NDArray[np.float64]
    alone: NDArray[np.float64]


@dataclass(frozen=True)
class Reasoning:
    """What is measured in runs of lcr-ser on one dataset.

    exits: (mean steps, NDCG@5 on validation) by threshold of the halting score, for each run that has one.
    tail: long-tail items among the top 10 of the whole catalogue, as a share of all long-tail items, by run.
    phases: of each run that had several, as in config.json.
    """

    series: list[Series]
    costs: list[Cost]
    movements: list[Movement]
    exits: Mapping[str, list[tuple[float, float]]]
    tail: Mapping[str, float]
    phases: Mapping[str, list[dict[str, Any]]]
    table: Table
    about: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "by_setting": {
                series.setting: [
                    {"value": value, "ndcg@5": cell.mean, "low": cell.low, "high": cell.high}
                    for value, cell in zip(series.values, series.cells, strict=True)
                ]
                for series in self.series
            },
            "costs": [vars(cost) for cost in self.costs],
            "distances": {
                move.label: {"crossed": move.crossed.tolist(), "without_cross": move.alone.tolist()}
                for move in self.movements
            },
            "exits": {
                label: [{"steps": steps, "ndcg@5": gain} for steps, gain in curve]
                for label, curve in self.exits.items()
            },
            "tail_coverage": dict(self.tail),
            "phases": dict(self.phases),
            "runs": {
                row.label: {"ndcg@5": row.metrics["ndcg@5"].mean, **{g: row.slices[g].mean for g in GROUPS}}
                for row in self.table.rows
            },
            **self.about,
        }


def reasoning(runs: Sequence[Run], comparison: Comparison, *, requests: int = 2_000, seed: int = 0) -> Reasoning:
    """Measure what reasoning does in lcr-ser runs.

    Where a label has several seeds, the first one gives all that is not in the comparison.

    Args:
        runs: of one dataset; those of other models are in the table only.
        comparison: of all of them, sampled protocol.
        requests: of the test that distances, costs and lists are measured on.
        seed: of the draw of requests.

    Raises:
        SettingsError: none of the runs is one of lcr-ser.
    """
    first: dict[str, Run] = {}
    for run in runs:
        if supports(run.model, ReasonsInSteps):
            first.setdefault(run.label, run)
    if not first:
        raise SettingsError(
            "nothing to look into", got=", ".join(run.model.name for run in runs), expected="a run of lcr-ser at least"
        )
    table = comparison.tables[0]
    split = next(iter(first.values())).split
    held = sampled_requests(split, "recommend", "test")
    rows = chosen(len(held.requests), requests, seed)
    drawn, candidates = held.requests[rows], held.candidates[rows]
    models = {label: run.model for label, run in first.items() if supports(run.model, ReasonsInSteps)}
    ndcg = {row.label: row.metrics["ndcg@5"].mean for row in table.rows}
    supervised = [label for label, run in first.items() if "start" not in run.config]
    rewarded = [label for label, run in first.items() if "phases" in run.config]
    return Reasoning(
        series=[measured for name in VARIED if (measured := _series(name, first, table)) is not None],
        costs=costs({label: models[label] for label in _forms(first)}, split, drawn, candidates, ndcg),
        movements=[
            movement(label, models[label], split, drawn)
            for label in supervised
            if models[label].config.steps and models[label].config.searches
        ],
        exits={label: exits(model, split, requests) for label, model in models.items() if model.halting is not None},
        tail={label: tail_coverage(models[label], split, drawn) for label in rewarded},
        phases={label: first[label].config["phases"] for label in rewarded},
        table=table,
        about={"requests": len(rows), "threads": 1, "candidates": int(candidates.shape[1])},
    )


def _forms(runs: Mapping[str, Run]) -> list[str]:
    """The first label of each form that costs or is trained differently; not every margin and penalty."""
    measured: dict[tuple[Any, ...], str] = {}
    for label, run in runs.items():
        model = run.config["settings"]["model"]
        form = (
            model["steps"],
            model["tcl_weight"] > 0,
            model["rl_steps"] > 0,
            model["exit_steps"] > 0,
            "teacher" in run.config,
        )
        measured.setdefault(form, label)
    return list(measured.values())


def _series(name: str, runs: Mapping[str, Run], table: Table) -> Series | None:
    """The largest group of runs that differ in `name` alone."""
    groups: dict[str, dict[float, str]] = {}
    for label, run in runs.items():
        settings = run.config["settings"]
        model = {key: value for key, value in settings["model"].items() if key != name}
        if name in ("kl_weight", "noise") and not model["rl_steps"]:
            continue
        if name == "margin" and not (model["tcl_weight"] and model["steps"]):
            continue
        if model["exit_steps"] or "teacher" in run.config:
            continue
        others = (model, settings["train"], run.config.get("start", {}).get("label"))
        groups.setdefault(repr(others), {})[float(settings["model"][name])] = label
    best = max(groups.values(), key=len, default={})
    if len(best) < 2:
        return None
    cells = {row.label: row.metrics["ndcg@5"] for row in table.rows}
    values = sorted(best)
    return Series(name, values, [cells[best[value]] for value in values])


@torch.no_grad()
def costs(
    models: Mapping[str, Any],
    split: Split,
    requests: Requests,
    candidates: NDArray[np.integer[Any]],
    ndcg: Mapping[str, float],
) -> list[Cost]:
    """What each model costs a request; all take turns, and the best round counts, as others may use the machine.

    Args:
        models: by label.
        split: of the requests.
        requests: that are scored.
        candidates: [R, N] of each request.
        ndcg: NDCG@5 by label.
    """
    prepared = {label: batches(split, model, requests, candidates) for label, model in models.items()}
    whole: dict[str, list[float]] = {label: [] for label in models}
    inner: dict[str, list[float]] = {label: [] for label in models}
    steps: dict[str, float] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with progress("Timing", (_ROUNDS + 1) * len(models)) as advance:
            for number in range(_ROUNDS + 1):
                for label, model in models.items():
                    halt = model.halting is not None and bool(model.halt_above < 1)
                    encoded = [model.encoded(batch) for batch in prepared[label]]
                    taken = [sum(len(step.rows) for step in model.reasoned(*pair, halt=halt)) for pair in encoded]
                    steps[label] = sum(taken) / len(requests)
                    seconds = seconds_of(functools.partial(_score, model, prepared[label]), model.device)
                    alone = seconds_of(functools.partial(_reason, model, encoded, halt), model.device)
                    if number:  # the first round warms up
                        whole[label].append(1e3 * seconds / len(requests))
                        inner[label].append(1e3 * alone / len(requests))
                    advance(1, label)
    finally:
        torch.set_num_threads(threads)
    none = [label for label, model in models.items() if not model.config.steps]
    base = min(whole[none[0]]) if none else float("nan")
    measured = []
    for label in models:
        ms = min(whole[label])
        measured.append(Cost(label, ms, ms / base, min(inner[label]), steps[label], ndcg[label]))
    return measured


def _score(model: Any, prepared: Sequence[Batch]) -> None:
    for batch in prepared:
        model.score(batch)


def _reason(model: Any, encoded: Sequence[tuple[list[Tensor], list[Tensor]]], halt: bool) -> None:
    for states, here in encoded:
        model.reasoned(states, here, halt=halt)


def movement(label: str, model: Any, split: Split, requests: Requests) -> Movement:
    """Mean distances over the requests of users who reason.

    Args:
        label: of the run.
        model: `capabilities.ReasonsInSteps`.
        split: of the requests.
        requests: that are measured.
    """
    measured = [model.distances(batch) for batch in batches(split, model, requests)]

    def mean(parts: list[Tensor]) -> NDArray[np.float64]:
        finite = [part for part in parts if part.numel()]
        return torch.cat(finite).double().mean(0).cpu().numpy() if finite else np.zeros((0, 2))

    return Movement(label, mean([near for near, _ in measured]), mean([far for _, far in measured]))


def exits(model: Any, split: Split, requests: int) -> list[tuple[float, float]]:
    """Mean steps and NDCG@5 on validation at thresholds of the halting score, from the fewest steps on.

    Args:
        model: with a halting score.
        split: whose validation requests are scored.
        requests: how many.
    """
    measured = depths(model, split, requests=requests)
    finite = measured.halting[np.isfinite(measured.halting)]
    grid = np.unique(np.quantile(finite, np.linspace(0, 1, _THRESHOLDS))) if len(finite) else np.zeros(0)
    curve = [measured.at(float(threshold)) for threshold in (-1.0, *grid, 1.0)]
    return sorted({(steps, gain) for gain, steps in curve})


def tail_coverage(model: Any, split: Split, requests: Requests) -> float:
    """Share of the long-tail items, the 80 % least clicked in training, that are in any top 10 of the whole catalogue.

    Args:
        model: what ranks.
        split: of the requests.
        requests: that are ranked.
    """
    _, top = full_ranks(model, split, requests)
    items = split.data.sizes.items
    clicks = np.bincount(split.train_clicks(("recommend",))[1], minlength=items + 1)[1:]
    tail = np.argsort(clicks, kind="stable")[: int(_TAIL * items)] + 1
    return float(np.isin(tail, np.unique(top)).mean())
