"""What the tests of the page share: a small shop, and `searec serve` as a process."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 120.0
TINY: dict[str, Any] = {
    "width": 16,
    "inner": 16,
    "layers": 1,
    "text": False,
    "interests": 4,
    "snapshots": 3,
    "epochs": 1,
}


@dataclass(frozen=True)
class Shop:
    """A dataset folder and trained runs."""

    data: Path
    runs: Path

    def run(self, name: str) -> str:
        return str(self.runs / name)


@dataclass(frozen=True)
class Locked:
    """A service with keys."""

    url: str
    read: str
    write: str


@contextlib.contextmanager
def serving(arguments: list[str], log: Path) -> Iterator[str]:
    """The address of `searec serve` with these arguments, until the end."""
    searec, deployment = [sys.executable, "-m", "searec"], log.with_name("deployment.json")
    first = arguments.index("--store")
    subprocess.run([*searec, "deploy", *arguments[:first], "--out", str(deployment)], check=True, env=os.environ)
    command = [*searec, "serve", str(deployment), *arguments[first:], "--port", "0"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=log.parent, env=os.environ
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("searec: listening at http://"), log.read_text()
        yield line.split()[-1]
    finally:
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
