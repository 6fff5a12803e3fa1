"""Comparisons as lines on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from searec.data.dataset import Dataset
    from searec.data.schema import Part, Task
    from searec.data.split import Split
    from searec.evaluation.compare import Comparison, Table

_MOST_COLUMNS = 6
_MOST_NAMES = 5
_MOST_CHARACTERS = 40
_USUAL = ("hit@1", "hit@10", "ndcg@5", "ndcg@10", "coverage@10")
"""What is printed of the default metrics; a shorter list of metrics is printed whole."""


def print_left_out(split: Split, tasks: Sequence[Task], part: Part) -> None:
    """A line on the users who are left out of the sampled protocol, if there are any."""
    from searec.data.candidates import users_left_out

    users = list(dict.fromkeys(user for task in tasks for user in users_left_out(split, task, part)))
    if users:
        names = ", ".join(repr(user) for user in users[:_MOST_NAMES]) + (", ..." if len(users) > _MOST_NAMES else "")
        has = "1 user has" if len(users) == 1 else f"{len(users)} users have"
        print(f"  {has} clicked nearly every item and cannot be ranked among {part} candidates, so left out: {names}")


def print_unusable_labels(data: Dataset) -> None:
    """A line on the category labels that no interest is made of, if there are any."""
    from searec.interests.category_index import unusable_labels

    labels = unusable_labels(data)
    if labels:
        names = ", ".join(_shortened(label) for label in labels[:_MOST_NAMES]) + ", ..." * (len(labels) > _MOST_NAMES)
        are = "1 category label has no word or is too long to be an interest, and is"
        if len(labels) > 1:
            are = f"{len(labels)} category labels have no word or are too long to be interests, and are"
        print(f"  {are} left out: {names}")


def _shortened(label: str) -> str:
    return repr(label if len(label) <= _MOST_CHARACTERS else label[:_MOST_CHARACTERS] + "...")


def print_tables(comparison: Comparison, groups: Sequence[str] = ()) -> None:
    """The headline figures of every table, a line a run; then the headline metric within slices of these names.

    The repeats beside a table of new targets, and the users and items that a global split makes new, always are.

    Raises:
        SettingsError: no slice of the name.
    """
    from searec.evaluation.slices import NEWCOMERS

    for table in comparison.tables:
        names = [metric.name for metric in (*table.metrics, *table.totals)]
        if len(names) > _MOST_COLUMNS:
            names = [name for name in _USUAL if name in names] or names
        targets = "new targets" if table.targets == "new" else "requests"
        print(f"\n{table.task}, {table.protocol}, {table.part}: {table.requests:,} {targets}")
        wide = max(16, *(len(row.label) for row in table.rows)) + 1
        print("  " + " " * wide + "".join(f"{name:>{_width(name)}}" for name in names) + f"{'p (Holm)':>12}")
        for row in table.rows:
            values = "".join(
                f"{row.metrics[name].mean if name in row.metrics else row.totals[name]:>{_width(name)}.4f}"
                for name in names
            )
            difference = row.metrics[table.headline.name].difference
            p = "baseline" if difference is None else f"{difference.p_holm:.4f}"
            print(f"  {row.label:<{wide}}{values}{p:>12}")
        apart = ("repeat",) if table.targets == "new" else ()
        for group in dict.fromkeys((*groups, *(name for name in (*apart, *NEWCOMERS) if table.slices.get(name)))):
            print_slice(table, group)
    print()


def _width(name: str) -> int:
    """Columns of a metric's figures."""
    return max(10, len(name) + 2)


def print_slice(table: Table, group: str) -> None:
    """The headline metric within a slice, a line a run: mean, interval, difference to the baseline and its corrected p.

    Raises:
        SettingsError: no slice of the name.
    """
    from searec.config import nearest
    from searec.errors import SettingsError

    if group not in table.slices:
        raise SettingsError("no such slice", got=repr(group), remedy=nearest(group, list(table.slices)))
    wide = max(16, *(len(row.label) for row in table.rows)) + 1
    print(f"  {group}: {table.slices[group]:,} requests")
    print("  " + " " * wide + f"{table.headline.name:>10}{'95 % interval':>20}{'difference':>12}{'p (Holm)':>12}")
    for row in table.rows:
        cell = row.slices[group]
        apart = cell.difference
        difference, p = ("", "baseline") if apart is None else (f"{apart.mean:+.4f}", f"{apart.p_holm:.4f}")
        print(
            f"  {row.label:<{wide}}{cell.mean:>10.4f}{f'{cell.low:.4f} to {cell.high:.4f}':>20}{difference:>12}{p:>12}"
        )
