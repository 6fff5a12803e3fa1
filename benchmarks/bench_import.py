"""`searec import kuaisar` against the same in pandas, each a command of its own.

And ten million rows, with their memory.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import polars as pl

from kuaisar_files import write
from timing import line

REFERENCE = Path(__file__).with_name("reference_pandas_import.py")
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


def ours(src: Path, out: Path) -> Cost:
    """The whole import: reading, rules, final write."""
    return command("-m", "searec.cli", "import", "kuaisar", src, out)


def theirs(src: Path, out: Path) -> Cost:
    """The same by pandas."""
    shutil.rmtree(out, ignore_errors=True)
    return command(REFERENCE, src, out)


def run(room: Path, rows: int = 500_000, rounds: int = 3) -> None:
    """Print the ratio of times and both peaks of memory, after checking that both sides wrote the same rows."""
    src = write(room / "kuaisar", rows)
    pairs = [(ours(src, room / "by-searec"), theirs(src, room / "by-pandas")) for _ in range(rounds)]
    for table in TABLES:
        mine, other = (pl.read_parquet(room / side / f"{table}.parquet") for side in ("by-searec", "by-pandas"))
        if not mine.equals(other.select(mine.columns)):
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
    line("import of KuaiSAR's files, against pandas", src, figures)


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
