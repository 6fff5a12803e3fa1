"""The index: exact against a full sort, approximate ones against the exact, and where there is less than asked for."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.errors import DataError, SettingsError
from searec.retrieval import vector_index
from searec.retrieval.vector_index import EXACT_UP_TO, VectorIndex


def clustered(count: int, width: int = 16, spread: float = 0.4) -> tuple[Tensor, NDArray[np.int64]]:
    """Vectors in clusters, as learned ones lie, and the cluster of each; row 0 is no item."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, width, generator=generator)
    cluster = torch.randint(40, (count + 1,), generator=generator)
    own = centres[cluster] + spread * torch.randn(count + 1, width, generator=generator)
    own[0] = 99.0
    return own, cluster.numpy()


def learned(count: int, width: int = 16) -> Tensor:
    """Vectors in clusters; row 0 is no item."""
    return clustered(count, width)[0]


@pytest.mark.parametrize("rows", [0, 1, 70])
def test_exact_is_the_head_of_a_full_sort(rows: int) -> None:
    vectors, queries = learned(500), torch.randn(rows, 16, generator=torch.Generator().manual_seed(1))
    items, products = VectorIndex(vectors).search(queries, 9)
    best = (queries @ vectors[1:].T).sort(dim=1, descending=True)
    assert torch.equal(items, best.indices[:, :9] + 1)
    assert torch.allclose(products, best.values[:, :9])


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_finds_nearly_all(kind: str) -> None:
    pytest.importorskip("faiss")
    vectors, queries = learned(6_000), learned(50)[1:]
    near, products = VectorIndex(vectors, kind).search(queries, 50)  # type: ignore[arg-type]
    best, _ = VectorIndex(vectors, "exact").search(queries, 50)
    found = (near[:, :, None] == best[:, None, :]).any(2).float().mean()
    assert found > 0.97
    assert not (near == 0).any()
    assert torch.allclose(products, torch.einsum("bd,bkd->bk", queries, vectors[near]), atol=1e-4)


def recall(index: VectorIndex, vectors: Tensor, queries: Tensor, depth: int = 20) -> float:
    """Share of the largest products, by value, so that ties are all right."""
    exact = (queries @ vectors[1:].T).sort(dim=1, descending=True).values[:, depth - 1 : depth]
    items, _ = index.search(queries, depth)
    near = torch.einsum("bd,bkd->bk", queries, vectors[items])
    return float(((near >= exact - 1e-4 * exact.abs() - 1e-6) & (items > 0)).float().mean())


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_vectors_that_are_all_alike_are_searched_all(kind: str) -> None:
    pytest.importorskip("faiss")
    queries = learned(30)[1:]
    for vectors in (torch.zeros(3_000, 16), torch.ones(3_000, 16)):
        index = VectorIndex(vectors, kind)  # type: ignore[arg-type]
        assert recall(index, vectors, queries) == 1.0
        assert bool(index.reason) == (index.kind == "exact")


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_long_and_zero_vectors_do_not_spoil_the_others(kind: str) -> None:
    pytest.importorskip("faiss")
    vectors, queries = learned(2_500), learned(50)[1:]
    long = torch.arange(7, 20)
    vectors[long] *= 100
    vectors[1_800:] = 0
    index = VectorIndex(vectors, kind)  # type: ignore[arg-type]
    assert index.kind == kind
    assert not index.reason
    assert recall(index, vectors, queries, 50) > 0.95
    items, _ = index.search(queries, 50)
    best = (queries @ vectors.T)[:, 1:].topk(50).indices + 1
    for answer, exact in zip(items.tolist(), best.tolist(), strict=True):
        assert set(exact) & set(long.tolist()) <= set(answer)
        assert len(set(answer)) == 50


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
def test_fewer_items_than_asked_for(kind: str) -> None:
    if kind != "exact":
        pytest.importorskip("faiss")
    items, products = VectorIndex(learned(7), kind).search(torch.randn(3, 16), 20)  # type: ignore[arg-type]
    assert items.shape == products.shape == (3, 7)
    for row, values in zip(items.tolist(), products.tolist(), strict=True):
        some = [item for item in row if item]
        assert len(set(some)) == len(some)
        assert all((item == 0) == (value == float("-inf")) for item, value in zip(row, values, strict=True))


def test_the_kind_goes_by_size_and_nothing_cannot_be_searched() -> None:
    assert VectorIndex(learned(10)).kind == "exact"
    assert EXACT_UP_TO == 100_000
    assert VectorIndex(learned(1_000), "ivf").kind == "exact", "too few to learn cells from"
    with pytest.raises(SettingsError, match="0 items"):
        VectorIndex(torch.zeros(1, 4))


def test_what_all_vectors_share_does_not_hide_their_differences() -> None:
    """Vectors far from zero, as those of a tower with a bias, are searched as well as without the shift."""
    pytest.importorskip("faiss")
    vectors, queries = learned(6_000) + 100.0, learned(50)[1:] + 5.0
    vectors[0] = 0
    index = VectorIndex(vectors, "ivf", probes=4)
    assert index.kind == "ivf"
    assert recall(index, vectors, queries, 50) > 0.85


# --- filters ---


def mask(cluster: NDArray[np.int64], share: float, *, whole: bool) -> NDArray[np.bool_]:
    """Items that pass a filter: of some clusters, as a category's, and one in ten elsewhere; or drawn from all."""
    rng = np.random.default_rng(1)
    if not whole:
        return rng.random(len(cluster)) < share
    of_clusters = np.isin(cluster, rng.choice(40, max(1, round(share * 40)), replace=False))
    dense = of_clusters & (rng.random(len(cluster)) < share * 40)
    return dense | (rng.random(len(cluster)) < share / 10)


def filtered_recall(index: VectorIndex, queries: Tensor, allowed: NDArray[np.bool_], depth: int) -> float:
    """Share of the nearest allowed items; all answers are allowed ones, each once."""
    items, products = index.search(queries, depth, allowed)
    usable = np.flatnonzero(allowed[1:]) + 1
    best = (queries @ index.vectors[usable].T).topk(min(depth, len(usable)), dim=1)
    assert items.shape == best.indices.shape
    shares = []
    for answer, values, expected in zip(items.numpy(), products, usable[best.indices.numpy()], strict=True):
        assert set(answer) <= set(usable)
        assert len(set(answer)) == len(answer)
        assert (values.diff() <= 0).all()
        shares.append(len(np.intersect1d(answer, expected)) / len(expected))
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def many() -> tuple[VectorIndex, NDArray[np.int64]]:
    """120,000 vectors, more than are searched exactly, in clusters that run into each other."""
    pytest.importorskip("faiss")
    vectors, cluster = clustered(120_000, 48, 0.9)
    index = VectorIndex(vectors, probes=4)
    assert index.kind == "ivf"
    return index, cluster


@pytest.mark.parametrize("gathered", [0, 1 << 21], ids=["index", "auto"])
@pytest.mark.parametrize("whole", [True, False], ids=["categories", "random"])
@pytest.mark.parametrize("share", [0.97, 0.5, 0.05, 0.005])
def test_a_filter_is_within_the_index(
    many: tuple[VectorIndex, NDArray[np.int64]],
    share: float,
    whole: bool,
    gathered: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However few items pass, the nearest of them are found, also for queries far from all of them."""
    index, cluster = many
    monkeypatch.setattr(vector_index, "_GATHERED", gathered)
    queries = clustered(60, 48, 0.9)[0][1:]
    without = filtered_recall(index, queries, np.ones(len(cluster), dtype=bool), 50)
    assert filtered_recall(index, queries, mask(cluster, share, whole=whole), 50) >= max(0.95, without - 0.005)


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_the_filter_of_a_graph(share: float) -> None:
    pytest.importorskip("faiss")
    vectors, cluster = clustered(50_000, 48)
    index = VectorIndex(vectors, "hnsw", probes=200)
    for whole in (True, False):
        assert filtered_recall(index, learned(30, 48)[1:], mask(cluster, share, whole=whole), 50) >= 0.95


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_an_exact_search_is_exact_with_a_filter(share: float) -> None:
    vectors, cluster = clustered(3_000)
    for whole in (True, False):
        assert filtered_recall(VectorIndex(vectors), learned(9)[1:], mask(cluster, share, whole=whole), 20) == 1.0


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
def test_filters_that_let_none_one_or_all_pass(kind: str) -> None:
    if kind != "exact":
        pytest.importorskip("faiss")
    vectors, queries = learned(6_000), learned(3)[1:]
    index = VectorIndex(vectors, kind)  # type: ignore[arg-type]
    none, one, row_0 = np.zeros((3, 6_001), dtype=bool)
    one[77], row_0[0] = True, True
    assert index.search(queries, 5, none)[0].shape == (3, 0)
    assert index.search(queries, 5, row_0)[0].shape == (3, 0), "row 0 is no item"
    assert index.search(queries, 5, one)[0].tolist() == [[77]] * 3
    every = index.search(queries, 5, np.ones(6_001, dtype=bool))
    assert torch.equal(every[0], index.search(queries, 5)[0])


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_long_vectors_are_filtered_too(kind: str) -> None:
    pytest.importorskip("faiss")
    vectors, queries = learned(200_000 if kind == "ivf" else 30_000, 16), learned(30)[1:]
    long = np.arange(7, 20)
    vectors[long] *= 100
    allowed = np.random.default_rng(2).random(len(vectors)) < 0.9
    allowed[long[::2]] = False
    index = VectorIndex(vectors, kind, probes=20 if kind == "ivf" else 200)  # type: ignore[arg-type]
    assert not index.reason
    assert filtered_recall(index, queries, allowed, 50) >= 0.95


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(kind: str, value: float) -> None:
    vectors = learned(2_500)
    vectors[[5, 9], 3] = value
    with pytest.raises(DataError, match="2 of 2500 items with others, item 5 first"):
        VectorIndex(vectors, kind)  # type: ignore[arg-type]
