"""The folder of a run: its config.json, its weights, and what was derived before the model learned."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from searec.config import as_dict, configure
from searec.data.dataset import Dataset, Sizes
from searec.data.leakage.cutoff import Cutoff
from searec.data.ragged import Ints
from searec.data.split import Split
from searec.errors import RunError
from searec.files import replacing, write_json
from searec.models import model_named
from searec.models.base import Model
from searec.models.growth import Growth, write_vocabularies
from searec.training.checkpoint import read_tensors, write_tensors

CONFIG, WEIGHTS, ENVIRONMENT = "config.json", "weights.safetensors", "environment.json"
CONTINUES = "continues"
"""In the split of a run that began with the weights of another one; what that one had read is in `STARTED`."""
VOCABULARIES, CUTOFFS, STARTED = "vocabularies", "cutoff", "started"
"""Folders: the external ids behind the rows of the weights; which events the run has read; the same of its start."""
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
    config |= {"split_at": split.split_at} if split.split_at is not None else {}
    config |= {"final": True} if split.final else {}
    config |= {"joint": True} if split.joint else {}
    return config | ({CONTINUES: True} if split.read_before is not None else {})


def split_from(data: Dataset, config: Mapping[str, Any], read_before: Ints | None = None) -> Split:
    """Return the split of a dataset that `split_config` described.

    Args:
        data: the dataset.
        config: as returned by `split_config`.
        read_before: as of `Split`.

    Raises:
        RunError: a setting that no split has.
        SearecError: as `Split`.
    """
    known = {field.name for field in fields(Split)} - {"data", "read_before"}
    if unknown := sorted(config.keys() - known):
        raise RunError(
            "the split of a run has an unknown setting",
            got=", ".join(unknown),
            expected=", ".join(sorted(known)),
            remedy="use the version of searec that trained the run, or train it again",
        )
    return Split(data, **config, read_before=read_before)


def split_of(folder: Path, config: Mapping[str, Any], data: Dataset) -> Split:
    """Return the split of a run: the one it was trained on, or of data that has grown what it has not read.

    Args:
        folder: of the run.
        config: of the run.
        data: the dataset it was trained on, as it was or grown.

    Raises:
        LeakError: the run does not record what it has read.
    """
    values = dict(config["split"])
    continues = values.pop(CONTINUES, False)
    if config["data"]["fingerprint"] == data.fingerprint:
        read = Cutoff.load(folder / STARTED).on(data)[0] if continues else None
    else:
        # Which users were kept from training is drawn for a number of users; of the others it has read nothing.
        values = {name: value for name, value in values.items() if name not in ("final", "unseen")}
        read = Cutoff.load(folder / CUTOFFS).on(data)[0]
    return split_from(data, values, read)


def growth_of(folder: Path, config: Mapping[str, Any], data: Dataset) -> Growth:
    """Return how the data of a run has grown.

    Args:
        folder: of the run.
        config: of the run.
        data: the dataset that has grown.

    Raises:
        RunError: it holds fewer than half of the run's items, or the run does not keep their names.
    """
    if VOCABULARIES not in config:
        raise RunError(
            "the run was trained on other data, and by a version that kept no names",
            where=folder,
            got=f"data {data.fingerprint}",
            expected=f"data {config['data']['fingerprint']}",
            remedy="train it again",
        )
    growth = Growth.of(folder / VOCABULARIES, config[VOCABULARIES], data)
    growth.refuse_other_data(folder)
    return growth


def what_it_read(model: Model, split: Split) -> Cutoff:
    """Return the events that a trained model has read, whichever of its tasks it has read them for.

    Args:
        model: the model.
        split: that it learned from.
    """
    first, *others = (
        Cutoff.of(split, tasks) for tasks in dict.fromkeys((tuple(model.train_tasks), *model.click_counts()))
    )
    for other in others:
        first = replace(
            first, read=np.maximum(first.read, other.read), learned=np.maximum(first.learned, other.learned)
        )
    return first


def write_run(folder: Path, model: Model, config: dict[str, Any], environment: dict[str, Any], *, split: Split) -> None:
    """Write what `read_model` needs: config.json, weights, vocabularies, what was read, and environment.json.

    Args:
        folder: of the run.
        model: trained.
        config: as `describe`; the digests of the vocabularies are added.
        environment: versions and hardware, JSON-ready.
        split: that it learned from.

    Raises:
        StorageError: the disk refuses the write.
    """
    write_tensors(folder / WEIGHTS, model.state())
    axes = {rows.of for rows in model.rows.values()}
    config[VOCABULARIES] = write_vocabularies(folder / VOCABULARIES, split.data, axes)
    with replacing(folder / CUTOFFS) as beside:
        beside.mkdir()
        what_it_read(model, split).save(beside)
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
    except (FileNotFoundError, NotADirectoryError):
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
        data: the dataset it was trained on, as it was or grown: users, items and the like are found by name, and
            what is new starts as `Model.grown_state` says.
        device: a torch device; an accelerator if there is one, by default.

    Raises:
        RunError: no finished run, a damaged file, or data that holds fewer than half of the run's items.
        SearecError: new users or items cannot be described by what the model was trained with.
    """
    model, config = read_trained(folder)
    if config["data"]["fingerprint"] != data.fingerprint:
        from searec.pipeline.grown_run import Grown

        growth, split = growth_of(folder, config, data), split_of(folder, config, data)
        model = Grown.of(model, growth, split, folder / ARTIFACTS).model()
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return model, config


def read_trained(folder: Path) -> tuple[Model, dict[str, Any]]:
    """Return the model of a run folder as it was trained, on the CPU, and its config; its data is not needed.

    Raises:
        RunError: no finished run, or a damaged file.
    """
    config = read_config(folder)
    kind = model_named(config["model"])
    model = kind(
        configure(kind.Config, config["settings"]["model"], where=str(folder / CONFIG)),
        Sizes(**config["data"]["sizes"]),
    )
    state, _ = read_tensors(folder / WEIGHTS)
    model.load_state(state)
    return model.eval(), config
