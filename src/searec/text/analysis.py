"""Words of titles and queries: the one tokeniser of the dataset, over whole columns."""

import re

import polars as pl

WORD = r"[\p{L}\p{N}]+"
_JOINERS = r"['’]"


def split_words(column: pl.Expr) -> pl.Expr:
    """List of lower-case words: runs of letters and digits, apostrophes closed up ("Sal's" -> "sals")."""
    return column.fill_null("").str.to_lowercase().str.replace_all(_JOINERS, "").str.extract_all(WORD)


def words_of(text: str) -> list[str]:
    """The same split for one text.

    >>> words_of("Sal's Pizza, Nº 7")
    ['sals', 'pizza', 'nº', '7']
    """
    return re.findall(r"[^\W_]+", re.sub(_JOINERS, "", text.lower()))


def item_text(columns: list[str]) -> pl.Expr:
    """Title, brand, categories and description of an item as one text, from the columns that exist."""
    parts = [
        pl.col(name).list.join(" ", ignore_nulls=True) if name == "categories" else pl.col(name)
        for name in ("title", "brand", "categories", "description")
        if name in columns
    ]
    return pl.concat_str(parts, separator=" ", ignore_nulls=True)
