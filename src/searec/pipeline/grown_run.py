"""A run on data that has grown since: its weights with the rows of the new data, and its artifact extended."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from searec.artifacts import artifact_named
from searec.artifacts.base import Artifact
from searec.data.split import Split
from searec.models.base import Model
from searec.models.growth import Growth


@dataclass(frozen=True)
class Grown:
    """A trained model and the data that has grown since.

    Attributes:
        before: the model as it was trained.
        growth: from the data it was trained on.
        split: of the data that has grown; it says which events of new users may be read.
        artifact: what the model was trained with, None if it needs nothing.
    """

    before: Model
    growth: Growth
    split: Split
    artifact: Artifact | None

    @classmethod
    def of(cls, model: Model, growth: Growth, split: Split, artifacts: Path) -> "Grown":
        """Return a run with the data that has grown.

        Args:
            model: of the run, as it was trained.
            growth: from the data it was trained on.
            split: of the data that has grown.
            artifacts: folder of its artifact, if it needs one.

        Raises:
            RunError: the artifact is damaged.
        """
        return cls(
            model, growth, split, None if model.artifact is None else artifact_named(model.artifact).load(artifacts)
        )

    @cached_property
    def described(self) -> Any:
        """What the artifact makes of new users and items."""
        return None if self.artifact is None else self.artifact.describe_new(self.growth, self.split, self.before)

    def state(self) -> dict[str, Tensor]:
        """Return the state of the model with the rows of the new data."""
        return self.before.grown_state(self.growth, self.described)

    def model(self) -> Model:
        """Return the model for the new data."""
        model = type(self.before)(self.before.config, self.growth.data.sizes)
        model.load_state(self.state())
        return model

    def extended_artifact(self) -> Artifact | None:
        """Return the artifact with the users and items of the new data, to train the model further.

        Raises:
            SettingsError: it cannot be extended.
        """
        if self.artifact is None:
            return None
        return self.artifact.grown(self.growth, self.split, self.before.train_tasks, self.described)
