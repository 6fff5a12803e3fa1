"""Text that was cut from web pages: entities, tags and runs of white space. Whole columns only."""

from functools import cache
from html.entities import name2codepoint

import polars as pl

_TAG = r"</?[a-zA-Z][^<>]{0,300}>"
_NUMBERED = (*range(32, 256), *range(0x2010, 0x2040), 0x20AC, 0x2122)
_OPENING = 60


def plain_text(text: pl.Expr) -> pl.Expr:
    """Return text without HTML tags, with entities as characters and white space as single blanks; "" is null.

    >>> import polars as pl
    >>> pl.select(plain_text(pl.lit(" Tom &amp; Jerry&#39;s <b>best</b> "))).item()
    "Tom & Jerry's best"
    """
    names, characters = _entities()
    text = text.str.replace_many(names, characters).str.replace_all(_TAG, " ")
    text = text.str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(text != "").then(text)


def opening(text: pl.Expr) -> pl.Expr:
    """Return the first words of a text, at most 60 characters, in place of a missing title; null if none."""
    start = text.str.strip_chars().str.slice(0, 4 * _OPENING)  # a long text need not be gone through
    text = start.str.replace_all(r"\s+", " ").str.slice(0, _OPENING).str.strip_chars()
    return pl.when(text != "").then(text)


@cache
def _entities() -> tuple[list[str], list[str]]:
    """Entities and their characters: the named ones of HTML 4, and the numbered ones of Latin-1 and of punctuation."""
    known = {f"&{name};": chr(code) for name, code in name2codepoint.items()} | {"&apos;": "'"}
    for code in _NUMBERED:
        known |= {f"&#{code};": chr(code), f"&#x{code:x};": chr(code), f"&#x{code:X};": chr(code)}
        if code < 100:
            known[f"&#0{code};"] = chr(code)
    return list(known), list(known.values())
