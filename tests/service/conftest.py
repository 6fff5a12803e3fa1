"""A small shop that all tests of the service share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # modules of these tests, importable under any import mode

import small_shop
from small_shop import Shop

from shared_folders import shared_folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that all tests share."""
    return small_shop.opened(shared_folder(tmp_path_factory, "small-shop", small_shop.build))
