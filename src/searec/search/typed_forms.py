"""Accents: folded for matching, preferred when typed ("café" before "cafe" for a query with the accent)."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.search.query import SearchQuery
from searec.text.analyser import fold
from searec.text.analysis import split_words, words_of

BONUS = 1.0
"""What an item gains for each word that its title has as typed; a word itself scores 3 to 8 by BM25."""


def accented_words(query: SearchQuery) -> list[str]:
    """Return the words of a query that have letters which are folded."""
    if query.text.isascii():
        return []
    return [word for word in words_of(query.text) if fold(word) != word]


def typed_form_scores(words: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
    """Return the gain of items [n] whose titles have words as they are typed.

    Args:
        words: from `accented_words`.
        titles: [n] of the items.
    """
    split = pl.Series("title", titles, dtype=pl.String).to_frame().select(split_words(pl.col("title"))).to_series()
    scores = np.zeros(len(titles), dtype=np.float32)
    for word in words:
        scores += BONUS * split.list.contains(word).to_numpy()
    return scores
