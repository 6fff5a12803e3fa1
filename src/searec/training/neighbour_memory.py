"""The phase that gives a model the exact pairs of items which its vectors cannot hold, weighted by validation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from typing_extensions import override

from searec.data.schema import Task
from searec.models.base import Model
from searec.models.capabilities import RemembersNeighbours, supports
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class NeighbourMemoryPhase(TrainingPhase):
    """Adds the cosines of itemknn to a `capabilities.RemembersNeighbours`, of each task by the best of some weights.

    A task without a better weight does without; if none has one, the memory is left out.
    """

    name = "neighbours"
    weights = ("near.", "near_weight")

    @override
    def is_configured(self, model: Model) -> bool:
        return bool(getattr(model.config, "neighbours", False))

    @override
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        memory: Any = model
        if memory.has_neighbours:  # those of the run that it starts from
            memory.forget_neighbours()
            before = context.validate(model)
        memory.remember_neighbours(context.split)
        context.epochs[self.name] = (0, 0)
        if context.budgets is not None:
            metrics = context.budgets[self.name].metrics
            memory.weigh_neighbours({task: metrics[f"weight.{task}"] for task in model.train_tasks})
            return PhaseReport(self.name, metrics, is_kept=True)
        chosen = best_weights(model, context, before, memory.weigh_neighbours, WEIGHTS)
        memory.weigh_neighbours(chosen)
        is_kept = any(chosen.values())
        if not is_kept:
            memory.forget_neighbours()
        figures = context.validate(model) if is_kept else dict(before)
        return PhaseReport(self.name, {**figures, **{f"weight.{task}": w for task, w in chosen.items()}}, is_kept)

    @override
    def refresh(self, model: Model, context: PhaseContext) -> None:
        if supports(model, RemembersNeighbours) and model.has_neighbours:
            model.remember_neighbours(context.split)


def best_weights(
    model: Model,
    context: PhaseContext,
    before: Mapping[str, float],
    weigh: Callable[[Mapping[Task, float]], None],
    weights: Sequence[float],
    first: float = 0.0,
) -> dict[Task, float]:
    """Return the weight of each task that validation prefers.

    Args:
        model: with what is weighed.
        context: of the training.
        before: the metrics with the first weight.
        weigh: sets the weight of each task.
        weights: that are tried.
        first: the weight it has, which stays where none is better.
    """
    best = {task: before.get(f"{context.judge}.{task}", 0.0) for task in model.train_tasks}
    chosen: dict[Task, float] = dict.fromkeys(model.train_tasks, first)
    for weight in weights:
        weigh(dict.fromkeys(model.train_tasks, weight))
        with torch.no_grad():
            figures = context.validate(model)
        for task in model.train_tasks:
            figure = figures.get(f"{context.judge}.{task}", 0.0)
            if figure > best[task]:
                best[task], chosen[task] = figure, weight
    return chosen
