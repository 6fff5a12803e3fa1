"""A module that the training loop can train: it has a loss, and its state is a dict of tensors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from searec.errors import RunError
from searec.nn.losses import Losses


class Learner(nn.Module, ABC):
    """A module that learns from batches; its whole state is in parameters and buffers."""

    name: ClassVar[str]

    @abstractmethod
    def loss(self, batch: Any) -> Losses:
        """Return the named loss parts of a training batch."""

    def forward(self, batch: Any) -> Losses:
        """Return `loss`, by the name that data-parallel wrappers call."""
        return self.loss(batch)

    @property
    def device(self) -> torch.device:
        """The device of its tensors; the CPU if it has none."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def state(self) -> dict[str, Tensor]:
        """Return every parameter and buffer by name, for safetensors."""
        return {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned.

        Raises:
            RunError: a tensor is missing, unknown or of another shape.
        """
        expected = self.state_dict()
        wrong = [
            name
            for name in expected.keys() | state.keys()
            if name not in expected or name not in state or expected[name].shape != state[name].shape
        ]
        if wrong:
            raise RunError(
                "weights do not fit the model",
                where=self.name,
                got=", ".join(sorted(wrong)[:5]),
                remedy="use the run folder's own settings and data",
            )
        self.load_state_dict(dict(state))
