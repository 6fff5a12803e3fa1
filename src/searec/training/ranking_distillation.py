"""A student that learns a teacher's ranking along with its own task (arXiv 1503.02531)."""

import torch

from searec.data.batch import Batch
from searec.models.base import Model
from searec.models.lcr_ser import LCRSER
from searec.nn.grpo import divergence
from searec.nn.learner import Learner
from searec.nn.losses import Losses


class Student(Learner):
    """A model and its teacher; only the model learns, and only its weights are kept.

    Args:
        model: learns its own losses, and the teacher's softmax over the candidates by `distil_weight`.
        teacher: any model that scores the same batches; it must read no more of a history than the student does.
    """

    def __init__(self, model: LCRSER, teacher: Model) -> None:
        super().__init__()
        self.model = model
        self._teacher = (teacher.eval().requires_grad_(False),)  # in a tuple it is no part of this module

    @property
    def name(self) -> str:  # type: ignore[override]
        """The student's."""
        return self.model.name

    def loss(self, batch: Batch) -> Losses:
        """The student's losses and KL(teacher || student) over the candidates."""
        losses, scores = self.model.loss_and_scores(batch)
        with torch.no_grad():
            taught = self._teacher[0].to(scores.device).score(batch)
        parts = {**losses.parts, "distil": divergence(taught, scores)}
        return Losses(parts, {**losses.weights, "distil": self.model.config.distil_weight})
