"""Transfer: a model that has both tasks beside the same model with one alone, by how much its users search.

Where together is worse than alone, the other task has done harm: negative transfer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import RunError
from searec.evaluation.compare import Cell, Comparison, Table, compare
from searec.evaluation.result import KEY, SLICE, Evaluation

TOGETHER, ALONE = "together", "alone"
BOUNDS = (0, 1, 5, 10, 20)
"""Where each group of users begins, by searches before the request."""


@dataclass(frozen=True)
class Transfer:
    """What one model's tasks do for each other.

    comparison: tables with the rows `TOGETHER` and `ALONE`, the latter the baseline; the slices are users by searches
        before the
        request.
    learnt: task -> training requests of the task alone, and together. They differ where the other task's held-out
        events end what
        may be learned from earlier.
    without: what the model alone does without, in words.
    """

    model: str
    comparison: Comparison
    learnt: dict[Task, tuple[int, int]]
    without: str

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        learnt = {task: {ALONE: alone, TOGETHER: both} for task, (alone, both) in self.learnt.items()}
        return {"without": self.without, "learnt": learnt, **self.comparison.as_json()}


def transfer(
    split: Split,
    together: Sequence[Evaluation],
    alone: Mapping[Task, Sequence[Evaluation]],
    *,
    learnt: Mapping[Task, tuple[int, int]],
    without: str,
) -> Transfer:
    """Compare the evaluations of one model with both tasks (a seed each, any protocol) with those of each task alone.

    Args:
        split: of the evaluations.
        together: evaluations of the model with both tasks.
        alone: task -> evaluations of the model with that task alone.
        learnt: as in `Transfer`.
        without: as in `Transfer`.

    Raises:
        RunError: nothing to compare, or runs without a common request.
    """
    models = {one.model for one in (*together, *(one for each in alone.values() for one in each))}
    if len(models) != 1:
        raise RunError(
            "transfer is of one model", got=", ".join(sorted(models)) or "none", expected="runs of one model"
        )
    both = [one for one in together if one.task in alone]
    apart = [one for task, each in alone.items() for one in each if one.task == task]
    evaluations = [
        by_searches(replace(one, label=label), split)
        for label, each in ((ALONE, apart), (TOGETHER, both))
        for one in each
    ]
    return Transfer(models.pop(), compare(evaluations, baseline=ALONE), dict(learnt), without)


def by_searches(evaluation: Evaluation, split: Split) -> Evaluation:
    """The same scores, the requests grouped by the searches of their user before them.

    Args:
        evaluation: of a run.
        split: whose requests were scored.
    """
    requests = split.held_out(evaluation.task, evaluation.part)
    data = split.data
    searches = pl.DataFrame(
        {
            "user_id": data.users.to_external(requests.user),
            "time": requests.time,
            "target": requests.target,
            "searches": requests.search_end - data.searches.offsets[requests.user],
        },
        schema_overrides={"time": pl.Int64, "target": pl.Int32, "searches": pl.Int64},
    )
    known = evaluation.scores.select(pl.exclude(f"^{SLICE}.*$")).join(
        searches, on=KEY, how="left", maintain_order="left"
    )
    if known["searches"].null_count():
        raise RunError(
            "scores of other requests than this split's", where=evaluation.label, remedy="evaluate the run again"
        )
    ends = (*BOUNDS[1:], None)
    groups = [
        pl.col("searches").is_between(low, high or float("inf"), closed="left").alias(SLICE + _name(low, high))
        for low, high in zip(BOUNDS, ends, strict=True)
    ]
    return replace(evaluation, scores=known.select(pl.exclude("searches"), *groups))


def cells(table: Table) -> tuple[Cell, Cell, dict[str, tuple[Cell, Cell]]]:
    """Alone and together: the headline metric over all requests, and in each group that holds any."""
    rows = {row.label: row for row in table.rows}
    alone, both = rows[ALONE], rows[TOGETHER]
    groups = {name: (alone.slices[name], both.slices[name]) for name, requests in table.slices.items() if requests}
    return alone.metrics[table.headline.name], both.metrics[table.headline.name], groups


def _name(low: int, high: int | None) -> str:
    """Return the name of a group of users.

    >>> _name(0, 1), _name(1, 5), _name(20, None)
    ('no search', '1 to 4', '20 or more')
    """
    if high is None:
        return f"{low} or more"
    return "no search" if high == 1 else f"{low} to {high - 1}"
