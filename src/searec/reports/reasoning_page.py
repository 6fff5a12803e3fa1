"""What reasoning does, as one HTML page that needs nothing else."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from searec.files import write_text
from searec.reports.page import render_page
from searec.reports.plots import Line, curves, points
from searec.reports.reasoning import GROUPS, VARIED, Movement, Reasoning

SIDES = ("feed", "search")
_METRIC = "ndcg@5"


def write_reasoning(
    result: Reasoning, path: Path | str, *, title: str = "searec: what reasoning does in lcr-ser"
) -> None:
    """Write the page.

    Args:
        result: what is shown.
        path: of the file.
        title: of the page.

    Raises:
        StorageError: the disk refuses the write; what was there before is untouched.
    """
    write_text(path, render(result, title=title))


def render(result: Reasoning, *, title: str, created: datetime | None = None) -> str:
    """Return the page as HTML text; the time it shows is now if `created` is None.

    Args:
        result: what is shown.
        title: of the page.
        created: the time it shows.
    """
    return render_page(
        "reasoning.html.j2",
        title=title,
        created=created,
        result=result,
        metric=_METRIC,
        groups=GROUPS,
        series=[
            {"name": VARIED[one.setting], "svg": Markup(_by_setting(one.setting, one.values, one.cells))}
            for one in result.series
        ],
        movements=[_movement(move) for move in result.movements if len(move.crossed) > 1 and len(move.alone)],
        latency=Markup(
            points(
                [(number, cost.label, cost.ms, cost.ndcg) for number, cost in enumerate(result.costs)],
                title="accuracy by cost",
                across="ms a request",
            )
        ),
        exits=[
            {
                "label": label,
                "svg": Markup(
                    curves(
                        [Line(label, 0, *map(list, zip(*curve, strict=True)))],
                        title=f"exits of {label}",
                        across="mean steps",
                        marked=True,
                    )
                ),
            }
            for label, curve in result.exits.items()
        ],
    )


def _by_setting(name: str, values: list[float], cells: list[Any]) -> str:
    drawn = (("mean", 0), ("low", 24), ("high", 24))
    lines = [Line(bound, series, values, [getattr(cell, bound) for cell in cells]) for bound, series in drawn]
    return curves(lines, title=f"{_METRIC} by {VARIED[name]}", across=VARIED[name], marked=True)


def _movement(move: Movement) -> dict[str, Any]:
    """Distances by step: a solid line with the cross term, a dashed one for each step without it."""
    steps = np.arange(len(move.crossed))
    lines = []
    for side in range(move.crossed.shape[1]):
        lines.append(Line(SIDES[side], side, list(steps), list(move.crossed[:, side])))
        lines.append(Line(f"{SIDES[side]} alone", side + 8, list(steps[1:]), list(move.alone[:, side])))
    return {
        "label": move.label,
        "svg": Markup(curves(lines, title=f"distance to the target by step, {move.label}", across="step")),
    }
