"""A model that learns a teacher's ranking along with its own task (arXiv 1503.02531)."""

from typing import Any

import torch

from searec.data.batch import Batch
from searec.errors import SettingsError
from searec.models.base import Model
from searec.models.capabilities import TeachesTimelines, supports
from searec.nn.grpo import divergence
from searec.nn.learner import Learner
from searec.nn.losses import Losses


class RankingDistillation(Learner):
    """A model and its teacher; only the model learns, and only its weights are stored.

    Args:
        model: `capabilities.LearnsFromTeacher`: learns its own losses, and the teacher's softmax over the candidates
            by `distil_weight`.
        teacher: any model that scores the same batches; it must read no more of a history than the model does.

    Raises:
        SettingsError: one of them scores places of training stretches, and the other does not.
    """

    def __init__(self, model: Any, teacher: Model) -> None:
        super().__init__()
        if supports(model, TeachesTimelines) != supports(teacher, TeachesTimelines):
            raise SettingsError(
                "teacher and student do not score the same requests",
                got=f"teacher {teacher.name}, student {model.name}",
                remedy="choose a teacher of the student's own kind",
            )
        self.model = model
        self._teacher = (teacher.eval().requires_grad_(False),)  # in a tuple it is no part of this module

    @property
    def name(self) -> str:  # type: ignore[override]
        """The model's name."""
        return str(self.model.name)

    def loss(self, batch: Batch) -> Losses:
        """Return the model's losses and KL(teacher || model) over the candidates, or the catalogue."""
        losses, scores = self.model.loss_and_scores(batch)
        with torch.no_grad():
            teacher = self._teacher[0].to(scores.device)
            target = teacher.teaching_scores(batch) if supports(teacher, TeachesTimelines) else teacher.score(batch)
        parts = {**losses.parts, "distil": divergence(target, scores)}
        return Losses(parts, {**losses.weights, "distil": self.model.config.distil_weight})
