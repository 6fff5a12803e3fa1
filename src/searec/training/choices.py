"""The phases that train another form of a model and keep the better one by validation."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from searec.models.base import Model
from searec.models.capabilities import ChoosesText, supports
from searec.training import checkpoint
from searec.training.examples import Portions, TrainingExamples
from searec.training.loop import train
from searec.training.loop_state import TrainReport
from searec.training.phases import PhaseContext, PhaseReport, TrainingPhase
from searec.training.training_log import FILE, read_rows

_WHOLE = "whole"
"""Folder, within that of the phase, of the training that is not broken off."""


class ChoicePhase(TrainingPhase):
    """Trains another form of a model, from other weights, and keeps the better one by validation.

    gives_up: the other form first gets the steps that training takes at least, and is given up if it is behind by then.
    """

    gives_up: ClassVar[bool] = True

    @abstractmethod
    def other(self, model: Any, context: PhaseContext) -> Model:
        """Return the other form, untrained.

        Args:
            model: trained by the phases before.
            context: of the training.
        """

    def trained(self, other: Any, context: PhaseContext, best: Mapping[str, float]) -> Mapping[str, float]:
        """Finish the other form once its first training has ended, and return its metrics.

        Args:
            other: the other form, trained.
            context: of the training.
            best: metrics of its best validation.
        """
        return best

    @override
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        judge = context.judge
        if context.budgets is not None:
            budget = context.budgets[self.name]
            other = self.other(model, context)
            self._train(other, context, context.folder / self.name, stop_after=budget.epochs, validates=False)
            self.trained(other, context, budget.metrics)
            model.load_state(other.state())
            context.epochs[self.name] = (budget.epochs, budget.steps)
            return PhaseReport(self.name, budget.metrics, is_kept=True)
        context.epochs[self.name] = (0, 0)
        if not (context.folder / FILE).exists():  # the run that it starts from has chosen
            return PhaseReport(self.name, dict(before), is_kept=False)
        other, report, folder = self._chosen(model, context)
        best = self.trained(other, context, report.best)
        if best[judge] <= before[judge]:
            return PhaseReport(self.name, {**before, f"{judge}.{self.name}": best[judge]}, is_kept=False)
        model.load_state(other.state())
        context.logs.append(folder)
        context.epochs[self.name] = (report.best_epoch, report.best_epoch * self._examples(model, context).steps(0))
        return PhaseReport(self.name, best, is_kept=True)

    def _chosen(self, model: Model, context: PhaseContext) -> tuple[Model, TrainReport, Path]:
        """The other form, trained: whole if it is ahead after the fewest steps, or in any case."""
        config, judge = context.config, context.judge
        pilot = min(config.epochs, math.ceil(max(1, config.min_steps) / self._examples(model, context).steps(0)))
        folder = context.folder / self.name
        if self.gives_up:
            log = context.logs[-1] if context.logs else context.folder
            rows = [row for row in read_rows(log / FILE) if row["event"] == "validate" and row["epoch"] <= pilot]
            to_beat = max((row[judge] for row in rows), default=math.inf)
            other = self.other(model, context)
            report = self._train(other, context, folder, stop_after=pilot)
            if report.best[judge] <= to_beat or pilot == config.epochs:
                return other, report, folder
            folder = folder / _WHOLE
        other = self.other(model, context)
        return other, self._train(other, context, folder), folder

    @staticmethod
    def _examples(model: Model, context: PhaseContext) -> TrainingExamples | Portions:
        config = context.config
        examples = TrainingExamples(context.split, model, batch=config.batch, seed=config.seed)
        return examples.portions(config.epoch_steps) if config.epoch_steps else examples

    def _train(
        self,
        model: Model,
        context: PhaseContext,
        folder: Path,
        *,
        stop_after: int | None = None,
        validates: bool = True,
    ) -> TrainReport:
        folder.mkdir(exist_ok=True)
        return train(
            model,
            self._examples(model, context),
            context.validate if validates else None,
            folder,
            context.config,
            made_from={**context.made_from, "phase": self.name},
            stop_after=stop_after,
            resume=context.resume and (folder / checkpoint.FILE).exists(),
        )


class TextChoicePhase(ChoicePhase):
    """Tries a `capabilities.ChoosesText` without text."""

    name = "text_choice"

    @override
    def is_configured(self, model: Model) -> bool:
        return supports(model, ChoosesText) and model.may_drop_text

    @override
    def other(self, model: Any, context: PhaseContext) -> Model:
        other: Model = model.without_text(context.split.data, context.config.seed)
        return other
