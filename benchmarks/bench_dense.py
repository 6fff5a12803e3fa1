"""The dense channel: filters within the index against filtering its list; and 5,000 new items against known ones.

python benchmarks/bench_dense.py DATASET     the least similarity of a match, and what random strings come to
"""

import random
import string
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import torch

from searec.data.dataset import load
from searec.data.synthetic.simulate import World, simulate
from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot
from searec.pipeline.channels import RequestBatch
from searec.pipeline.dense_channel import DenseChannel
from searec.pipeline.histories import Histories
from searec.pipeline.least_similarity import least_similarity
from searec.retrieval.vector_index import VectorIndex
from searec.store.events import ItemChange
from searec.text.encoder import Encoder
from timing import line

ITEMS, WIDTH, CLUSTERS, K, QUERIES = 300_000, 384, 400, 100, 200
SHARES = (0.5, 0.05, 0.005)
KNOWN, NEW = 20_000, 5_000
MATCHED = 12_000
"""Items that texts are compared with."""


def run() -> None:
    """Print one line for each share of items that pass, and one of the new items."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    filters()
    new_items()


def filters() -> None:
    """Recall of the nearest items that pass, and milliseconds; those that pass are mostly of some clusters."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, WIDTH)).astype(np.float32)
    cluster = rng.integers(0, CLUSTERS, ITEMS + 1)
    vectors = _unit(centres[cluster] + rng.normal(size=(ITEMS + 1, WIDTH)).astype(np.float32))
    queries = _unit(centres[rng.integers(0, CLUSTERS, QUERIES)] + rng.normal(size=(QUERIES, WIDTH)).astype(np.float32))
    index = VectorIndex(vectors, probes=32)
    for share in SHARES:
        some = np.isin(cluster, rng.choice(CLUSTERS, max(1, int(share * CLUSTERS)), replace=False))
        allowed = (some & (rng.random(ITEMS + 1) < share * CLUSTERS)) | (rng.random(ITEMS + 1) < share / 10)
        allowed[0] = False
        passing = torch.from_numpy(np.flatnonzero(allowed))
        best = [passing[row].numpy() for row in (queries @ vectors[passing].T).topk(K, dim=1).indices]

        def exactly(query: torch.Tensor, passing: torch.Tensor = passing) -> np.ndarray:
            return passing[(vectors[passing] @ query).topk(K).indices].numpy()

        def within(query: torch.Tensor, allowed: np.ndarray = allowed) -> np.ndarray:
            return index.search(query[None], K, allowed)[0][0].numpy()

        def afterwards(query: torch.Tensor, allowed: np.ndarray = allowed) -> np.ndarray:
            items = index.search(query[None], 2 * K)[0][0].numpy()
            return np.asarray(items[allowed[items]][:K])

        figures: dict[str, Any] = {"share": share, "passing": len(passing)}
        for name, find in (("within", within), ("afterwards", afterwards), ("exactly", exactly)):
            recalls, times = _measured(find, queries, best)
            figures |= {f"{name}_recall": round(recalls, 3), f"{name}_p50_ms": times[0], f"{name}_p99_ms": times[1]}
        figures["ratio"] = round(figures["exactly_p50_ms"] / figures["within_p50_ms"], 2)
        line("100 nearest of the items that pass a filter, against exact search", "clusters", figures)


def _measured(
    find: Callable[[torch.Tensor], np.ndarray], queries: torch.Tensor, best: Sequence[np.ndarray]
) -> tuple[float, list[float]]:
    shares, times = [], []
    for query, expected in zip(queries, best, strict=True):
        started = time.perf_counter()
        items = find(query)
        times.append(1e3 * (time.perf_counter() - started))
        shares.append(len(np.intersect1d(items, expected)) / len(expected))
    return float(np.mean(shares)), [round(float(np.percentile(times, share)), 2) for share in (50, 99)]


def _unit(vectors: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


class _RandomEncoder:
    """A random vector for each text, at once."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.random.default_rng(0).normal(size=(len(texts), WIDTH)).astype(np.float32)

    encode_now = encode


def new_items() -> None:
    """Milliseconds of a request with and without new items, and of the first after one more came."""
    with tempfile.TemporaryDirectory() as home:
        data = load(simulate(Path(home) / "world", World(users=100, items=KNOWN)))
        model = SimpleNamespace(item_vectors=torch.randn(KNOWN + 1, WIDTH), text_encoder=_RandomEncoder())
        channel: Any = DenseChannel(SimpleNamespace(model=model, data=data, label="dense"))  # type: ignore[arg-type]
        known = CatalogSnapshot(CatalogBase(data))
        grown = known.with_changes([ItemChange(f"new-{n}", {"title": f"title of {n}"}) for n in range(NEW)])
        channel.encode_items(grown)
        query = str(data.queries.texts[0])

        def ask(catalog: CatalogSnapshot) -> float:
            nobody = Histories(data).context(None, (), catalog)
            batch = RequestBatch(catalog, [nobody], [query], [None], [np.zeros(0, dtype=np.int64)])
            started = time.perf_counter()
            channel.retrieve(batch, K)
            return 1e3 * (time.perf_counter() - started)

        ask(grown)
        figures = {
            "known_ms": round(float(np.median([ask(known) for _ in range(200)])), 3),
            "with_new_ms": round(float(np.median([ask(grown) for _ in range(200)])), 3),
        }
        later, firsts = grown, []
        for number in range(20):
            later = later.with_changes([ItemChange(f"later-{number}", {"title": f"later {number}"})])
            firsts.append(ask(later))
        figures["first_after_a_change_ms"] = round(float(np.median(firsts)), 3)
        figures["ratio"] = round(figures["known_ms"] / KNOWN * (KNOWN + NEW) / figures["with_new_ms"], 2)
        line("a dense search of 20,000 known and 5,000 new items, against the same number of known ones", "-", figures)


def matches(folder: str) -> None:
    """Print the limit, and the share of random strings and of logged queries whose nearest item is above it."""
    data, encoder, rng = load(folder), Encoder(), random.Random(1)
    rows = sorted(rng.sample(range(data.sizes.items), min(data.sizes.items, MATCHED)))
    titles, texts = data.item_table["title"].gather(rows).to_list(), data.item_texts()
    vectors = encoder.encode([texts[row] for row in rows])
    queries = data.queries.texts.to_list()

    def nearest(of: np.ndarray) -> np.ndarray:
        return np.asarray((of @ vectors.T).max(axis=1))

    least = least_similarity(queries, titles, encoder.encode, nearest)
    strings = [
        " ".join("".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 9))) for _ in range(rng.randint(1, 3)))
        for _ in range(QUERIES)
    ]
    figures = {"items": len(rows), "least": round(least, 3)}
    for name, sample in (("random", strings), ("logged", rng.sample(queries, min(len(queries), QUERIES)))):
        figures[f"{name}_above"] = round(float(np.mean(nearest(encoder.encode_now(sample)) >= least)), 3)
    words = ("hairdresser", "cinema", "qwertyuiop")
    figures |= {word: round(float(nearest(encoder.encode_now([word]))[0]), 2) for word in words}
    line("nearest items of random strings and of logged queries that are a match", folder, figures)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        matches(sys.argv[1])
    else:
        run()
