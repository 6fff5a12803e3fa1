"""What identifiers are learned from beside users' events: the texts of items, and pseudo-queries."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from searec.data.ragged import Ragged
from searec.models.gensar.prompt_templates import Shelf
from searec.text.tokenizer import Tokens


@dataclass(frozen=True)
class Lessons:
    """What identifiers are learned from beside users' events.

    texts: [I] of the items. queries: distinct pseudo-queries. of_item: [I] which of them each item has.
    """

    texts: tuple[str, ...]
    queries: tuple[str, ...]
    of_item: Ragged


class LessonTokens:
    """The lessons as tokens.

    Args:
        text_tokens, query_tokens: read of each.
    """

    def __init__(self, lessons: Lessons, tokens: Tokens, text_tokens: int, query_tokens: int) -> None:
        self._texts = _flat(tokens, lessons.texts, text_tokens)
        self._queries = _flat(tokens, lessons.queries, query_tokens)
        self._first = torch.from_numpy(np.asarray(lessons.of_item.offsets, dtype=np.int64))
        self._of_item = torch.from_numpy(np.append(np.asarray(lessons.of_item.values, dtype=np.int64), 0))

    def texts(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [n, T] of the texts of items [n], and where there are any."""
        tokens, begin, length = self._texts
        return Shelf(tokens, tokens[:0]).lay(begin[items - 1, None], length[items - 1, None])

    def queries(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [n, T] of a pseudo-query drawn for each item [n], and where there are any; nothing for an item without."""
        tokens, begin, length = self._queries
        first, count = self._first[items - 1], self._first[items] - self._first[items - 1]
        picked = self._of_item[first + (torch.rand(len(items)) * count).long()]
        return Shelf(tokens, tokens[:0]).lay(begin[picked, None], (length[picked] * (count > 0))[:, None])


def _flat(tokens: Tokens, texts: tuple[str, ...], limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens end to end, and where each text begins and how long it is."""
    found, lengths = tokens.ids(texts, limit)
    return torch.from_numpy(found), torch.from_numpy(np.cumsum(lengths) - lengths), torch.from_numpy(lengths)
