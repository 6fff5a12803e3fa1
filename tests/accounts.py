"""Whether an importer accounts for every record of its source files, counted by a reader that shares nothing with it.

The equation of `Raw`: for each file, records read = records in a row of a table + rejected + left out by a rule.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from searec.data.formats import FORMATS
from searec.data.formats.base import FILE, ROW, ImportOptions, Raw


def raw_of(format: str, source: Path, **mapping: str) -> Raw:
    """What the importer of a format returns."""
    raw: Raw = FORMATS.named(format)(source, ImportOptions(mapping=mapping))
    return raw


def places(raw: Raw) -> set[tuple[str, int]]:
    """The records that became a row of a table, or a reject, by file and number."""
    found: set[tuple[str, int]] = set()
    for name, table in raw.tables.items():
        columns = table.collect_schema().names()
        file = pl.col(FILE) if FILE in columns else pl.lit(raw.files[name].name)
        row = pl.col(ROW) if ROW in columns else pl.row_index() + 1
        found |= set(table.select(file.alias("file"), row.cast(pl.Int64).alias("row")).drop_nulls().collect().rows())
    if raw.rejects is not None:
        found |= set(raw.rejects.select("file", "row").collect().rows())
    return found


def check_balance(raw: Raw, counted: Mapping[str, int]) -> None:
    """Compare what an importer says of its files with the records that a test has counted.

    Args:
        raw: what the importer returned.
        counted: records of each file.
    """
    assert dict(raw.read or {}) == dict(counted)
    accounted = dict.fromkeys(counted, 0)
    for file, _ in places(raw):
        accounted[file] += 1
    for outcome in raw.outcomes:
        assert outcome.rows > 0 and outcome.example and outcome.rule, outcome
        accounted[outcome.file] += outcome.rows
    assert accounted == dict(counted), raw.outcomes


def lines(path: Path) -> int:
    """Lines of a text file that hold something, by Python."""
    return sum(1 for line in path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip())


def became(raw: Raw) -> dict[str, int]:
    """Records of all files that are in no row of a table, by what became of them."""
    counts: dict[str, int] = {}
    for outcome in raw.outcomes:
        counts[outcome.rule] = counts.get(outcome.rule, 0) + outcome.rows
    return counts
