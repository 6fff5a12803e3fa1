"""Understanding of queries: time, searches without results, and NDCG@10 against labels, beside queries as typed."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from searec.data.dataset import Dataset, load
from searec.search.lexical_index import LexicalIndex
from searec.search.query import SearchQuery, parse
from searec.search.understanding import Understanding
from searec.search.vocabulary import Vocabulary
from timing import line

WORDS = 200_000


def run(data: Path) -> None:
    """Print the figures of a dataset's logged queries; NDCG where there is a file of labels."""
    dataset = load(data)
    index, understanding = LexicalIndex.of(dataset), Understanding(dataset)
    queries = dataset.queries.texts.sample(min(6_000, len(dataset.queries.texts)), seed=0).to_list()
    if (data / "labels.parquet").exists():
        queries = pl.read_parquet(data / "labels.parquet")["query"].unique(maintain_order=True).to_list()
    gains = _gains(data, dataset)
    readers: dict[str, Callable[[str], SearchQuery]] = {
        "as typed": lambda text: parse(text, dataset.analyser),
        "understood": lambda text: understanding.parse(index, text),
    }
    for name, read in readers.items():
        times, empty, ndcg = [], 0, []
        for text in queries:
            started = time.perf_counter()
            query = read(text)
            times.append(1e3 * (time.perf_counter() - started))
            items = index.best(query, 10)[0].tolist()
            empty += not items
            if gains:
                ndcg.append(_ndcg(items, gains[text]))
        figures = {f"p{share}_ms": round(float(np.percentile(times, share)), 3) for share in (50, 90, 99)}
        figures |= {"queries": len(queries), "without results": empty}
        line(f"queries {name}", data, figures | ({"ndcg@10": round(float(np.mean(ndcg)), 4)} if ndcg else {}))
    large(dataset)


def large(dataset: Dataset) -> None:
    """Print how long the neighbours of a slip take among 200,000 made-up words."""
    draw = random.Random(0)
    syllables = ["".join(draw.choices("bcdfglmnprst", k=1) + draw.choices("aeiou", k=1)) for _ in range(60)]
    words = sorted(
        draw.sample(sorted({"".join(draw.choices(syllables, k=draw.randint(2, 5))) for _ in range(4 * WORDS)}), WORDS)
    )

    vocabulary = Vocabulary(words, [1] * len(words), (), dataset.analyser)
    for most, length in ((1, range(5, 8)), (2, range(8, 12))):
        slips = [word[:3] + word[4:] for word in words if len(word) - 1 in length]
        times = []
        for slip in draw.sample(slips, 300):
            started = time.perf_counter()
            vocabulary.neighbours(slip, most)
            times.append(1e3 * (time.perf_counter() - started))
        figures = {f"p{share}_ms": round(float(np.percentile(times, share)), 3) for share in (50, 99)}
        line(f"neighbours of a word, {most} edits", "made-up", {"words": len(words), **figures})


def _gains(data: Path, dataset: Dataset) -> dict[str, dict[int, float]]:
    """The relevance of items by query."""
    gains: dict[str, dict[int, float]] = {}
    if (data / "labels.parquet").exists():
        labels = pl.read_parquet(data / "labels.parquet").select("query", "item_id", "relevance")
        for query, item, relevance in labels.iter_rows():
            gains.setdefault(query, {})[dataset.items.find(item)] = float(relevance)
    return gains


def _ndcg(items: list[int], gains: dict[int, float]) -> float:
    discounts = 1 / np.log2(np.arange(2, 12))
    ideal = np.sort(list(gains.values()))[::-1][:10]
    actual = [gains.get(item, 0.0) for item in items[:10]]
    return float(actual @ discounts[: len(actual)] / (ideal @ discounts[: len(ideal)]))
