"""Look-ups of external ids among a million, one by one and all at once, against a Python dict; and their memory."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from searec.data.vocabulary import IdMap
from timing import in_child, line

COUNT, LOOKED_UP = 1_000_000, 10_000


def _ids() -> pl.Series:
    rng = np.random.default_rng(0)
    return pl.Series([f"user-{number:012d}" for number in np.unique(rng.integers(0, 10**12, COUNT))])


def _map(texts: pl.Series) -> tuple[Callable[[str], int], Callable[[list[str]], object]]:
    ids = IdMap("user", texts)
    ids.find(texts[0])  # makes what it keeps
    return ids.find, ids.to_internal


def _dict(texts: pl.Series) -> tuple[Callable[[str], int], Callable[[list[str]], object]]:
    index = {text: place for place, text in enumerate(texts.to_list(), start=1)}
    return lambda text: index.get(text, 0), lambda many: np.array([index[text] for text in many], dtype=np.int32)


def _resident() -> float:
    """MiB this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _measured(make: Callable[[pl.Series], tuple[Callable[[str], int], Callable[[list[str]], object]]]) -> list[float]:
    """Median microseconds of one look-up, seconds of all ids at once, and MiB beside the column."""
    texts = _ids()
    chosen = texts.sample(LOOKED_UP, seed=0).to_list()
    before = _resident()
    one, many = make(texts)
    mib = _resident() - before
    waits = []
    for text in chosen:
        started = time.perf_counter()
        one(text)
        waits.append(time.perf_counter() - started)
    everything = texts.to_list()
    started = time.perf_counter()
    many(everything)
    return [round(float(np.median(waits)) * 1e6, 2), round(time.perf_counter() - started, 3), round(mib, 1)]


def run() -> None:
    """Print both sides and the ratios."""
    (one, every, mib), (dict_one, dict_every, dict_mib) = (in_child(_measured, make)[0] for make in (_map, _dict))
    figures = {"one_us": one, "dict_one_us": dict_one, "all_s": every, "dict_all_s": dict_every}
    figures |= {"mib": mib, "dict_mib": dict_mib, "ratio": round(dict_mib / max(mib, 0.1), 1)}
    line("a million ids, looked up in the sorted column, against a dict", "made up", figures)
