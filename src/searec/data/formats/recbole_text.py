r"""Texts in RecBole's atomic files, escaped so that nothing is taken for a separator, a quote or a gap.

RecBole reads these files with pandas: a tab or a line end parts fields, a leading quote opens a quoted field, some
words
("NA", "null", ...) are gaps, and a blank parts the members of a list. So a backslash is written `\\`, a tab `\t`, line
ends `\n` and
`\r`, NUL `\0`, in the members of a list a blank `\s`, in a column's name a colon `\c`; `\e` is nothing and comes before
what
pandas would misread, `\N` is a null member, and `\-` alone a list without members. An empty field is null.
"""

import polars as pl

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_BLANK, _COLON = {" ": "\\s"}, {":": "\\c"}
_NOTHING, _NULL_MEMBER, _NO_MEMBERS = "\\e", "\\N", "\\-"
# What pandas takes for a missing value, and RecBole's name of the padding token.
_GAPS = (
    *(
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
    ),
    *("None", "n/a", "nan", "null", "[PAD]"),
)
_ALL = {**_ESCAPES, **_BLANK, **_COLON, "": _NOTHING}


def written(value: pl.Expr) -> pl.Expr:
    """A text column as a field; null stays null, which is written as an empty field."""
    return _guarded(_replaced(value, _ESCAPES))


def written_list(value: pl.Expr) -> pl.Expr:
    """A column of lists of texts as a field."""
    members = value.list.eval(_guarded(_replaced(pl.element(), _ESCAPES | _BLANK)).fill_null(pl.lit(_NULL_MEMBER)))
    return pl.when(value.list.len() == 0).then(pl.lit(_NO_MEMBERS)).otherwise(members.list.join(" "))


def written_name(name: str) -> str:
    """A column's name as the header holds it."""
    return str(pl.select(_guarded(_replaced(pl.lit(name), _ESCAPES | _COLON))).item())


def read(field: pl.Expr) -> pl.Expr:
    """What `written` was given."""
    # Each escape is a backslash and one more character, and they are found from left to right.
    return field.str.replace_many(list(_ALL.values()), list(_ALL.keys()))


def read_list(field: pl.Expr) -> pl.Expr:
    """What `written_list` was given."""
    member = pl.element()
    members = field.str.split(" ").list.eval(pl.when(member != _NULL_MEMBER).then(read(member)))
    return pl.when(field == _NO_MEMBERS).then(pl.lit([], dtype=pl.List(pl.String))).otherwise(members)


def read_name(name: str) -> str:
    """What `written_name` was given."""
    return str(pl.select(read(pl.lit(name))).item())


def unquoted(field: pl.Expr) -> pl.Expr:
    """Return a field of a file that another program wrote, without quotes about the whole of it, as RecBole does."""
    quoted = field.str.contains(r'(?s)^".*"$') & (field.str.len_bytes() > 1)
    return (
        pl.when(quoted)
        .then(field.str.slice(1, field.str.len_chars() - 2).str.replace_all('""', '"', literal=True))
        .otherwise(field)
    )


def _replaced(value: pl.Expr, escapes: dict[str, str]) -> pl.Expr:
    return value.str.replace_many(list(escapes.keys()), list(escapes.values()))


def _guarded(text: pl.Expr) -> pl.Expr:
    is_misread = text.is_in(_GAPS) | text.str.starts_with('"') | text.str.starts_with("\ufeff")  # byte order mark
    return pl.when(is_misread).then(pl.lit(_NOTHING) + text).otherwise(text)
