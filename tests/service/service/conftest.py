"""Services as real processes over the small shop; a small disk; a clock that can be set."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `running_service`

from running_service import Running
from small_shop import Shop


def _made(shop: Shop, room: Path) -> Iterator[Callable[..., Running]]:
    services: list[Running] = []

    def make(**options: Any) -> Running:
        folder = room / f"service{len(services)}"
        folder.mkdir()
        services.append(Running(shop, folder, **options))
        return services[-1].start()

    yield make
    for service in services:
        service.kill()


@pytest.fixture
def services(shop: Shop, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts services; see `Running`."""
    yield from _made(shop, tmp_path)


@pytest.fixture(scope="module")
def module_services(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """As `services`, for all tests of a module."""
    yield from _made(shop, tmp_path_factory.mktemp("services"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What shifts a program's calendar clock.

    A library to be preloaded, which adds the seconds in the file $CLOCK_SHIFT.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, with which the clock of a program can be set")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library
