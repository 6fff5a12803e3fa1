"""Queries for sources that record none: terms of a path of categories, and draws that come out the same everywhere."""

import polars as pl

from searec.text.analysis import split_words

STOP_WORDS = (
    *(
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "in",
        "into",
        "is",
        "it",
        "its",
        "no",
        "not",
        "of",
        "on",
    ),
    *(
        "or",
        "our",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
        "your",
    ),
)
"""Words that say nothing of what is looked for."""


def path_query(path: pl.Expr) -> pl.Expr:
    """Return the query of a path of categories (Van Gysel et al. 2016, Ai et al. 2017); null if no word is left.

    The terms of the names from broad to narrow without stop words; of a repeated word the broader one is left out:
    ["Camera, Photo", "Digital Camera Lenses"] gives "photo digital camera lenses".

    Args:
        path: list of texts, broad to narrow.
    """
    words = split_words(path.list.join(" ", ignore_nulls=True)).list.filter(~pl.element().is_in(STOP_WORDS))
    query = words.list.reverse().list.unique(maintain_order=True).list.reverse().list.join(" ")
    return pl.when(query != "").then(query)


def draw(row: pl.Expr) -> pl.Expr:
    """Return a pseudo-random number from 0 to 2**64 - 1 for each row number, the same everywhere (SplitMix64)."""
    state = row.cast(pl.UInt64) * 0x9E3779B97F4A7C15
    state = (state ^ (state // 2**30)) * 0xBF58476D1CE4E5B9
    state = (state ^ (state // 2**27)) * 0x94D049BB133111EB
    return state ^ (state // 2**31)
