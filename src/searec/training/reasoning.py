"""The phase that gives a trained base its reasoning, or leaves it out."""

from collections.abc import Mapping
from typing import Any

import torch
from typing_extensions import override

from searec.models.base import Model
from searec.models.capabilities import LearnsReasoning, supports
from searec.training.checkpoint import snapshot
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase


class ReasoningPhase(TrainingPhase):
    """Learns the reasoning of a `capabilities.LearnsReasoning` on its base, and keeps it if validation is better.

    A model that has learned it with the base is only tried without.
    """

    name = "reasoning"

    @override
    def is_configured(self, model: Model) -> bool:
        reads = bool(getattr(model, "reads_searches", False))
        return supports(model, LearnsReasoning) and reads and bool(model.reasoning_weights())

    @override
    def run(self, model: Any, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        context.epochs[self.name] = (0, 0)
        if model.reasons:
            return self._closed(model, context, before)
        base = snapshot(model.state())
        model.requires_grad_(False)
        for weight in model.reasoning_weights():
            weight.requires_grad_(True)
        model.is_open.fill_(True)
        config = context.config
        try:
            steps = max(1, config.min_steps)
            best = context.train(self.name, model, model, context.validate, steps, batch=config.batch, lr=config.lr)
        finally:
            model.requires_grad_(True)
        if context.budgets is None and best[context.judge] <= before[context.judge]:
            model.load_state(base)
            return PhaseReport(
                self.name, {**before, f"{context.judge}.{self.name}": best[context.judge]}, is_kept=False
            )
        return PhaseReport(self.name, best, is_kept=True)

    def _closed(self, model: Any, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        """Leave out what was learned with the base, if validation is better so."""
        if context.budgets is not None:
            model.is_open.fill_(bool(context.budgets[self.name].metrics["is_open"]))
            return PhaseReport(self.name, context.budgets[self.name].metrics, is_kept=True)
        model.is_open.fill_(False)
        with torch.no_grad():
            closed = context.validate(model)
        is_open = closed[context.judge] <= before[context.judge]
        model.is_open.fill_(is_open)
        return PhaseReport(self.name, {**(before if is_open else closed), "is_open": float(is_open)}, is_kept=True)
