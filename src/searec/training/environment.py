"""Versions and machine of a run, for environment.json: no paths, no names of people or machines, no variables."""

import os
import platform
from importlib import metadata
from typing import Any

import torch

PACKAGES = ("searec", "torch", "numpy", "polars", "accelerate", "safetensors", "sentence-transformers", "scipy")


def environment() -> dict[str, Any]:
    """Return versions, processor count and accelerators of this process; None for a package that is not installed.

    >>> environment()["packages"]["numpy"] is not None
    True
    """
    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": _processors(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if cuda else [],
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processors() -> int:
    """Return the processors this process may use, which on a shared machine are fewer than it has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
