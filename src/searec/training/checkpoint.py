"""The checkpoint: everything that a training needs to continue, in one safetensors file that one rename replaces.

Tensors are named `weights/<name>`, `best/<name>` and `optimizer/<parameter>.<key>`; the rest is JSON in the file's
metadata, with a digest of it all, so that a damaged file is never mistaken for a good one. No pickle.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from searec.errors import RunError
from searec.files import replacing
from searec.training.processes import first_process

FILE = "checkpoint.safetensors"
_REMEDY = "remove the file and train again; without it --resume starts from the beginning"
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a training."""

    weights: Mapping[str, Tensor]  # the model's, now; empty once the training is finished
    best: Mapping[str, Tensor]  # of the best validation; empty before the first
    optimizer: Mapping[str, Tensor]  # "<parameter>.<key>" -> tensor
    state: Mapping[str, Any]  # counters, JSON-ready
    made_with: Mapping[str, Any]  # settings and data, flat, JSON-ready


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint; until it is whole the one before stays in place.

    Args:
        path: of the file.
        checkpoint: to write.

    Raises:
        StorageError: the disk is full or refuses the write; the one before still loads.
    """
    # Frozen vectors and the weights right after a better validation are the same in both: stored once.
    shared = [
        name
        for name, tensor in checkpoint.best.items()
        if name in checkpoint.weights and _same(tensor, checkpoint.weights[name])
    ]
    tensors = {f"weights/{name}": tensor for name, tensor in checkpoint.weights.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in checkpoint.best.items() if name not in set(shared)}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in checkpoint.optimizer.items()}
    about = json.dumps({"state": checkpoint.state, "made_with": checkpoint.made_with, "shared": shared})
    write_tensors(path, tensors, {"searec": about, "digest": digest(tensors, about)})


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, its tensors on the CPU.

    Raises:
        RunError: there is none, or it is damaged.
    """
    tensors, metadata = read_tensors(path)
    if "searec" not in metadata or metadata.get("digest") != digest(tensors, metadata["searec"]):
        raise RunError("the checkpoint is damaged", where=path, remedy=_REMEDY)
    about = json.loads(metadata["searec"])
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, _, inner = name.partition("/")
        groups[group][inner] = tensor
    # A copy, for the weights go on changing in place while the best ones stay.
    groups["best"] |= {name: groups["weights"][name].clone() for name in about["shared"]}
    return Checkpoint(**groups, state=about["state"], made_with=about["made_with"])


def find(path: Path, made_with: Mapping[str, Any], resume: bool) -> Checkpoint | None:
    """Return the checkpoint to continue from; None to start from the beginning, which is printed if `resume` is set.

    Args:
        path: of the file.
        made_with: the settings and data of the training.
        resume: continue from a checkpoint.

    Raises:
        RunError: there is one and `resume` is not set; or it is damaged or of other settings or data.
    """
    if not resume:
        if path.exists():
            what = "the folder holds a checkpoint, which a new training would overwrite"
            raise RunError(what, where=path, remedy="continue with --resume, or train in another folder")
        return None
    if not path.exists():
        if first_process():
            print(f"no checkpoint in {path.parent}: training starts from the beginning", file=sys.stderr)
        return None
    checkpoint = load(path)
    refuse_other(checkpoint, made_with, path)
    return checkpoint


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as "outer.inner" -> value, a list for a tuple as JSON has it.

    Args:
        values: may be nested.
        prefix: of all names.

    >>> flat({"model": {"widths": (64, 32)}, "seed": 1})
    {'model.widths': [64, 32], 'seed': 1}
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return result


def refuse_other(checkpoint: Checkpoint, made_with: Mapping[str, Any], where: Path) -> None:
    """Refuse to continue from a checkpoint that was made with other settings or data.

    Args:
        checkpoint: as read.
        made_with: the settings and data now.
        where: its path.

    Raises:
        RunError: naming each setting that differs, and both values.
    """
    now, then = dict(made_with), dict(checkpoint.made_with)
    names = [
        name
        for name in sorted(now.keys() | then.keys())
        if (name in now, now.get(name)) != (name in then, then.get(name))
    ]
    if names:
        raise RunError(
            "the checkpoint was made with other settings or data",
            where=where,
            got=_listed(names, now),
            expected=_listed(names, then),
            remedy="give the same settings and data as before, or train in another folder",
        )


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whole; tensors that share memory are each written in full.

    Args:
        path: of the file.
        tensors: by name.
        metadata: texts by name.

    Raises:
        StorageError: the disk is full or refuses the write; what was at `path` stays.
    """
    with replacing(path) as beside:
        try:
            save_file(apart(tensors), beside, metadata=dict(metadata or {}))
        except SafetensorError as error:  # the library hides the system's error in its text
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code)) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file, copied to memory.

    Raises:
        RunError: there is no such file, or it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # The clone frees the tensors from the mapped file, which may be replaced while they live.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RunError("no such file", where=path) from error
    except (SafetensorError, OSError) as error:
        raise RunError("the file is damaged or cannot be read", where=path, got=str(error), remedy=_REMEDY) from error


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, contiguous, a copy for each that shares memory with an earlier one."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        place = plain.untyped_storage().data_ptr()
        result[name] = plain.clone() if place in seen else plain
        seen.add(place)
    return result


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU that later training does not touch."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def adam_state(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """Return the optimizer's tensors as "<parameter>.<key>".

    Args:
        optimizer: Adam.
        names: of its parameters, in their order.
    """
    order = list(names)
    state: Mapping[int, Mapping[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{order[number]}.{key}": tensor for number, moments in state.items() for key, tensor in moments.items()}


def restore_adam(optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Load what `adam_state` returned.

    Args:
        optimizer: Adam.
        names: of its parameters, in their order.
        tensors: as returned.

    Raises:
        RunError: a tensor of a parameter that the optimizer does not hold.
    """
    number = {name: place for place, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition(".")
        if parameter not in number:
            remedy = "use the run's settings and data"
            raise RunError("the checkpoint's optimizer does not fit the model", got=parameter, remedy=remedy)
        state.setdefault(number[parameter], {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def sweep(path: Path) -> None:
    """Remove the temporary folders that a killed process left beside `path` while it wrote there."""
    for folder in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(folder, ignore_errors=True)


def _listed(names: list[str], values: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name}={values.get(name, 'none')}" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)


def _same(first: Tensor, second: Tensor) -> bool:
    """Bit for bit, so that 0.0 is not -0.0."""
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(_bytes(first), _bytes(second))


def digest(tensors: Mapping[str, Tensor], about: str = "") -> str:
    """Return a text that differs for other names, shapes, types or values.

    Args:
        tensors: by name.
        about: further text that it depends on.
    """
    result = hashlib.blake2b(about.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        result.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        result.update(_bytes(tensor).numpy().data)
    return result.hexdigest()
