"""What one task costs the other, as one HTML page that needs nothing else."""

from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from searec.data.schema import TASKS, Task
from searec.files import write_text
from searec.reports.page import TASK_NAMES, render_page
from searec.reports.plots import Line, curves, points
from searec.reports.tradeoff import METRIC, Series, Tradeoff


def write_tradeoff(
    result: Tradeoff, path: Path | str, *, title: str = "searec: recommendation against search in gensar"
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


def render(result: Tradeoff, *, title: str, created: datetime | None = None) -> str:
    """Return the page as HTML text; the time it shows is now if `created` is None.

    Args:
        result: what is shown.
        title: of the page.
        created: the time it shows.
    """
    return render_page(
        "tradeoff.html.j2",
        title=title,
        created=created,
        result=result,
        metric=METRIC,
        task_names=TASK_NAMES,
        plane=Markup(_plane(result)),
        by_shared=[]
        if result.series is None
        else [{"task": task, "svg": Markup(_by_shared(task, result.series))} for task in TASKS],
    )


def _plane(result: Tradeoff) -> str:
    """Plot recommendation against search.

    A point is a run that learnt both, a dashed line for one that learnt one of them.
    """
    marks = []
    for number, outcome in enumerate(result.outcomes):
        x, y = (None if (cell := outcome.ndcg[task]) is None else cell.mean for task in ("recommend", "search"))
        marks.append((number, outcome.label, x, y))
    return points(marks, title="search by recommendation", across=f"{METRIC.upper()} of recommendation")


def _by_shared(task: Task, series: Series) -> str:
    drawn = (("mean", 0), ("low", 24), ("high", 24))
    values, cells = list(map(float, series.values)), series.cells[task]
    lines = [Line(bound, number, values, [getattr(cell, bound) for cell in cells]) for bound, number in drawn]
    return curves(lines, title=f"{task} by shared codebooks", across=f"shared codebooks of {series.books}", marked=True)
