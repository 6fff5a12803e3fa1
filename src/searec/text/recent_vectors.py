"""Vectors of short texts such as queries, of which the recent ones are held in memory."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searec.text.encoder import Encoder


class RecentVectors:
    """Text vectors in half precision; the oldest are dropped.

    Args:
        encoder: of texts that are not in memory.
        most: texts held in memory.
    """

    def __init__(self, encoder: Encoder, most: int = 50_000) -> None:
        self.encoder, self._most = encoder, most
        self._vectors: OrderedDict[str, NDArray[np.float16]] = OrderedDict()

    def add(self, texts: Sequence[str]) -> None:
        """Encode texts that are not in memory, except empty ones."""
        new = [text for text in dict.fromkeys(texts) if text and text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self.encoder.encode(new).astype(np.float16), strict=True))

    def of(self, texts: Sequence[str], width: int) -> NDArray[np.float32]:
        """Return the vectors [n, width] of texts; zero for an empty one.

        Args:
            texts: n texts.
            width: of the vectors.
        """
        self.add(texts)
        none = np.zeros(width, dtype=np.float16)
        vectors = [self._vectors[text] if text else none for text in texts]
        while len(self._vectors) > self._most:
            self._vectors.popitem(last=False)
        return np.stack(vectors).astype(np.float32)
