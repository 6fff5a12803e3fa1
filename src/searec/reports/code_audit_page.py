"""The audit as one HTML page that needs nothing else."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from searec.files import write_text
from searec.reports.code_audit import Audit, RunAudit
from searec.reports.page import render_page
from searec.reports.plots import Line, curves, histogram, scatter
from searec.semantic_ids.user_code_table import SIDES

OURS, CHANCE = 0, 1
GROUPS = ("sparse", "rich")
_METRIC = "ndcg@5"


def write_audit(audit: Audit, path: Path | str, *, title: str = "searec audit of gserec") -> None:
    """Write the page.

    Args:
        audit: what is shown.
        path: of the file.
        title: of the page.

    Raises:
        StorageError: the disk refuses the write; what was there before is untouched.
    """
    write_text(path, render(audit, title=title))


def render(audit: Audit, *, title: str, created: datetime | None = None) -> str:
    """Return the page as HTML text; the time it shows is now if `created` is None.

    Args:
        audit: what is shown.
        title: of the page.
        created: the time it shows.
    """
    return render_page(
        "code_audit.html.j2",
        title=title,
        created=created,
        sides=SIDES,
        runs=[_section(run) for run in audit.runs],
        comparison=None if audit.comparison is None else audit.comparison.tables[0],
        metric=_METRIC,
        depth=_depth(audit),
        groups=GROUPS,
    )


def _section(run: RunAudit) -> dict[str, Any]:
    plots = []
    for reach in run.reach:
        assert reach.chance is not None
        name = f"{run.label}, seed {run.seed}, {reach.side}"
        groups = [(OURS, reach.counts.astype(float)), (CHANCE, reach.chance.counts.astype(float))]
        svg = histogram(groups, title=f"rich searchers in reach, {name}", across="rich searchers that share a code")
        plots.append({"side": reach.side, "svg": Markup(svg)})
    places = run.places
    by_side = scatter([(0, places[:, 0]), (1, places[:, 1])], title=f"t-SNE by side, {run.label}, seed {run.seed}")
    middle = places.mean(axis=1)
    by_kind = scatter(
        [(2, middle[~run.rich]), (3, middle[run.rich])], title=f"t-SNE by searches, {run.label}, seed {run.seed}"
    )
    return {"run": run, "reach": plots, "by_side": Markup(by_side), "by_kind": Markup(by_kind)}


def _depth(audit: Audit) -> Markup | None:
    """NDCG@5 by K for sparse and rich searchers, if the runs differ in K alone at two depths at least."""
    if audit.comparison is None:
        return None
    rows = {row.label: row for row in audit.comparison.tables[0].rows}
    by_depth = {
        depth: rows[label] for label, depth in sorted(audit.depths.items(), key=lambda pair: pair[1]) if label in rows
    }
    if len(by_depth) < 2:
        return None
    lines = []
    for series, group in enumerate(GROUPS):
        values = np.array([row.slices[group].mean for row in by_depth.values()])
        finite = np.isfinite(values)
        if finite.any():
            lines.append(Line(group, series, list(np.array(list(by_depth))[finite]), list(values[finite])))
    return Markup(curves(lines, title="NDCG@5 by depth", across="K", marked=True)) if lines else None
