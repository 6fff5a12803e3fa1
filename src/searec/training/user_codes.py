"""The phase that adds messages between users with the same codes, weighted by validation."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from searec.models.base import Model
from searec.models.capabilities import PassesMessages, supports
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase

WEIGHTS, SHARES = (4.0, 16.0), (1.0, 0.25, 0.0625)
"""Weights of messages, and shares of the neighbours' weight beside them, of which all pairs are tried."""
_TRIED_LAST = ((2.0, 1.0), (0.5, 1.0), (1.0, 2.0), (1.0, 0.5))
"""Factors of both, tried from the best pair on."""
LEAST_GAIN = 1.02
"""What validation must be better by: with shuffled codes the best of the pairs gains up to 1 % by chance."""
Tried = tuple[str, float, float]
"""What codes are made from, the weight of messages and that of neighbours."""


class UserCodesPhase(TrainingPhase):
    """Adds messages to a `capabilities.PassesMessages`, if validation is better with them."""

    name = "user_codes"
    weights = ("messages.", "message_weight")

    @override
    def is_configured(self, model: Model) -> bool:
        return bool(getattr(model.config, "messages", False))

    @override
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        memory: Any = model
        context.epochs[self.name] = (0, 0)
        seed = context.config.seed
        if memory.has_messages:  # those of the run that it starts from
            memory.forget_messages()
            before = context.validate(model)
        if context.budgets is not None:
            metrics = context.budgets[self.name].metrics
            memory.fit_messages(context.split, "text" if metrics["vectors.text"] else "clicks", seed)
            memory.weigh_messages(metrics["weight.messages"], metrics["weight.neighbours"])
            return PhaseReport(self.name, metrics, is_kept=True)
        alone, figures = memory.neighbour_weight, dict(before)
        best: Tried | None = None
        for source in memory.vector_sources:
            if not memory.fit_messages(context.split, source, seed):
                break
            pairs = [(weight, alone * share) for weight in WEIGHTS for share in SHARES]
            for weights in dict.fromkeys(pairs):
                figures, best = self._better(model, context, figures, best, (source, *weights))
            for more, share in _TRIED_LAST:
                if best is not None and best[0] == source:
                    tried = (source, best[1] * more, best[2] * share)
                    figures, best = self._better(model, context, figures, best, tried)
        if best is None or figures[context.judge] < LEAST_GAIN * before[context.judge]:
            memory.forget_messages()
            memory.weigh_messages(0.0, alone)
            return PhaseReport(self.name, dict(before), is_kept=False)
        source, weight, neighbours = best
        memory.fit_messages(context.split, source, seed)
        memory.weigh_messages(weight, neighbours)
        chosen = {"weight.messages": weight, "weight.neighbours": neighbours, "vectors.text": float(source == "text")}
        return PhaseReport(self.name, {**figures, **chosen}, is_kept=True)

    @override
    def refresh(self, model: Model, context: PhaseContext) -> None:
        if supports(model, PassesMessages) and model.has_messages:
            is_fitted = model.fit_messages(context.split, model.vector_source, context.config.seed)
            if not is_fitted:
                model.forget_messages()

    @staticmethod
    def _better(
        model: Model, context: PhaseContext, figures: dict[str, float], best: Tried | None, tried: Tried
    ) -> tuple[dict[str, float], Tried | None]:
        """The figures and settings of the better of `best` and what is tried."""
        memory: Any = model
        memory.weigh_messages(*tried[1:])
        measured = context.validate(model)
        return (measured, tried) if measured[context.judge] > figures[context.judge] else (figures, best)
