"""Index: the nearest of many vectors by inner product, exact or approximate (faiss)."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.errors import DependencyError, SettingsError

Kind = Literal["auto", "exact", "ivf", "hnsw"]
EXACT_UP_TO = 100_000
"""Vectors up to which "auto" searches them all."""
_LEAST = 40
"""Vectors a cell needs to be learned from."""
_SPARE = 4
"""One item in so many is looked at beyond what is asked for, before the true order."""
_SCORES_AT_ONCE = 1 << 24


class Index:
    """The vectors of items 1..N.

    Args:
        vectors: [N + 1, D] on any device; row 0 stands for no item.
        kind: "exact"; "ivf", cells of 8-bit vectors (faiss), built in seconds; "hnsw", a graph of 8-bit vectors (faiss), built in minutes,
            searched faster; "auto": exact up to `EXACT_UP_TO` items, else ivf.
        probes: cells looked into (ivf), or candidates kept (hnsw), in a search; by default enough for a recall of 0.95 on learned vectors.

    Raises:
        DependencyError: faiss is not installed.
        SettingsError: no vector, or too few for cells.
    """

    def __init__(self, vectors: Tensor, kind: Kind = "auto", *, probes: int | None = None) -> None:
        count = len(vectors) - 1
        if count < 1:
            raise SettingsError("an index needs vectors", got=f"{count} items")
        self.kind = ("exact" if count <= EXACT_UP_TO else "ivf") if kind == "auto" else kind
        self.vectors = vectors.detach()
        self._faiss: Any = None
        if self.kind != "exact":
            own = self.vectors[1:].float().cpu().numpy()
            self._faiss = _built(own, self.kind, probes)

    @torch.no_grad()
    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k items of the largest inner product with each query [B, D]; what an approximate search finds is put in its true order.

        Returns:
            items [B, k], best first, 0 where an approximate search found fewer; products [B, k], -inf there. k is at most N.
        """
        k = min(k, len(self.vectors) - 1)
        if self._faiss is not None:
            asked = queries.float().cpu().numpy()
            if self.kind == "hnsw":
                asked = np.pad(asked, ((0, 0), (0, 1)))
            _, places = self._faiss.search(np.ascontiguousarray(asked), min(k + k // _SPARE, len(self.vectors) - 1))
            items = torch.from_numpy(places + 1).to(queries.device)
            products = torch.einsum("bd,bkd->bk", queries.float(), self.vectors[items].float()).masked_fill(items == 0, -torch.inf)
            best = products.topk(k, dim=1)
            return items.gather(1, best.indices), best.values
        step = max(1, _SCORES_AT_ONCE // len(self.vectors))
        found = [(part.float() @ self.vectors[1:].float().T).topk(k, dim=1) for part in torch.split(queries, step)]
        if not found:
            return torch.empty(0, k, dtype=torch.long), torch.empty(0, k)
        return torch.cat([best.indices for best in found]) + 1, torch.cat([best.values for best in found])


def _built(vectors: NDArray[np.float32], kind: str, probes: int | None) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DependencyError("the index library is not installed", where=kind, remedy="pip install 'searec[serendipity]'") from error
    cells = max(1, min(int(2 ** round(np.log2(4 * np.sqrt(len(vectors))))), len(vectors) // _LEAST))
    if kind == "hnsw":  # a graph needs a metric: with one more number all vectors are as long, and the nearest has the largest product
        length = np.square(vectors).sum(axis=1)
        vectors = np.ascontiguousarray(np.concatenate((vectors, np.sqrt(length.max() - length)[:, None]), axis=1))
        index = faiss.index_factory(vectors.shape[1], "HNSW16_SQ8", faiss.METRIC_L2)
    else:
        index = faiss.index_factory(vectors.shape[1], f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    name, usual = ("efSearch", 512) if kind == "hnsw" else ("nprobe", max(16, cells // 32))
    faiss.ParameterSpace().set_index_parameter(index, name, probes or usual)
    return index
