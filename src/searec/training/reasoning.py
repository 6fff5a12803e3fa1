"""The phases that learn a part of a model on its trained base, and that try another base for it."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from searec.models.base import Model
from searec.models.capabilities import ChoosesTrunk, LearnsPartLater, supports
from searec.training.budget import Budget
from searec.training.checkpoint import snapshot
from searec.training.choices import ChoicePhase
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase


def learn_part(model: Any, context: PhaseContext, name: str, budget: Budget | None = None) -> Mapping[str, float]:
    """Learn the later part of a model, its base held, and return the metrics of the best validation.

    Args:
        model: `capabilities.LearnsPartLater`.
        context: of the training.
        name: of the phase.
        budget: how long to train where no validation decides.
    """
    model.requires_grad_(False)
    for weight in model.part_weights():
        weight.requires_grad_(True)
    model.is_open.fill_(True)
    steps, lr = model.part_training
    try:
        return context.train(
            name,
            model,
            model,
            context.validate,
            steps,
            batch=context.config.batch,
            lr=lr,
            budget=budget,
        )
    finally:
        model.requires_grad_(True)


class LaterPartPhase(TrainingPhase):
    """Learns the part of a `capabilities.LearnsPartLater` on its base, and keeps it if validation is better."""

    @override
    def is_configured(self, model: Model) -> bool:
        if not supports(model, LearnsPartLater) or model.is_open:  # open: the run that it starts from has learned it
            return False
        return bool(model.part_weights()) and model.part_training[0] > 0

    @override
    def run(self, model: Any, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        context.epochs[self.name] = (0, 0)
        base = snapshot(model.state())
        best = learn_part(model, context, self.name)
        if context.budgets is None and best[context.judge] <= before[context.judge]:
            model.load_state(base)
            return PhaseReport(
                self.name, {**before, f"{context.judge}.{self.name}": best[context.judge]}, is_kept=False
            )
        return PhaseReport(self.name, best, is_kept=True)


class ReasoningPhase(LaterPartPhase):
    """Reasoning about search sessions."""

    name = "reasoning"
    weights = ("reasoning.", "scale", "is_open", "match.")


class InterestReadingPhase(LaterPartPhase):
    """Reading of inferred interests."""

    name = "interests"
    weights = ("reading.", "is_open", "interest_", "snapshot_", "item_given", "item_level", "clicks")


class TrunkChoicePhase(ChoicePhase):
    """Tries a `capabilities.ChoosesTrunk` whose trunk reads the feed alone, with reasoning learned on it.

    Without reasoning such a model reads no search at all: it is kept so where reasoning does not help.
    """

    name = "trunk_choice"
    weights = ("reads_feed_alone",)
    gives_up = False

    @override
    def is_configured(self, model: Model) -> bool:
        return supports(model, ChoosesTrunk) and model.may_read_feed_alone

    @override
    def other(self, model: Any, context: PhaseContext) -> Model:
        other: Model = model.reading_feed_alone(context.split.data, context.config.seed)
        return other

    @override
    def trained(self, other: Any, context: PhaseContext, best: Mapping[str, float]) -> Mapping[str, float]:
        name = f"{self.name}/reasoning"
        if context.budgets is not None:
            metrics = context.budgets[self.name].metrics
            epochs = int(metrics["reasoning_epochs"])
            if epochs:
                learn_part(other, context, name, Budget(name, epochs, 0, is_kept=True, metrics={}))
            return metrics
        base = snapshot(other.state())
        reasoned = learn_part(other, context, name)
        if reasoned[context.judge] <= best[context.judge]:
            other.load_state(base)
            return {**best, "reasoning_epochs": 0}
        return {
            **reasoned,
            "reasoning_epochs": context.epochs[name][0],
            f"{context.judge}.no_search": best[context.judge],
        }
