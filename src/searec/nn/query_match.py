"""How well the words and the text of a query match those of items, with learned weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from searec.data.dataset import Dataset
from searec.data.lexical import bm25_index
from searec.data.sparse import SparseRows
from searec.nn.cached_value import CachedValue

_INDEX = ("offsets", "columns", "values")
_FIRST_WEIGHTS, _RATE = (1.0, 5.0), 10.0
"""Weights of lexical and dense match before training, and how much faster than other weights they are learned."""
_MATCHES_AT_ONCE = 1 << 24


class QueryMatch(nn.Module):
    """w1 log(1 + BM25(query, item)) + w2 cos(query text, item text), with positive weights.

    Args:
        items: I.
    """

    offsets: Tensor | None
    columns: Tensor | None
    values: Tensor | None

    def __init__(self, items: int) -> None:
        super().__init__()
        self._width = items + 1
        self.log_weights = nn.Parameter(torch.zeros(len(_FIRST_WEIGHTS)))
        for name in _INDEX:
            self.register_buffer(name, None)
        self._texts = CachedValue[Tensor]()

    def index_words(self, data: Dataset) -> None:
        """Index the words of a dataset's items."""
        index = bm25_index(data)
        self.offsets, self.columns, self.values = index.offsets, index.columns, index.values

    def shape_as(self, state: Mapping[str, Tensor]) -> None:
        """Make the module hold what a state holds, before that is loaded.

        Args:
            state: name in the module -> tensor.
        """
        for name in _INDEX:
            setattr(self, name, state.get(name))

    @property
    def weights(self) -> Tensor:
        """[2] the weights of lexical and dense match."""
        return self.log_weights.new_tensor(_FIRST_WEIGHTS) * torch.exp(_RATE * self.log_weights)

    def forward(
        self, words: Tensor, texts: Tensor | None, item_texts: Tensor | None, items: Tensor | None = None
    ) -> Tensor:
        """Return the match of queries with all items, [n, I + 1], or with some, [n, M].

        Args:
            words: [n, W] word ids of the queries, 0 pads.
            texts: [n, E] their text vectors; None without text.
            item_texts: [I + 1, E] text vectors of the items; None without text.
            items: [M] internal ids; None for all.
        """
        total: Tensor = self.weights[0] * self.lexical(words, items)
        if texts is None or item_texts is None:
            return total
        with torch.no_grad():  # texts are not learned
            known = item_texts[items].float() if items is not None else self._texts(item_texts.float, item_texts)
        return total + self.weights[1] * (texts @ known.T)

    def lexical(self, words: Tensor, items: Tensor | None = None) -> Tensor:
        """Return log(1 + BM25) of queries and all items, [n, I + 1], or some, [n, M].

        Args:
            words: [n, W] word ids of the queries, 0 pads.
            items: [M] internal ids; None for all.
        """
        assert self.offsets is not None and self.columns is not None and self.values is not None
        index = SparseRows(self.offsets, self.columns, self.values, self._width)
        sums = map(index.sum, torch.split(words, max(1, _MATCHES_AT_ONCE // self._width)))
        return torch.log1p(torch.cat([part if items is None else part[:, items] for part in sums]))
