"""`searec import kuaisar` against the same in pandas, each a command of its own; and ten million rows, with their memory."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from kuaisar_files import write
from timing import line

REFERENCE = Path(__file__).with_name("reference_pandas_import.py")
TABLES = ("items", "users", "interactions", "searches")


def command(*words: str | Path) -> tuple[float, float]:
    """Wall seconds of one Python command, start included, and its peak resident memory in GiB.

    Raises:
        RuntimeError: the command failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 2**20


def ours(src: Path, out: Path) -> tuple[float, float]:
    """The whole import: reading, rules, final write."""
    return command("-m", "searec.cli", "import", "kuaisar", src, out)


def theirs(src: Path, out: Path) -> tuple[float, float]:
    """The same by pandas."""
    shutil.rmtree(out, ignore_errors=True)
    return command(REFERENCE, src, out)


def run(room: Path, rows: int = 1_000_000, rounds: int = 3) -> None:
    """Print the ratio of times and both peaks of memory, after checking that both sides wrote the same rows."""
    src = write(room / "kuaisar", rows)
    pairs = [(ours(src, room / "by-searec"), theirs(src, room / "by-pandas")) for _ in range(rounds)]
    for table in TABLES:
        mine, other = (pl.read_parquet(room / side / f"{table}.parquet") for side in ("by-searec", "by-pandas"))
        if not mine.equals(other.select(mine.columns)):
            raise RuntimeError(f"the two sides differ in {table}")
    figures = {
        "rows": rows,
        "ours_s": round(statistics.median(a[0] for a, _ in pairs), 2),
        "theirs_s": round(statistics.median(b[0] for _, b in pairs), 2),
        "ratio": round(statistics.median(b[0] / a[0] for a, b in pairs), 2),
        "ours_gib": round(max(a[1] for a, _ in pairs), 2),
        "theirs_gib": round(max(b[1] for _, b in pairs), 2),
        "cores": os.cpu_count(),
    }
    line("import of KuaiSAR's files, against pandas", src, figures)


def large(room: Path, rows: int = 10_000_000) -> None:
    """Print seconds and memory of one large import."""
    src = write(room / "large-kuaisar", rows)
    seconds, gib = ours(src, room / "large-imported")
    figures = {
        "rows": rows,
        "seconds": round(seconds, 1),
        "peak_gib": round(gib, 2),
        "rows_per_s": round(rows / seconds),
        "cores": os.cpu_count(),
    }
    line("import of ten million rows", src, figures)
    shutil.rmtree(src)
