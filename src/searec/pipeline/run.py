"""Run: a trained model with what it was trained on, which answers for users, queries and items."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searec.artifacts import artifact_named
from searec.artifacts.base import Artifact
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import RunError, SettingsError
from searec.models.base import Model
from searec.models.capabilities import UpdatesItems, supports
from searec.pipeline.run_folder import ARTIFACTS, read_model, split_of

if TYPE_CHECKING:
    import polars as pl

    from searec.pipeline.catalog_snapshot import CatalogSnapshot, NewItem


@dataclass(frozen=True)
class Run:
    """A trained model and its run folder.

    Attributes:
        folder: of the run.
        model: trained.
        data: it was trained on, as it was or grown.
        config: model, preset, label, seed, settings ("model" and, if it was trained by steps, "train"), data
            (fingerprint and sizes) and split, as in config.json.
        new_items: added since, whose internal ids follow those of the dataset.
        removed: internal ids of items removed since.
    """

    folder: Path
    model: Model
    data: Dataset
    config: dict[str, Any]
    new_items: list["NewItem"] = field(default_factory=list)
    removed: set[int] = field(default_factory=set)

    @property
    def label(self) -> str:
        """The run's name in tables."""
        return str(self.config["label"])

    @functools.cached_property
    def split(self) -> Split:
        """The split it was trained on; of data that has grown, the events that it has not read are held out."""
        return split_of(self.folder, self.config, self.data)

    @property
    def is_grown(self) -> bool:
        """Whether the data is not what the model was trained on, but that data grown."""
        return bool(self.config["data"]["fingerprint"] != self.data.fingerprint)

    @property
    def is_final(self) -> bool:
        """Whether the model has learned from all events of its data, so that nothing of them is held out."""
        return bool(self.config["split"].get("final"))

    @property
    def figures(self) -> Path:
        """Folder of its evaluations: the run folder, or one in it for data that has grown."""
        return self.folder / f"on-{self.data.fingerprint[:12]}" if self.is_grown else self.folder

    def catalog(self) -> "CatalogSnapshot":
        """Return the items that the model knows, and those added since."""
        from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot

        return CatalogSnapshot(CatalogBase(self.data), self.new_items, unavailable=self.removed)

    def artifact(self) -> Artifact:
        """Return what was derived before the model learned, read from the run folder.

        Raises:
            RunError: the model needs none, or it is damaged.
        """
        if self.model.artifact is None:
            raise RunError("the model was trained without an artifact", where=self.folder, got=self.model.name)
        return artifact_named(self.model.artifact).load(self.folder / ARTIFACTS)

    # --- lists; training a model does not load what makes them ---

    def recommend(self, users: Sequence[str], k: int = 10, *, seen: bool = False) -> "pl.DataFrame":
        """Return the k best items for each user after everything in the log.

        Args:
            users: external user ids.
            k: items a user.
            seen: also recommend what the user has clicked before.

        Returns:
            user_id, rank (from 1), item_id, score; of a serendipity run also channel ("behaviour" or
            "interest") and reason.

        Raises:
            SettingsError: the model does not recommend, or k is below 1.
            UnknownIdError: a user the dataset does not hold.
        """
        from searec.pipeline import run_lists

        return run_lists.best_items(self, users, None, k, seen=seen)

    def recommend_newcomers(
        self, records: Sequence[Mapping[str, Any]], k: int = 10, *, seen: bool = False
    ) -> "pl.DataFrame":
        """Return the k best items for users who came after training, from what they did; nothing is trained again.

        Args:
            records: {"clicks": [item ids], "searches": [(query, [clicked item ids]), ...]} a user, oldest first.
            k: items a user.
            seen: also recommend what a record holds.

        Returns:
            record (its place, from 0), rank (from 1), item_id, score.

        Raises:
            SettingsError: the model cannot score new users, or k is below 1.
            DataError: a record with nothing in it, or with an empty query.
            UnknownIdError: an item the catalogue does not hold.
        """
        from searec.pipeline import run_lists

        return run_lists.best_for_newcomers(self, records, k, seen=seen)

    def search(self, users: Sequence[str | None], queries: Sequence[str], k: int = 10) -> "pl.DataFrame":
        """Return the k best items for each pair of user and query, after everything in the log.

        Args:
            users: external user ids; None for nobody, who has no history.
            queries: a query for each user.
            k: items per pair.

        Returns:
            user_id, query, rank (from 1), item_id, score. Of a model that compares words, only items that hold a word
            of the query.

        Raises:
            SettingsError: the model does not search, k is below 1, a query is empty, or users and queries differ in
                number.
            UnknownIdError: a user the dataset does not hold.
        """
        from searec.pipeline import run_lists

        if len(users) != len(queries):
            raise SettingsError("each query needs its user", got=f"{len(users)} users, {len(queries)} queries")
        for query in queries:
            if not query.strip():
                raise SettingsError("empty query", got=repr(query), expected="text")
        return run_lists.best_items(self, users, queries, k, seen=True)

    def suggest(self, users: Sequence[str], k: int = 5, *, min_users: int = 2) -> "pl.DataFrame":
        """Return the k likeliest next queries of each user, among those that have been searched before.

        Args:
            users: external user ids.
            k: queries per user.
            min_users: who must have searched a query before it is shown to others.

        Returns:
            user_id, rank (from 1), query, score (log-probability). Fewer than k rows where fewer are known.

        Raises:
            SettingsError: the model does not write queries, or k is below 1.
            UnknownIdError: a user the dataset does not hold.
        """
        from searec.pipeline import run_lists

        return run_lists.best_queries(self, users, k, min_users)

    def similar(self, items: Sequence[str], k: int = 10) -> "pl.DataFrame":
        """Return the k items most similar to each item, by the model's item vectors or neighbours.

        Args:
            items: external ids of known items.
            k: items for each.

        Returns:
            similar_to, rank (from 1), item_id, score; removed items are not among them.

        Raises:
            SettingsError: the model has neither item vectors nor neighbours, or k is below 1.
            UnknownIdError: an item that was not in the training data.
        """
        from searec.pipeline import run_lists

        return run_lists.most_similar(self, items, k)

    # --- items ---

    def add_items(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add items that came after training; they are retrieved at once, and nothing is trained again.

        Args:
            records: {"item_id", "title", optional "brand", "categories" (list), "description"} an item.

        Raises:
            SettingsError: the model cannot add items, or reads nothing of what is said of them.
            DataError: a record without id or title, an id that is known, or no identifier is free.
        """
        from searec.artifacts.new_items import check_items
        from searec.pipeline.catalog_snapshot import NewItem
        from searec.pipeline.new_items import NewItemScorer

        if not supports(self.model, UpdatesItems) and not NewItemScorer(self).is_able:
            raise SettingsError(
                f"{self.model.name} cannot add items",
                where=self.folder,
                expected="a run of a model that can: gensar, tiger, or event-transformer with texts or categories",
            )
        check_items(records, self.data, [one.item for one in self.new_items])
        if records and supports(self.model, UpdatesItems):
            self.model.change_items(self.artifact().new_items(records, self.model))
        self.new_items.extend(NewItem(str(record["item_id"]), record, proxy=0) for record in records)

    def remove_items(self, items: Sequence[str]) -> None:
        """Remove items; from now on they are not returned.

        Raises:
            UnknownIdError: an item that is not known.
        """
        new = {one.item: place for place, one in enumerate(self.new_items, start=self.data.sizes.items + 1)}
        known = self.data.items.to_internal([item for item in items if item not in new]).tolist()
        inside = [one for one in (*(new[item] for item in items if item in new), *known) if one not in self.removed]
        self.removed.update(inside)
        if supports(self.model, UpdatesItems):
            self.model.change_items(removed=inside)


def read_run(folder: Path | str, data: Dataset, *, device: str | None = None) -> Run:
    """Open a run folder with the dataset it was trained on, as it was or grown.

    Args:
        folder: of the run.
        data: the dataset.
        device: a torch device; an accelerator if there is one, by default.

    Raises:
        RunError: no finished run, a damaged file, or data that holds fewer than half of the run's items.
    """
    model, config = read_model(Path(folder), data, device)
    return Run(Path(folder), model, data, config)
