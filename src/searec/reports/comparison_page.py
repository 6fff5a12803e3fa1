"""The report: one HTML file that needs nothing else, from a comparison and the runs' settings and logs."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from searec.evaluation.compare import Cell, Comparison, Row, Table
from searec.files import write_text
from searec.metrics import Metric
from searec.reports.page import PROTOCOL_NAMES, TASK_NAMES, render_page
from searec.reports.plots import COLOURS, Line, Point, bars, curves, dots
from searec.training.train_config import Judge

PAIRS = (
    ("sparse", "rich"),
    ("low-similarity", "high-similarity"),
    ("cold-user", "cold-item"),
    ("all", "repeat", "new"),
    ("new-user", "known-user"),
    ("new-item", "known-item"),
)
JUDGES: dict[Judge, str] = {
    "full-ndcg@10": "NDCG@10 over the whole catalogue, of the feed on new targets",
    "ndcg@5": "NDCG@5 among sampled candidates",
}
NO_LOSS = frozenset(
    {
        "event",
        "epoch",
        "step",
        "seconds",
        "time",
        "lr",
        "learning_rate",
        "examples",
        "examples_per_second",
        "gradient_norm",
    }
)
PART_NAMES = {"val": "validation", "test": "test"}
SLICE_MEANINGS = {
    "sparse": "users with few searches before the request (by default fewer than 10 sessions)",
    "rich": "users with at least as many",
    "low-similarity": "users whose clicks in the feed and after searches share few categories, below the median",
    "high-similarity": "the same, from the median up",
    "cold-user": "users with few clicks before the request",
    "cold-item": "targets never clicked in training",
    "new-user": "users without an event before the split",
    "known-user": "users with an event before the split",
    "new-item": "targets without a click before the split",
    "known-item": "targets with a click before the split",
    "all": "all targets, new and repeated",
    "repeat": "targets the user had clicked before the request",
    "new": "targets the user had not clicked",
}


@dataclass(frozen=True)
class RunPage:
    """What the report shows of one run beside its figures.

    settings, environment: as in config.json and environment.json, nested as they like.
    rows: of log.jsonl: `event` 'step' with step, loss and loss parts, or 'validate' with epoch and judge.
    """

    label: str
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = field(default=())


@dataclass(frozen=True)
class TuningPage:
    """What the report shows of how a model's settings were chosen.

    trials: the judge's validation figure of each try, in order, the preset's first. chosen: the best one's settings.
    seconds: of all tries.
    """

    model: str
    trials: Sequence[float]
    chosen: Mapping[str, Any]
    seconds: float


def write_report(
    comparison: Comparison,
    runs: Sequence[RunPage],
    path: Path | str,
    *,
    title: str = "searec comparison",
    links: Sequence[tuple[str, str]] = (),
    tuning: Sequence[TuningPage] = (),
    judge: Judge = "full-ndcg@10",
    notes: Sequence[str] = (),
) -> None:
    """Write the report to `path`.

    Args:
        comparison: what the page shows.
        runs: settings and training log of each run.
        path: of the HTML file.
        title: of the page.
        links: names and addresses of pages that belong to it.
        tuning: how settings were chosen, where they were.
        judge: by which metric.
        notes: what a reader has to know about the whole.

    Raises:
        StorageError: the disk refuses the write; what was there before is untouched.
    """
    write_text(path, render(comparison, runs, title=title, links=links, tuning=tuning, judge=judge, notes=notes))


def render(
    comparison: Comparison,
    runs: Sequence[RunPage],
    *,
    title: str,
    created: datetime | None = None,
    links: Sequence[tuple[str, str]] = (),
    tuning: Sequence[TuningPage] = (),
    judge: Judge = "full-ndcg@10",
    notes: Sequence[str] = (),
) -> str:
    """Return the report as HTML text; arguments as `write_report`, and the time it shows (now if None).

    Args:
        comparison: the tables.
        runs: settings and logs of the runs.
        title: of the page.
        created: the time it shows.
        links: as for `write_report`.
        tuning: as for `write_report`.
        judge: as for `write_report`.
        notes: as for `write_report`.
    """
    labels = dict.fromkeys(row.label for table in comparison.tables for row in table.rows)
    series = {
        label: number for number, label in enumerate((*labels, *(run.label for run in runs if run.label not in labels)))
    }
    names = _page_names(runs)
    return render_page(
        "comparison.html.j2",
        title=title,
        created=created,
        comparison=comparison,
        alpha=comparison.alpha,
        level=f"{100 * comparison.level:g} %",
        sections=[_section(table, series, comparison.alpha) for table in comparison.tables],
        series=series,
        links=links,
        notes=notes,
        tuning=_tuning(tuning, judge),
        training=_training(runs, names, series),
        settings=_side_by_side(names, [run.settings for run in runs]),
        environment=_side_by_side(names, [run.environment for run in runs]),
        has_lists=any(metric.reads_lists for table in comparison.tables for metric in table.metrics),
        metric_meanings=list(
            dict.fromkeys(
                (metric.title, metric.description)
                for table in comparison.tables
                for metric in (*table.metrics, *table.totals)
            )
        ),
        slice_meanings=[
            (name, text)
            for name, text in SLICE_MEANINGS.items()
            if any(name in table.slices for table in comparison.tables)
        ],
    )


def mark(cell: Cell, alpha: float) -> str:
    """'up' or 'down' where the run differs from the baseline after correction, else ''.

    Args:
        cell: of a run.
        alpha: bound of the corrected p.
    """
    difference = cell.difference
    if difference is None or not difference.p_holm < alpha:
        return ""
    return "up" if difference.mean > 0 else "down"


def _section(table: Table, series: Mapping[str, int], alpha: float) -> dict[str, Any]:
    names = tuple(metric.name for metric in table.metrics)
    best = [metric for metric in table.metrics if metric.higher_is_better]
    heading = f"{TASK_NAMES[table.task]}, {PROTOCOL_NAMES[table.protocol]}"
    populated = [name for name, users in table.slices.items() if users]

    def point(row: Row, cell: Cell) -> Point:
        return Point(row.label, series[row.label], cell.mean, cell.low, cell.high)

    return {
        "id": table.name.replace("/", "-"),
        "heading": heading if table.part == "test" else f"{heading} ({PART_NAMES.get(table.part, table.part)})",
        "table": table,
        "glance": _glance(table, alpha),
        "best": [metric.heading for metric in best],
        "metrics": _grid(table, lambda row: row.metrics, names, {metric.name for metric in best}, alpha),
        "slices": _grid(table, lambda row: row.slices, tuple(table.slices), set(table.slices), alpha),
        "headline_pairs": [
            (row.label, row.metrics[table.headline.name]) for row in table.rows if row.label != table.baseline
        ],
        "pairs": [
            (metric.heading, row.label, row.metrics[metric.name])
            for metric in table.metrics
            for row in table.rows
            if row.label != table.baseline
        ],
        "bars": [(metric.heading, _bars(table, metric, point, heading)) for metric in best],
        "dots": _slice_panels(table, populated, point, heading),
    }


def _grid(
    table: Table, of: Callable[[Row], Mapping[str, Cell]], names: tuple[str, ...], ranked: set[str], alpha: float
) -> list[tuple[Row, list[dict[str, Any]]]]:
    """Rows of cells for the template: the cell, whether it is the column's best, its mark."""
    cells = [of(row) for row in table.rows]
    best = {
        name: max((one[name].mean for one in cells if not math.isnan(one[name].mean)), default=math.inf)
        for name in ranked
    }
    return [
        (
            row,
            [
                {"cell": one[name], "best": one[name].mean == best.get(name), "mark": mark(one[name], alpha)}
                for name in names
            ],
        )
        for row, one in zip(table.rows, cells, strict=True)
    ]


def _glance(table: Table, alpha: float) -> dict[str, Any]:
    """The best run by the headline metric, and its rival: the baseline, or the next best."""
    headline = table.headline.name
    by_mean = sorted(table.rows, key=lambda row: row.metrics[headline].mean, reverse=True)
    best = by_mean[0]
    glance: dict[str, Any] = {"best": best.label, "cell": best.metrics[headline], "rival": None}
    if best.label != table.baseline:
        difference, rival, sign = best.metrics[headline].difference, table.baseline, 1.0
    elif len(by_mean) > 1:
        difference, rival, sign = by_mean[1].metrics[headline].difference, by_mean[1].label, -1.0
    else:
        return glance
    assert difference is not None  # only the baseline has none
    return glance | {
        "rival": rival,
        "lead": sign * difference.mean,
        "p": difference.p_holm,
        "apart": difference.p_holm < alpha,
    }


def _bars(table: Table, metric: Metric, point: Callable[[Row, Cell], Point], heading: str) -> Markup:
    title = f"{heading}, {table.part}: {metric.heading} of each run"
    return Markup(bars([point(row, row.metrics[metric.name]) for row in table.rows], title=title))


def _slice_panels(
    table: Table, populated: list[str], point: Callable[[Row, Cell], Point], heading: str
) -> list[tuple[str, Markup]]:
    """Slices that belong together in one panel, all panels on one scale."""
    groups = [present for pair in PAIRS if (present := [name for name in pair if name in populated])]
    paired = {name for group in groups for name in group}
    groups += [[name] for name in populated if name not in paired]
    cells = [row.slices[name] for row in table.rows for name in populated]
    bounds = [value for cell in cells for value in (cell.mean, cell.low, cell.high) if not math.isnan(value)]
    if not bounds:
        return []
    low, high = min(bounds), max(bounds)
    edge = 0.05 * ((high - low) or 1.0)
    limits = (low - edge, high + edge)
    panels = []
    for group in groups:
        drawn = [
            (f"{name}\nn = {table.slices[name]:,}", [point(row, row.slices[name]) for row in table.rows])
            for name in group
        ]
        caption = " and ".join(group)
        title = f"{heading}, {table.part}: {table.headline.heading} for {caption}"
        panels.append((caption, Markup(dots(drawn, title=title, limits=limits, widest=max(populated, key=len)))))
    return panels


def _training(runs: Sequence[RunPage], names: list[str], series: Mapping[str, int]) -> dict[str, Any]:
    """Validation of all runs in a panel for each judge, each run's losses in its own; runs without a log are named."""
    lines: dict[Judge, list[Line]] = {judge: [] for judge in JUDGES}
    panels = []
    for run, name in zip(runs, names, strict=True):
        validated = [row for row in run.rows if row.get("event") == "validate"]
        for judge, drawn_for in lines.items():
            epochs, scores = _column(validated, "epoch", judge)
            if epochs:
                drawn_for.append(Line(name, series[run.label], epochs, scores))
        steps = [row for row in run.rows if row.get("event") == "step"]
        losses = dict.fromkeys(
            key for row in steps for key, value in row.items() if key not in NO_LOSS and _is_number(value)
        )
        drawn = [Line(key, number, *_column(steps, "step", key)) for number, key in enumerate(losses)]
        if len(drawn) == 2 and drawn[0].y == drawn[1].y:
            drawn = drawn[:1]  # a single part of weight 1 is the total
        if drawn:
            legend = [(line.label, line.series % COLOURS) for line in drawn]
            panels.append(
                {
                    "label": name,
                    "legend": legend,
                    "svg": Markup(curves(drawn, title=f"Training loss of {name}", across="step")),
                }
            )
    shown = {line.label for of_judge in lines.values() for line in of_judge} | {panel["label"] for panel in panels}
    return {
        "validation": [
            {
                "name": JUDGES[judge],
                "legend": [(line.label, line.series % COLOURS) for line in of_judge],
                "svg": Markup(curves(of_judge, title=f"Validation {judge} of each run", across="epoch", marked=True)),
            }
            for judge, of_judge in lines.items()
            if of_judge
        ],
        "panels": panels,
        "without": [name for name in names if name not in shown],
    }


def _tuning(pages: Sequence[TuningPage], judge: Judge) -> dict[str, Any]:
    """The best validation figure so far by trial, a line a model; those whose settings are not searched are named."""
    searched = [page for page in pages if page.trials]
    lines = [
        Line(page.model, number, list(range(1, len(page.trials) + 1)), list(np.maximum.accumulate(page.trials)))
        for number, page in enumerate(searched)
    ]
    title = f"Best validation {judge} by settings tried"
    return {
        "judge": JUDGES[judge],
        "title": title,
        "pages": [{"page": page, "best": max(page.trials), "chosen": _flat(page.chosen)} for page in searched],
        "legend": [(line.label, line.series % COLOURS) for line in lines],
        "plot": Markup(curves(lines, title=title, across="settings tried")) if lines else None,
        "without": [page.model for page in pages if not page.trials],
    }


def _column(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> tuple[list[float], list[float]]:
    present = [(float(row[x]), float(row[y])) for row in rows if _is_number(row.get(x)) and _is_number(row.get(y))]
    return [a for a, _ in present], [b for _, b in present]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _page_names(runs: Sequence[RunPage]) -> list[str]:
    """The runs' labels; runs that share one are numbered."""
    labels = [run.label for run in runs]
    return [
        label if labels.count(label) == 1 else f"{label} #{labels[: i + 1].count(label)}"
        for i, label in enumerate(labels)
    ]


def _side_by_side(names: list[str], values: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested values as rows of texts, those that differ between runs apart from those all runs share."""
    flat = [_flat(value) for value in values]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = [(key, [one.get(key) for one in flat]) for key in keys]
    differing = []
    for key, texts in rows:
        if len(set(texts)) > 1:
            given = [text for text in texts if text is not None]
            usual = max(given, key=given.count)
            odd = len(set(given)) > 1
            differing.append((key, [(text, odd and text is not None and text != usual) for text in texts]))
    return {
        "names": names,
        "differing": differing,
        "shared": [(key, texts[0]) for key, texts in rows if len(set(texts)) == 1],
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = (
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            )
    return flat
