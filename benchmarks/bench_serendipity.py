"""serendipity: retrieval of 500 items from a million by both channels, one request at a time, on one core.

The vectors are learned ones of a shop grown to a million items; the index alone is also searched among vectors in
clusters and among random ones. Recall is against exact search of the same vectors.
"""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.data.batch import Batch, Batcher
from searec.data.dataset import load
from searec.data.ragged import gather_windows
from searec.data.split import Requests, Split
from searec.experiments import run_training
from searec.models.serendipity.model import Serendipity
from searec.models.serendipity.retrieval import Tables
from searec.retrieval.item_groups import ItemGroups
from searec.retrieval.vector_index import VectorIndex
from timing import line

ITEMS, POOL, QUOTA, REQUESTS, EPOCHS, WIDTH = 1_000_000, 500, 0.2, 2_000, 2, 64
NEIGHBOURS = 10
"""Of these an item's new neighbour is drawn."""
KINDS = ("ivf", "hnsw")
JUDGED = 500
"""Requests whose recall is measured."""


def retrieval(data: Path, room: Path) -> None:
    """Train the two towers, grow their catalogue to a million items, and search it."""
    threads = torch.get_num_threads()
    run = run_training.train("serendipity", load(data), room / "serendipity", epochs=EPOCHS, patience=0)
    assert isinstance(run.model, Serendipity)
    model, split = run.model.eval(), run.split
    rows = np.random.default_rng(0).permutation(len(split.held_out("recommend", "test")))[:REQUESTS]
    requests = split.held_out("recommend", "test")[rows]
    batcher = Batcher(split.data, model.needs)
    batches = [
        (batcher.batch(requests[row : row + 1]), _seen(split, requests[row : row + 1])) for row in range(len(requests))
    ]
    with torch.no_grad():
        queries = torch.cat([model.users(batch, model.interests_at(batch.user, batch.time)) for batch, _ in batches])
        vectors, parent = grown(model.item_vectors, ITEMS)
    for name, items, users in (("learned", vectors, queries), *_drawn(REQUESTS)):
        indexes = _indexes(name, data, items, users)
        if name == "learned":
            one_thread()
            for kind, index in indexes.items():
                _both_channels(kind, data, model, index, parent, batches)
            torch.set_num_threads(threads)


def _indexes(name: str, data: Path, vectors: Tensor, queries: Tensor) -> dict[str, VectorIndex]:
    """The index of each kind, after a line with its times and its recall."""
    threads = torch.get_num_threads()
    exact = VectorIndex(vectors, "exact")
    best = exact.search(queries[:JUDGED], POOL)[0]
    indexes = {}
    for kind in KINDS:
        started = time.perf_counter()
        index = indexes[kind] = VectorIndex(vectors, kind)  # type: ignore[arg-type]
        built = time.perf_counter() - started
        one_thread()
        recalls = _recalls(index.search(queries[:JUDGED], POOL)[0], best)
        line(
            "500 nearest of a million vectors, one query at a time",
            data,
            {
                "vectors": name,
                "kind": kind,
                "searched": index.kind,
                "recall": round(float(recalls.mean()), 4),
                "recall_p1": round(float(np.percentile(recalls, 1)), 3),
                **_times(functools.partial(_search, index, queries), len(queries)),
                "exact_p50_ms": _times(functools.partial(_search, exact, queries), 50)["p50_ms"],
                "build_s": round(built, 1),
            },
        )
        torch.set_num_threads(threads)
    return indexes


def _both_channels(
    kind: str,
    data: Path,
    model: Serendipity,
    index: VectorIndex,
    parent: Tensor,
    batches: Sequence[tuple[Batch, Tensor]],
) -> None:
    """A line with the times of whole requests: user tower, both channels, what was seen left out, merge."""
    level, given, clicks = (of.index_select(0, parent) for of in (model.item_level, model.item_given, model.clicks))
    groups = ItemGroups.of(given.numpy(), clicks.numpy(), model.sizes.categories)
    first = torch.from_numpy(groups.first)
    with torch.no_grad():
        unit = F.normalize(model.own_interest(parent[first]), dim=1).numpy()
    items = index.vectors.numpy()
    model._tables = Tables(index, items, groups, unit, level[first].numpy(), model.sizes.categories)
    times = {
        name: _times(functools.partial(_ask, model, batches, share), len(batches))
        for name, share in (("", QUOTA), ("u2i_", 0.0))
    }
    line(
        "500 of a million items by both channels, one request at a time",
        data,
        {
            "kind": kind,
            **{f"{name}{key}": value for name, figures in times.items() for key, value in figures.items()},
            "items": ITEMS,
            "groups": len(groups),
            "requests": len(batches),
        },
    )


def grown(learned: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Vectors of `count` items, and the learned item whose categories and clicks each has.

    The learned ones, then each between two learned ones that are near one another.
    """
    generator = torch.Generator().manual_seed(0)
    items = len(learned) - 1
    near = VectorIndex(F.normalize(learned, dim=1), "exact").search(F.normalize(learned[1:], dim=1), NEIGHBOURS + 1)[0]
    parent = torch.arange(count - items) % items
    drawn = torch.randint(0, NEIGHBOURS + 1, (len(parent),), generator=generator)
    share = torch.rand(len(parent), 1, generator=generator)
    new = learned[1:][parent] * (1 - share) + learned[near[parent, drawn]] * share
    return torch.cat((learned, new)), torch.cat((torch.arange(items + 1), parent + 1))


def _drawn(count: int) -> list[tuple[str, Tensor, Tensor]]:
    """Vectors in 5,000 clusters whose dimensions weigh less and less, and independent normal ones; queries likewise."""
    generator = torch.Generator().manual_seed(0)
    weight = 0.97 ** torch.arange(WIDTH)
    centres = torch.randn(5_000, WIDTH, generator=generator)

    def near_centres(rows: int) -> Tensor:
        place = torch.randint(len(centres), (rows,), generator=generator)
        return weight * (centres[place] + 0.4 * torch.randn(rows, WIDTH, generator=generator))

    return [
        ("clusters", near_centres(ITEMS + 1), near_centres(count)),
        ("random", *(torch.randn(rows, WIDTH, generator=generator) for rows in (ITEMS + 1, count))),
    ]


def _ask(model: Serendipity, batches: Sequence[tuple[Batch, Tensor]], quota: float, row: int) -> None:
    batch, seen = batches[row]
    model.pool(batch, POOL, seen, quota=quota)


def _search(index: VectorIndex, queries: Tensor, row: int) -> None:
    index.search(queries[[row]], POOL)


def _seen(split: Split, requests: Requests) -> Tensor:
    click_history = split.data.click_history
    first = np.asarray(click_history.offsets[requests.user])
    return torch.from_numpy(gather_windows(click_history.item, first, requests.click_end - first).astype(np.int64))


def _times(work: Callable[[int], Any], count: int) -> dict[str, float]:
    """Milliseconds of `count` calls, after some that do not count: by the clock, and of the thread's processor time."""
    for row in range(min(count, 50)):
        work(row)
    wall, cpu = [], []
    for row in range(count):
        started = time.perf_counter(), time.thread_time()
        work(row)
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.thread_time() - started[1])
    return {
        f"{name}p{share}_ms": round(1e3 * float(np.percentile(values, share)), 3)
        for name, values in (("", wall), ("cpu_", cpu))
        for share in (50, 99)
    }


def _recalls(found: Tensor, best: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[n] share of the best items of each query among those that were found."""
    return np.array([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found.numpy(), best.numpy(), strict=True)])


def one_thread() -> None:
    """For PyTorch and for faiss."""
    import faiss

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
