"""What one model's tasks do for each other, as one HTML page that needs nothing else."""

from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from searec.evaluation.compare import ALPHA, Difference, Table
from searec.evaluation.transfer import Transfer, cells
from searec.files import write_text
from searec.reports.page import PROTOCOL_NAMES, TASK_NAMES, render_page
from searec.reports.plots import Point, dots


def write_transfer(result: Transfer, path: Path | str) -> None:
    """Write the page.

    Args:
        result: what is shown.
        path: of the file.

    Raises:
        StorageError: the disk refuses the write; what was there before is untouched.
    """
    write_text(path, render(result))


def render(result: Transfer, *, created: datetime | None = None) -> str:
    """Return the page as HTML text; the time it shows is now if `created` is None.

    Args:
        result: what is shown.
        created: the time it shows.
    """
    return render_page(
        "transfer.html.j2",
        title=f"{result.model}: each task alone and together",
        created=created,
        result=result,
        alpha=ALPHA,
        level=f"{100 * result.comparison.level:g} %",
        sections=[_section(table, result) for table in result.comparison.tables],
    )


def verdict(difference: Difference) -> str:
    """What a corrected test says of together less alone, in a word or two."""
    if not difference.p_holm < ALPHA:
        return "not shown to differ"
    return "together is better" if difference.mean > 0 else "negative transfer"


def _section(table: Table, result: Transfer) -> dict[str, Any]:
    alone, together, groups = cells(table)
    assert together.difference is not None  # alone is the baseline
    heading = f"{TASK_NAMES[table.task]}, {PROTOCOL_NAMES[table.protocol]}"
    rows = [("all", table.requests, alone, together, together.difference)]
    rows += [
        (name, table.slices[name], one, both, both.difference)
        for name, (one, both) in groups.items()
        if both.difference is not None
    ]
    points = [(name, number > 0, difference) for number, (name, _, _, _, difference) in enumerate(rows)]
    bounds = [0.0, *(value for _, _, difference in points for value in (difference.low, difference.high))]
    edge = 0.05 * ((max(bounds) - min(bounds)) or 1.0)
    drawn = [(name, [Point(name, int(inside), one.mean, one.low, one.high)]) for name, inside, one in points]
    title = f"{heading}: {table.headline.heading} of together less alone"
    limits = (min(bounds) - edge, max(bounds) + edge)
    return {
        "heading": heading,
        "table": table,
        "verdict": verdict(together.difference),
        "alone": alone,
        "together": together,
        "learnt": result.learnt.get(table.task),
        "rows": rows,
        "metrics": [
            (one.heading, row.metrics[one.name].mean, other.metrics[one.name].mean, other.metrics[one.name].difference)
            for row, other in [sorted(table.rows, key=lambda row: row.label)]
            for one in table.metrics
        ],
        "plot": Markup(
            dots(drawn, title=title, limits=limits, widest=max((name for name, _ in drawn), key=len), zero=True)
        ),
    }
