"""Index: the nearest of many vectors by inner product, exact or approximate (faiss)."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.errors import DataError, DependencyError, SettingsError, installation
from searec.files import replacing

_LOG = logging.getLogger(__name__)
Kind = Literal["auto", "exact", "ivf", "hnsw"]
Mask = NDArray[np.bool_]
EXACT_UP_TO = 100_000
"""Vectors up to which "auto" searches them all."""
VERSION = 2
"""Changes with every change to how an index is built."""
_LEAST = 2_000
"""Fewer vectors are searched all, whatever the kind."""
_LEARNED_FROM = 100
"""Vectors a cell is learned from."""
_CANDIDATES = 1.3
"""Candidates per requested item that are scored by the exact product."""
_SCORES_AT_ONCE = 1 << 24
_GATHERED = 1 << 21
"""Components of the vectors of allowed items up to which they are gathered and all searched."""
_COMPARED = 1.25
"""A filter that lets a share s of the items pass has sqrt(s) times this of the usual vectors compared."""
_COUNTED = 25_000
"""Allowed items by which the cells are counted that hold enough of them."""
_SPARSE = 1 / 3
"""Share of allowed items up to which gathering their vectors costs less than scoring all."""
_NEARLY_ALL = 0.9
"""Share of allowed items from which a search probes as if all were."""
_LONG = 3.0
"""Vectors longer than this many times the 99th percentile are outliers."""
_MOST_OUTLIERS = 1_000
_CHECKED, _CHECK_DEPTH, _LEAST_RECALL = 32, 10, 0.7
"""Queries and depth of the check after building, and the recall below which all vectors are searched."""


class VectorIndex:
    """The vectors of items 1..N.

    Args:
        vectors: [N + 1, D] on any device; row 0 is no item.
        kind: "exact"; "ivf", cells of 8-bit vectors, built in seconds; "hnsw", a graph of 16-bit vectors, built in
            minutes (both faiss); "auto": exact up to `EXACT_UP_TO` items, else ivf.
        probes: cells searched (ivf) or candidates (hnsw); by default for a recall of about 0.95 on learned vectors.
        keep: a folder of built indexes, named by a digest of their vectors.

    Vectors much longer than the others would spoil an approximate index: it is built on shortened ones, and the long
    ones are candidates of every query. An index that then misses too many items of a sample of queries, as of vectors
    that are all alike, is given up.

    Attributes:
        kind: as it is searched.
        reason: why all vectors are searched although another kind was chosen; empty if it was not.

    Raises:
        DependencyError: faiss is not installed.
        SettingsError: no vector.
        DataError: a vector with a component that is no finite number.
    """

    def __init__(
        self, vectors: Tensor, kind: Kind = "auto", *, probes: int | None = None, keep: Path | None = None
    ) -> None:
        count = len(vectors) - 1
        if count < 1:
            raise SettingsError("an index needs vectors", got=f"{count} items")
        self.kind = (
            "exact"
            if count < _LEAST or (kind == "auto" and count <= EXACT_UP_TO)
            else "ivf"
            if kind == "auto"
            else kind
        )
        self.vectors = vectors.detach()
        _refuse_not_finite(self.vectors)
        self.reason = ""
        self._faiss: Any = None
        self._long = torch.zeros(0, dtype=torch.int64, device=vectors.device)
        if self.kind != "exact":
            item_vectors, places = _shortened(self.vectors[1:].float().cpu().numpy())
            item_vectors = item_vectors - item_vectors.mean(axis=0)  # the same for all, so the order stays
            self._long = torch.from_numpy(places + 1).to(vectors.device)
            self._faiss = _built(item_vectors, self.kind) if keep is None else _cached(item_vectors, self.kind, keep)
            self._probes = probes or (1000 if self.kind == "hnsw" else max(1, _cells(count) // 6))
            name = "efSearch" if self.kind == "hnsw" else "nprobe"
            _library().ParameterSpace().set_index_parameter(self._faiss, name, self._probes)
            self._cell = _cells_of(self._faiss) if self.kind == "ivf" else np.zeros(0, dtype=np.int64)
            recall = self._recall()
            if recall < _LEAST_RECALL:
                self.reason = f"an {self.kind} index of these vectors has a recall of {recall:.2f}"
                self.kind, self._faiss = "exact", None
                _LOG.warning("all vectors are searched: %s", self.reason)

    def _recall(self) -> float:
        """Share of the best products of items' own vectors that the index gives; 0 if others find too few items."""
        rng = np.random.default_rng(0)
        others = torch.from_numpy(rng.normal(size=(_CHECKED, self.vectors.shape[1])).astype(np.float32))
        if (self._nearly(others.to(self.vectors.device), _CHECK_DEPTH)[0] == 0).any():
            return 0.0
        rows = rng.choice(len(self.vectors) - 1, size=_CHECKED, replace=False) + 1
        queries = self.vectors[torch.from_numpy(rows).to(self.vectors.device)].float()
        (_, exact), (_, near) = self._exactly(queries, _CHECK_DEPTH), self._nearly(queries, _CHECK_DEPTH)
        least = exact[:, -1:]
        return float((near >= least - 1e-5 * least.abs() - 1e-12).float().mean())

    @torch.no_grad()
    def search(self, queries: Tensor, k: int, allowed: Mask | None = None) -> tuple[Tensor, Tensor]:
        """Return the k items of the largest inner product with each query.

        The result of an approximate search is ordered by the exact product. A filter is applied within the index, which
        reads more cells the fewer items are allowed.

        Args:
            queries: [B, D].
            k: at most N.
            allowed: [N + 1] the items that may be returned; None for all.

        Returns:
            items [B, n], best first, n at most k and the number of allowed items, 0 where an approximate search found
            fewer; products [B, n], -inf there.
        """
        count = len(self.vectors) - 1
        if allowed is not None:
            allowed = allowed[1:]
            count = int(np.count_nonzero(allowed))
            if count == len(allowed):
                allowed = None
        k = min(k, count)
        limit = _SPARSE * len(self.vectors) if self._faiss is None else _GATHERED / self.vectors.shape[1]
        if allowed is not None and count <= limit:
            rows = torch.from_numpy(np.flatnonzero(allowed) + 1).to(self.vectors.device)
            best = (queries.float() @ self.vectors.index_select(0, rows).float().T).topk(k, dim=1)
            return rows[best.indices], best.values
        if self._faiss is None:
            step, find = _SCORES_AT_ONCE // len(self.vectors), self._exactly
        else:
            step, find = _SCORES_AT_ONCE // (2 * max(k, 1) * self._faiss.d), self._nearly
        results = [find(part.float(), k, allowed) for part in torch.split(queries, max(1, step))]
        return torch.cat([items for items, _ in results]), torch.cat([products for _, products in results])

    def _exactly(self, queries: Tensor, k: int, allowed: Mask | None = None) -> tuple[Tensor, Tensor]:
        scores = queries @ self.vectors[1:].float().T
        if allowed is not None:
            scores.masked_fill_(torch.from_numpy(~allowed).to(scores.device), -torch.inf)
        best = scores.topk(k, dim=1)
        return best.indices + 1, best.values

    def _nearly(self, queries: Tensor, k: int, allowed: Mask | None = None) -> tuple[Tensor, Tensor]:
        more = min(int(k * _CANDIDATES) + 10, len(self.vectors) - 1)
        padded = np.pad(
            queries.cpu().numpy(), ((0, 0), (0, self._faiss.d - queries.shape[1]))
        )  # wider ones: see `_built`
        places = self._places(np.ascontiguousarray(padded), more, allowed)
        items = torch.from_numpy(places + 1).to(queries.device)
        if len(self._long):
            items = items.masked_fill(torch.isin(items, self._long), 0)
            long = (
                self._long
                if allowed is None
                else self._long[torch.from_numpy(allowed).to(items.device)[self._long - 1]]
            )
            items = torch.cat((items, long.expand(len(items), -1)), dim=1)
        best = products(self.vectors, items, queries).masked_fill_(items == 0, -torch.inf).topk(k, dim=1)
        if allowed is not None and best.values.isneginf().any():  # a graph may lose its way among what is not allowed
            return self._exactly(queries, k, allowed)
        return items.gather(1, best.indices), best.values

    def _places(self, queries: NDArray[np.float32], k: int, allowed: Mask | None) -> NDArray[np.int64]:
        """[B, k] rows of the index near each query, from 0; -1 for none."""
        faiss, count = _library(), len(self.vectors) - 1
        if allowed is None:
            return np.asarray(self._faiss.search(queries, k)[1])
        share = np.count_nonzero(allowed) / count
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=int(self._probes / share))
        else:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self._probed(queries, allowed, share))
        return np.asarray(self._faiss.search(queries, k, params=parameters)[1])

    def _probed(self, queries: NDArray[np.float32], allowed: Mask, share: float) -> int:
        """The nearest cells of a query that hold enough allowed vectors: fewer than without a filter, of more cells."""
        if share >= _NEARLY_ALL:
            return int(np.ceil(self._probes / share))
        cells = self._faiss.quantizer.search(queries, self._faiss.nlist)[1]
        step = max(1, int(share * len(allowed)) // _COUNTED)
        sizes = np.bincount(self._cell[::step][allowed[::step]], minlength=self._faiss.nlist)[cells] * step
        least = self._probes * len(allowed) / self._faiss.nlist * _COMPARED * share**0.5
        return min(int((sizes.cumsum(axis=1) < least).sum(axis=1).max()) + 1, int(self._faiss.nlist))


def products(vectors: Tensor, items: Tensor, queries: Tensor) -> Tensor:
    """Return the inner products [B, k] of items with each query.

    Args:
        vectors: [N + 1, D].
        items: [B, k].
        queries: [B, D].
    """
    # index_select copies whole rows, where indexing goes number by number.
    rows = vectors.index_select(0, items.flatten()).view(*items.shape, -1)
    return torch.bmm(rows.to(queries.dtype), queries[:, :, None])[..., 0]


def _shortened(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The vectors with outliers cut to the length of the longest others, and the rows of the longest outliers."""
    length = np.linalg.norm(vectors, axis=1)
    limit = _LONG * float(np.quantile(length, 0.99))
    rows = np.flatnonzero(length > limit)
    if not len(rows):
        return vectors, rows
    vectors = vectors.copy()
    vectors[rows] *= (limit / length[rows])[:, None]
    return vectors, rows[np.argsort(-length[rows], kind="stable")[:_MOST_OUTLIERS]]


def _refuse_not_finite(vectors: Tensor) -> None:
    """Refuse vectors that have no order by a product."""
    rows = (~vectors[1:].isfinite().all(dim=1)).nonzero()[:, 0]
    if len(rows):
        raise DataError(
            "an index needs vectors of finite numbers",
            got=f"{len(rows)} of {len(vectors) - 1} items with others, item {int(rows[0]) + 1} first",
            remedy="train the model again; a smaller learning rate may help",
        )


def _library() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DependencyError("the index library is not installed", remedy=installation("serendipity")) from error
    return faiss


def _cached(vectors: NDArray[np.float32], kind: str, folder: Path) -> Any:
    """As `_built`, from the folder if it holds one of these vectors."""
    faiss = _library()
    digest = hashlib.blake2b(np.ascontiguousarray(vectors).data, digest_size=16).hexdigest()
    path = folder / f"{kind}-{VERSION}-{vectors.shape[1]}-{digest}.faiss"
    if path.is_file():
        return faiss.read_index(str(path))
    index = _built(vectors, kind)
    with replacing(path) as beside:
        faiss.write_index(index, str(beside))
    return index


def _cells_of(index: Any) -> NDArray[np.int64]:
    """[N] the cell of each vector."""
    faiss = _library()
    cell = np.empty(index.ntotal, dtype=np.int64)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            cell[faiss.rev_swig_ptr(index.invlists.get_ids(number), size)] = number
    return cell


def _cells(count: int) -> int:
    return int(2 ** round(np.log2(np.sqrt(count) / 2)))


def _built(vectors: NDArray[np.float32], kind: str) -> Any:
    """An index of vectors, by all cores of the machine."""
    faiss = _library()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    try:
        if kind == "hnsw":
            # A graph needs a metric: with one more component all vectors have one length,
            # and the nearest vector has the largest product.
            length = np.square(vectors).sum(axis=1)
            vectors = np.ascontiguousarray(np.concatenate((vectors, np.sqrt(length.max() - length)[:, None]), axis=1))
            index = faiss.index_factory(vectors.shape[1], "HNSW16_SQfp16", faiss.METRIC_L2)
        else:
            cells = _cells(len(vectors))
            index = faiss.index_factory(vectors.shape[1], f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
            sample = np.random.default_rng(0).permutation(len(vectors))[: cells * _LEARNED_FROM]
            index.train(np.ascontiguousarray(vectors[sample]))
        index.add(vectors)
    finally:
        faiss.omp_set_num_threads(threads)
    return index
