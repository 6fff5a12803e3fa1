"""compare: runs side by side on the same requests, with intervals, paired tests and slices.

One table for each task, protocol and part. Only requests that every run of the table scored count. In the full protocol
the figures of the feed are of new targets: what a user clicked before is taken off every list except the target, so a
model that knows repeats would gain by a leak. Repeats are a slice.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import polars as pl

from searec.config import nearest
from searec.data.schema import Part, Task
from searec.errors import RunError, SettingsError
from searec.evaluation.result import KEY, SLICE, Evaluation, Protocol
from searec.evaluation.significance import (
    bootstrap_means,
    bootstrap_seeds,
    holm,
    interval,
    means,
    sign_flip,
    t_test,
    win_tie_loss,
)
from searec.metrics import Metric, request_metrics, total_metrics
from searec.metrics.base import Bools, Floats

HEADLINE: dict[Protocol, str] = {"sampled": "ndcg@5", "full": "ndcg@10"}
LEVEL = 0.95
ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """A run less the baseline, over the same requests.

    mean, low, high: mean difference and its bootstrap interval.
    p_t: two-sided p of the paired t-test, over requests and seeds.
    p_random: two-sided p of the sign-flip randomisation test over requests.
    p_holm: corrected over all comparisons of its table: p_random, or p_t where a run has several seeds, which p_random
        does not see.
    win, tie, loss: requests on which the run is better, as good, worse.
    """

    mean: float
    low: float
    high: float
    p_t: float
    p_random: float
    p_holm: float
    win: int
    tie: int
    loss: int


@dataclass(frozen=True)
class Cell:
    """One run's mean of one metric with its bootstrap interval; `difference` is None for the baseline.

    low, high: by resampling requests, and seeds where there are several.
    seeds: the mean of each seed, in the order given. NaN where there is none (an empty slice).
    """

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]
    difference: Difference | None = None

    @property
    def seed_deviation(self) -> float | None:
        """Standard deviation of the seeds' means (n - 1); None for a single seed."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else None


@dataclass(frozen=True)
class Row:
    """One run (all seeds of one label) of a table."""

    label: str
    model: str
    metrics: dict[str, Cell]
    slices: dict[str, Cell]
    totals: dict[str, float]


@dataclass(frozen=True)
class Table:
    """Runs compared on one task, protocol and part.

    Attributes:
        headline: the metric that picks the default baseline and that the slices show: NDCG@5 (NDCG@10 in the full
            protocol), or the first one where it is not among them.
        metrics: metrics per request, in the order of each row's cells.
        totals: metrics of all lists together.
        targets: "new" if the metrics are of the requests whose target the user had not clicked before; the slice "all"
            then holds every request, and "repeat" the others.
        requests: requests that the metrics are of and every run scored; `slices` counts those in each slice.
        notes: what a reader has to know about this table (requests left out, a baseline that is not here).
    """

    task: Task
    protocol: Protocol
    part: Part
    baseline: str
    headline: Metric
    metrics: tuple[Metric, ...]
    totals: tuple[Metric, ...]
    targets: Literal["all", "new"]
    requests: int
    slices: dict[str, int]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Task, protocol and part, as in metrics.json."""
        return f"{self.task}/{self.protocol}/{self.part}"


@dataclass(frozen=True)
class Comparison:
    """All tables, and how they were resampled."""

    tables: tuple[Table, ...]
    seed: int
    resamples: int
    level: float = LEVEL
    alpha: float = ALPHA

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; None where a figure cannot be had."""
        plain = dataclasses.asdict(self)
        for table, values in zip(self.tables, plain["tables"], strict=True):
            values["headline"] = table.headline.name
            for kind in ("metrics", "totals"):
                values[kind] = {metric.name: metric.description for metric in getattr(table, kind)}
        return _plain(plain)  # type: ignore[no-any-return]


def compare(
    evaluations: Sequence[Evaluation], *, baseline: str | None = None, seed: int = 0, resamples: int = 4_000
) -> Comparison:
    """Compare runs, one table for each task, protocol and part among them.

    Evaluations that share label, task, protocol and part are seeds of one run: a user's metric is the mean
    over them. Who belongs to a slice is what the first run of the table says.

    Args:
        evaluations: at least one; runs that scored different requests are compared on the common ones.
        baseline: the label the others are compared to; by default the table's best run by the headline metric
            (being the best of several flatters a run a little).
        seed: of the resampling; a table's figures do not depend on the other tables.
        resamples: draws of the bootstrap and of the randomisation test; the smallest p is 1 / (resamples + 1).

    Raises:
        RunError: nothing to compare, runs without a common request, one label for two models.
        SettingsError: no run is called `baseline`.
    """
    if not evaluations:
        raise RunError("nothing to compare", expected="one evaluated run or more")
    labels = list(dict.fromkeys(e.label for e in evaluations))
    if baseline is not None and baseline not in labels:
        raise SettingsError("no such baseline", got=repr(baseline), remedy=nearest(baseline, labels))
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.key, []).append(evaluation)
    return Comparison(
        tuple(_table(group, baseline, seed, resamples) for group in groups.values()), seed=seed, resamples=resamples
    )


def _table(group: list[Evaluation], requested: str | None, seed: int, resamples: int) -> Table:
    first = group[0]
    runs: dict[str, list[Evaluation]] = {}
    for evaluation in group:
        runs.setdefault(evaluation.label, []).append(evaluation)
    notes = [note for label, seeds in runs.items() for note in _same_run(label, seeds)]
    common = _common(group)
    notes += _left_out(group, common.height)
    scores = [common.join(e.scores, on=KEY, how="left", maintain_order="left") for e in group]
    values = [e.values(frame) for e, frame in zip(group, scores, strict=True)]
    shared = [metric for metric in first.metrics if all(metric in e.metrics for e in group)]
    measured, totals = request_metrics(shared), total_metrics(shared)
    if not measured:
        raise RunError(
            "the runs share no metric per request",
            where=first.key,
            got=", ".join(metric.name for metric in shared) or "none",
            remedy="add one, such as --metrics ndcg@10",
        )
    names = [metric.name for metric in measured]
    stacked = {
        id(e): np.stack([value[name] for name in names], axis=1) for e, value in zip(group, values, strict=True)
    }  # each [R, M]

    seeds = [np.stack([stacked[id(e)] for e in run]) for run in runs.values()]  # runs x [S, R, M]
    head = names.index(HEADLINE[first.protocol]) if HEADLINE[first.protocol] in names else 0
    belongs, slice_notes = _slices(group, scores)
    notes += slice_notes
    counted, belongs = _new_targets(first, belongs, common.height)
    if not counted.all():
        notes.append(
            f"The figures are of the {counted.sum():,} new targets of {common.height:,}; slice repeat has the others."
        )
    columns = [
        np.concatenate(
            (np.where(counted[:, None], run, np.nan), _by_slice(run[:, :, head], belongs)),
            axis=2,
        )
        for run in seeds
    ]  # runs x [S, R, M + slices]

    order = list(runs)
    overall = [means(run.mean(axis=0))[head] for run in columns]
    base = order.index(requested) if requested in runs else int(np.argmax(overall))
    if requested is not None and requested not in runs:
        notes.append(f"{requested} was not evaluated here, so the baseline is the best run, {order[base]}.")

    tests = (len(order) - 1) * max(len(names), len(belongs))
    if tests and tests / (resamples + 1) >= ALPHA:
        enough = math.ceil(tests / ALPHA)
        notes.append(
            f"{resamples:,} resamples are too few to show any difference among {tests} comparisons; take "
            f"{enough:,} or more."
        )

    cells = _cells(columns, len(names), base, seed, resamples)
    rows = tuple(
        Row(
            label=label,
            model=run[0].model,
            metrics=dict(zip(names, cells[r], strict=False)),
            slices=dict(zip(belongs, cells[r][len(names) :], strict=True)),
            totals={metric.name: float(np.mean([e.totals[metric.name] for e in run])) for metric in totals},
        )
        for r, (label, run) in enumerate(runs.items())
    )
    return Table(
        task=first.task,
        protocol=first.protocol,
        part=first.part,
        baseline=order[base],
        headline=measured[head],
        metrics=tuple(measured),
        totals=tuple(totals),
        targets="all" if counted.all() else "new",
        requests=int(counted.sum()),
        slices={name: int(inside.sum()) for name, inside in belongs.items()},
        rows=rows,
        notes=tuple(notes),
    )


def _cells(columns: list[Floats], width: int, base: int, seed: int, resamples: int) -> list[list[Cell]]:
    """Cells [runs][C] from values [S, R, C] of each run; p corrected in the first `width` columns and in the rest."""
    generator = np.random.default_rng(seed)
    both = np.stack([run.mean(axis=0) for run in columns], axis=1)  # [R, runs, C]
    differences = both - both[:, [base]]
    shape, flat = both.shape[1:], (len(both), -1)
    side_by_side = np.concatenate([one for run in columns for one in run], axis=1)
    drawn = bootstrap_means(side_by_side, generator, resamples).reshape(resamples, -1, shape[1])
    places = np.cumsum([0, *(len(run) for run in columns)])
    samples = np.stack(
        [bootstrap_seeds(drawn[:, begin:end].swapaxes(0, 1), generator) for begin, end in itertools.pairwise(places)],
        axis=1,
    )
    low, high = interval(samples, LEVEL)
    low_d, high_d = interval(samples - samples[:, [base]], LEVEL)
    mean, mean_d = means(both.reshape(flat)).reshape(shape), means(differences.reshape(flat)).reshape(shape)
    by_seed = [np.stack([means(one) for one in run]) for run in columns]  # runs x [S, C]
    p_t = np.stack([t_test(differences[:, r], of_run, by_seed[base]) for r, of_run in enumerate(by_seed)])
    p_random = sign_flip(differences.reshape(flat), generator, resamples).reshape(shape)
    p_random[base] = np.nan  # the baseline against itself is no test
    has_seeds = np.array([max(len(of_run), len(by_seed[base])) > 1 for of_run in by_seed])
    tested = np.where(has_seeds[:, None] & ~np.isnan(p_random), p_t, p_random)
    p_holm = np.concatenate([holm(tested[:, :width]), holm(tested[:, width:])], axis=1)
    counts = win_tie_loss(differences.reshape(flat)).reshape(*shape, 3)

    def cell(r: int, c: int) -> Cell:
        difference = None
        if r != base:
            difference = Difference(
                mean=float(mean_d[r, c]),
                low=float(low_d[r, c]),
                high=float(high_d[r, c]),
                p_t=float(p_t[r, c]),
                p_random=float(p_random[r, c]),
                p_holm=float(p_holm[r, c]),
                win=int(counts[r, c, 0]),
                tie=int(counts[r, c, 1]),
                loss=int(counts[r, c, 2]),
            )
        seeds = tuple(by_seed[r][:, c].tolist())
        return Cell(float(mean[r, c]), float(low[r, c]), float(high[r, c]), seeds=seeds, difference=difference)

    return [[cell(r, c) for c in range(shape[1])] for r in range(shape[0])]


def _by_slice(values: Floats, belongs: dict[str, Bools]) -> Floats:
    """[S, R, slices] the values [S, R] once for each slice, NaN outside it."""
    if not belongs:
        return np.empty((*values.shape, 0))
    inside = np.stack(list(belongs.values()), axis=1)  # [R, slices]
    return np.where(inside, values[:, :, None], np.nan)


def _new_targets(first: Evaluation, belongs: dict[str, Bools], requests: int) -> tuple[Bools, dict[str, Bools]]:
    """Which requests [R] the metrics are of, and the slices: of new targets, beside those of all and of repeats."""
    everything = np.ones(requests, dtype=bool)
    is_new = belongs.get("new", everything)
    if first.protocol != "full" or first.task != "recommend" or is_new.all() or not is_new.any():
        return everything, belongs
    apart = {"all": everything, "repeat": ~is_new}
    return is_new, apart | {name: inside & is_new for name, inside in belongs.items() if name not in ("new", "repeat")}


def _common(group: list[Evaluation]) -> pl.DataFrame:
    """The requests all evaluations hold, as user_id, time, target, in a fixed order."""
    keys = [e.scores.select(KEY) for e in group]
    common = reduce(lambda left, right: left.join(right, on=KEY, how="semi"), keys).sort(KEY)
    if common.is_empty():
        raise RunError(
            "the runs have no request in common",
            where=group[0].key,
            got=", ".join(dict.fromkeys(e.label for e in group)),
            expected="runs evaluated on one dataset",
            remedy="evaluate them again on the same folder",
        )
    return common


def _left_out(group: list[Evaluation], common: int) -> list[str]:
    extra = {e.label: e.scores.height - common for e in group if e.scores.height > common}
    if not extra:
        return []
    counts = ", ".join(f"{number:,} of {label}" for label, number in extra.items())
    return [f"Only the {common:,} requests that every run scored count; left out: {counts}."]


def _slices(group: list[Evaluation], scores: list[pl.DataFrame]) -> tuple[dict[str, Bools], list[str]]:
    """Slice name -> [R] who is inside, for slices that every run has; and notes on runs that see them otherwise."""
    shared = [name for name in group[0].slices if all(name in e.slices for e in group)]
    belongs = {name: scores[0][SLICE + name].to_numpy() for name in shared}
    notes = []
    for name, inside in belongs.items():
        other = {
            e.label: int((frame[SLICE + name].to_numpy() != inside).sum())
            for e, frame in zip(group, scores, strict=True)
        }
        if any(other.values()):
            counts = ", ".join(f"{label} on {n:,} requests" for label, n in other.items() if n)
            notes.append(f"Slice {name} is as {group[0].label} has it; otherwise: {counts}.")
    if missing := dict.fromkeys(name for e in group for name in e.slices if name not in belongs):
        notes.append(f"Slices that not every run has are left out: {', '.join(missing)}.")
    return belongs, notes


def _same_run(label: str, seeds: list[Evaluation]) -> list[str]:
    """Notes on evaluations that share a label.

    Raises:
        RunError: they are of different models.
    """
    models = list(dict.fromkeys(e.model for e in seeds))
    if len(models) > 1:
        where = f"{seeds[0].key}, label {label!r}"
        raise RunError(
            "several models share one label",
            where=where,
            got=", ".join(models),
            remedy="give each run its own label",
        )
    if len(seeds) == 1:
        return []
    first = _without_seed(seeds[0].settings)
    notes = [f"{label} is the mean of {len(seeds)} runs; ± is the standard deviation of their means."]
    if any(_without_seed(e.settings) != first for e in seeds[1:]):
        notes.append(f"The {len(seeds)} runs called {label} differ in more than their seed.")
    return notes


def _without_seed(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {name: _without_seed(value) for name, value in settings.items() if name != "seed"}
    return settings


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
