"""What a study searches: the values that a setting of a model, or of its training, may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A number between two ends, both included; `log` draws it evenly by its logarithm."""

    low: float
    high: float
    log: bool = False


SearchSpace = Mapping[str, Choice | Range]
"""Setting -> where its values are searched. Every preset lies inside."""

LEARNING_RATE = Range(5e-4, 1e-2, log=True)
DROPOUT = Range(0.0, 0.6)
