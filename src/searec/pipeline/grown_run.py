"""A run on data that has grown since: its weights with the rows of the new data, and its artifact extended."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from searec.artifacts import artifact_named
from searec.artifacts.base import Artifact
from searec.data.dataset import Dataset
from searec.data.growth import Growth, read_vocabularies
from searec.data.split import Split
from searec.errors import RunError
from searec.models.base import Model
from searec.pipeline.run_folder import ARTIFACTS, VOCABULARIES


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
    def of(cls, folder: Path, config: Mapping[str, Any], model: Model, data: Dataset, split: Split) -> "Grown":
        """Return the run of a folder with other data.

        Args:
            folder: of the run.
            config: of the run.
            model: of the run, as it was trained.
            data: the dataset.
            split: of it.

        Raises:
            RunError: the dataset holds fewer than half of the run's items, or the folder is damaged.
        """
        if VOCABULARIES not in config:
            raise RunError(
                "the run was trained on other data, and by a version that kept no names",
                where=folder,
                got=f"data {data.fingerprint}",
                expected=f"data {config['data']['fingerprint']}",
                remedy="train it again",
            )
        growth = Growth(read_vocabularies(folder / VOCABULARIES, config[VOCABULARIES]), data)
        growth.refuse_other_data(folder)
        artifact = None if model.artifact is None else artifact_named(model.artifact).load(folder / ARTIFACTS)
        return cls(model, growth, split, artifact)

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
