"""Nothing of the encoding depends on the order of the rows of a dataset folder."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from four_users import LETTERS, RANDOM_LOG
from searec.data.dataset import write
from searec.data.log import load_log
from searec.data.schema import TABLES


def digests(folder: Path, out: Path) -> dict[str, str]:
    """The digest of each file of a folder's encoding."""
    write(load_log(folder), out)
    return {path.name: hashlib.blake2b(path.read_bytes()).hexdigest() for path in out.iterdir()}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(log=RANDOM_LOG, seed=st.integers(0, 99))
def test_shuffled_rows_give_the_same_bytes(
    log: dict[str, Any], seed: int, make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    room = tmp_path_factory.mktemp("order")
    items = {letter: {"title": f"thing {letter}", "categories": ["all", letter]} for letter in LETTERS}
    folder = make_folder(items=items, users=["u0", "u1", "u2"], **log)
    shuffled = room / "shuffled"
    shuffled.mkdir()
    for table in TABLES:
        pl.read_parquet(folder / table.file).sample(fraction=1, shuffle=True, seed=seed).write_parquet(
            shuffled / table.file
        )
    assert digests(folder, room / "one") == digests(shuffled, room / "other")
