"""Weights of fields, phrases and vectors in search, on training searches or graded labels.

python benchmarks/search_weights.py DATA ... [--dense RUN ...] [--searches 1500]

NDCG@10 of searches drawn from all but the newest three of each user (none is held out of a split), of their clicked
items; with labels.parquet in the folder, of its queries by the grade. RUN is a dense run of each DATA.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import Dataset, load
from searec.pipeline.fusion import fuse
from searec.pipeline.run import read_run
from searec.search import scoring
from searec.search.lexical_index import LexicalIndex
from searec.search.postings import FieldWeights
from searec.search.query import parse

FIELDS = ((1.0, 1.0, 1.0, 1.0), (2.0, 1.0, 2.0, 1.0), (2.0, 2.0, 3.0, 1.0), (2.0, 2.0, 4.0, 1.0), (5.0, 3.0, 3.0, 1.0))
PHRASES = (0.0, 0.1, 0.2, 0.35, 1.0)
VECTORS = (0.0, 0.25, 0.5, 1.0)
DEPTH, POOL = 10, 100
_NEWEST = 3
Judged = tuple[list[str], list[dict[int, float]]]


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--dense", type=Path, nargs="*", default=[])
    parser.add_argument("--searches", type=int, default=1_500)
    options = parser.parse_args()
    for place, folder in enumerate(options.data):
        data = load(folder)
        judged = _judged(folder, data, options.searches)
        default = scoring.PHRASE
        for fields in FIELDS:
            _line(folder, f"fields {fields}, phrases {default}", _words(data, judged, fields, default))
        for phrase in PHRASES:
            _line(folder, f"fields {FieldWeights().fields}, phrases {phrase}", _words(data, judged, None, phrase))
        scoring.PHRASE = default
        for name, value in _vectors(data, judged, options.dense[place]).items() if options.dense else ():
            _line(folder, name, value)


def _line(folder: Path, name: str, value: float) -> None:
    print(f"{folder.name:16}{name:44}{value:.4f}", flush=True)


def _judged(folder: Path, data: Dataset, most: int) -> Judged:
    rng = np.random.default_rng(0)
    if (folder / "labels.parquet").is_file():
        labels = (
            pl.read_parquet(folder / "labels.parquet")
            .group_by("query", maintain_order=True)
            .agg("item_id", "relevance")
        )
        labels = labels[np.sort(rng.permutation(labels.height)[:most])]
        rows = zip(labels["item_id"].to_list(), labels["relevance"].to_list(), strict=True)
        grades = [dict(zip(map(data.items.find, items), map(float, values), strict=True)) for items, values in rows]
        return labels["query"].to_list(), grades
    searches = data.searches
    owner = np.repeat(np.arange(len(searches.offsets) - 1), np.diff(searches.offsets))
    from_end = searches.offsets[owner + 1] - np.arange(len(owner))
    old = np.flatnonzero((from_end > _NEWEST) & (searches.clicks.lengths > 0))
    chosen = np.sort(rng.permutation(old)[:most])
    texts = data.queries.texts.gather(searches.query[chosen].astype(np.int64) - 1).to_list()
    return texts, [dict.fromkeys(searches.clicks.row(row).tolist(), 1.0) for row in chosen]


def _ndcg(items: Any, grades: dict[int, float]) -> float:
    discount = 1 / np.log2(np.arange(DEPTH) + 2)
    gains = np.array([grades.get(int(item), 0.0) for item in items[:DEPTH]])
    ideal = np.sort(list(grades.values()))[::-1][:DEPTH]
    return float(gains @ discount[: len(gains)] / (ideal @ discount[: len(ideal)]))


def _words(data: Dataset, judged: Judged, fields: Any, phrase: float) -> float:
    scoring.PHRASE = phrase
    index = LexicalIndex.of(data, FieldWeights(fields=fields) if fields else None)
    pairs = zip(*judged, strict=True)
    return float(np.mean([_ndcg(index.best(parse(text, data.analyser), DEPTH)[0], one) for text, one in pairs]))


def _vectors(data: Dataset, judged: Judged, folder: Path) -> dict[str, float]:
    """Of the best of both: fused by rank, and by words plus a share of vectors, in standard deviations."""
    model: Any = read_run(folder, data).model
    vectors = model.item_vectors.float().numpy()
    queries = model.text_encoder.encode(judged[0])
    index = LexicalIndex.of(data)
    values: dict[str, list[float]] = {}
    for text, grades, query in zip(*judged, queries, strict=True):
        parsed = parse(text, data.analyser)
        products = vectors @ query
        products[0] = -np.inf
        by_words, by_vectors = index.best(parsed, POOL)[0], np.argsort(-products)[:POOL]
        values.setdefault("by rank", []).append(_ndcg(fuse([by_words, by_vectors], (1.0, 1.0)).items, grades))
        pool = np.union1d(by_words, by_vectors)
        words, close = (_z(scores) for scores in (index.scores(parsed, pool), products[pool]))
        for share in VECTORS:
            order = np.argsort(-(words + share * close), kind="stable")
            values.setdefault(f"words + {share} vectors", []).append(_ndcg(pool[order], grades))
    return {name: float(np.mean(rows)) for name, rows in values.items()}


def _z(scores: Any) -> Any:
    return (scores - scores.mean()) / (scores.std() or 1.0)


if __name__ == "__main__":
    main()
