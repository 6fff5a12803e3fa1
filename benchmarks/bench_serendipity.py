"""serendipity-paper: retrieval of 500 items from a million by both channels, one request at a time.

Against exact search of the same vectors.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.data.batch import Batch, Batcher
from searec.data.dataset import Sizes, load
from searec.data.ragged import gather_windows
from searec.data.split import Requests, Split
from searec.experiments import run_training
from searec.models.serendipity.paper import SerendipityPaper
from searec.models.serendipity.retrieval import Tables
from searec.retrieval.item_groups import ItemGroups
from searec.retrieval.vector_index import VectorIndex
from timing import line

ITEMS, POOL, QUOTA, REQUESTS, EPOCHS = 1_000_000, 500, 0.2, 2_000, 2
NEIGHBOURS = 10
"""Of these an item's new neighbour is drawn."""
KINDS = ("ivf", "hnsw")


def retrieval(data: Path, room: Path) -> None:
    """Train the two towers, grow their catalogue to a million items, and ask for pools."""
    threads = torch.get_num_threads()
    run = run_training.train("serendipity-paper", load(data), room / "serendipity", epochs=EPOCHS, patience=0)
    assert isinstance(run.model, SerendipityPaper)
    model, split = run.model.eval(), run.split
    rows = np.random.default_rng(0).permutation(len(split.held_out("recommend", "test")))[:REQUESTS]
    asked = split.held_out("recommend", "test")[rows]
    with torch.no_grad():
        vectors, labels, worth = grown(model, ITEMS)
    _grow(model, labels, worth)
    groups = ItemGroups.of(labels, worth)
    batcher = Batcher(split.data, model.needs)
    batches = [(batcher.batch(asked[row : row + 1]), _seen(split, asked[row : row + 1])) for row in range(len(asked))]
    with torch.no_grad():
        own = F.normalize(model.own_interest(groups.first), dim=1)
        queries = torch.cat([model.users(batch, model.interests_at(batch.user, batch.time)) for batch, _ in batches])
    exact, by_interest = VectorIndex(vectors, "exact"), VectorIndex(own)
    wanted = _interests(model, batches)
    best = exact.search(queries[:500], POOL)[0]
    best_groups = VectorIndex(own, "exact").search(wanted, model.config.reach)[0]
    indexes = {}
    for kind in KINDS:
        started = time.perf_counter()
        indexes[kind] = VectorIndex(vectors, kind), time.perf_counter() - started  # type: ignore[arg-type]
    one_thread()
    brute = _times(functools.partial(_search, exact, queries), 50)
    for kind, (by_item, built) in indexes.items():
        model._tables = Tables(vectors, by_item, groups, by_interest)
        channels = {
            name: _times(functools.partial(_ask, model, batches, share), len(batches))
            for name, share in (("", QUOTA), ("u2i_", 0.0))
        }
        search = _times(functools.partial(_search, by_item, queries), len(batches))
        figures = {f"{name}{key}": value for name, times in channels.items() for key, value in times.items()}
        line(
            "500 of a million items by both channels, one request at a time, against exact search",
            data,
            {
                "kind": kind,
                **figures,
                **{f"search_{key}": value for key, value in search.items()},
                "exact_p50_ms": brute["p50_ms"],
                "ratio": round(brute["p50_ms"] / search["p50_ms"], 1),
                "u2i_recall": _recall(by_item.search(queries[:500], POOL)[0], best),
                "i2i_recall": _recall(by_interest.search(wanted, model.config.reach)[0], best_groups),
                "build_s": round(built, 1),
                "items": ITEMS,
                "groups": len(own) - 1,
                "requests": len(batches),
            },
        )
    torch.set_num_threads(threads)


def grown(model: SerendipityPaper, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, categories and clicks of `count` items.

    The learned ones, then each between two learned ones that are near one another.

    Item n is of the categories of item 1 + (n - 1) mod I.
    """
    generator = torch.Generator().manual_seed(0)
    learned = model._indexed().items
    items = len(learned) - 1
    near = VectorIndex(F.normalize(learned, dim=1), "exact").search(F.normalize(learned[1:], dim=1), NEIGHBOURS + 1)[0]
    parent = torch.arange(count - items) % items
    drawn = torch.randint(0, NEIGHBOURS + 1, (len(parent),), generator=generator)
    share = torch.rand(len(parent), 1, generator=generator)
    new = learned[1:][parent] * (1 - share) + learned[near[parent, drawn]] * share
    both = torch.cat((model.item_narrow, model.item_level), dim=1)
    return (
        torch.cat((learned, new)),
        torch.cat((both, both[1:][parent])),
        torch.cat((model.clicks, model.clicks[1:][parent])),
    )


def _grow(model: SerendipityPaper, labels: Tensor, worth: Tensor) -> None:
    """Let the model know the categories of the new items."""
    narrow = model.item_narrow.shape[1]
    model.item_narrow, model.item_level, model.clicks = (
        labels[:, :narrow].contiguous(),
        labels[:, narrow:].contiguous(),
        worth,
    )
    model.__dict__.pop("_unit", None)
    model.sizes = Sizes(**{**vars(model.sizes), "items": len(worth) - 1})


def _interests(model: SerendipityPaper, batches: list[tuple[Batch, Tensor]]) -> Tensor:
    with torch.no_grad():
        wishes = [model.interests_at(batch.user, batch.time) for batch, _ in batches[:100]]
        return F.normalize(model.interest(torch.cat([one.vectors[one.present] for one in wishes])), dim=1)


def _ask(model: SerendipityPaper, batches: list[tuple[Batch, Tensor]], quota: float, row: int) -> None:
    batch, seen = batches[row]
    model.pool(batch, POOL, seen, quota=quota)


def _search(index: VectorIndex, queries: Tensor, row: int) -> None:
    index.search(queries[[row]], POOL)


def _seen(split: Split, asked: Requests) -> Tensor:
    click_history = split.data.click_history
    first = np.asarray(click_history.offsets[asked.user])
    return torch.from_numpy(gather_windows(click_history.item, first, asked.click_end - first).astype(np.int64))


def _times(work: Callable[[int], Any], count: int) -> dict[str, float]:
    """Milliseconds of `count` calls, after some that do not count."""
    for row in range(min(count, 50)):
        work(row)
    found = []
    for row in range(count):
        started = time.perf_counter()
        work(row)
        found.append(time.perf_counter() - started)
    return {f"p{share}_ms": round(1e3 * float(np.percentile(found, share)), 3) for share in (50, 99)}


def _recall(found: Tensor, best: Tensor) -> float:
    return round(
        float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found.numpy(), best.numpy(), strict=True)])),
        4,
    )


def one_thread() -> None:
    """For PyTorch and for faiss."""
    import faiss

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
