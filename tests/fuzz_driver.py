"""Seeded damage to source files, and what must hold for an import of them whatever the damage is.

An import either ends with one clear error, or writes a dataset folder that obeys every rule; then the records of each
source file add up. Anything else raises.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log
from searec.errors import SearecError

Count = Callable[[Path], int | None]
"""Counts the records of one file, sharing nothing with the importer; None for a file that it cannot count."""

_TOKENS = (
    b"",
    b" ",
    b"0",
    b"-1",
    b"1.0",
    b"1e400",
    b"NaN",
    b"null",
    b"$3",
    b'"',
    b"'",
    b"\t",
    b",",
    b"::",
    b"|",
    b"[",
    b"{}",
    b"\\",
    b"\\ud83d",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"\r",
    b"\n",
    b"\xe2\x80\x8b",
    b"99999999999999999999",
    b"2024-01-01",
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a text file with one to three faults.

    Args:
        data: the file.
        rng: decides.
    """
    for _ in range(rng.randint(1, 3)):
        lines = data.split(b"\n")
        place, line = rng.randrange(len(data) + 1), rng.randrange(len(lines))
        kind = rng.randrange(9)
        if kind == 0:
            data = data[:place] + rng.choice(_TOKENS) + data[place:]
        elif kind == 1:
            data = data[:place] + data[place + rng.randint(1, 8) :]
        elif kind == 2:
            data = data[:place]
        elif kind == 3:
            data = b"\n".join([*lines[:line], *lines[line + 1 :]])
        elif kind == 4:
            data = b"\n".join([*lines[:line], lines[line], *lines[line:]])
        elif kind == 5:
            data = data.replace(b"\n", b"\r\n")
        elif kind == 6:
            data = b"\xef\xbb\xbf" + data
        elif kind == 7:
            data = b"\n".join([*lines[:line], rng.choice(_TOKENS), *lines[line:]])
        else:
            words = lines[line].replace(b",", b"\t").split(b"\t")
            data = data.replace(rng.choice(words) or b"1", rng.choice(_TOKENS), 1)
    return data


def damaged_table(frame: pl.DataFrame, rng: random.Random) -> pl.DataFrame:
    """Return a table with one fault: rows or a column gone, empty or of another type.

    Args:
        frame: the table.
        rng: decides.
    """
    name, row, kind = rng.choice(frame.columns), rng.randrange(max(frame.height, 1)), rng.randrange(6)
    if kind == 0:
        return frame.with_columns(pl.when(pl.row_index() != row).then(name).alias(name))
    if kind == 1:
        return pl.concat([frame, frame.slice(row, 1)])
    if kind == 2:
        return frame.slice(0, row)
    if kind == 3:
        return frame.drop(name)
    if kind == 4 and not frame.schema[name].is_nested():
        return frame.with_columns(pl.col(name).cast(pl.String))
    return frame.with_columns(pl.lit(None).alias(name))


def damage(source: Path, rng: random.Random) -> None:
    """Damage one file of a folder.

    Args:
        source: the folder.
        rng: decides.
    """
    path = rng.choice(sorted(path for path in source.rglob("*") if path.is_file()))
    if path.suffix == ".parquet":
        damaged_table(pl.read_parquet(path), rng).write_parquet(path)
    else:
        path.write_bytes(damaged(path.read_bytes(), rng))


def check_import(format: str, source: Path, out: Path, counts: Mapping[str, Count]) -> ImportReport | None:
    """Import a source and check what must hold; None where one clear error ends it.

    Args:
        format: of the source.
        source: the folder.
        out: the folder to write.
        counts: a count for each ending of files; files of other endings are not counted again.
    """
    try:
        report = import_folder(format, source, out, drop_bad=True)
    except SearecError as error:
        assert "\n" not in str(error), error
        assert "do not add up" not in str(error), error
        return None
    for account in report.files:
        left_out = sum(outcome.rows for outcome in account.outcomes)
        assert account.read == account.written + account.rejected + left_out, account
        path = source / account.file
        if path.suffix in counts:
            assert counts[path.suffix](path) in (None, account.read), account
    assert load_log(out).rejects.is_empty()
    return report
