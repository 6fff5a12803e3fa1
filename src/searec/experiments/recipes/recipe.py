"""What a recipe is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from searec.config import nearest
from searec.data.schema import Part
from searec.errors import SettingsError
from searec.evaluation.result import PROTOCOLS, Protocol
from searec.models.base import Preset


@dataclass(frozen=True)
class Planned:
    """One line of a table: a model, its settings over a preset, and the seeds it is trained with.

    unseen: share of users kept from training (`split.Split`).
    full_requests: score only so many requests in the full protocol, drawn with a fixed seed; None for all. Runs are compared on
    the requests they share.
    start, teacher: the label of an earlier line, whose run of the same seed this one starts from or is taught by.
    """

    label: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: Preset = "small"
    seeds: tuple[int, ...] = (0,)
    full_requests: int | None = None
    unseen: float = 0.0
    start: str | None = None
    teacher: str | None = None

    def folder(self, seed: int) -> str:
        """The name of the run folder of a seed."""
        return self.label if len(self.seeds) == 1 else f"{self.label}-{seed}"


@dataclass(frozen=True)
class Recipe:
    """One experiment: its runs, and how they are measured."""

    name: str
    runs: tuple[Planned, ...]
    protocols: tuple[Protocol, ...] = PROTOCOLS
    part: Part = "test"

    def line(self, label: str) -> Planned:
        """The line of a label."""
        return next(run for run in self.runs if run.label == label)

    def only(self, labels: Sequence[str]) -> "Recipe":
        """The recipe with the lines of these labels alone.

        Raises:
            SettingsError: a label it does not have.
        """
        known = [run.label for run in self.runs]
        for label in labels:
            if label not in known:
                raise SettingsError(f"no line {label!r} in the recipe", where=self.name, remedy=nearest(label, known))
        return replace(self, runs=tuple(run for run in self.runs if run.label in labels))

    def over(self, settings: Mapping[str, Any]) -> "Recipe":
        """The recipe with these settings in every line.

        Raises:
            SettingsError: a setting in which the lines differ, which would make them one.
        """
        for name in settings:
            if len({repr(run.settings.get(name)) for run in self.runs}) > 1:
                raise SettingsError(
                    f"the lines differ in {name!r}", where=self.name, expected="a setting that they share"
                )
        return replace(self, runs=tuple(replace(run, settings={**run.settings, **settings}) for run in self.runs))
