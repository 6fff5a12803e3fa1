"""Evaluation: what one run scored on one task, protocol and part, one row per request; stored in the run folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from searec.data.schema import Part, Task
from searec.errors import DataError, RunError
from searec.files import replacing, write_json
from searec.metrics import (
    ACCURACY,
    DEFAULT,
    Metric,
    RankMetric,
    RequestMetric,
    Results,
    TotalMetric,
    applicable,
    parse_metrics,
    request_metrics,
    total_metrics,
)
from searec.metrics.base import Floats

Protocol = Literal["sampled", "full"]
PROTOCOLS: tuple[Protocol, ...] = ("sampled", "full")
Metrics = str | Sequence[str | Metric]
"""Names with depths ("ndcg@20,recall@50"), or names and metric objects."""

KEY = ("user_id", "time", "target")
COLUMNS = {"user_id": pl.String(), "time": pl.Int64(), "target": pl.Int32(), "rank": pl.Float64()}
SLICE, METRIC = "slice:", "metric:"
"""Prefixes of the columns that say who is in a slice, and that hold a metric of the lists."""
METRICS_FILE = "metrics.json"
WEIGHT = "weight"
"""Column of the requests' weights, of searches whose result pages the log holds."""
FIELDS = ("label", "model", "totals", "depth", "settings", "environment", "seconds")
EVALUATE_AGAIN = "evaluate the run again"


@dataclass(frozen=True)
class Evaluation:
    """One run's ranks on one task, protocol and part.

    Attributes:
        label: the run's name in tables; runs that differ in their seed alone share it.
        scores: one row per request: user_id (String), time (Int64, microseconds UTC), target (Int32, internal id), rank
            (Float64, 1 + better + ties / 2), a Boolean `slice:<name>` per slice, and a Float64 `metric:<name>` for each
            measured metric per request that rank and weight do not give; a Float64 `weight` if position bias is known.
        totals: measured metrics of all lists together, by name ("coverage@10").
        metrics: what `summary` and `compare` show, all of them measured.
        position_bias: examination of positions (`click_models.Examination.as_json`), or the "reason" for none; empty
            where the log has no result pages.
        depth: ranks are exact down to this one, as the model retrieved no more items; None if all are exact.
        seconds: how long scoring took.

    Raises:
        RunError: no request, a column missing or of the wrong type, an empty value, a rank below 1, a request twice.
    """

    label: str
    model: str
    task: Task
    protocol: Protocol
    part: Part
    scores: pl.DataFrame
    totals: dict[str, float]
    settings: dict[str, Any]
    environment: dict[str, Any]
    seconds: float
    metrics: tuple[Metric, ...] = parse_metrics(ACCURACY)
    depth: int | None = None
    position_bias: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.scores, f"scores of {self.label!r}, {self.key}")

    @property
    def key(self) -> str:
        """The name of task, protocol and part in metrics.json: 'search/full/test'."""
        return f"{self.task}/{self.protocol}/{self.part}"

    @property
    def slices(self) -> list[str]:
        """The names of the slices, in column order."""
        return slice_names(self.scores)

    def values(self, scores: pl.DataFrame | None = None) -> dict[str, Floats]:
        """Return the value per request of each metric shown, [R] by name.

        Args:
            scores: rows of `scores` in another order or fewer; all of them by default.
        """
        scores = self.scores if scores is None else scores
        weights = scores[WEIGHT].to_numpy() if WEIGHT in scores.columns else None
        results = Results(scores["rank"].to_numpy(), weights=weights)
        return {
            metric.name: metric.values(results)
            if isinstance(metric, RankMetric)
            else scores[METRIC + metric.name].to_numpy()
            for metric in request_metrics(self.metrics)
        }

    def means(self, scores: pl.DataFrame | None = None) -> dict[str, float]:
        """Return the mean of each metric per request over all rows, or over `scores`, by name.

        Raises:
            DataError: no row.
        """
        if scores is not None and scores.is_empty():
            raise DataError("there is no mean over no request", got="0 rows")
        return {name: float(value.mean()) for name, value in self.values(scores).items()}

    def summary(self) -> dict[str, Any]:
        """Return the JSON of `searec evaluate --json`: metrics, slices, protocol, task, part and label.

        A slice holds the means over its requests and `users`; one without users holds `users` alone.
        """
        slices: dict[str, dict[str, float]] = {}
        for name in self.slices:
            inside = self.scores.filter(pl.col(SLICE + name))
            slices[name] = {**(self.means(inside) if inside.height else {}), "users": inside["user_id"].n_unique()}
        shown = {metric.name: self.totals[metric.name] for metric in total_metrics(self.metrics)}
        return {
            "metrics": {**self.means(), **shown},
            "slices": slices,
            "protocol": self.protocol,
            "task": self.task,
            "part": self.part,
            "label": self.label,
        }

    def save(self, folder: Path | str) -> None:
        """Write `scores-{task}-{protocol}-{part}.parquet` and this evaluation's entry of metrics.json.

        Other entries of metrics.json stay.

        Raises:
            RunError: the metrics.json that is there is damaged.
            StorageError: the disk refuses the write.
        """
        folder = Path(folder)
        entries = _entries(folder) if (folder / METRICS_FILE).is_file() else {}
        with replacing(folder / scores_file(self.task, self.protocol, self.part)) as beside:
            self.scores.write_parquet(beside)
        entry = self.summary() | {name: getattr(self, name) for name in (*FIELDS, "position_bias")}
        write_json(folder / METRICS_FILE, entries | {self.key: entry})

    @staticmethod
    def find(
        folder: Path | str, task: Task, protocol: Protocol, part: Part, metrics: Metrics | None = None
    ) -> "Evaluation | None":
        """Return what `load` would, or None where it was not measured, or not with all of these metrics.

        Args:
            folder: a run folder.
            task: "recommend" or "search".
            protocol: "sampled" or "full".
            part: "test" or "val".
            metrics: as for `load`.
        """
        if f"{task}/{protocol}/{part}" not in stored_figures(folder):
            return None
        evaluation = Evaluation._read(folder, task, protocol, part, metrics)
        return None if evaluation._missing() else evaluation

    @staticmethod
    def load(
        folder: Path | str, task: Task, protocol: Protocol, part: Part, metrics: Metrics | None = None
    ) -> "Evaluation":
        """Read back what `save` wrote.

        Args:
            folder: a run folder.
            task: "recommend" or "search".
            protocol: "sampled" or "full".
            part: "test" or "val".
            metrics: what to show, `metrics.DEFAULT` if None; those not defined for task and protocol are left out.

        Raises:
            RunError: no such evaluation in the folder (those that are there are named), a metric that was not measured,
                or a damaged file.
            SettingsError: none of the metrics is defined for task and protocol.
        """
        evaluation = Evaluation._read(folder, task, protocol, part, metrics)
        if missing := evaluation._missing():
            names = ",".join(metric.name for metric in missing)
            raise RunError(
                "the run was evaluated without a metric",
                where=folder,
                got=f"no {names} of {evaluation.key}",
                remedy=f"{_command(folder, task, protocol, part)} --metrics {names}",
            )
        return evaluation

    @staticmethod
    def _read(folder: Path | str, task: Task, protocol: Protocol, part: Part, metrics: Metrics | None) -> "Evaluation":
        folder, shown = Path(folder), applicable(metrics or DEFAULT, task, protocol)
        entries = _entries(folder)
        key = f"{task}/{protocol}/{part}"
        if key not in entries:
            raise RunError(
                "this evaluation is not in the run folder",
                where=folder,
                got=", ".join(entries) or "none",
                expected=key,
                remedy=_command(folder, task, protocol, part),
            )
        path = folder / scores_file(task, protocol, part)
        try:
            scores = pl.read_parquet(path)
        except FileNotFoundError:
            raise RunError("missing file", where=path, remedy=EVALUATE_AGAIN) from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RunError(
                "file is damaged or not Parquet", where=path, got=str(error).splitlines()[0], remedy=EVALUATE_AGAIN
            ) from error
        entry = entries[key]
        if missing := [name for name in FIELDS if name not in entry]:
            where = f"{folder / METRICS_FILE}, {key}"
            raise RunError("an entry lacks a field", where=where, got="no " + ", ".join(missing), remedy=EVALUATE_AGAIN)
        about = {name: entry[name] for name in FIELDS} | {"position_bias": entry.get("position_bias", {})}
        return Evaluation(task=task, protocol=protocol, part=part, scores=scores, metrics=shown, **about)

    def _missing(self) -> list[Metric]:
        """Return the metrics that were not measured, or that are deeper than the ranks are exact."""
        return [
            metric
            for metric in self.metrics
            if (self.depth is not None and (metric.depth or 0) > self.depth)
            or (metric.reads == "weights" and WEIGHT not in self.scores.columns)
            or (isinstance(metric, TotalMetric) and metric.name not in self.totals)
            or (
                isinstance(metric, RequestMetric)
                and not isinstance(metric, RankMetric)
                and METRIC + metric.name not in self.scores.columns
            )
        ]


def stored_figures(folder: Path | str) -> dict[str, dict[str, float]]:
    """Return "<task>/<protocol>/<part>" -> metric -> value of a run folder; empty if it was never evaluated.

    Raises:
        RunError: the metrics.json that is there is damaged.
    """
    folder = Path(folder)
    if not (folder / METRICS_FILE).is_file():
        return {}
    return {key: entry["metrics"] for key, entry in _entries(folder).items()}


def slice_names(scores: pl.DataFrame) -> list[str]:
    """Return the names after `slice:`, in column order."""
    return [name.removeprefix(SLICE) for name in scores.columns if name.startswith(SLICE)]


def scores_file(task: Task, protocol: Protocol, part: Part) -> str:
    """Return the file name of the per-user scores in a run folder.

    Args:
        task: "recommend" or "search".
        protocol: "sampled" or "full".
        part: "test" or "val".
    """
    return f"scores-{task}-{protocol}-{part}.parquet"


def _command(folder: Path | str, task: Task, protocol: Protocol, part: Part) -> str:
    return f"searec evaluate {folder} DATA --task {task} --protocol {protocol} --split {part}"


def _entries(folder: Path) -> dict[str, Any]:
    path = folder / METRICS_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError("the run has no evaluation", where=path, remedy=f"searec evaluate {folder} DATA") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(
            "file is damaged or not JSON", where=path, got=error, remedy=f"remove it and {EVALUATE_AGAIN}"
        ) from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise RunError(
            "file does not hold evaluations",
            where=path,
            got=type(entries).__name__,
            remedy=f"remove it, {EVALUATE_AGAIN}",
        )
    return entries


def _check(scores: pl.DataFrame, where: str) -> None:
    expected = COLUMNS | {name: pl.Float64() for name in scores.columns if name.startswith(METRIC)}
    expected |= {SLICE + name: pl.Boolean() for name in slice_names(scores)}
    expected |= {WEIGHT: pl.Float64()} if WEIGHT in scores.columns else {}
    for name, dtype in expected.items():
        if name not in scores.columns:
            raise RunError(f"missing column {name!r}", where=where, got=", ".join(scores.columns) or "no columns")
        if scores.schema[name] != dtype:
            raise RunError(f"column {name!r} has the wrong type", where=where, got=scores.schema[name], expected=dtype)
    if scores.is_empty():
        raise RunError(
            "no request to score", where=where, got="0 rows", remedy="'searec check' counts the requests of each task"
        )
    floats = [name for name, dtype in expected.items() if dtype == pl.Float64()]
    has_null = scores.select(pl.col(list(expected)).is_null().any()).row(0, named=True)
    not_finite = scores.select((~pl.col(floats).is_finite()).any()).row(0, named=True)
    for name in expected:
        if has_null[name] or not_finite.get(name):
            raise RunError(f"column {name!r} holds a value that is empty or no number", where=where)
    lowest = scores["rank"].min()
    if isinstance(lowest, float) and lowest < 1.0:
        raise RunError("a rank starts at 1", where=where, got=lowest, expected=">= 1")
    if scores.select(pl.struct(KEY).is_duplicated().any()).item():
        raise RunError("a request is there twice", where=where, expected="one row for each user_id, time and target")
