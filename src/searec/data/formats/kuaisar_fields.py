"""Fields of KuaiSAR's files as columns of text."""

import codecs
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.data.formats.base import ROW
from searec.data.formats.csv_text import read_csv_file
from searec.data.formats.text_files import TableFile, as_utf8
from searec.data.log import REJECT_SCHEMA

NO_NAME = ("", "empty", "空", "UNKNOWN", "Unknown", "unknown", "null", "nan", "-124")
NOTHING = {"author_id": ("0",), "music_id": ("0",), "upload_time": ("1970-01-01", "1970-1-1")}
_LIST = r"^\[(\d+(, ?\d+)*)?\]$"
_BLOCK = 4 << 20


def read_records(path: Path, room: Path) -> TableFile:
    """Return one CSV file with its row numbers, every column text.

    A file whose every line is one record with as many fields as the header is read by Polars: two lines of such a file
    cannot be taken for one record. Any other goes the way of plain CSV files.

    Args:
        path: the file, packed with gzip or not.
        room: a folder for temporary files, which the table reads.

    Raises:
        DataError: a file that cannot be read.
    """
    text = as_utf8(path, room, None)
    count = _whole_lines(text)
    if count > 1:
        try:
            frame = pl.scan_csv(text, infer_schema=False, row_index_name=ROW, row_index_offset=1)
            is_named = not any("_duplicated_" in name for name in frame.collect_schema())
        except pl.exceptions.PolarsError:
            is_named = False
        if is_named:
            return TableFile(frame, count - 1, pl.DataFrame(schema=REJECT_SCHEMA))
    file = read_csv_file(path, room, ",", None)
    has_row = ROW in file.frame.collect_schema()
    return file if has_row else replace(file, frame=file.frame.with_row_index(ROW, 1))


def _whole_lines(text: Path) -> int:
    """How many lines a file has, if each is a record of as many fields as the first; else 0."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, width, rest = 0, 0, b""
    with text.open("rb") as file:
        while block := file.read(_BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return 0
            block = rest + block
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            width = width or len(_ends(block[: block.find(b"\n") + 1]))
            if end and not (count := _records(block, width)):
                return 0
            lines += count if end else 0
    if rest:
        count = _records(rest + b"\n", width or len(_ends(rest + b"\n")))
        return lines + 1 if count == 1 else 0
    return lines


def _records(block: bytes, width: int) -> int:
    """How many lines a block of whole lines has, if each has as many fields; else 0."""
    ends = _ends(block)
    if not len(ends) or not width or len(ends) % width or b"\r" in block or block[:1] == b"\n" or b"\n\n" in block:
        return 0
    is_line = np.frombuffer(block, dtype=np.uint8)[ends] == ord("\n")
    whole = is_line[width - 1 :: width].all() and np.count_nonzero(is_line) == len(ends) // width
    return len(ends) // width if whole else 0


def _ends(block: bytes) -> NDArray[np.int64]:
    """Places of the commas and line ends that are in no quotes; none where a quote is not at an end of a field."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero((data == ord(",")) | (data == ord("\n")))
    if b'"' not in block:
        return ends
    quote = data == ord('"')
    inside = np.bitwise_xor.accumulate(quote.view(np.uint8))[ends] == 1
    is_edge = np.zeros(len(data) + 1, dtype=bool)  # the last for the place before the first byte
    is_edge[ends[~inside]] = is_edge[-1] = True
    is_edge[:-1] |= quote
    places = np.flatnonzero(quote)
    is_sound = is_edge[places[::2] - 1].all() and is_edge[places[1::2] + 1].all() and len(places) % 2 == 0
    is_sound = is_sound and (data[ends[inside]] == ord(",")).all()
    return ends[~inside] if is_sound else np.empty(0, dtype=np.int64)


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
