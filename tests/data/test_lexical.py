"""The BM25 index against the formula and against bm25s itself."""

import math
from collections.abc import Callable

import bm25s
import numpy as np
import pytest
import torch

from searec.data.dataset import Dataset
from searec.data.lexical import bm25_index, neighbours
from searec.data.sparse import SparseRows
from searec.text.analysis import words_of

TITLES = ["red lamp", "blue lamp lamp for the desk", "desk", "garden hose", "red red desk lamp", "the chair"]
QUERIES = ["red lamp", "desk", "the garden lamp", "lamp lamp", "chair"]


@pytest.fixture(scope="module")
def shop(make_data: Callable[..., Dataset]) -> Dataset:
    items = {f"i{n}": title for n, title in enumerate(TITLES)}
    return make_data(
        items=items, users=["u"], searches=[("u", query, n, []) for n, query in enumerate([*QUERIES, "zebra"])]
    )


def scores(data: Dataset, index: SparseRows) -> np.ndarray:
    """[queries, I + 1] of QUERIES, by the index."""
    rows = np.array([data.queries.texts.to_list().index(query) + 1 for query in [*QUERIES, "zebra"]])
    return index.sum(torch.from_numpy(data.queries.words.pad(rows))).numpy()


def by_formula(query: str, k1: float, b: float) -> list[float]:
    """Lucene's BM25: sum over the query's words of idf x tf / (tf + k1 (1 - b + b length / mean length))."""
    documents = [words_of(title) for title in TITLES]
    mean = sum(map(len, documents)) / len(documents)
    total = []
    for document in documents:
        score = 0.0
        for word in words_of(query):
            holding = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            tf = document.count(word)
            score += idf * tf / (tf + k1 * (1 - b + b * len(document) / mean))
        total.append(score)
    return total


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.0), (2.0, 1.0)])
def test_weights_are_those_of_bm25(shop: Dataset, k1: float, b: float) -> None:
    found = scores(shop, bm25_index(shop, k1=k1, b=b))
    assert (found[:, 0] == 0).all()
    np.testing.assert_allclose(found[:-1, 1:], [by_formula(query, k1, b) for query in QUERIES], rtol=1e-5, atol=1e-6)
    assert (found[-1] == 0).all(), "no title says zebra"


def test_scores_are_those_of_bm25s(shop: Dataset) -> None:
    engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    engine.index([words_of(title) for title in TITLES], show_progress=False)
    found = scores(shop, bm25_index(shop))
    for row, query in enumerate(QUERIES):
        np.testing.assert_allclose(found[row, 1:], engine.get_scores(words_of(query)), rtol=1e-5, atol=1e-6)


def test_neighbours_are_best_first_and_end_with_zeros(shop: Dataset) -> None:
    index = bm25_index(shop)
    rows = np.array([shop.queries.texts.to_list().index(query) + 1 for query in ("red lamp", "zebra")])
    near = neighbours(index, shop.queries.words.pad(rows), 5)
    expected = np.array(by_formula("red lamp", 1.5, 0.75))
    order = [int(item) + 1 for item in np.argsort(-expected, kind="stable") if expected[item] > 0]
    assert near[0].tolist() == order + [0] * (5 - len(order))
    assert near[1].tolist() == [0] * 5


def test_sparse_sums_equal_dense_ones() -> None:
    import scipy.sparse

    rng = np.random.default_rng(0)
    dense = rng.random((7, 5)) * (rng.random((7, 5)) < 0.4)
    dense[0] = 0
    rows = rng.integers(0, 7, (4, 3))
    found = SparseRows.of(scipy.sparse.csr_matrix(dense)).sum(torch.from_numpy(rows))
    np.testing.assert_allclose(found, dense[rows].sum(axis=1), rtol=1e-6)
