"""A deployment: one JSON file with the data, the runs and the settings of what is served and evaluated."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from searec.config import Count, NonNegative, Positive, Share, as_dict, configure, settings
from searec.data.remote import absolute, is_url
from searec.errors import SettingsError
from searec.files import write_json

VERSION = 1


@settings
class PipelineSettings:
    """How the pipeline answers.

    Attributes:
        pool: items of a feed that are ranked, at most.
        search_pool: the same of a search.
        novelty: premium on novel items of the feed, in chances of a click (`retrieval.novelty`); None for the one that
            the learned fusion was fitted with. It needs a learned fusion.
        quota: share of the feed that the interest channel has by right; with 0 its items compete by their scores, where
            a learned fusion gives them any.
        diversity: how far near-identical items of a feed are set apart, 0 to 1.
        search_diversity: the same of a search, where similar items are often what is needed.
        seconds: until a response is due.
        lookup: share of that time for reading events and interests.
        retrieve: share of that time until the channels must have answered.
        window: first positions of a list among which items may be set apart, and that the interest channel leaves to
            the other channels.
        prior: of the lexical channel: added to an item's bm25, times the logarithm of 1 + its training clicks.
        threads: of PyTorch within one operation.
    """

    pool: Count = 500
    search_pool: Count = 500
    novelty: NonNegative | None = None
    quota: Share = 0.1
    diversity: Share = 0.0
    search_diversity: Share = 0.0
    seconds: Positive = 0.5
    lookup: Share = 0.3
    retrieve: Share = 0.75
    window: Count = 60
    prior: NonNegative = 0.3
    threads: Count = 1


@settings
class Deployment(PipelineSettings):
    """What is served: a dataset, runs trained on it, and how their lists become one.

    Attributes:
        version: of the file format.
        data: the dataset folder.
        fingerprint: of the dataset it was made with, for the record; the dataset may have grown since.
        recommend: run folders for the feed; each model's role says whether it retrieves or ranks.
        search: run folders for search.
        labels: run folder -> the label it has here, where it differs from the run's own.
        weights: channel -> its weight in the fusion of channels, 1 by default.
        rank_recommend: labels of the runs that rank the feed without a learned fusion; by default those whose models
            are rankers.
        debias: "auto" learns the fusion of search from clicks weighted against position bias, where the log holds the
            result pages that tell it; "off" from clicks as they are.
        fusion: the file of the learned fusion; empty to fuse by rank.
        fusion_digest: of that file.
        search_rules: the file of synonyms and redirects (`search.rules`); empty for none.
        search_rules_digest: of that file.
    """

    version: Literal[1] = 1
    data: str = ""
    fingerprint: str = ""
    recommend: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    weights: dict[str, Positive] = dataclasses.field(default_factory=dict)
    rank_recommend: tuple[str, ...] | None = None
    debias: Literal["auto", "off"] = "auto"
    fusion: str = ""
    fusion_digest: str = ""
    search_rules: str = ""
    search_rules_digest: str = ""

    @property
    def runs(self) -> tuple[str, ...]:
        """Each run folder once, those of the feed first."""
        return tuple(dict.fromkeys((*self.recommend, *self.search)))


def read_deployment(path: Path | str, *, data: Path | str | None = None) -> Deployment:
    """Read a deployment file.

    Args:
        path: of the file; folders in it are relative to the file's own folder.
        data: a dataset folder in place of the file's.

    Raises:
        SettingsError: the file is missing or not JSON, a key is unknown (the nearest is named), or a value is wrong.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            "no deployment file", where=path, remedy="'searec deploy DATA RUN ... --out DEPLOYMENT' writes one"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError("the deployment cannot be read", where=path, got=error, expected="a JSON file") from None
    if not isinstance(values, dict):
        raise SettingsError("the deployment cannot be read", where=path, expected="a JSON object")
    if data is not None:
        values["data"] = absolute(data)
    deployment = configure(Deployment, values, where=str(path))
    if not deployment.data:
        raise SettingsError("the deployment names no data", where=path, remedy="name the dataset folder by --data")
    return _with_folders(deployment, lambda folder: os.path.normpath(path.resolve().parent / folder))


def write_deployment(deployment: Deployment, path: Path | str) -> None:
    """Write a deployment file with folders relative to it.

    Args:
        deployment: what to write.
        path: of the file.

    Raises:
        StorageError: the disk refuses the write.
    """
    home = Path(path).resolve().parent
    home.mkdir(parents=True, exist_ok=True)
    write_json(Path(path), as_dict(_with_folders(deployment, lambda folder: os.path.relpath(folder, home))))


def changed(deployment: Deployment, values: Mapping[str, Any]) -> Deployment:
    """Return the deployment with other values; the fingerprint is not kept for a new dataset.

    Args:
        deployment: the current one.
        values: fields by name.

    Raises:
        SettingsError: an unknown field (the nearest is named) or a wrong value.
    """
    reset = {"fingerprint": ""} if "data" in values else {}
    return configure(Deployment, {**reset, **values}, base=deployment, where="deployment")


def _with_folders(deployment: Deployment, move: Any) -> Deployment:
    return dataclasses.replace(
        deployment,
        data=deployment.data if is_url(deployment.data) else move(deployment.data),
        recommend=tuple(map(move, deployment.recommend)),
        search=tuple(map(move, deployment.search)),
        fusion=move(deployment.fusion) if deployment.fusion else "",
        search_rules=move(deployment.search_rules) if deployment.search_rules else "",
        labels={move(folder): label for folder, label in deployment.labels.items()},
    )
