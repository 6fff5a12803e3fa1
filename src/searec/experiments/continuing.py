"""What a training takes over from another run: its weights on data that has grown, or how long to train."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from searec.artifacts.base import Artifact
from searec.data.dataset import Dataset
from searec.data.leakage.cutoff import Cutoff
from searec.data.split import Split
from searec.errors import RunError, SettingsError
from searec.evaluation.protocol import validation_score
from searec.evaluation.result import stored_figures
from searec.models.base import Model
from searec.pipeline.grown_run import Grown
from searec.pipeline.run import Run
from searec.pipeline.run_folder import ARTIFACTS, CUTOFFS, growth_of, read_config, read_trained
from searec.training import checkpoint
from searec.training.budget import Budget

VALIDATED = "validated"
"""Folder in a final run of the validated run that it takes its number of steps from."""
TRAINING = "training"
"""Part of config.json: how many epochs and steps each phase took to its best weights."""


@dataclass(frozen=True)
class Start:
    """A run whose training continues on data that has grown.

    Attributes:
        folder: of the run.
        config: of the run.
        model: as it was trained.
        read: the events it has read.
    """

    folder: Path
    config: Mapping[str, Any]
    model: Model
    read: Cutoff

    @classmethod
    def find(cls, folder: Path | str | None, data: Dataset) -> "Start | None":
        """Return the run of a folder, None if it was trained on this very data.

        Args:
            folder: of the run; None for none.
            data: the dataset.

        Raises:
            RunError: no finished run, or data that holds fewer than half of its items.
            LeakError: the run does not record what it has read.
            SettingsError: its users kept from training would not be the same ones.
        """
        if folder is None or read_config(folder)["data"]["fingerprint"] == data.fingerprint:
            return None
        folder = Path(folder)
        model, config = read_trained(folder)
        growth_of(folder, config, data)
        if config["split"].get("unseen"):
            raise SettingsError(
                "a run that keeps users from training does not continue on other data",
                where=folder,
                remedy="train it again on the new data, or without unseen users",
            )
        return cls(folder, config, model, Cutoff.load(folder / CUTOFFS))

    @property
    def identity(self) -> dict[str, Any]:
        """What identifies it in the config of the run that continues it."""
        return {
            "label": self.config["label"],
            "seed": self.config["seed"],
            "weights": checkpoint.digest(self.model.state()),
        }

    def on(self, split: Split) -> Grown:
        """Return it on data that has grown.

        Args:
            split: of that data, which is learned from.
        """
        growth = growth_of(self.folder, self.config, split.data)
        return Grown.of(self.model, growth, split, self.folder / ARTIFACTS)


def continued_state(model: Model, grown: Grown, artifact: Artifact | None) -> dict[str, Tensor]:
    """Return the state with which the training of a new model begins.

    What was made for the new data stays; everything learned is that of the run.

    Args:
        model: new, of the data that has grown.
        grown: the run that is continued.
        artifact: that the model was given.
    """
    state = grown.state()
    if artifact is None:
        return state
    learned = dict(model.named_parameters())
    return {name: state[name] if name in learned else tensor for name, tensor in model.state().items()}


def budgets_of(twin: Run) -> dict[str, Budget]:
    """Return how long a validated run took in each phase, by phase.

    Args:
        twin: the run.

    Raises:
        RunError: it does not record that, for an older version has trained it.
    """
    try:
        return {phase["phase"]: Budget(**phase) for phase in twin.config[TRAINING]}
    except (KeyError, TypeError):
        raise RunError(
            "the validated run does not record its number of steps", where=twin.folder, remedy="train it again"
        ) from None


def recorded(budgets: list[Budget]) -> list[dict[str, Any]]:
    """Return budgets as `budgets_of` reads them, JSON-ready."""
    return [asdict(budget) for budget in budgets]


def _differing(first: Any, second: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Return name and both values of each setting that differs, at any depth."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return [
            row
            for key in {**first, **second}
            for row in _differing(first.get(key), second.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if first == second else [(name, first, second)]


def twin_record(twin: Run, final: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a final run's config about its validated twin, with that one's figures.

    Args:
        twin: the validated run.
        final: config of the final run.

    Raises:
        RunError: the twin is final itself, of other data, or has other settings.
    """
    if twin.is_final:
        raise RunError("the twin is a final run itself", where=twin.folder, expected="a validated run")
    remedy = "leave out --twin, so that one is trained, or name another run"
    if twin.is_grown:
        raise RunError(
            "the twin was trained on other data", where=twin.folder, expected="a run of the same data", remedy=remedy
        )
    got, expected = (
        {name: config.get(name) for name in ("model", "settings", "teacher")} for config in (twin.config, final)
    )
    if differing := _differing(got, expected):
        raise RunError(
            "the twin has other settings",
            where=twin.folder,
            got=", ".join(f"{name} {old}" for name, old, _ in differing),
            expected=", ".join(f"{name} {new}" for name, _, new in differing),
            remedy=remedy,
        )
    phases = twin.config.get(TRAINING)
    figures = phases[-1]["metrics"] if phases else {}
    return {
        "folder": str(twin.folder),
        "label": twin.label,
        "seed": twin.config["seed"],
        "split": twin.config["split"],
        "validation": figures or validation_score(twin.model, twin.split, requests=10_000, seed=0),
        "evaluations": stored_figures(twin.folder),
    }
