"""What every artifact has: how it is made, stored, given to a model, checked for leaks, and used for what is new."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from searec.config import as_dict
from searec.data.batch import Batch
from searec.data.dataset import Dataset
from searec.data.leakage.checks import cutoff_leaks
from searec.data.leakage.cutoff import Cutoff
from searec.data.leakage.findings import Finding, Leaks
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import LeakError, SettingsError
from searec.files import cache_folder, fingerprint, replacing
from searec.models.growth import Growth

ABOUT = "about.json"


class Artifact(ABC):
    """A folder of what was derived from the training events of a split.

    It is cached by what it was made from, and copied to the run folder. The model that declares it gets it by its
    method `load_artifacts`, whose arguments are the artifact's own matter.

    Attributes:
        noun: what it is called in messages.
        parts: folders in it that have a cut-off of their own.
        folder: where it is stored.
    """

    noun: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()
    folder: Path

    @classmethod
    @abstractmethod
    def make(cls, split: Split, tasks: Sequence[Task], config: Any, *, seed: int) -> Self:
        """Derive it from what lies before every held-out event of `tasks`, or read it from the cache.

        Args:
            split: whose training events it is derived from.
            tasks: those that the model learns.
            config: settings that hold the artifact's own.
            seed: of what is drawn or trained on the way.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Open a folder that `save` wrote.

        Raises:
            RunError: it is missing or damaged.
        """

    def save(self, folder: Path) -> None:
        """Copy it to another folder, so that a run needs no cache."""
        with replacing(folder) as beside:
            shutil.copytree(self.folder, beside)

    @abstractmethod
    def attach(self, model: Any, split: Split) -> None:
        """Give it to the model that declares it, which may draw weights that depend on it (from PyTorch's generator).

        Args:
            model: has a `load_artifacts` for it.
            split: that the model learns from.
        """

    def leaks(self, split: Split, tasks: Sequence[Task], *, grown: bool = False) -> Leaks:
        """Check its cut-offs, and what is in it, for events after the cut-off.

        Args:
            split: that the model learns from.
            tasks: those that the model learns.
            grown: whether the split is of data that has grown since; then only the cut-offs are checked.
        """
        where = f"{self.noun} {self.folder}"
        try:
            cutoff = Cutoff.load(self.folder)
            parts = [(f"{part} {self.folder / part}", Cutoff.load(self.folder / part)) for part in self.parts]
        except LeakError as error:
            got = "" if error.got is None else f": {error.got}"
            finding = Finding(
                "error", error.what, f"{where}{got}", expected=str(error.expected or ""), remedy=error.remedy or ""
            )
            return Leaks({"made beforehand": 1}, (finding,))
        findings = cutoff_leaks(split, tasks, cutoff, where, grown=grown)
        for name, part in parts:
            findings += cutoff_leaks(split, tasks, part, name, grown=grown)
        if cutoff.data == split.data.fingerprint:
            findings += self.findings(split, tasks, cutoff, where)
        if "student" in cutoff.about and cutoff.about["student"] is None:
            findings.append(Finding("warning", "what its student has learned from is not known", where))
        return Leaks({"made beforehand": 1 + len(parts)}, tuple(findings))

    def findings(self, split: Split, tasks: Sequence[Task], cutoff: Cutoff, where: str) -> list[Finding]:
        """Return what in it tells of events after the cut-off of `tasks`.

        Args:
            split: of the dataset it was made from.
            tasks: those that the model learns.
            cutoff: its own cut-off.
            where: what findings call it.
        """
        return []

    def describe_new(self, growth: Growth, split: Split, model: Any) -> Any:
        """Return what `Model.grown_state` takes for the users and items that are new in data that has grown.

        Args:
            growth: from the data it was made from to the data that has grown.
            split: of the data that has grown; it says which events of new users may be read.
            model: that was trained with it, not grown yet.

        Raises:
            SearecError: something new cannot be described.
        """
        return None

    def grown(self, growth: Growth, split: Split, tasks: Sequence[Task], described: Any) -> Self:
        """Return it with the users and items of data that has grown, whose model can be trained further with it.

        What it says of those it knows stays.

        Args:
            growth: as of `describe_new`.
            split: that the model will learn from.
            tasks: that the model learns.
            described: what `describe_new` returned.

        Raises:
            SettingsError: it cannot be extended.
        """
        raise SettingsError(f"{self.noun} cannot be extended to new data", where=self.folder)

    def grown_cutoff(self, growth: Growth, split: Split, tasks: Sequence[Task]) -> Cutoff:
        """Return the cut-off of what `grown` makes: its own of known users, and what `split` lets be read of new ones.

        Args:
            growth: as of `grown`.
            split: as of `grown`.
            tasks: as of `grown`.
        """
        old, fresh = Cutoff.load(self.folder), Cutoff.of(split, tasks)
        read, learned = (side[1:] for side in old.on(growth.data))
        is_new = growth.source("users")[1:] == 0
        about = {**fresh.about, "grown_from": {"data": old.data, "digest": old.digest}}
        return Cutoff(fresh.data, fresh.users, np.where(is_new, fresh.read, read), learned, about)

    def new_items(self, records: Sequence[Mapping[str, Any]], model: Any) -> Any:
        """Return what `UpdatesItems.change_items` takes for items that came after the training.

        Args:
            records: {"item_id", "title", optional "brand", "categories", "description"} per item.
            model: the model that gets them.

        Raises:
            SettingsError: the artifact cannot describe new items.
        """
        raise SettingsError(f"{self.noun} say nothing about new items", where=self.folder)

    def new_users(self, records: Sequence[Mapping[str, Any]], data: Dataset, batch: Batch, model: Any) -> Any:
        """Return what `ColdStartUsers.score_new_users` takes for users who came after the training.

        Args:
            records: {"clicks": [item ids], "searches": [(query, [clicked item ids]), ...]} per user, oldest first.
            data: the dataset of the run.
            batch: the records as requests.
            model: the model that scores them.

        Raises:
            SettingsError: the artifact cannot describe new users.
        """
        raise SettingsError(f"{self.noun} say nothing about new users", where=self.folder)


def own_settings(config: Any, kind: type[Any]) -> dict[str, Any]:
    """Return those settings of a model that are an artifact's.

    Args:
        config: settings of the model.
        kind: settings class of the artifact.
    """
    return {name: value for name, value in as_dict(config).items() if name in kind.__dataclass_fields__}


def cached_folder(name: str, *made_from: str) -> Path:
    """Return the cache folder of what is made from these texts."""
    return cache_folder() / "artifacts" / f"{name}-{fingerprint(*made_from)}"


@contextmanager
def written(folder: Path, work: Path) -> Iterator[Path]:
    """Provide a folder to write to.

    Args:
        folder: what it becomes when all is written.
        work: a folder of intermediate files, removed then.
    """
    with replacing(folder) as beside:
        beside.mkdir()
        yield beside
    shutil.rmtree(work)
