"""The dense channel: items whose texts are near the query in the space of a sentence encoder."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.ragged import Ints
from searec.files import cache_folder
from searec.pipeline.catalog_snapshot import CatalogSnapshot
from searec.pipeline.changed_vectors import ChangedVectors
from searec.pipeline.channels import Candidates, Mask, RequestBatch
from searec.pipeline.least_similarity import least_similarity
from searec.pipeline.user_interests import InterestEncoder
from searec.retrieval.vector_index import VectorIndex

if TYPE_CHECKING:
    from searec.pipeline.run import Run

_QUERIES = 20_000
_AHEAD = 5_000
_PROBES = 32
"""Of 512 cells of a million vectors: sentences lie close together, and the first results are what counts."""
_WARM_UP = "a query before the first request"


class DenseChannel:
    """The items whose vectors are nearest to the query's; exact up to `vector_index.EXACT_UP_TO` items.

    Filters, exclusions, hidden and reworded items are masked within the index. New and reworded items are found by
    their own vectors (`ChangedVectors`). The encoder is loaded, and has encoded a text, once this is made.

    Attributes:
        least_similarity: to its nearest item, below which a query of unknown words has no match.
    """

    names = ("dense",)

    def __init__(self, run: "Run", encoder: InterestEncoder | None = None) -> None:
        model: Any = run.model
        self._vectors: Tensor = model.item_vectors
        self._encoder = model.text_encoder
        self._index = VectorIndex(self._vectors, probes=_PROBES, keep=cache_folder() / "indexes")
        self._changed = ChangedVectors(self._encoder.encode, self._vectors.shape[1])
        self._query_vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        queries = run.data.searches.query
        frequent = (
            np.argsort(-np.bincount(queries, minlength=1)[1:], kind="stable")[:_AHEAD] if len(queries) else queries
        )
        texts = run.data.queries.texts.gather(frequent.astype(np.int64)).to_list()  # encoded before the first request
        self._query_vectors.update(zip(texts, self._encoder.encode(texts), strict=True))
        titles = run.data.item_table["title"].fill_null("").to_list()
        self.least_similarity = least_similarity(texts, titles, self._encoder.encode, self._nearest)
        self._encoder.encode_now([_WARM_UP])

    def _nearest(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n] the similarity of the nearest item of each query."""
        best = self._index.search(torch.from_numpy(queries).to(self._vectors.device), 1)[1]
        return best[:, 0].cpu().numpy()

    def retrieve(self, requests: RequestBatch, k: int) -> dict[str, list[Candidates]]:
        """As `Channel.retrieve`.

        Args:
            requests: B requests.
            k: items of each.
        """
        queries = torch.from_numpy(self.encoded(requests.queries))
        changed = self._changed.of(requests.catalog)
        lists = []
        for row, query in enumerate(queries):
            permitted, indexed = self._masks(requests, row)
            nearest, products = self._index.search(query[None].to(self._vectors.device), k, indexed)
            items, scores = nearest[0].cpu().numpy(), products[0].cpu().numpy()
            items, scores = items[items > 0], scores[items > 0]
            if len(changed.items):
                usable = slice(None) if permitted is None else permitted[changed.items]
                items = np.concatenate((items, changed.items[usable]))
                scores = np.concatenate((scores, changed.vectors[usable] @ query.numpy()))
                items = items[np.argsort(-scores, kind="stable")]
            lists.append(Candidates(items[:k]))
        return {"dense": lists}

    def _masks(self, requests: RequestBatch, row: int) -> tuple[Mask | None, Mask | None]:
        """What a request may get of all items, and of the indexed ones; None for all."""
        catalog, allowed, excluded = requests.catalog, requests.allowed[row], requests.excluded[row]
        permitted = allowed
        if len(excluded) or (allowed is None and catalog.unavailable.any()):
            permitted = ~catalog.unavailable if allowed is None else allowed.copy()
            permitted[excluded] = False
        known = len(self._vectors)
        if not len(catalog.reworded):
            return permitted, None if permitted is None else permitted[:known]
        indexed = np.ones(known, dtype=bool) if permitted is None else permitted[:known].copy()
        indexed[catalog.reworded] = False
        return permitted, indexed

    def encode_items(self, catalog: CatalogSnapshot) -> None:
        """Encode the new and reworded items of a snapshot now, so that its first requests find them."""
        self._changed.encode_all(catalog)

    def vectors_of(self, catalog: CatalogSnapshot, items: Ints) -> NDArray[np.float32]:
        """Return the vectors [n, E] of items, as their words are now; NaN for those not encoded yet.

        Args:
            catalog: of the items.
            items: [n] item indexes.
        """
        inside = torch.from_numpy(np.where(items < len(self._vectors), items, 0)).to(self._vectors.device)
        vectors: NDArray[np.float32] = self._vectors[inside].float().cpu().numpy()
        vectors[np.isin(items, catalog.unindexed)] = np.nan
        changed = self._changed.of(catalog)
        if len(changed.items):
            place = np.searchsorted(changed.items, items).clip(max=len(changed.items) - 1)
            is_changed = changed.items[place] == items
            vectors[is_changed] = changed.vectors[place[is_changed]]
        return vectors

    def encoded(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors [B, E] of queries."""
        cache = self._query_vectors
        with self._lock:
            vectors = {query: cache[query] for query in queries if query in cache}
        if missing := [query for query in dict.fromkeys(queries) if query not in vectors]:
            vectors.update(zip(missing, self._encoder.encode_now(missing), strict=True))
        with self._lock:
            for query, vector in vectors.items():
                cache[query] = vector
                cache.move_to_end(query)
            while len(cache) > _QUERIES:
                cache.popitem(last=False)
        return np.stack([vectors[query] for query in queries])
