"""`searec import` of KuaiSAR's files, of CSV and of JSON Lines against the same in pandas, each a command of its own.

And ten million rows, with their memory.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from kuaisar_files import write
from timing import line

REFERENCE = Path(__file__).with_name("reference_pandas_import.py")
PLAIN_REFERENCE = Path(__file__).with_name("reference_pandas_plain.py")
TABLES = ("items", "users", "interactions", "searches")


class Cost(NamedTuple):
    """Of one command, start included: wall seconds, processor seconds, and peak resident memory in GiB."""

    wall: float
    cpu: float
    gib: float


def command(*words: str | Path) -> Cost:
    """Run one Python command in a fresh process.

    Raises:
        RuntimeError: the command failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {process.returncode}")
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


def ours(src: Path, out: Path, form: str = "kuaisar") -> Cost:
    """The whole import: reading, rules, final write."""
    return command("-m", "searec", "import", form, src, out)


def theirs(*words: str | Path, out: Path) -> Cost:
    """The same by pandas."""
    shutil.rmtree(out, ignore_errors=True)
    return command(*words, out)


def run(room: Path, rows: int = 500_000, rounds: int = 3) -> None:
    """Print the ratio of times and both peaks of memory, after checking that both sides wrote the same rows."""
    src, other = write(room / "kuaisar", rows), room / "by-pandas"
    _compare(
        "import of KuaiSAR's files, against pandas",
        rows,
        rounds,
        src,
        room,
        (lambda out: ours(src, out), lambda: theirs(REFERENCE, src, out=other)),
    )
    for form, name in (("csv", "CSV"), ("jsonl", "JSON Lines")):
        plain(room, form, name, 2 * rows, rounds)


def plain(room: Path, form: str, name: str, rows: int, rounds: int) -> None:
    """The same for plain files of items and interactions."""
    src, other = _plain_files(room / form, form, rows), room / "by-pandas"
    _compare(
        f"import of {name}, against pandas",
        rows,
        rounds,
        src,
        room,
        (lambda out: ours(src, out, form), lambda: theirs(PLAIN_REFERENCE, form, src, out=other)),
    )


def _plain_files(folder: Path, form: str, rows: int) -> Path:
    """Interactions of one item in sixty rows and one user in thirty, in order of time."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    items = pl.select(number=pl.int_range(rows // 60)).select(
        item_id=pl.format("i{}", "number"), title=pl.format("thing number {}", "number")
    )
    events = pl.DataFrame(
        {
            "user_id": rng.integers(0, rows // 30, rows),
            "item_id": rng.integers(0, rows // 60, rows),
            "timestamp": 1_600_000_000 + np.sort(rng.integers(0, 30_000_000, rows)),
        }
    ).select(
        pl.format("u{}", "user_id").alias("user_id"),
        pl.format("i{}", "item_id").alias("item_id"),
        pl.from_epoch("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        event=pl.lit("click"),
    )
    for table, frame in (("items", items), ("interactions", events.unique(maintain_order=True))):
        path = folder / f"{table}.{form}"
        frame.write_csv(path) if form == "csv" else frame.write_ndjson(path)
    return folder


def _compare(
    name: str,
    rows: int,
    rounds: int,
    src: Path,
    room: Path,
    sides: tuple[Callable[[Path], Cost], Callable[[], Cost]],
) -> None:
    mine, other = room / "by-searec", room / "by-pandas"
    shutil.rmtree(mine, ignore_errors=True)
    pairs = [(sides[0](mine), sides[1]()) for _ in range(rounds)]
    for table in TABLES:
        written, expected = (pl.read_parquet(side / f"{table}.parquet") for side in (mine, other))
        if (written.height or expected.height) and not written.equals(expected.select(written.columns)):
            raise RuntimeError(f"the two sides differ in {table}")
    figures = {
        "rows": rows,
        "ours_s": round(statistics.median(a.wall for a, _ in pairs), 2),
        "theirs_s": round(statistics.median(b.wall for _, b in pairs), 2),
        "ratio": round(statistics.median(b.wall / a.wall for a, b in pairs), 2),
        "cpu_ratio": round(statistics.median(b.cpu / a.cpu for a, b in pairs), 2),
        "ours_gib": round(max(a.gib for a, _ in pairs), 2),
        "theirs_gib": round(max(b.gib for _, b in pairs), 2),
        "cores": os.cpu_count(),
    }
    line(name, src, figures)


def large(room: Path, rows: int = 10_000_000) -> None:
    """Print seconds and memory of one large import."""
    src = write(room / "large-kuaisar", rows)
    cost = ours(src, room / "large-imported")
    figures = {
        "rows": rows,
        "seconds": round(cost.wall, 1),
        "cpu_s": round(cost.cpu, 1),
        "peak_gib": round(cost.gib, 2),
        "rows_per_s": round(rows / cost.wall),
        "cores": os.cpu_count(),
    }
    line("import of a large log", src, figures)
    shutil.rmtree(src)
