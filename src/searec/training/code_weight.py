"""The phase that chooses how much the log-probability of an identifier counts beside the score of the item."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from searec.models.base import Model
from searec.training.neighbour_memory import best_weights
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase

FIRST = 0.25
"""The weight while the model learns."""
WEIGHTS = (0.0, 0.5, 1.0, 2.0)


class CodeWeightPhase(TrainingPhase):
    """Gives each task of a model that `weigh_codes` the best of some weights by validation."""

    name = "code_weight"
    weights = ("log_p_weight",)

    @override
    def is_configured(self, model: Model) -> bool:
        return getattr(model.config, "log_p", None) == "auto" and bool(model.config.item_head)

    @override
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        writer: Any = model
        context.epochs[self.name] = (0, 0)
        if context.budgets is not None:
            metrics = context.budgets[self.name].metrics
            writer.weigh_codes({task: metrics[f"weight.{task}"] for task in model.train_tasks})
            return PhaseReport(self.name, metrics, is_kept=True)
        chosen = best_weights(model, context, before, writer.weigh_codes, WEIGHTS, FIRST)
        writer.weigh_codes(chosen)
        figures = context.validate(model)
        return PhaseReport(self.name, {**figures, **{f"weight.{task}": w for task, w in chosen.items()}}, is_kept=True)
