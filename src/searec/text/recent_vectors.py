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

    def add(self, texts: Sequence[str], *, keep: bool = False) -> dict[str, NDArray[np.float16]]:
        """Encode texts that are not in memory, except empty ones, and return the vectors of all.

        Args:
            texts: any number.
            keep: the new ones on disk, as texts of a dataset; those of people are not written down.
        """
        # Threads share the memory: what another one drops meanwhile is still here.
        vectors = {text: vector for text in texts if (vector := self._vectors.get(text)) is not None}
        new = [text for text in dict.fromkeys(texts) if text and text not in vectors]
        if new:
            encoded = dict(zip(new, self.encoder.encode(new, keep=keep).astype(np.float16), strict=True))
            vectors |= encoded
            self._vectors.update(encoded)
            while len(self._vectors) > self._most:
                self._vectors.popitem(last=False)
        return vectors

    def of(self, texts: Sequence[str], width: int) -> NDArray[np.float32]:
        """Return the vectors [n, width] of texts; zero for an empty one.

        Args:
            texts: n texts.
            width: of the vectors.
        """
        vectors, none = self.add(texts), np.zeros(width, dtype=np.float16)
        return np.stack([vectors.get(text, none) for text in texts]).astype(np.float32)
