"""What identifiers are learned from besides users' events: the texts of items, and pseudo-queries."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from searec.data.ragged import Ragged
from searec.models.gensar.token_pieces import TokenPieces
from searec.text.tokenizer import Tokens


@dataclass(frozen=True)
class ItemCorpus:
    """Texts about items.

    Attributes:
        texts: [I] of the items.
        queries: distinct pseudo-queries.
        of_item: [I] which of them each item has.
    """

    texts: tuple[str, ...]
    queries: tuple[str, ...]
    of_item: Ragged


class ItemCorpusTokens:
    """The corpus as tokens.

    Args:
        corpus: the texts.
        tokens: makes tokens of them.
        text_tokens: read of an item's text.
        query_tokens: read of a pseudo-query.
    """

    def __init__(self, corpus: ItemCorpus, tokens: Tokens, text_tokens: int, query_tokens: int) -> None:
        self._texts = _flat(tokens, corpus.texts, text_tokens)
        self._queries = _flat(tokens, corpus.queries, query_tokens)
        self._first = torch.from_numpy(np.asarray(corpus.of_item.offsets, dtype=np.int64))
        self._of_item = torch.from_numpy(np.append(np.asarray(corpus.of_item.values, dtype=np.int64), 0))

    def texts(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [n, T] of the texts of items [n], and where there is one."""
        tokens, begin, length = self._texts
        return TokenPieces.of(tokens).join(begin[items - 1, None], length[items - 1, None])

    def queries(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [n, T] of a pseudo-query drawn for each item [n], and where there is one."""
        tokens, begin, length = self._queries
        first, count = self._first[items - 1], self._first[items] - self._first[items - 1]
        drawn = self._of_item[first + (torch.rand(len(items)) * count).long()]
        return TokenPieces.of(tokens).join(begin[drawn, None], (length[drawn] * (count > 0))[:, None])


def _flat(tokens: Tokens, texts: tuple[str, ...], limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens end to end, where each text begins, and how long it is."""
    flat, lengths = tokens.ids(texts, limit)
    return torch.from_numpy(flat), torch.from_numpy(np.cumsum(lengths) - lengths), torch.from_numpy(lengths)
