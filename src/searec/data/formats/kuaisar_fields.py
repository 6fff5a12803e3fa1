"""Fields of KuaiSAR's files as columns of text."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from searec.data.formats.base import ROW
from searec.data.formats.csv_text import read_csv_file
from searec.data.formats.text_files import TableFile
from searec.data.log import REJECT_SCHEMA

NO_NAME = ("", "empty", "空", "UNKNOWN", "Unknown", "unknown", "null", "nan", "-124")
NOTHING = {"author_id": ("0",), "music_id": ("0",), "upload_time": ("1970-01-01", "1970-1-1")}
_LIST = r"^\[(\d+(, ?\d+)*)?\]$"


_QUOTED = r'(^|,)"(?:[^"]|"")*"'


def read_records(path: Path, room: Path) -> TableFile:
    """Return one CSV file with its row numbers, every column text.

    A file whose every line is one record with as many fields as the header is read by Polars where it is: two lines of
    such a file cannot be taken for one record. Any other goes the way of plain CSV files.

    Args:
        path: the file, packed with gzip or not.
        room: a folder for temporary files, which the table reads.

    Raises:
        DataError: a file that cannot be read.
    """
    line = pl.col("line")
    bare = pl.when(line.str.contains('"', literal=True)).then(line.str.replace_all(_QUOTED, "$1")).otherwise(line)
    commas = bare.str.count_matches(",", literal=True)
    is_whole = (line != "") & (commas == commas.first()) & ~bare.str.contains('"', literal=True)
    try:
        lines = pl.scan_lines(path).select(pl.len(), is_whole.all().alias("whole"))
        count, whole = lines.collect(engine="streaming").row(0)
        frame = pl.scan_csv(path, infer_schema=False, row_index_name=ROW, row_index_offset=1)
        names = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError):
        whole, count, names = False, 0, []
    if whole and count > 1 and not any("_duplicated_" in name for name in names):
        return TableFile(frame, count - 1, pl.DataFrame(schema=REJECT_SCHEMA))
    file = read_csv_file(path, room, ",", None)
    has_row = ROW in file.frame.collect_schema()
    return file if has_row else replace(file, frame=file.frame.with_row_index(ROW, 1))


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
