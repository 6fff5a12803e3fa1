"""The state of a training loop: its counters, its report, and the losses that no row of the log holds yet."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from accelerate.utils import gather_object
from torch import Tensor


@dataclass(frozen=True)
class TrainReport:
    """How a training went."""

    best: Mapping[str, float]  # all metrics of the best validation
    best_epoch: int  # counted from 1
    epochs: int
    steps: int
    examples: int  # over all processes
    seconds: float  # over all parts of a resumed run
    stopped_early: bool  # whether validation stopped getting better


@dataclass
class LoopState:
    """Counters; all of it is in the checkpoint."""

    epoch: int = 0  # epochs done
    step: int = 0  # batches of this epoch done
    steps: int = 0  # batches done in all
    examples: int = 0  # of all processes
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    waited: int = 0  # validations since the best one
    window: list[dict[str, float]] = field(default_factory=list)  # losses of steps that no row of the log holds yet
    loss: float = math.nan  # of the last row
    rows: int = 0
    finished: bool = False
    stopped_early: bool = False

    def report(self) -> TrainReport:
        """Return the report of the training so far."""
        return TrainReport(
            self.best, self.best_epoch, self.epoch, self.steps, self.examples, self.seconds, self.stopped_early
        )

    def window_means(self) -> dict[str, float]:
        """Return the mean of each loss over the window, and empty it."""
        by_name: dict[str, list[float]] = defaultdict(list)
        for losses in self.window:
            for name, value in losses.items():
                by_name[name].append(value)
        self.window.clear()
        return {name: math.fsum(values) / len(values) for name, values in by_name.items()}


def fetch_losses(losses: list[tuple[Tensor, dict[str, Tensor]]]) -> list[dict[str, float]]:
    """Return the losses of some steps, means over the processes, from the device; NaN if one of them is not finite.

    Args:
        losses: of each step its total and what is logged beside it, by name.
    """
    if not losses:
        return []
    values = iter(
        torch.stack([value.float() for total, parts in losses for value in (total, *parts.values())]).tolist()
    )
    local = [{name: next(values) for name in ("loss", *parts)} for _, parts in losses]
    means = []
    for processes in zip(*gather_object([local]), strict=True):
        names = dict.fromkeys(name for step in processes for name in step)
        by_name = {name: [step[name] for step in processes if name in step] for name in names}
        means.append({name: _mean(values) for name, values in by_name.items()})
    return means


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
