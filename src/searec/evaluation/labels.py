"""Search against human judgments: labels from Parquet or TREC qrels, and figures of the lists that queries get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from searec.data.log import open_folder
from searec.data.tables import local_folder, scan_parquet
from searec.data.vocabulary import IdMap
from searec.errors import DataError, SettingsError
from searec.metrics import Metric, parse_metrics
from searec.metrics.base import Floats
from searec.metrics.graded import Gain, gain_of, graded

DEFAULT = "ndcg@5,ndcg@10,recall@10,recall@50,recall@100,mrr"
"""What is measured unless other metrics are named."""
JUDGED = 10
"""Depth of the share of judged results."""
_NAMED = 5
_COLUMNS = ("search_id", "query", "item_id", "relevance")


@dataclass(frozen=True)
class Labels:
    """Judgments of items for queries.

    Attributes:
        queries: id (search_id, or the text where there is none), query, judged (list of item_id), grades (list); one
            row for each query, by id.
        notes: what was left out or merged, one sentence each, with counts and examples.
    """

    queries: pl.DataFrame
    notes: tuple[str, ...] = ()


def read_labels(path: Path, data: Path | str, items: IdMap) -> Labels:
    """Return the labels of a file whose queries have a text and whose items are in the catalogue.

    Args:
        path: Parquet with item_id, relevance, and search_id or query or both; any other name: TREC qrels, lines
            "search_id 0 item_id relevance".
        data: the dataset folder; its searches have the text of queries that the file gives by search_id alone.
        items: ids of the catalogue.

    Raises:
        DataError: the file cannot be read, a relevance is no finite number, or no label is left.
    """
    if not path.is_file():
        raise DataError("no such file of labels", where=path, expected="Parquet, or TREC qrels as text")
    rows = _parquet(path) if path.suffix == ".parquet" else _qrels(path)
    notes: list[str] = []
    if "query" not in rows.columns:
        with local_folder(data) as local:
            texts = open_folder(local)["searches"].select("search_id", "query").collect()
        rows = rows.join(texts, on="search_id", how="left", maintain_order="left")
    key = "search_id" if "search_id" in rows.columns else "query"
    lacks_text = pl.col("query").is_null() | (pl.col("query").str.strip_chars() == "")
    rows = _left_out(rows, lacks_text, key, "search ids that the dataset does not hold", notes)
    is_unknown = ~pl.col("item_id").is_in(items.texts.implode())
    rows = _left_out(rows, is_unknown, "item_id", "items that the dataset does not hold", notes)
    if rows.is_empty():
        raise DataError("no label is left", where=path, got="; ".join(notes) or "an empty file")
    rows = rows.with_columns(pl.col(key).alias("id"))
    best = rows.group_by("id", "item_id").agg(pl.col("query").first(), pl.col("relevance").max())
    if (repeats := rows.height - best.height) > 0:
        verb = _plural("label repeats", "labels repeat", repeats)
        notes.append(f"{repeats:,} {verb} a query and item; the highest grade counts")
    queries = best.sort("id", "item_id").group_by("id", maintain_order=True)
    return Labels(queries.agg(pl.col("query").first(), judged="item_id", grades="relevance"), tuple(notes))


def _parquet(path: Path) -> pl.DataFrame:
    frame = scan_parquet(path)
    schema = frame.collect_schema()
    missing = [name for name in ("item_id", "relevance") if name not in schema]
    if missing or not {"search_id", "query"} & set(schema):
        raise DataError(
            f"missing column {(missing or ['search_id'])[0]!r}",
            where=path,
            got=", ".join(schema),
            expected="item_id, relevance, and search_id or query",
        )
    if not schema["relevance"].is_numeric():
        raise DataError("the relevance is no number", where=path, got=schema["relevance"], expected="numbers")
    rows = frame.select(name for name in _COLUMNS if name in schema).collect()
    rows = rows.with_columns(
        pl.col(pl.String, pl.Categorical, pl.Enum).cast(pl.String), pl.col("relevance").cast(pl.Float64)
    )
    bad = rows.with_row_index("row", 1).filter(~pl.col("relevance").is_finite().fill_null(False))
    if bad.height:
        got = f"{bad.height:,} such {_plural('row', 'rows', bad.height)}"
        raise DataError("a relevance is no finite number", where=f"{path} row {bad['row'][0]}", got=got)
    for name in rows.columns:
        if name != "relevance" and rows.schema[name] != pl.String:
            raise DataError(f"column {name!r} has the wrong type", where=path, got=rows.schema[name], expected="text")
    return rows


def _qrels(path: Path) -> pl.DataFrame:
    parsed: list[tuple[str, str, float]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the labels cannot be read", where=path, got=str(error), expected="text in UTF-8") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.split()
        try:
            query, _, item, grade = parts
            value = float(grade)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            expected = "search_id 0 item_id relevance"
            raise DataError(
                "not a line of TREC qrels", where=f"{path} line {number}", got=repr(line), expected=expected
            )
        parsed.append((query, item, value))
    schema = {"search_id": pl.String, "item_id": pl.String, "relevance": pl.Float64}
    return pl.DataFrame(parsed, schema=schema, orient="row")


def _left_out(rows: pl.DataFrame, condition: pl.Expr, name: str, what: str, notes: list[str]) -> pl.DataFrame:
    """The rows for which a condition does not hold; a note on the others."""
    is_out = rows.select(condition.fill_null(True)).to_series()
    if is_out.any():
        ids = rows.filter(is_out)[name].unique(maintain_order=True)
        shown = ", ".join(repr(one) for one in ids.head(_NAMED))
        more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
        count = int(is_out.sum())
        notes.append(f"{count:,} {_plural('label', 'labels', count)} left out: {what}: {shown}{more}")
    return rows.filter(~is_out)


def _plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


@dataclass(frozen=True)
class LabelledSearch:
    """Figures of search lists against labels.

    Attributes:
        label: of the run or deployment.
        gain: how grades become gains, as `metrics.graded.gain_of`.
        relevant_from: the lowest grade of a relevant item, for recall, hit and mrr.
        metrics: name -> mean over the queries with a relevant item; a query without results counts 0.
        judged: share of the first 10 results that have a label, mean over the queries with results.
        counts: queries, labels, "queries without results", "queries without a relevant item".
        notes: as `Labels.notes`.
        scores: id, query, results, judged and each metric; one row for each query.
    """

    label: str
    gain: Gain
    relevant_from: float
    metrics: Mapping[str, float]
    judged: float
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    scores: pl.DataFrame

    def as_json(self) -> dict[str, Any]:
        """Return the figures, without those of each query, JSON-ready."""
        return {
            "label": self.label,
            "task": "search",
            "gain": self.gain,
            "relevant_from": self.relevant_from,
            "metrics": dict(self.metrics),
            f"judged@{JUDGED}": self.judged,
            "counts": dict(self.counts),
            "notes": list(self.notes),
        }


def label_metrics(metrics: str | None) -> tuple[Metric, ...]:
    """Return the metrics to measure against labels: accuracy metrics by name.

    Raises:
        SettingsError: an unknown metric, or one that labels do not define.
    """
    parsed = parse_metrics(metrics or DEFAULT)
    none: Floats = np.zeros(0)
    for metric in parsed:
        graded(metric, none, none, none, 0)
    return parsed


def measure(
    label: str,
    labels: Labels,
    lists: Sequence[Sequence[str]],
    *,
    metrics: Sequence[Metric],
    gain: Gain = "linear",
    relevant_from: float = 1.0,
) -> LabelledSearch:
    """Return the figures of the list of each query.

    Args:
        label: of what is measured.
        labels: of the queries.
        lists: item ids of each query of `labels.queries`, best first.
        metrics: accuracy metrics with depths.
        gain: "linear" or "exponential".
        relevant_from: the lowest grade of a relevant item.

    Raises:
        SettingsError: no query has a relevant item.
    """
    rows: list[dict[str, Any]] = []
    for judged, grades, items in zip(labels.queries["judged"], labels.queries["grades"], lists, strict=True):
        grade = dict(zip(judged.to_list(), grades.to_list(), strict=True))
        given = np.array([grade.get(item, 0.0) for item in items], dtype=np.float64)
        relevant = np.array([grade.get(item, -np.inf) >= relevant_from for item in items], dtype=np.float64)
        count = sum(value >= relevant_from for value in grade.values())
        gains, ideal = gain_of(given, gain), gain_of(np.array(list(grade.values())), gain)
        first = items[:JUDGED]
        rows.append(
            {
                "results": len(items),
                "relevant": count,
                "judged": sum(item in grade for item in first) / len(first) if first else None,
                **{metric.name: graded(metric, gains, ideal, relevant, count) for metric in metrics},
            }
        )
    schema = {"results": pl.Int64, "relevant": pl.Int64, "judged": pl.Float64}
    values = pl.DataFrame(rows, schema=schema | {metric.name: pl.Float64 for metric in metrics})
    scores = pl.concat([labels.queries.select("id", "query"), values], how="horizontal")
    counted = scores.filter(pl.col("relevant") > 0)
    if counted.is_empty():
        raise SettingsError(
            "no query has a relevant item",
            got=f"grades up to {max(max(grades) for grades in labels.queries['grades']):g}",
            expected=f"grades from {relevant_from:g}",
            remedy="a lower --relevant",
        )
    return LabelledSearch(
        label=label,
        gain=gain,
        relevant_from=relevant_from,
        metrics={metric.name: float(counted[metric.name].mean()) for metric in metrics},  # type: ignore[arg-type]
        judged=float(scores["judged"].mean() or 0.0),  # type: ignore[arg-type]
        counts={
            "queries": scores.height,
            "labels": int(labels.queries["judged"].list.len().sum()),
            "queries without results": int((scores["results"] == 0).sum()),
            "queries without a relevant item": scores.height - counted.height,
        },
        notes=labels.notes,
        scores=scores,
    )
