"""What a recipe is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from searec.data.schema import Part
from searec.evaluate.evaluation import PROTOCOLS, Protocol
from searec.models import Preset


@dataclass(frozen=True)
class Planned:
    """One line of a table: a model, its settings over a preset, and the seeds it is trained with."""

    label: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: Preset = "small"
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Recipe:
    """One experiment.

    full_requests: score so many requests in the full protocol, drawn with a fixed seed and the same for every run; None for all.
    """

    name: str
    runs: tuple[Planned, ...]
    protocols: tuple[Protocol, ...] = PROTOCOLS
    part: Part = "test"
    full_requests: int | None = None
