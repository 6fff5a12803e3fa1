"""serendipity: retrieval of 500 items from a million by both channels, against exact search of the same vectors."""

import json
import time

import numpy as np
import torch

from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.models import Serendipity
from searec.retrieval.index import Index

ITEMS, CATEGORIES, USERS, WIDTH = 1_000_000, 5_000, 2_000, 64
POOL, QUOTA, EXCLUDED = 500, 0.2, 60


def retrieval(items: int = ITEMS, *, requests: int = 400) -> None:
    """One request at a time, one thread: p50 and p99 of the whole pool, and recall of each index at what it is asked for.

    Vectors are the towers' own, of items that lie together by category, as learned ones do; nothing is trained.
    """
    torch.set_num_threads(1)
    _one_thread()
    model, batches = _world(items, requests)
    started = time.perf_counter()
    with torch.no_grad():
        vectors, by_item, by_interest = model._indexed()
    built = time.perf_counter() - started
    exclude = torch.randint(1, items, (1, EXCLUDED), generator=torch.Generator().manual_seed(1))
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        model.pool(batch, POOL, exclude, quota=QUOTA)
        seconds.append(time.perf_counter() - start)
    with torch.no_grad():
        asked = torch.cat([model.users(batch, model.wishes(batch.user, batch.time)) for batch in batches[:100]])
        wishes = model.wishes(batches[0].user, batches[0].time)
        wanted = torch.nn.functional.normalize(model.interest(wishes.vectors[0]), dim=1)
    exact = Index(vectors, "exact")
    start = time.perf_counter()
    for row in asked[:20]:
        exact.search(row[None], POOL)
    brute = (time.perf_counter() - start) / 20
    start = time.perf_counter()
    for row in asked:
        by_item.search(row[None], POOL)
    quick = (time.perf_counter() - start) / len(asked)
    told = {
        "benchmark": "500 of a million items by both channels, one request at a time",
        "p50_ms": round(1e3 * float(np.quantile(seconds, 0.5)), 3),
        "p99_ms": round(1e3 * float(np.quantile(seconds, 0.99)), 3),
        "u2i_recall": round(_recall(by_item, exact, asked, POOL), 4),
        "i2i_recall": round(_recall(by_interest, Index(by_interest.vectors, "exact"), wanted, model.config.reach), 4),
        "u2i_search_ms": round(1e3 * quick, 3),
        "exact_ms": round(1e3 * brute, 3),
        "ratio": round(brute / quick, 1),
        "build_s": round(built, 1),
        "items": items,
        "kind": by_item.kind,
        "requests": requests,
        "threads": 1,
    }
    print(json.dumps(told), flush=True)


def _recall(near: Index, exact: Index, queries: torch.Tensor, k: int) -> float:
    found, best = near.search(queries, k)[0], exact.search(queries, k)[0]
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found.numpy(), best.numpy(), strict=True)]))


def _one_thread() -> None:
    import faiss

    faiss.omp_set_num_threads(1)


def _world(items: int, requests: int) -> tuple[Serendipity, list[Batch]]:
    """An untrained model over items that lie together by category, and requests of users who clicked twenty items."""
    generator = torch.Generator().manual_seed(0)
    config = Serendipity.Config(width=WIDTH, vector=WIDTH, interests=8)
    sizes = Sizes(users=USERS, items=items, queries=1, words=1, categories=CATEGORIES)
    model = Serendipity(config, sizes)
    category = torch.randint(1, CATEGORIES + 1, (items + 1, 1), generator=generator, dtype=torch.int32)
    category[0] = 0
    names = torch.nn.functional.normalize(torch.randn(CATEGORIES + 1, 384, generator=generator), dim=1)
    ids = torch.randint(1, CATEGORIES + 1, (USERS + 1, 2, config.interests), generator=generator, dtype=torch.int32)
    state = {
        "interest_vectors": names,
        "interest_categories": torch.nn.functional.pad(torch.arange(CATEGORIES + 1, dtype=torch.int32)[:, None], (0, 2)),
        "snapshot_times": torch.zeros(USERS + 1, 2, dtype=torch.int64),
        "snapshot_ids": ids,
        "snapshot_confidence": torch.rand(ids.shape, generator=generator) * 0.9 + 0.1,
        "attributes": torch.zeros(USERS + 1, 0, dtype=torch.int32),
        "category_vectors": names,
        "item_narrow": category,
        "item_given": category,
        "item_level": category,
        "clicks": torch.ones(items + 1, dtype=torch.int64),
    }
    for name, value in state.items():
        setattr(model, name, value)
    torch.manual_seed(0)
    model._build()
    with torch.no_grad():
        torch.nn.init.normal_(model.item.weight, std=0.3)
        torch.nn.init.normal_(model.category.weight, std=1.0)
    model.eval()
    trails = torch.randint(1, items, (requests, 1, 20), generator=generator, dtype=torch.int32)
    none = torch.zeros(1, 1, dtype=torch.int32)
    batches = [
        Batch(
            task="recommend",
            user=torch.tensor([1 + row % USERS], dtype=torch.int32),
            time=torch.tensor([1]),
            rec_item=none,
            rec_time=none,
            src_query=none,
            src_click=none[None],
            src_time=none,
            trail_item=trails[row],
            trail_time=torch.zeros_like(trails[row]),
            query=none[0],
            words=none,
            query_id=none[0],
            target=none[0],
        )
        for row in range(requests)
    ]
    return model, batches
