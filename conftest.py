"""For the docstrings' examples: `tmp`, an empty folder."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def example_names(doctest_namespace: dict[str, Any], tmp_path: Path) -> None:
    doctest_namespace["tmp"] = tmp_path
