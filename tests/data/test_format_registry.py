"""Formats of other packages: found by entry point, listed in the help, and refused when their name is taken."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from searec.data.exporting import export_folder
from searec.data.formats import EXPORTS, FORMATS
from searec.data.importing import import_folder
from searec.errors import DependencyError, SettingsError

MODULE = """
import polars as pl
from searec.data.formats.base import Raw

def read(source, options):
    rows = [line.split() for line in source.read_text().splitlines()]
    items = pl.LazyFrame({"item_id": [item for _, item in rows], "title": [f"item {item}" for _, item in rows]})
    clicks = pl.LazyFrame({"user_id": [user for user, _ in rows], "item_id": [item for _, item in rows]})
    clicks = clicks.with_columns(timestamp=pl.lit("2023-01-01"), event=pl.lit("click"))
    return Raw({"items": items, "interactions": clicks}, {"items": source, "interactions": source})

def write(tables, name):
    return {"pairs.txt": tables["interactions"].select(pl.format("{} {}", "user_id", "item_id"))}
"""
ENTRY_POINTS = """[searec.formats]
pairs = searec_pairs:read
torn = searec_pairs:gone

[searec.exports]
pairs = searec_pairs:write
"""


def install(folder: Path, entry_points: str) -> Path:
    """Write a package as an installer leaves it: a module and its metadata."""
    about = folder / "searec_pairs-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: searec-pairs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)
    (folder / "searec_pairs.py").write_text(MODULE)
    return folder


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source in the format of an installed package."""
    monkeypatch.syspath_prepend(install(tmp_path / "packages", ENTRY_POINTS))
    monkeypatch.delitem(sys.modules, "searec_pairs", raising=False)
    source = tmp_path / "pairs.txt"
    source.write_text("u1 lamp\nu2 mug\n")
    return source


def test_a_format_of_another_package_is_read_and_written(pairs: Path, tmp_path: Path) -> None:
    assert "pairs" in FORMATS.names() and "pairs" in EXPORTS.names()
    report = import_folder("pairs", pairs, tmp_path / "out")
    assert report.written == {"items": 2, "users": 2, "interactions": 2, "searches": 0}
    assert pl.read_parquet(tmp_path / "out" / "items.parquet")["title"].to_list() == ["item lamp", "item mug"]
    export_folder("pairs", tmp_path / "out", tmp_path / "back")
    assert (tmp_path / "back" / "pairs.txt").read_text() == pairs.read_text()


def test_the_command_line_lists_and_reads_it(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'packages'}:{':'.join(path for path in sys.path if path)}")
    monkeypatch.setenv("COLUMNS", "200")

    def searec(*arguments: object) -> str:
        line = [sys.executable, "-m", "searec", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    assert "pairs" in searec("import", "--help") and "pairs" in searec("export", "--help")
    assert f"wrote {tmp_path / 'out'}" in searec("import", "pairs", pairs, tmp_path / "out")


def test_a_package_that_lacks_what_it_declares_is_named(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="'torn' cannot be imported; where: entry point searec_pairs:gone"):
        import_folder("torn", pairs, tmp_path / "out")


def test_a_name_that_is_built_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, "[searec.formats]\ncsv = searec_pairs:read\n"))
    with pytest.raises(SettingsError, match="declares the format 'csv', which is built in"):
        FORMATS.names()


@pytest.mark.parametrize("registry", [FORMATS, EXPORTS], ids=["import", "export"])
def test_every_built_in_format_can_be_imported(registry: object) -> None:
    assert all(callable(registry.named(name)) for name in registry.built_in)  # type: ignore[attr-defined]
