"""What a training phase after the first one is given, and what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from searec.data.split import Split
from searec.evaluation.protocol import validation_score
from searec.models.base import Model
from searec.nn.learner import Learner
from searec.training import checkpoint
from searec.training.examples import Portions, TrainingExamples
from searec.training.loop import JUDGE, train
from searec.training.train_config import TrainConfig

_VALIDATIONS = 5
"""Validations of a later phase."""


@dataclass(frozen=True)
class PhaseReport:
    """How a phase ended: its name, the metrics of its best validation, and whether its weights were kept."""

    name: str
    metrics: Mapping[str, float]
    kept: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"phase": self.name, **self.metrics, "kept": self.kept}


@dataclass(frozen=True)
class PhaseContext:
    """What the phases of one training share.

    Attributes:
        split: whose training events are learned from.
        folder: the run folder; each later phase has a folder of its name in it.
        config: of the first phase.
        made_from: what else the result depends on, as of `loop.train`.
        resume: continue from a phase's checkpoint.
    """

    split: Split
    folder: Path
    config: TrainConfig
    made_from: Mapping[str, Any]
    resume: bool

    def validate(self, model: Model) -> dict[str, float]:
        """Return the validation metrics of the model, `JUDGE` among them."""
        return validation_score(model, self.split, requests=self.config.validation_requests, seed=0)

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
        judge: str = JUDGE,
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
            judge: the metric that chooses the best weights; higher is better.
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
            validate_every=1,
        )
        examples = TrainingExamples(self.split, model, batch=batch, seed=config.seed, negatives=negatives)
        return train(
            learner,
            Portions(examples, portion),
            validate,
            folder,
            config,
            made_from={**self.made_from, "phase": name},
            judge=judge,
            resume=self.resume and (folder / checkpoint.FILE).exists(),
        ).best


class TrainingPhase(ABC):
    """A training phase after the first one, which a model names in `Model.phases`.

    Attributes:
        name: of the phase, its folder and its report.
        weights: beginnings of the names of the weights that only this phase learns: a run that it starts from may lack
            them.
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
