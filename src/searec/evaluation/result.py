"""Evaluation: what one run scored on one task, protocol and part, one row per request; kept in the run folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from searec.data.schema import Part, Task
from searec.errors import DataError, RunError
from searec.files import replacing, write_json
from searec.metrics.accuracy import Floats, per_user

Protocol = Literal["sampled", "full"]
PROTOCOLS: tuple[Protocol, ...] = ("sampled", "full")

KEY = ("user_id", "time", "target")
COLUMNS = {"user_id": pl.String(), "time": pl.Int64(), "target": pl.Int32(), "rank": pl.Float64()}
LIST_METRICS = ("novelty", "diversity", "enr", "serendipity")
SLICE = "slice:"
METRICS_FILE = "metrics.json"
AGAIN = "evaluate the run again"


@dataclass(frozen=True)
class Evaluation:
    """One run's ranks on one task, protocol and part.

    label: the run's name in tables; runs that differ in their seed alone share it.
    scores: one row per request: user_id (String), time (Int64, microseconds UTC), target (Int32, internal id),
        rank (Float64, 1 + better + ties / 2), a Boolean `slice:<name>` for each slice, and for the full
        protocol `LIST_METRICS` (Float64) of the top-10 list; enr and serendipity for recommendation alone.
    totals: figures of all lists together (coverage, gini, cnr).
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

    def summary(self) -> dict[str, Any]:
        """What `summary` of this module gives."""
        return summary(self)

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
        about = {name: getattr(self, name) for name in ("model", "totals", "settings", "environment", "seconds")}
        write_json(folder / METRICS_FILE, entries | {self.key: summary(self) | about})

    @staticmethod
    def kept(folder: Path | str, task: Task, protocol: Protocol, part: Part) -> bool:
        """Whether `load` would find this evaluation in the folder."""
        return (Path(folder) / METRICS_FILE).is_file() and f"{task}/{protocol}/{part}" in _entries(Path(folder))

    @staticmethod
    def load(folder: Path | str, task: Task, protocol: Protocol, part: Part) -> "Evaluation":
        """Read back what `save` wrote.

        Raises:
            RunError: no such evaluation in the folder (those that are there are named), or a damaged file.
        """
        folder = Path(folder)
        entries = _entries(folder)
        key = f"{task}/{protocol}/{part}"
        if key not in entries:
            remedy = f"searec evaluate {folder} DATA --task {task} --protocol {protocol} --split {part}"
            raise RunError(
                "the run was not evaluated so",
                where=folder,
                got=", ".join(entries) or "none",
                expected=key,
                remedy=remedy,
            )
        path = folder / scores_file(task, protocol, part)
        try:
            scores = pl.read_parquet(path)
        except FileNotFoundError:
            raise RunError("missing file", where=path, remedy=AGAIN) from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RunError(
                "file is damaged or not Parquet", where=path, got=str(error).splitlines()[0], remedy=AGAIN
            ) from error
        entry = entries[key]
        names = ("label", "model", "totals", "settings", "environment", "seconds")
        if missing := [name for name in names if name not in entry]:
            where = f"{folder / METRICS_FILE}, {key}"
            raise RunError("an entry lacks a field", where=where, got="no " + ", ".join(missing), remedy=AGAIN)
        return Evaluation(
            task=task, protocol=protocol, part=part, scores=scores, **{name: entry[name] for name in names}
        )


def kept_figures(folder: Path | str) -> dict[str, dict[str, float]]:
    """ "<task>/<protocol>/<part>" -> metric -> value, of what is kept in a run folder; empty if it was never evaluated.

    Raises:
        RunError: the metrics.json that is there is damaged.
    """
    folder = Path(folder)
    return (
        {key: entry["metrics"] for key, entry in _entries(folder).items()} if (folder / METRICS_FILE).is_file() else {}
    )


def user_metrics(scores: pl.DataFrame) -> dict[str, Floats]:
    """Metric name -> [R]: those of `metrics.per_user`, then `LIST_METRICS` where the scores hold them."""
    values = per_user(scores["rank"].to_numpy())
    return values | {name: scores[name].to_numpy() for name in LIST_METRICS if name in scores.columns}


def metrics(scores: pl.DataFrame) -> dict[str, float]:
    """Metric name -> mean over the rows of `scores`; at least one row.

    Raises:
        DataError: no row.

    >>> metrics(pl.DataFrame({"rank": [1.0, 3.0]}))["ndcg@5"]
    0.75
    """
    if scores.is_empty():
        raise DataError("there is no mean over no request", got="0 rows")
    return {name: float(value.mean()) for name, value in user_metrics(scores).items()}


def slice_names(scores: pl.DataFrame) -> list[str]:
    """The names after `slice:`, in column order."""
    return [name.removeprefix(SLICE) for name in scores.columns if name.startswith(SLICE)]


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The JSON of `searec evaluate --json`: metrics, slices, protocol, task; and part and label.

    metrics holds the means and the totals. A slice holds the means of its requests and `users`; one without
    users holds `users` alone.
    """
    slices: dict[str, dict[str, float]] = {}
    for name in evaluation.slices:
        inside = evaluation.scores.filter(pl.col(SLICE + name))
        slices[name] = {**(metrics(inside) if inside.height else {}), "users": inside["user_id"].n_unique()}
    return {
        "metrics": {**metrics(evaluation.scores), **evaluation.totals},
        "slices": slices,
        "protocol": evaluation.protocol,
        "task": evaluation.task,
        "part": evaluation.part,
        "label": evaluation.label,
    }


def scores_file(task: Task, protocol: Protocol, part: Part) -> str:
    """The name of the per-user scores in a run folder."""
    return f"scores-{task}-{protocol}-{part}.parquet"


def _entries(folder: Path) -> dict[str, Any]:
    path = folder / METRICS_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError("the run has no evaluation", where=path, remedy=f"searec evaluate {folder} DATA") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError("file is damaged or not JSON", where=path, got=error, remedy=f"remove it and {AGAIN}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise RunError(
            "file does not hold evaluations", where=path, got=type(entries).__name__, remedy=f"remove it, {AGAIN}"
        )
    return entries


def _check(scores: pl.DataFrame, where: str) -> None:
    expected = COLUMNS | {name: pl.Float64() for name in LIST_METRICS if name in scores.columns}
    expected |= {SLICE + name: pl.Boolean() for name in slice_names(scores)}
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
    empty = scores.select(pl.col(list(expected)).is_null().any()).row(0, named=True)
    unreal = scores.select((~pl.col(floats).is_finite()).any()).row(0, named=True)
    for name in expected:
        if empty[name] or unreal.get(name):
            raise RunError(f"column {name!r} holds a value that is empty or no number", where=where)
    lowest = scores["rank"].min()
    if isinstance(lowest, float) and lowest < 1.0:
        raise RunError("a rank starts at 1", where=where, got=lowest, expected=">= 1")
    if scores.select(pl.struct(KEY).is_duplicated().any()).item():
        raise RunError("a request is there twice", where=where, expected="one row for each user_id, time and target")
