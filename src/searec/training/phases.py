"""The phases of a training: the model's loss, then the phases that it names, each by the one loop with a checkpoint."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from searec.data.split import Split
from searec.evaluation.protocol import validation_score
from searec.models.base import Model
from searec.nn.learner import Learner
from searec.plugins import Registry
from searec.training import checkpoint
from searec.training.budget import Budget, Update
from searec.training.examples import Portions, TrainingExamples
from searec.training.loop import Examples, train
from searec.training.train_config import TrainConfig

SUPERVISED, STARTED = "supervised", "started"
BUILT_IN = {
    "trunk_choice": "searec.training.reasoning:TrunkChoicePhase",
    "reasoning": "searec.training.reasoning:ReasoningPhase",
    "interests": "searec.training.reasoning:InterestReadingPhase",
    "text_choice": "searec.training.choices:TextChoicePhase",
    "code_weight": "searec.training.code_weight:CodeWeightPhase",
    "neighbours": "searec.training.neighbour_memory:NeighbourMemoryPhase",
    "second_phase": "searec.training.second_phase:SecondPhase",
    "user_codes": "searec.training.user_codes:UserCodesPhase",
    "ranking_policy": "searec.training.ranking_policy:RankingPolicyPhase",
    "early_exit": "searec.training.early_exit:EarlyExitPhase",
}
_PHASES = Registry("training phase", BUILT_IN, group="searec.training_phases")
_VALIDATIONS = 5
"""Validations of a later phase."""


@dataclass(frozen=True)
class PhaseReport:
    """How a phase ended: name, metrics of its best validation, whether its weights were kept, and when it was best."""

    name: str
    metrics: Mapping[str, float]
    is_kept: bool
    epochs: int = 0
    steps: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"phase": self.name, **self.metrics, "kept": self.is_kept}

    def budget(self) -> Budget:
        """Return what a training without validation takes from it."""
        return Budget(self.name, self.epochs, self.steps, self.is_kept, dict(self.metrics))


@dataclass(frozen=True)
class PhaseContext:
    """What the phases of one training share."""

    split: Split  # whose training events are learned from
    folder: Path  # the run folder; each later phase has a folder of its name in it
    config: TrainConfig  # of the first phase
    made_from: Mapping[str, Any]  # as of `loop.train`
    resume: bool
    budgets: Mapping[str, Budget] | None = None  # by phase, of the validated twin; None if there is validation

    epochs: dict[str, tuple[int, int]] = field(default_factory=dict)  # by phase, epochs and steps to its best weights
    logs: list[Path] = field(default_factory=list)  # folders of the trainings whose weights were chosen, newest last

    def validate(self, model: Model) -> dict[str, float]:
        """Return the validation metrics of the model, `judge` among them; none where nothing is held out."""
        config = self.config
        return validation_score(model, self.split, config.judge, requests=config.validation_requests, seed=0)

    @property
    def judge(self) -> str:
        """The validation metric of the model."""
        return self.config.judge

    def train(
        self,
        name: str,
        learner: Learner,
        model: Model,
        validate: Callable[[Any], Mapping[str, float]],
        steps: int,
        *,
        batch: int,
        lr: float,
        negatives: int | None = None,
        examples: Examples | None = None,
        judge: str | None = None,
        budget: Budget | None = None,
    ) -> Mapping[str, float]:
        """Train a later phase for some steps, and return the metrics of its best validation.

        Args:
            name: of the phase.
            learner: whose loss is minimised.
            model: whose examples are learned from.
            validate: returns the metrics of the learner, `judge` among them.
            steps: batches in all.
            batch: requests in each.
            lr: the constant learning rate.
            negatives: for each positive; as many as the model needs by default.
            examples: its batches; those of the model by default.
            judge: the metric that chooses the best weights, higher is better; the training's by default.
            budget: how long to train where no validation decides; that of the phase by default.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        portion = -(-steps // _VALIDATIONS)
        config = replace(
            self.config,
            epochs=-(-steps // portion),
            batch=batch,
            lr=lr,
            schedule="constant",
            warmup=0,
            patience=0,
            min_steps=0,
            validate_every=1,
        )
        if examples is None:
            examples = TrainingExamples(self.split, model, batch=batch, seed=config.seed, negatives=negatives)
        if self.budgets is not None and budget is None:
            budget = self.budgets[name]
        report = train(
            learner,
            Portions(examples, portion),
            validate if budget is None else None,
            folder,
            config,
            made_from={**self.made_from, "phase": name},
            judge=judge,
            stop_after=None if budget is None else budget.epochs,
            resume=self.resume and (folder / checkpoint.FILE).exists(),
        )
        self.epochs[name] = (report.best_epoch, report.best_epoch * portion)
        return report.best if budget is None else budget.metrics


class TrainingPhase(ABC):
    """A training phase after the first one, which a model names in `Model.phases`.

    weights: prefixes of the weights that only this phase learns; a run that it starts from may lack them.
    """

    name: ClassVar[str]
    weights: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def is_configured(self, model: Model) -> bool:
        """Return whether the model's settings include this phase."""

    @abstractmethod
    def run(self, model: Model, context: PhaseContext, before: Mapping[str, float]) -> PhaseReport:
        """Train the phase; it never leaves the model worse than before, by validation.

        Args:
            model: trained by the phases before.
            context: of the training.
            before: the metrics of the phase before.
        """

    def refresh(self, model: Model, context: PhaseContext) -> None:  # noqa: B027 - most phases have nothing to refresh
        """Compute anew, after an update, what the phase adds from training events.

        Args:
            model: updated.
            context: of the update.
        """


def _update(model: Model, context: PhaseContext, update: Update) -> PhaseReport:
    """Train a model on what is new; its last weights are the result, and validation, if there is any, only measures."""
    config = context.config
    examples = TrainingExamples(
        context.split, model, batch=config.batch, seed=config.seed, learned=update.learned, replay=update.replay
    )
    settings = replace(
        config, epochs=update.passes, lr=config.lr * update.lr_share, schedule="constant", warmup=0, patience=0
    )
    report = train(
        model,
        examples,
        None,
        context.folder,
        settings,
        made_from=context.made_from,
        stop_after=update.passes,
        resume=context.resume,
    )
    for name in model.phases:
        _PHASES.named(name)().refresh(model, context)
    metrics = {} if context.split.final else context.validate(model)
    return PhaseReport(SUPERVISED, metrics, is_kept=True, epochs=report.best_epoch, steps=report.steps)


def run_phases(
    model: Model,
    split: Split,
    folder: Path,
    config: TrainConfig,
    *,
    made_from: Mapping[str, Any],
    resume: bool = False,
    start: Mapping[str, Tensor] | None = None,
    teacher: Model | None = None,
    budgets: Mapping[str, Budget] | None = None,
    update: Update | None = None,
) -> list[PhaseReport]:
    """Train a model through all its phases and return a report of each.

    Where nothing is held out, the model ends with the weights of the last epoch, and the later phases are left out:
    they are judged by validation.

    Args:
        model: learns by `loss`.
        split: whose training events are learned from.
        folder: the run folder.
        config: of the first phase.
        made_from: what else the result depends on, as of `loop.train`.
        resume: continue from the checkpoint.
        start: weights that replace the first phase.
        teacher: whose ranking the model learns too, in the first phase.
        budgets: how long to train in each phase without validation, by phase.
        update: learn from what is new alone, in one phase.

    Raises:
        RunError: `start` does not fit the model.
        SearecError: as `loop.train`.
    """
    phases: list[TrainingPhase] = [_PHASES.named(name)() for name in model.phases]
    context = PhaseContext(split, folder, config, made_from, resume, budgets)
    if update is not None:
        return [_update(model, context, update)]
    if start is None:
        examples: TrainingExamples | Portions
        examples = TrainingExamples(split, model, batch=config.batch, seed=config.seed)
        if config.epoch_steps:
            examples = examples.portions(config.epoch_steps)
        learner: Learner = model
        if teacher is not None:
            from searec.training.ranking_distillation import RankingDistillation

            learner = RankingDistillation(model, teacher)
        budget = None if budgets is None else budgets[SUPERVISED]
        report = train(
            learner,
            examples if budget is None else examples.portions(budget.steps // budget.epochs),
            (lambda _: context.validate(model)) if budget is None else None,
            folder,
            config,
            made_from=made_from,
            stop_after=None if budget is None else budget.epochs,
            resume=resume,
        )
        steps = report.best_epoch * examples.steps(0) if budget is None else budget.steps
        reports = [PhaseReport(SUPERVISED, report.best, is_kept=True, epochs=report.best_epoch, steps=steps)]
    else:
        later = tuple(name for phase in phases for name in phase.weights)
        first = {name: weight for name, weight in model.state().items() if name.startswith(later)}
        model.load_state({**first, **start})
        reports = [PhaseReport(STARTED, context.validate(model) if budgets is None else {}, is_kept=True)]
    for phase in phases if reports[0].metrics or budgets is not None else ():
        if not phase.is_configured(model):
            continue
        if budgets is not None and not budgets[phase.name].is_kept:
            reports.append(PhaseReport(phase.name, {}, is_kept=False))
            continue
        ended = phase.run(model, context, reports[-1].metrics)
        epochs, steps = context.epochs[phase.name]
        reports.append(replace(ended, epochs=epochs, steps=steps))
    return reports
