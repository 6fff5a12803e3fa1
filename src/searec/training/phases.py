"""The phases of a training: the model's loss, then the phases that it declares; each in the one loop, with a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from searec.data.split import Split
from searec.models.base import Model
from searec.nn.learner import Learner
from searec.plugins import Registry
from searec.training.examples import TrainingExamples
from searec.training.loop import train
from searec.training.phase import PhaseContext, PhaseReport, TrainingPhase
from searec.training.train_config import TrainConfig

SUPERVISED, STARTED = "supervised", "started"
BUILT_IN = {
    "ranking_policy": "searec.training.ranking_policy:RankingPolicyPhase",
    "early_exit": "searec.training.early_exit:EarlyExitPhase",
}
_PHASES = Registry("training phase", BUILT_IN, group="searec.training_phases")


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
) -> list[PhaseReport]:
    """Train a model through all its phases and return a report of each.

    Args:
        model: learns by `loss`.
        split: whose training events are learned from.
        folder: the run folder.
        config: of the first phase.
        made_from: what else the result depends on, as of `loop.train`.
        resume: continue from the checkpoint.
        start: weights that replace the first phase.
        teacher: whose ranking the model learns too, in the first phase.

    Raises:
        RunError: `start` does not fit the model.
        SearecError: as `loop.train`.
    """
    phases: list[TrainingPhase] = [_PHASES.named(name)() for name in model.phases]
    context = PhaseContext(split, folder, config, made_from, resume)
    if start is None:
        examples = TrainingExamples(split, model, batch=config.batch, seed=config.seed)
        report = train(
            _learner(model, teacher),
            examples,
            lambda learner: context.validate(model),
            folder,
            config,
            made_from=made_from,
            resume=resume,
        )
        reports = [PhaseReport(SUPERVISED, report.best, kept=True)]
    else:
        later = tuple(name for phase in phases for name in phase.weights)
        first = {name: weight for name, weight in model.state().items() if name.startswith(later)}
        model.load_state({**first, **start})
        reports = [PhaseReport(STARTED, context.validate(model), kept=True)]
    for phase in phases:
        if phase.is_configured(model):
            reports.append(phase.run(model, context, reports[-1].metrics))
    return reports


def _learner(model: Model, teacher: Model | None) -> Learner:
    if teacher is None:
        return model
    from searec.training.ranking_distillation import RankingDistillation

    return RankingDistillation(model, teacher)
