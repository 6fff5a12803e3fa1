"""Text files with one record a line and fields between separators, where quotes mean nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from searec.data.formats.base import ROW

_SHOWN = 80


@dataclass(frozen=True)
class FieldFile:
    """One file.

    frame: `ROW`, from 1, and the fields as text; what a line lacks is null. Lines that hold nothing are left out but
        have a number.
    records: lines that hold something, counted by the lines of the file.
    rejects: lines with too many fields, as `log.REJECT_SCHEMA` says.
    notes: what was decided for the user, one sentence each.
    """

    frame: pl.LazyFrame
    records: int
    rejects: pl.DataFrame
    notes: tuple[str, ...]


def read_fields(path: Path, separator: str, names: Sequence[str] | None = None) -> FieldFile:
    """Return the fields of a file; its lines are counted and compared with its header.

    Args:
        path: plain or gzip.
        separator: one character.
        names: of the fields of a file without a header; by default the first line has them.

    Raises:
        PolarsError: a file that is not UTF-8 or is damaged.
        OSError: a file that cannot be read.
    """
    blank = " \t\r\ufeff" + separator
    first = pl.scan_lines(path, row_index_name=ROW).filter(pl.col("line").str.strip_chars(blank) != "").head(1)
    skipped = int(first.collect()[ROW].sum())
    frame = pl.scan_csv(
        path,
        skip_lines=skipped,
        has_header=names is None,
        schema=None if names is None else dict.fromkeys(names, pl.String),
        infer_schema=False,
        separator=separator,
        quote_char=None,
        truncate_ragged_lines=True,
        row_index_name=ROW,
        row_index_offset=1,
    )
    return _counted(path, frame, separator, header=skipped + int(names is None))


def _counted(path: Path, frame: pl.LazyFrame, separator: str, *, header: int) -> FieldFile:
    width = len(frame.collect_schema()) - 1
    line = pl.col("line")
    fields = line.str.count_matches(separator, literal=True) + 1
    lines = pl.scan_lines(path, row_index_name=ROW, row_index_offset=1).slice(header)
    lines = lines.with_columns(row=pl.col(ROW).cast(pl.Int64) - header)
    blank = line.str.strip_chars(" \t\r\ufeff" + separator) == ""
    few, many = ~blank & (fields < width), ~blank & (fields > width)
    counts = lines.select(
        (~blank).sum().alias("records"), few.sum().alias("few"), pl.col("row").filter(few).first().alias("example")
    )
    empty = lines.filter(blank).select("row")
    bad = lines.filter(many).select(
        file=pl.lit(path.name),
        row="row",
        rule=pl.lit("too many fields"),
        value=pl.format("{} fields, not {}: {}", fields, pl.lit(width), line.str.slice(0, _SHOWN)),
    )
    counted, nothing, rejects = pl.collect_all([counts, empty, bad], engine="streaming")
    records, short, first = counted.row(0)
    notes = []
    if short:
        notes.append(
            f"{path.name}: {short:,} {'line has' if short == 1 else 'lines have'} fewer than {width} fields, "
            f"such as row {first}: the others are empty"
        )
    skipped = pl.concat([nothing["row"], rejects["row"]])
    if len(skipped):
        frame = frame.filter(~pl.col(ROW).cast(pl.Int64).is_in(skipped.implode()))
    return FieldFile(frame, records, rejects, tuple(notes))
