"""How near an item must be to a query of unknown words to be an answer: above what random letters come to."""

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_RANDOM = 200
"""Random texts, and at most as many real ones."""
_LETTERS = 5
"""Of a word whose letters are shuffled, at least."""
_REJECTED = 0.98
"""Share of the random texts that are no match."""
_LOST = 0.1
"""Share of the real texts that may be no match at most."""
Vectors = NDArray[np.float32]


def least_similarity(
    queries: Sequence[str],
    titles: Sequence[str],
    encode: Callable[[Sequence[str]], Vectors],
    nearest: Callable[[Vectors], NDArray[np.floating]],
) -> float:
    """Return the similarity above which the nearest item of a text is a match.

    Random texts are words of the titles with their letters shuffled: of the catalogue's own letters, without meaning.
    The limit is above the nearest items of 98 % of them, but not above those of more than 10 % of real queries.

    Args:
        queries: of people; without any, titles are read as queries.
        titles: of the items.
        encode: texts to vectors [n, E].
        nearest: vectors [n, E] to the similarity [n] of each one's nearest item.
    """
    rng = random.Random(0)
    sample = rng.sample(list(titles), min(len(titles), 50 * _RANDOM))
    words = sorted({word for title in sample for word in title.lower().split() if len(word) >= _LETTERS})
    if not words:
        return -1.0
    shuffled = [
        " ".join("".join(rng.sample(word, len(word))) for word in rng.choices(words, k=rng.randint(1, 3)))
        for _ in range(_RANDOM)
    ]
    real = list(queries or sample)
    real = rng.sample(real, min(len(real), _RANDOM))
    return float(min(np.quantile(nearest(encode(shuffled)), _REJECTED), np.quantile(nearest(encode(real)), _LOST)))
