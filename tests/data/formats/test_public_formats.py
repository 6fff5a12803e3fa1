"""What holds for every public format: each record is accounted for, and no damage to a file ends in a traceback."""

import random
import shutil
from pathlib import Path

import pytest

from fuzz_driver import check_import, damage
from public_sources import SOURCES
from searec.data.importing import import_folder
from searec.data.log import load_log

EXPECTED = {
    "movielens-100k": {"u.data": (12, 12, 0), "u.item": (2, 2, 0), "u.user": (2, 2, 0)},
    "movielens-latest": {
        "ratings.csv": (3, 3, 0),
        "movies.csv": (2, 2, 0),
        "tags.csv": (4, 2, 0),
        "links.csv": (3, 0, 0),
    },
    "recbole": {"src.inter": (4, 3, 0), "src.item": (2, 2, 0), "src.user": (2, 2, 0)},
    "ubi": {"log.ndjson": (10, 4, 1)},
    "amazon": {"X_5.json": (4, 4, 0), "meta_X.json": (4, 2, 0)},
    "amazon-ratings": {"X.csv": (3, 3, 0), "meta_X.json": (2, 2, 0)},
    "qilin": {
        "notes.parquet": (3, 3, 0),
        "user_feat.parquet": (1, 1, 0),
        "recommendation_train.parquet": (2, 1, 0),
        "search_train.parquet": (3, 2, 0),
    },
    "kuaisar": {
        "rec_inter.csv": (4, 2, 0),
        "src_inter.csv": (3, 2, 0),
        "item_features.csv": (2, 2, 0),
        "user_features.csv": (2, 2, 0),
        "social_network.csv": (3, 0, 0),
    },
}
"""Records read, in a row of a table, and rejected, of each file."""
VARIANTS = 12


@pytest.mark.parametrize("name", SOURCES)
def test_every_record_is_accounted_for(tmp_path: Path, name: str) -> None:
    format, write, counts = SOURCES[name]
    report = check_import(format, write(tmp_path / "src"), tmp_path / "out", counts)
    assert report is not None
    assert {file.file: (file.read, file.written, file.rejected) for file in report.files} == EXPECTED[name]
    assert all(
        outcome.example for file in report.files for outcome in file.outcomes if "is there before" not in outcome.rule
    )
    assert {file.file for file in report.files} == {
        path.relative_to(tmp_path / "src").as_posix() for path in (tmp_path / "src").iterdir()
    }


@pytest.mark.parametrize("name", SOURCES)
def test_no_damage_ends_in_a_traceback(tmp_path: Path, name: str) -> None:
    format, write, counts = SOURCES[name]
    write(tmp_path / "whole")
    for seed in range(VARIANTS):
        shutil.copytree(tmp_path / "whole", tmp_path / "src", dirs_exist_ok=True)
        damage(tmp_path / "src", random.Random(seed))
        check_import(format, tmp_path / "src", tmp_path / "out", counts)


@pytest.mark.parametrize("name", SOURCES)
def test_a_folder_with_any_column_name_opens(tmp_path: Path, name: str) -> None:
    """Extra columns called row, __row, __file, words and title are in the sources."""
    format, write, _ = SOURCES[name]
    import_folder(format, write(tmp_path / "src"), tmp_path / "out", drop_bad=True)
    assert load_log(tmp_path / "out").rejects.is_empty()
