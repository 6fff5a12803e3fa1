"""What the benchmarks share: paired timing, memory of a child process, one JSON line."""

import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def seconds(work: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int = 3) -> dict[str, float]:
    """Both sides in turn, `rounds` times; medians in seconds, and theirs over ours."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "ours_s": round(mine, 4),
        "theirs_s": round(other, 4),
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
    }


def in_child(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What `work` returns in a process of its own, its wall seconds and its peak memory in GiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, *arguments))


def _measured(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    started = time.perf_counter()
    value = work(*arguments)
    return (
        value,
        round(time.perf_counter() - started, 2),
        round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    )


def line(benchmark: str, data: Path | str, figures: dict[str, Any]) -> None:
    """Print one JSON line."""
    where = {"data": Path(data).name, "threads": torch.get_num_threads(), "machine": platform.machine()}
    print(json.dumps({"benchmark": benchmark, **figures, **where}), flush=True)
