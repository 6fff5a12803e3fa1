"""External ids (text) and internal ids (1..N; 0 pads), both ways."""

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.config import nearest
from searec.errors import UnknownIdError

_STRIDE = 64
_FEW = 64
"""The most ids that are looked up one by one; for more, one vectorised search over the column is faster."""
_NAMED = 2_000
"""The most known ids that the nearest is searched among."""


@dataclass(frozen=True)
class IdMap:
    """A fixed set of external ids in the order of their code points; the first has internal id 1.

    Look-ups are binary searches over the column itself: there is no Python object for each id.

    >>> ids = IdMap("item", pl.Series(["a", "b"]))
    >>> ids.to_internal(["b"]).tolist(), ids.to_external(np.array([1, 2]))
    ([2], ['a', 'b'])

    Args:
        what: the kind of id, for messages.
        texts: [N] the ids, sorted and distinct.

    Raises:
        ValueError: the ids are not sorted.
    """

    what: str
    texts: pl.Series

    def __post_init__(self) -> None:
        if not self.texts.is_sorted():
            raise ValueError(f"{self.what} ids are not sorted")

    def __len__(self) -> int:
        return len(self.texts)

    @functools.cached_property
    def _heads(self) -> list[str]:
        """Every 64th id, which narrows a search to 64 ids without reading the column."""
        return self.texts.gather_every(_STRIDE).to_list()

    def find(self, text: str) -> int:
        """Return the internal id of an external id, 0 if it is unknown."""
        place = self._place(text)
        return place + 1 if place < len(self.texts) and self.texts[place] == text else 0

    def beginning_with(self, prefix: str, count: int) -> list[str]:
        """Return the first ids that begin with a text, sorted.

        Args:
            prefix: the text.
            count: how many at most.
        """
        texts = self.texts.slice(self._place(prefix), count)
        return texts.filter(texts.str.starts_with(prefix)).to_list()

    def _place(self, text: str) -> int:
        """Return how many ids are smaller than a text."""
        first = max(0, bisect.bisect_left(self._heads, text) - 1) * _STRIDE
        end = min(first + _STRIDE, len(self.texts))
        return bisect.bisect_left(self.texts, text, first, end)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.find(text) > 0

    def to_internal(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """[n] internal ids of external ids.

        Raises:
            UnknownIdError: naming the first unknown id and the closest known one.
        """
        if len(texts) <= _FEW:
            ids = np.array([self.find(text) for text in texts], dtype=np.int32)
        else:
            ids = self._find_all(pl.Series(texts, dtype=pl.String))
        if not ids.all():
            unknown = texts[int(np.argmin(ids != 0))]
            raise UnknownIdError(
                f"unknown {self.what} id {unknown!r}",
                expected=f"one of the {len(self)} {self.what} ids of the dataset",
                remedy=nearest(unknown, self.texts.to_list()) if 0 < len(self) < _NAMED else None,
            )
        return ids

    def _find_all(self, texts: pl.Series) -> NDArray[np.int32]:
        """[n] internal ids, 0 where unknown."""
        if not len(self):
            return np.zeros(len(texts), dtype=np.int32)
        places = self.texts.search_sorted(texts).clip(upper_bound=len(self) - 1)
        is_known = (self.texts.gather(places) == texts).to_numpy()
        ids: NDArray[np.int32] = np.where(is_known, places.to_numpy() + 1, 0).astype(np.int32)
        return ids

    def to_external(self, ids: NDArray[np.integer]) -> list[str]:
        """External ids of internal ids 1..N."""
        if len(ids) <= _FEW:  # a call of polars costs more
            return [self.texts[place] for place in (np.asarray(ids, dtype=np.int64) - 1).tolist()]
        return self.texts.gather(np.asarray(ids, dtype=np.int64) - 1).to_list()
