"""The folder of a run: its config.json, its weights, and what was derived before the model learned."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from searec.config import as_dict, configure
from searec.data.dataset import Dataset, Sizes
from searec.data.split import Split
from searec.errors import RunError
from searec.files import write_json
from searec.models import model_named
from searec.models.base import Model
from searec.training.checkpoint import read_tensors, write_tensors

CONFIG, WEIGHTS, ENVIRONMENT = "config.json", "weights.safetensors", "environment.json"
CUTOFF, LEAKS = "cutoff", "leaks"
"""Parts of config.json: which events the training read (see `data.cutoff`), and what its audit found."""
ARTIFACTS = "artifacts"
"""Folder of what was made before the model learned, where it needs anything."""


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
    """Return what `split_from` rebuilds the split from."""
    config: dict[str, Any] = {"min_events": split.min_events}
    config |= {"unseen": split.unseen} if split.unseen else {}
    return config | ({"split_at": split.split_at} if split.split_at is not None else {})


def split_from(data: Dataset, config: Mapping[str, Any]) -> Split:
    """Return the split of a dataset that `split_config` described.

    Args:
        data: the dataset.
        config: as returned by `split_config`.

    Raises:
        RunError: a setting that no split has.
        SearecError: as `Split`.
    """
    known = {field.name for field in fields(Split)} - {"data"}
    if unknown := sorted(config.keys() - known):
        raise RunError(
            "the split of a run has an unknown setting",
            got=", ".join(unknown),
            expected=", ".join(sorted(known)),
            remedy="use the version of searec that trained the run, or train it again",
        )
    return Split(data, **config)


def write_run(folder: Path, model: Model, config: dict[str, Any], environment: dict[str, Any]) -> None:
    """Write what `read_model` needs: config.json, weights and environment.json.

    Args:
        folder: of the run.
        model: trained.
        config: as `describe`.
        environment: versions and hardware, JSON-ready.

    Raises:
        StorageError: the disk refuses the write.
    """
    write_tensors(folder / WEIGHTS, model.state())
    write_json(folder / ENVIRONMENT, environment)
    write_json(folder / CONFIG, config)


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


def read_model(folder: Path, data: Dataset, device: str | None = None) -> tuple[Model, dict[str, Any]]:
    """Return the trained model of a run folder and its config.

    Args:
        folder: of the run.
        data: the dataset it was trained on.
        device: a torch device; an accelerator if there is one, by default.

    Raises:
        RunError: no finished run, a damaged file, or other data than it was trained on.
    """
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
    return model, config
