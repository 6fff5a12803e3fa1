"""CSV files, read by Arrow into a temporary file and counted a second time by another reader.

A quote opens a field only where the field begins; anywhere else it is an ordinary character. (Polars changes between
inside and outside at every quote, so that one inch mark hides the rows up to the next.)
"""

import csv
import mmap
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv

from searec.data.formats.base import ROW
from searec.data.formats.text_files import BYTE_ORDER_MARK, TableFile, as_utf8, check_utf8, temporary
from searec.data.log import REJECT_SCHEMA
from searec.errors import DataError, SettingsError

_BLOCKS = (4 << 20, 1 << 30)
"""Bytes that Arrow reads at a time; a row must fit into one block, so that a larger one is tried when it does not."""
_COUNTED = 1 << 20
_SHOWN = 80
_BATCH = 50_000


def read_csv_file(path: Path, room: Path, separator: str, encoding: str | None) -> TableFile:
    """Return one CSV file as columns of text; an empty field is null.

    A record with too many or too few fields is a reject; an empty line is skipped.

    Args:
        path: the file, packed with gzip or not.
        room: a folder for temporary files, which the table reads.
        separator: between fields, one character.
        encoding: of the file; UTF-8 with or without byte order mark if None.

    Raises:
        SettingsError: a separator that cannot be one, an unknown encoding.
        DataError: not text of that encoding, a quote that is never closed, or a file that cannot be read.
    """
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0':
        got, expected = repr(separator), "such as ';' or tab"
        raise SettingsError("a separator is one character of ASCII", where="--separator", got=got, expected=expected)
    text = as_utf8(path, room, encoding)
    try:
        records, blank = count_records(text, separator, path)
        names, notes = _names(_header(text, separator, path), path)
        staged = temporary(room, f"{path.name}.arrow")
        rejects = pl.DataFrame(schema=REJECT_SCHEMA)
        rows, is_uneven = _stage(text, staged, names, separator)
        if is_uneven:
            rows, rejects = _stage_by_record(text, staged, names, separator, path)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        check_utf8(path, text)
        got = str(error).splitlines()[0]
        raise DataError("cannot read the CSV file", where=path, got=got, remedy="write the file again") from error
    if rows + rejects.height != records - 1:
        raise DataError(
            "two readers of the CSV file count differently",
            where=path,
            got=f"{rows + rejects.height:,} records and {records - 1:,}",
            remedy="look for odd quotes; a value that holds a quote, the separator or a line end needs quotes round it",
        )
    if blank:
        notes.append(f"{path.name}: {blank:,} empty {'line is' if blank == 1 else 'lines are'} skipped")
    return TableFile(pl.scan_ipc(staged), records - 1, rejects, tuple(notes))


def count_records(text: Path, separator: str = ",", path: Path | None = None) -> tuple[int, int]:
    """Return how many records a CSV file has, its header included, and how many empty lines.

    By line ends: those inside quotes are found with a regular expression and do not count.

    Args:
        text: the file, in UTF-8.
        separator: between fields.
        path: the file that an error names.

    Raises:
        DataError: a quote that is never closed, or closed in the middle of a later line.
    """
    with text.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = len(BYTE_ORDER_MARK) if data[:3] == BYTE_ORDER_MARK else 0
        blocks = range(start, len(data), _COUNTED)
        inside = np.empty(0, dtype=np.int64)
        if any(b'"' in data[first : first + _COUNTED] for first in blocks):
            inside = _quoted_line_ends(data, separator, path or text)
        records = ends = 0
        before_end, before_cr = True, False
        for first in blocks:
            whole = data[first : first + _COUNTED]
            block = np.frombuffer(whole, dtype=np.uint8)
            end = lf = block == ord("\n")
            cr = block == ord("\r") if before_cr or b"\r" in whole else None
            low, high = np.searchsorted(inside, (first, first + len(block)))
            hidden = inside[low:high] - first
            lf[hidden] = False
            if cr is not None:
                cr[hidden] = False
                end = lf | cr
                ends -= int(np.count_nonzero(lf[1:] & cr[:-1])) + int(lf[0] and before_cr)
            # A record ends where a line end follows anything else; CR LF is one line end.
            records += int(np.count_nonzero(end[1:] > end[:-1])) + int(end[0] and not before_end)
            ends += int(np.count_nonzero(end))
            before_end, before_cr = bool(end[-1]), cr is not None and bool(cr[-1])
        return records + (not before_end), ends - records


def _quoted_line_ends(data: mmap.mmap, separator: str, path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of line ends inside quoted fields."""
    apart = re.escape(separator).encode()
    # A quote opens a field at the beginning of a line or after a separator.
    quoted = re.compile(rb"(?:(?<![^\r\n" + apart + rb'])|(?<=\A\xef\xbb\xbf))"(?:[^"]++|"")*+("?)')
    after = (b"", b"\r", b"\n", separator.encode())
    places: list[int] = []
    for field in quoted.finditer(data):
        value = field.group()
        if b"\n" in value or b"\r" in value:
            if data[field.end() : field.end() + 1] not in after:
                _refuse_quote(data, field, path, "closed in the middle of a value of a later line")
            places += [field.start() + end.start() for end in re.finditer(rb"[\r\n]", value)]
        if not field.group(1):
            _refuse_quote(data, field, path, "never closed")
    return np.asarray(places, dtype=np.int64)


def _refuse_quote(data: mmap.mmap, field: re.Match[bytes], path: Path, fault: str) -> NoReturn:
    before = data[: field.start()]
    line = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
    raise DataError(
        f"broken CSV: a quote that opens a value is {fault}",
        where=f"{path} line {line}",
        got=repr(field.group()[:_SHOWN].decode("utf-8", errors="replace")),
        remedy="close the quotes; write a quote inside a value in quotes twice",
    )


def _records(text: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a file as Python's reader finds them, each with the line it begins in, without empty lines."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with text.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=separator)
            line = 1
            for row in reader:
                if row:
                    yield line, row
                line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _header(text: Path, separator: str, path: Path) -> list[str]:
    for _, row in _records(text, separator):
        return row
    raise DataError("file is empty", where=path, expected="a header and rows", remedy="write it again")


def _names(header: Sequence[str], path: Path) -> tuple[list[str], list[str]]:
    """Names of columns, none twice, and notes on those that were."""
    names: list[str] = []
    notes = []
    for name in header:
        new, number = name, 2
        while new in names:
            new, number = f"{name}_{number}", number + 1
        if new != name:
            notes.append(f"{path.name} has more than one column {name!r}: the later one is read as {new!r}")
        names.append(new)
    return names, notes


def _stage(text: Path, staged: Path, names: Sequence[str], separator: str) -> tuple[int, bool]:
    """Write the rows in Arrow's form; return how many, and whether records had another number of fields."""
    for size in _BLOCKS:
        uneven: list[object] = []

        def skip(row: object, uneven: list[object] = uneven) -> str:
            uneven.append(row)
            return "skip"

        # The header is read as a row: the names that it has may be there twice.
        read = pyarrow.csv.ReadOptions(block_size=size, column_names=names)
        parse = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip)
        convert = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        )
        rows = -1
        try:
            with (
                pa.OSFile(str(text)) as source,
                pyarrow.csv.open_csv(source, read, parse, convert) as batches,
                pa.ipc.new_file(staged, batches.schema) as file,
            ):
                for batch in batches:
                    file.write_batch(batch.slice(1) if rows < 0 else batch)
                    rows += batch.num_rows
            return rows, bool(uneven)
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or size == _BLOCKS[-1]:
                raise
    raise AssertionError("the last size returns or raises")


def _stage_by_record(
    text: Path, staged: Path, names: Sequence[str], separator: str, path: Path
) -> tuple[int, pl.DataFrame]:
    """The same by Python's reader, for a file with records of another number of fields, which become rejects."""
    width, rows = len(names), 0
    bad: list[tuple[str, int, str, str]] = []
    schema = pa.schema([*((name, pa.string()) for name in names), (ROW, pa.int64())])
    batch: list[tuple[str | int | None, ...]] = []

    def write(file: pa.ipc.RecordBatchFileWriter) -> None:
        columns = zip(*batch, strict=True)
        file.write_batch(pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema))
        batch.clear()

    with pa.ipc.new_file(staged, schema) as file:
        for number, (line, row) in enumerate(_records(text, separator)):
            if len(row) != width:
                rule = f"too {'many' if len(row) > width else 'few'} fields"
                fields = f"{len(row)} field{'s' * (len(row) > 1)}"
                got = f"line {line} has {fields}, the header {width}: {separator.join(row)}"
                bad.append((path.name, number, rule, got[:_SHOWN]))
            elif number:
                batch.append((*(value or None for value in row), number))
                rows += 1
                if len(batch) == _BATCH:
                    write(file)
        if batch:
            write(file)
    return rows, pl.DataFrame(bad, schema=REJECT_SCHEMA, orient="row")
