"""Run: a trained model with what it was trained on, and its folder on disk."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.artifacts import artifact_named
from searec.artifacts.base import Artifact
from searec.config import as_dict, configure
from searec.data.batch import Batcher
from searec.data.dataset import Dataset, Sizes
from searec.data.ragged import gather_windows
from searec.data.schema import Task
from searec.data.split import NEVER, Requests, Split, requests_at
from searec.errors import RunError, SettingsError
from searec.files import write_json
from searec.models import model_named
from searec.models.base import Model
from searec.models.capabilities import ColdStartUsers, RetrievesByInterest, SuggestsQueries, UpdatesItems
from searec.pipeline.similar_items import similar_items
from searec.training.checkpoint import read_tensors, write_tensors

if TYPE_CHECKING:
    from searec.models.serendipity.retrieval import InterestPool

CONFIG, WEIGHTS, ENVIRONMENT = "config.json", "weights.safetensors", "environment.json"
CUTOFF, LEAKS = "cutoff", "leaks"
"""Parts of config.json: which events the training read (see `data.cutoff`), and what its audit found."""
ARTIFACTS = "artifacts"
"""Folder of what was made before the model learned, where it needs anything."""
_REQUESTS_AT_ONCE = 256
_LIKE_CLICKED = "like what you clicked before"


@dataclass(frozen=True)
class Run:
    """A trained model and its run folder.

    Attributes:
        folder: of the run.
        model: trained.
        data: it was trained on.
        config: model, preset, label, seed, settings ("model" and, if it was trained by steps, "train"), data
            (fingerprint and sizes) and split, as in config.json.
        new_items: external ids of items added since, whose internal ids follow those of the dataset.
        removed: internal ids of items removed since.
    """

    folder: Path
    model: Model
    data: Dataset
    config: dict[str, Any]
    new_items: list[str] = field(default_factory=list)
    removed: set[int] = field(default_factory=set)

    @property
    def label(self) -> str:
        """The run's name in tables."""
        return str(self.config["label"])

    @functools.cached_property
    def split(self) -> Split:
        """The split it was trained on."""
        return Split(self.data, **self.config["split"])

    def artifact(self) -> Artifact:
        """Return what was derived before the model learned, read from the run folder.

        Raises:
            RunError: the model needs none, or it is damaged.
        """
        if self.model.artifact is None:
            raise RunError("the model was trained without an artifact", where=self.folder, got=self.model.name)
        return artifact_named(self.model.artifact).load(self.folder / ARTIFACTS)

    def recommend(self, users: Sequence[str], k: int = 10, *, seen: bool = False) -> pl.DataFrame:
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
        return self._answer("recommend", users, None, k, seen=seen)

    def recommend_newcomers(
        self, records: Sequence[Mapping[str, Any]], k: int = 10, *, seen: bool = False
    ) -> pl.DataFrame:
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
        from searec.artifacts.new_users import best_for_new_users

        if not isinstance(self.model, ColdStartUsers):
            raise SettingsError(
                f"{self.model.name} cannot score new users", expected="a run of a model that can (gserec)"
            )
        self._refuse_none(k)
        pool = self._named(*best_for_new_users(self.model, self.artifact(), self.data, records, k, seen=seen))
        return pool.rename({"row": "record"})

    def search(self, users: Sequence[str], queries: Sequence[str], k: int = 10) -> pl.DataFrame:
        """Return the k best items for each pair of user and query, after everything in the log.

        Args:
            users: external user ids.
            queries: a query for each user.
            k: items per pair.

        Returns:
            user_id, query, rank (from 1), item_id, score.

        Raises:
            SettingsError: the model does not search, k is below 1, a query is empty, or users and queries differ in
                number.
            UnknownIdError: a user the dataset does not hold.
        """
        if len(users) != len(queries):
            raise SettingsError("each query needs its user", got=f"{len(users)} users, {len(queries)} queries")
        for query in queries:
            if not query.strip():
                raise SettingsError("empty query", got=repr(query), expected="text")
        return self._answer("search", users, queries, k, seen=True)

    def suggest(self, users: Sequence[str], k: int = 5, *, min_users: int = 2) -> pl.DataFrame:
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
        if not isinstance(self.model, SuggestsQueries) or "search" not in self.model.train_tasks:
            raise SettingsError(
                f"{self.model.name} cannot suggest queries", expected="a gensar run that has learnt to search"
            )
        self._refuse_none(k)
        inside = self.data.users.to_internal(users)
        texts = queries_of_several(self.data, min_users)[0].to_list()
        schema = {"user_id": pl.String, "rank": pl.Int64, "query": pl.String, "score": pl.Float64}
        if not texts or not len(inside):
            return pl.DataFrame(schema=schema)
        requests = requests_at(self.data, "recommend", inside, np.full(len(inside), NEVER))
        batcher = Batcher(self.data, self.model.needs)
        answers = []
        trie = self.model.query_trie(texts)
        for start in range(0, len(requests), _REQUESTS_AT_ONCE):
            batch = batcher.batch(requests[slice(start, start + _REQUESTS_AT_ONCE)]).to(self.model.device)
            answers.append([tensor.cpu().numpy() for tensor in self.model.suggest(batch, trie, k)])
        places, scores = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        row, rank = np.nonzero(places)
        queries = [texts[place - 1] for place in places[row, rank].tolist()]
        columns = ([users[one] for one in row.tolist()], rank + 1, queries, scores[row, rank])
        return pl.DataFrame(dict(zip(schema, columns, strict=True)), schema=schema)

    def similar(self, items: Sequence[str], k: int = 10) -> pl.DataFrame:
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
        internal = self.data.items.to_internal(items)
        best, scores = similar_items(self.model, internal, k, self.removed)
        named = self._named(torch.from_numpy(best), torch.from_numpy(scores))
        origin = pl.Series("similar_to", list(items), dtype=pl.String).gather(named["row"])
        return named.drop("row").insert_column(0, origin)

    def add_items(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add items that came after training; they are retrieved at once, and nothing is trained again.

        Args:
            records: {"item_id", "title", optional "brand", "categories" (list), "description"} an item.

        Raises:
            SettingsError: the model cannot add items.
            DataError: a record without id or title, an id that is known, or no identifier is free.
        """
        from searec.artifacts.item_identifiers import check_items

        if not isinstance(self.model, UpdatesItems):
            raise SettingsError(
                f"{self.model.name} cannot add items", expected="a run of a model that can (gensar, tiger)"
            )
        check_items(records, self.data, self.new_items)
        if records:
            self.model.change_items(self.artifact().new_items(records, self.model))
            self.new_items.extend(str(record["item_id"]) for record in records)

    def remove_items(self, items: Sequence[str]) -> None:
        """Remove items; from now on they are not returned.

        Raises:
            UnknownIdError: an item that is not known.
        """
        new = {item: place for place, item in enumerate(self.new_items, start=self.data.sizes.items + 1)}
        known = [item for item in items if item not in new]
        inside = [new[item] for item in items if item in new] + [
            int(item) for item in self.data.items.to_internal(known)
        ]
        inside = [item for item in inside if item not in self.removed]
        self.removed.update(inside)
        if isinstance(self.model, UpdatesItems):
            self.model.change_items(removed=inside)

    @staticmethod
    def _refuse_none(k: int) -> None:
        if k < 1:
            raise SettingsError("k is too small", got=k, expected="1 or more")

    def _answer(
        self, task: Task, users: Sequence[str], queries: Sequence[str] | None, k: int, *, seen: bool
    ) -> pl.DataFrame:
        if task not in self.model.train_tasks:
            raise SettingsError(
                f"{self.model.name} does not support {task}", expected=", ".join(self.model.train_tasks)
            )
        self._refuse_none(k)
        inside = self.data.users.to_internal(users)
        requests = requests_at(self.data, task, inside, np.full(len(inside), NEVER), new_texts=queries)
        schema: dict[str, Any] = {"row": pl.Int64, "rank": pl.Int64, "item_id": pl.String, "score": pl.Float64}
        if isinstance(self.model, RetrievesByInterest):
            schema |= {"channel": pl.String, "reason": pl.String}
        frames = [pl.DataFrame(schema=schema)]
        for start in range(0, len(requests), _REQUESTS_AT_ONCE):
            rows = np.arange(start, min(start + _REQUESTS_AT_ONCE, len(requests)))
            frames.append(self._lists(requests[rows], k, seen).with_columns(pl.col("row") + start))
        columns = {"user_id": list(users)} | ({"query": list(queries)} if queries is not None else {})
        who = pl.DataFrame(columns).with_row_index("row").cast({"row": pl.Int64})
        return who.join(pl.concat(frames), on="row", how="inner").sort("row", "rank").drop("row")

    def _lists(self, requests: Requests, k: int, seen: bool) -> pl.DataFrame:
        batch = Batcher(self.data, self.model.needs).batch(requests)
        device = self.model.device
        exclude = np.tile(np.array(sorted(self.removed), dtype=np.int32), (len(requests), 1))
        if not seen:
            first = np.asarray(self.data.click_history.offsets[requests.user])
            exclude = np.concatenate(
                (exclude, gather_windows(self.data.click_history.item, first, requests.click_end - first)), axis=1
            )
        left_out = torch.from_numpy(exclude).to(device) if exclude.shape[1] else None
        if isinstance(self.model, RetrievesByInterest):
            return self._explained(requests, self.model.pool(batch.to(device), k, left_out))
        return self._named(*self.model.retrieve(batch.to(device), k, left_out))

    def _explained(self, requests: Requests, pool: "InterestPool") -> pl.DataFrame:
        """As `_named`, with the channel of each item and the reason for it."""
        from searec.interests.interest_table import read_graphs

        users = self.data.users.to_external(requests.user)
        graphs = read_graphs(self.folder / ARTIFACTS, users)
        named = self._named(pool.pool.items, pool.score)
        interest = pool.interest.cpu().numpy()
        reasons = {user: [one.reason for one in graph.interests()] for user, graph in graphs.items()}
        columns = []
        for row, rank in named.select("row", "rank").iter_rows():
            place = int(interest[row, rank - 1])
            columns.append(("interest", reasons[users[row]][place]) if place >= 0 else ("behaviour", _LIKE_CLICKED))
        return named.with_columns(
            channel=pl.Series([channel for channel, _ in columns], dtype=pl.String),
            reason=pl.Series([reason for _, reason in columns], dtype=pl.String),
        )

    def _named(self, best: Tensor, values: Tensor) -> pl.DataFrame:
        """row, rank, item_id, score of internal ids and scores [B, k]."""
        ids, scores = best.cpu().numpy(), values.cpu().numpy()
        is_item = ids > 0
        row, place = np.nonzero(is_item)
        return pl.DataFrame(
            {
                "row": row,
                "rank": place + 1,
                "item_id": self._external(ids[is_item]),
                "score": scores[is_item].astype(np.float64),
            }
        )

    def _external(self, ids: NDArray[np.integer[Any]]) -> list[str]:
        known = self.data.sizes.items
        if not self.new_items:
            return self.data.items.to_external(ids)
        names = np.array([*self.new_items, *self.data.items.to_external(np.minimum(ids, known))], dtype=object)
        return list(names[np.where(ids > known, ids - known - 1, len(self.new_items) + np.arange(len(ids)))])


def queries_of_several(data: Dataset, min_users: int) -> tuple[pl.Series, NDArray[np.int64]]:
    """Return the queries that at least `min_users` users have searched, and how many users have searched each.

    Args:
        data: the dataset.
        min_users: from 1.
    """
    searches = data.searches
    user = np.repeat(np.arange(len(searches.offsets) - 1), np.diff(searches.offsets))
    queries, counts = np.unique(np.unique(np.stack((searches.query, user)), axis=1)[0], return_counts=True)
    is_frequent = counts >= min_users
    return data.queries.texts.gather(queries[is_frequent].astype(np.int64) - 1), counts[is_frequent].astype(np.int64)


def write_run(run: Run, environment: dict[str, Any]) -> None:
    """Write what `read_run` needs: config.json, weights and environment.json.

    Args:
        run: to write.
        environment: versions and hardware, JSON-ready.

    Raises:
        StorageError: the disk refuses the write.
    """
    write_tensors(run.folder / WEIGHTS, run.model.state())
    write_json(run.folder / ENVIRONMENT, environment)
    write_json(run.folder / CONFIG, run.config)


def describe(
    model: Model, data: Dataset, split: Split, *, label: str, preset: str, seed: int, train: Any | None
) -> dict[str, Any]:
    """Return the config of a run.

    Args:
        model: trained.
        data: it was trained on.
        split: it was trained on.
        label: its name in tables.
        preset: of its settings.
        seed: of its training.
        train: settings of the training loop; None for models that are fitted.
    """
    return {
        "model": model.name,
        "label": label,
        "preset": preset,
        "seed": seed,
        "settings": {"model": as_dict(model.config)} | ({"train": as_dict(train)} if train is not None else {}),
        "data": {"fingerprint": data.fingerprint, "sizes": asdict(data.sizes)},
        "split": split_config(split),
    }


def split_config(split: Split) -> dict[str, Any]:
    """Return what `Split` is rebuilt from."""
    return {"min_events": split.min_events} | ({"unseen": split.unseen} if split.unseen else {})


def read_config(folder: Path | str) -> dict[str, Any]:
    """Return the config.json of a run folder.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            "no finished run",
            where=folder,
            expected=f"a folder with {CONFIG}",
            remedy="'searec train MODEL DATA --out RUN' makes one",
        ) from None
    except (OSError, ValueError) as error:
        raise RunError("file is damaged", where=path, got=error, remedy="train the run again") from error
    if not isinstance(config, dict):
        raise RunError(
            "file is damaged",
            where=path,
            got=type(config).__name__,
            expected="settings by name",
            remedy="train the run again",
        )
    if missing := {"model", "label", "settings", "data", "split", "seed", "preset"} - config.keys():
        raise RunError(
            "file is damaged", where=path, got="no " + ", ".join(sorted(missing)), remedy="train the run again"
        )
    return config


def read_run(folder: Path | str, data: Dataset, *, device: str | None = None) -> Run:
    """Open a run folder with the dataset it was trained on.

    Args:
        folder: of the run.
        data: the dataset.
        device: a torch device; an accelerator if there is one, by default.

    Raises:
        RunError: no finished run, a damaged file, or other data than it was trained on.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config["data"]["fingerprint"] != data.fingerprint:
        raise RunError(
            "the run was trained on other data",
            where=folder,
            got=f"data {data.fingerprint}",
            expected=f"data {config['data']['fingerprint']}",
            remedy="name the dataset folder it was trained on, or train again",
        )
    kind = model_named(config["model"])
    model = kind(
        configure(kind.Config, config["settings"]["model"], where=str(folder / CONFIG)),
        Sizes(**config["data"]["sizes"]),
    )
    state, _ = read_tensors(folder / WEIGHTS)
    model.load_state(state)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return Run(folder, model, data, config)
