"""What the training loop can teach: a module with a loss whose whole knowledge is a dict of tensors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from searec.errors import RunError
from searec.nn.losses import Losses


class Learner(nn.Module, ABC):
    """A module that learns from batches of some kind. Everything it knows is in its parameters and buffers."""

    name: ClassVar[str]

    @abstractmethod
    def loss(self, batch: Any) -> Losses:
        """The named loss parts of a training batch."""

    def forward(self, batch: Any) -> Losses:
        """`loss`, by the name that data-parallel wrappers call."""
        return self.loss(batch)

    @property
    def device(self) -> torch.device:
        """Where its tensors are; the CPU if it has none."""
        return next((tensor.device for tensor in self.state_dict().values()), torch.device("cpu"))

    def state(self) -> dict[str, Tensor]:
        """Every parameter and buffer by name, to be kept as safetensors."""
        return {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave.

        Raises:
            RunError: a tensor is missing, unknown or of another shape.
        """
        own = self.state_dict()
        wrong = [
            name
            for name in own.keys() | state.keys()
            if name not in own or name not in state or own[name].shape != state[name].shape
        ]
        if wrong:
            raise RunError(
                "weights do not fit the model",
                where=self.name,
                got=", ".join(sorted(wrong)[:5]),
                remedy="use the run folder's own settings and data",
            )
        self.load_state_dict(dict(state))
