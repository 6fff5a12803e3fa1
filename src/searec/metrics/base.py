"""Metric: a named figure of ranked lists with a depth, and the results it is computed from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from searec.data.ragged import Ints, Ragged
from searec.data.schema import TASKS, Task
from searec.errors import DataError, SettingsError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Results:
    """What R requests got, with one relevant item each (the target). A metric reads the fields that it needs.

    Attributes:
        ranks: [R] rank of each target, 1 + better + ties / 2.
        targets: [R] internal ids of the relevant items.
        lists: [R, K] the ranked items, best first, 0 where absent.
        clicks: [N + 1] training clicks of each item; clicks[0] is not read.
        categories: row n holds the categories of internal id n, row 0 is empty; N + 1 rows.
        novel: [R, K] whether each listed item is new to its user: no category of it was clicked before.
        weights: [R] 1 / chance that the position at which the target was clicked is examined.
    """

    ranks: Floats
    targets: Ints | None = None
    lists: Ints | None = None
    clicks: Ints | None = None
    categories: Ragged | None = None
    novel: Bools | None = None
    weights: Floats | None = None


@dataclass(frozen=True)
class Metric(ABC):
    """A figure of ranked lists. Subclasses are frozen dataclasses with a field `k` if they have a depth.

    Attributes:
        key: the name without the depth ("ndcg"), as in the registry.
        title: how pages print the name without the depth ("NDCG").
        description: one sentence that says what it measures, for pages and docs.
        reads: "ranks" if it follows from `Results.ranks` alone, so that it can be computed later at any depth; "lists"
            if it reads the lists of the full protocol; "novel" if it also reads `Results.novel`; "weights" if it
            follows from `Results.ranks` and `Results.weights`.
        tasks: the tasks it is defined for.
        higher_is_better: False if a lower value is better, None if neither is.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    reads: ClassVar[Literal["ranks", "lists", "novel", "weights"]] = "ranks"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    higher_is_better: ClassVar[bool | None] = True

    def __post_init__(self) -> None:
        depth = self.depth
        if depth is not None and (not isinstance(depth, int) or depth < 1):
            raise SettingsError(
                f"the depth of {self.key} must be a positive whole number", got=depth, expected="k >= 1"
            )

    @property
    def depth(self) -> int | None:
        """Return k, or None if the whole list counts."""
        return getattr(self, "k", None)

    @property
    def reads_lists(self) -> bool:
        """Return whether ranks, and weights of the requests, are not enough."""
        return self.reads in ("lists", "novel")

    @property
    def name(self) -> str:
        """Return key and depth, as in tables, JSON and `--metrics`: "ndcg@10"."""
        return self.key if self.depth is None else f"{self.key}@{self.depth}"

    @property
    def heading(self) -> str:
        """Return title and depth, as pages print them: "NDCG@10"."""
        return self.title if self.depth is None else f"{self.title}@{self.depth}"

    def applies(self, task: Task, protocol: str) -> bool:
        """Return whether the metric is defined for a task and protocol; lists exist in the full protocol only.

        Args:
            task: "recommend" or "search".
            protocol: "sampled" or "full".
        """
        return task in self.tasks and (not self.reads_lists or protocol == "full")

    def top(self, results: Results) -> Ints:
        """Return the first k items of each list, [R, <= k].

        Raises:
            DataError: there are no lists.
        """
        return np.asarray(self.required(results, "lists")[:, : self.depth])

    def required(self, results: Results, field: str) -> Any:
        """Return a field of the results.

        Args:
            results: what was measured.
            field: the name of the field.

        Raises:
            DataError: the results do not hold it.
        """
        if (value := getattr(results, field)) is None:
            raise DataError(f"{self.name} cannot be computed", got=f"results without {field}", expected=field)
        return value


class RequestMetric(Metric):
    """A metric with a value per request; the figure is the mean."""

    @abstractmethod
    def values(self, results: Results) -> Floats:
        """Return one value per request, [R]."""


class RankMetric(RequestMetric):
    """A metric per request that follows from the rank of the target alone."""

    @abstractmethod
    def of_ranks(self, ranks: ArrayLike) -> Floats:
        """Return one value per request [R], from the ranks [R] of the targets (from 1)."""

    def values(self, results: Results) -> Floats:
        """Return one value per request, [R]."""
        return self.of_ranks(results.ranks)


class TotalMetric(Metric):
    """A metric of all lists together, which no mean over requests gives."""

    @abstractmethod
    def total(self, results: Results) -> float:
        """Return the figure of all lists."""


def check_ids(top: Ints, items: int) -> None:
    """Refuse lists with an internal id outside 0..items.

    Args:
        top: [R, K] internal ids.
        items: number of items.

    Raises:
        DataError: there is one.
    """
    low, high = int(np.min(top, initial=0)), int(np.max(top, initial=0))
    if low < 0 or high > items:
        raise DataError("a list holds an id that no item has", got=low if low < 0 else high, expected=f"0..{items}")
