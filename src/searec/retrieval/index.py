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
            self._faiss = _built(self.vectors[1:].float().cpu().numpy(), self.kind, probes)

    @torch.no_grad()
    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k items of the largest inner product with each query [B, D].

        Returns:
            items [B, k], best first, 0 where an approximate search found fewer; products [B, k], -inf there. k is at most N.
        """
        k = min(k, len(self.vectors) - 1)
        if self._faiss is not None:
            products, places = self._faiss.search(np.ascontiguousarray(queries.float().cpu().numpy()), k)
            items = torch.from_numpy(places + 1).to(queries.device)
            return items, torch.from_numpy(products).masked_fill_(torch.from_numpy(places < 0), -torch.inf).to(queries.device)
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
    made = "HNSW16_SQ8" if kind == "hnsw" else f"IVF{cells},SQ8"
    index = faiss.index_factory(vectors.shape[1], made, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    name, usual = ("efSearch", 512) if kind == "hnsw" else ("nprobe", max(8, cells // 32))
    faiss.ParameterSpace().set_index_parameter(index, name, probes or usual)
    return index
