"""External ids (text) and internal ids (1..N; 0 pads), both ways."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.config import nearest
from searec.errors import UnknownIdError


@dataclass(frozen=True)
class IdMap:
    """A fixed, ordered set of external ids; the first has internal id 1.

    >>> ids = IdMap("item", pl.Series(["a", "b"]))
    >>> ids.to_internal(["b"]).tolist(), ids.to_external(np.array([1, 2]))
    ([2], ['a', 'b'])
    """

    what: str
    texts: pl.Series

    def __len__(self) -> int:
        return len(self.texts)

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Outside id -> internal id."""
        return {text: place for place, text in enumerate(self.texts.to_list(), start=1)}

    def __contains__(self, text: object) -> bool:
        return text in self.index

    def to_internal(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """[n] internal ids of external ids.

        Raises:
            UnknownIdError: naming the first unknown id and the closest known one.
        """
        index = self.index
        try:
            return np.array([index[text] for text in texts], dtype=np.int32)
        except KeyError as error:
            unknown = error.args[0]
            known = list(index)[:20_000]
            raise UnknownIdError(
                f"unknown {self.what} id {unknown!r}",
                expected=f"one of the {len(self)} {self.what} ids of the dataset",
                remedy=nearest(unknown, known)
                if isinstance(unknown, str) and len(known) > 0 and len(known) < 2_000
                else None,
            ) from None

    def to_external(self, ids: NDArray[np.integer]) -> list[str]:
        """External ids of internal ids 1..N."""
        return self.texts.gather(np.asarray(ids, dtype=np.int64) - 1).to_list()
