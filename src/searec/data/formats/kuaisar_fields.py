"""Fields of KuaiSAR's files as columns of text."""

import polars as pl

NO_NAME = ("", "empty", "空", "UNKNOWN", "Unknown", "unknown", "null", "nan", "-124")
NOTHING = {"author_id": ("0",), "music_id": ("0",), "upload_time": ("1970-01-01", "1970-1-1")}
_LIST = r"^\[(\d+(, ?\d+)*)?\]$"


def as_id(name: str, nothing: tuple[str, ...] = ()) -> pl.Expr:
    """An id as text, null where there is none; "123.0", as pandas writes it beside gaps, is "123".

    Args:
        name: the column.
        nothing: ids that mean that there is none.
    """
    text = pl.col(name).str.strip_chars().str.strip_suffix(".0")
    return pl.when(~text.is_in(("", *nothing))).then(text)


def as_number(name: str) -> pl.Expr:
    """A number from 0 to 1e15; null for anything else."""
    number = pl.col(name).cast(pl.Float64, strict=False)
    return pl.when(number.is_between(0, 1e15)).then(number)  # neither NaN nor infinite


def as_words(name: str) -> pl.Expr:
    """The list "[20, 34]" as the words "w20 w34"; null where it is empty or none."""
    inner = pl.col(name).str.strip_chars(" []")
    words = inner.str.replace_all(", ", " w", literal=True).str.replace_all(",", " w", literal=True)
    return pl.when(pl.col(name).str.contains(_LIST) & (inner != "")).then("w" + words)


def is_unread(name: str) -> pl.Expr:
    """True where text is neither a list of numbers nor blank."""
    text = pl.col(name)
    return (~text.str.contains(_LIST) & (text.str.strip_chars() != "")).fill_null(False)


def as_name(name: str) -> pl.Expr:
    """A category's name; null for those that mean that there is none."""
    return pl.when(~pl.col(name).is_in(NO_NAME)).then(pl.col(name))


def without_padding(name: str) -> pl.Expr:
    """A column without the values that mean that there is none."""
    text = pl.col(name)
    return pl.when(~text.is_in(NOTHING[name])).then(text).alias(name) if name in NOTHING else text
