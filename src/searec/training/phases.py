"""The phases of a training: the model's loss, then what it has after that; each in the one loop, with a checkpoint of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from searec.data.split import Split
from searec.evaluation.protocol import validation_score
from searec.models.base import Model
from searec.models.lcr_ser import LCRSER
from searec.nn.grpo import rewards
from searec.nn.learner import Learner
from searec.training import checkpoint
from searec.training.early_exit import Halting, depths
from searec.training.examples import Portions, TrainingExamples
from searec.training.loop import JUDGE, train
from searec.training.ranking_distillation import Student
from searec.training.ranking_policy import RankingPolicy
from searec.training.train_config import TrainConfig

SUPERVISED, STARTED, GRPO, HALTING = "supervised", "started", "grpo", "halting"
TRAIN_REWARD = "train_reward"
_VALIDATIONS = 5
"""Of a later phase."""
_REWARDED = 2_000
"""Training requests whose reward is watched."""


@dataclass(frozen=True)
class Phase:
    """How a phase ended: its best validation, and whether its weights were kept."""

    name: str
    metrics: Mapping[str, float]
    kept: bool

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"phase": self.name, **self.metrics, "kept": self.kept}


def run_phases(
    model: Model,
    split: Split,
    folder: Path,
    plan: TrainConfig,
    *,
    made_from: Mapping[str, Any],
    resume: bool = False,
    start: Mapping[str, Any] | None = None,
    teacher: Model | None = None,
) -> list[Phase]:
    """Train a model through all its phases; a later phase never leaves it worse than the one before, by validation.

    Args:
        folder: the run folder; a later phase has a folder of its name in it.
        made_from: as of `loop.train`.
        start: weights in place of the supervised phase. teacher: of a student.

    Raises:
        RunError: `start` does not fit the model.
        SearecError: as `loop.train`.
    """

    def validate(learner: Any) -> dict[str, float]:
        return validation_score(model, split, requests=plan.validation_requests, seed=0)

    if start is None:
        examples = TrainingExamples(split, model, batch=plan.batch, seed=plan.seed)
        learner = Student(model, teacher) if teacher is not None and isinstance(model, LCRSER) else model
        report = train(learner, examples, validate, folder, plan, made_from=made_from, resume=resume)
        phases = [Phase(SUPERVISED, report.best, kept=True)]
    else:
        # A new part (the halting score) keeps its first weights.
        model.load_state({**{name: own for name, own in model.state().items() if name.startswith("halting.")}, **start})
        phases = [Phase(STARTED, validate(model), kept=True)]
    if not isinstance(model, LCRSER):
        return phases
    later = _Later(model, split, folder, plan, made_from, resume)
    if model.config.rl_steps:
        phases.append(later.grpo(validate, phases[-1].metrics))
    if model.halting is not None:
        phases.append(later.halting())
    return phases


@dataclass(frozen=True)
class _Later:
    """The phases of lcr-ser after the supervised one."""

    model: LCRSER
    split: Split
    folder: Path
    plan: TrainConfig
    made_from: Mapping[str, Any]
    resume: bool

    def grpo(self, validate: Callable[[Any], dict[str, float]], before: Mapping[str, float]) -> Phase:
        """Phase 2; the weights of before come back if no validation was better."""
        config = self.model.config
        kept = checkpoint.snapshot(self.model.state())
        examples = TrainingExamples(
            self.split, self.model, batch=_REWARDED, seed=self.plan.seed, negatives=config.rl_negatives
        )
        known = examples.batch(0, 0)

        def rewarded(learner: Any) -> dict[str, float]:
            scores = self.model.score(known.to(self.model.device))
            return {**validate(learner), TRAIN_REWARD: float(rewards(scores, config.reward).mean())}

        with torch.no_grad():
            first = rewarded(self.model.eval())[TRAIN_REWARD]
        learner = RankingPolicy(self.model)
        try:
            found = self._run(
                GRPO,
                learner,
                rewarded,
                config.rl_steps,
                batch=config.rl_batch,
                lr=config.rl_lr,
                negatives=config.rl_negatives,
            )
        finally:
            self.model.requires_grad_(True)
        better = found[JUDGE] > before[JUDGE]
        if not better:
            self.model.load_state(kept)
        return Phase(GRPO, {**found, f"{TRAIN_REWARD}_before": first}, kept=better)

    def halting(self) -> Phase:
        """Learn the halting score, all else frozen, then choose its threshold on validation."""
        model, config = self.model, self.model.config
        assert model.halting is not None

        def saved(learner: Any) -> dict[str, float]:
            found = depths(model, self.split, requests=self.plan.validation_requests)
            gain, steps = found.at(found.threshold(config.exit_keep))
            return {JUDGE: gain, "steps": steps, "saved": 1 - steps / max(found.at(1.0)[1], 1e-9)}

        model.requires_grad_(False)
        model.halting.requires_grad_(True)
        try:
            report = self._run(
                HALTING, Halting(model), saved, config.exit_steps, batch=self.plan.batch, lr=1e-2, judge="saved"
            )
        finally:
            model.requires_grad_(True)
        found = depths(model, self.split, requests=self.plan.validation_requests)
        model.halt_above.fill_(found.threshold(config.exit_keep))
        return Phase(HALTING, {**report, "halt_above": float(model.halt_above)}, kept=True)

    def _run(
        self,
        name: str,
        learner: Learner,
        validate: Callable[[Any], dict[str, float]],
        steps: int,
        *,
        batch: int,
        lr: float,
        negatives: int | None = None,
        judge: str = JUDGE,
    ) -> Mapping[str, float]:
        """Train `steps` batches in a folder of the phase's name; the best validation."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        each = -(-steps // _VALIDATIONS)
        plan = replace(
            self.plan,
            epochs=-(-steps // each),
            batch=batch,
            lr=lr,
            schedule="constant",
            warmup=0,
            patience=0,
            validate_every=1,
        )
        examples = TrainingExamples(self.split, self.model, batch=batch, seed=plan.seed, negatives=negatives)
        resume = self.resume and (folder / checkpoint.FILE).exists()
        made_from = {**self.made_from, "phase": name}
        report = train(
            learner, Portions(examples, each), validate, folder, plan, made_from=made_from, judge=judge, resume=resume
        )
        return report.best
