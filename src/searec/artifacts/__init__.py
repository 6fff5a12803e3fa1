"""What is derived from training events before a model learns, by the name in `Model.artifact`."""

from typing import Any

from searec.artifacts.base import Artifact
from searec.data.split import Split
from searec.models.base import Model
from searec.plugins import Registry

BUILT_IN = {
    "user_codes": "searec.artifacts.user_codes:UserCoder",
    "item_identifiers": "searec.artifacts.item_identifiers:ItemCoder",
    "interests": "searec.artifacts.interests:InferredInterests",
}
_ARTIFACTS = Registry("artifact", BUILT_IN, group="searec.artifacts")


def artifact_named(name: str) -> type[Artifact]:
    """Return the artifact class of a name; nothing of the others is imported.

    Raises:
        SettingsError: no such artifact; the nearest is named.
    """
    return _ARTIFACTS.named(name)  # type: ignore[no-any-return]


def prepare(kind: type[Model], config: Any, split: Split, seed: int) -> Artifact | None:
    """Make what a model needs before it learns, or read it from the cache; None if it needs nothing.

    Args:
        kind: the model class.
        config: the model's settings, which hold those of the artifact.
        split: whose training events it is derived from.
        seed: of what is drawn or trained on the way.

    Raises:
        SearecError: as `Artifact.make`.
    """
    if kind.artifact is None:
        return None
    return artifact_named(kind.artifact).make(split, getattr(config, "tasks", kind.tasks), config, seed=seed)
