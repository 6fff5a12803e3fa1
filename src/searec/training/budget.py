"""How long to train where no validation decides: as long as a validated run did, or a few passes over what is new."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from searec.data.ragged import Ints


@dataclass(frozen=True)
class Budget:
    """How long a phase of a validated training took to its best weights, for one that nothing is held out of.

    Attributes:
        phase: its name.
        epochs: to the best validation.
        steps: to the best validation.
        is_kept: whether its weights were kept.
        metrics: of its best validation.
    """

    phase: str
    epochs: int
    steps: int
    is_kept: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Update:
    """A short training on what is new, from the weights of a run.

    Attributes:
        learned: [U + 1] for each user, the time before which that run has learned from the events, microseconds since
            1970.
        passes: over the new examples.
        replay: older examples drawn in each pass, for each new one, so that what was learned is not lost.
        lr_share: learning rate, as a share of that of the training; it is constant.
    """

    learned: Ints
    passes: int = 2
    replay: float = 1.0
    lr_share: float = 0.3

    def record(self) -> dict[str, Any]:
        """Return the entry of config.json, by its name."""
        return {"update": {"passes": self.passes, "replay": self.replay, "lr_share": self.lr_share}}
