"""The index: exact against a full sort, approximate ones against the exact, and where there is less than asked for."""

import pytest
import torch
from torch import Tensor

from searec.errors import SettingsError
from searec.retrieval.vector_index import EXACT_UP_TO, VectorIndex


def learned(count: int, width: int = 16) -> Tensor:
    """Vectors in clusters, as learned ones lie; row 0 is no item."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, width, generator=generator)
    own = centres[torch.randint(40, (count + 1,), generator=generator)] + 0.4 * torch.randn(
        count + 1, width, generator=generator
    )
    own[0] = 99.0
    return own


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
