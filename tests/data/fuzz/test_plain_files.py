"""Odd plain files: exit codes are right, nothing ends in a traceback, and counts add up against another reader.

`SEAREC_FUZZ=5000 pytest tests/data/fuzz` looks at more of them.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from plain_variants import FORMATS, write
from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log
from searec.errors import DataError

VARIANTS = int(os.environ.get("SEAREC_FUZZ", "12"))


def attempt(form: str, folder: Path, out: Path, *, drop_bad: bool) -> ImportReport | DataError:
    """Import, or the one error that an import may end in."""
    try:
        return import_folder(form, folder, out, drop_bad=drop_bad)
    except DataError as error:
        assert "\n" not in str(error) and not out.exists()
        assert "do not add up" not in str(error) and "count differently" not in str(error)
        return error


@pytest.mark.parametrize("form", FORMATS)
def test_variants(form: str, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(VARIANTS):
        folder, out = tmp_path / f"{seed}", tmp_path / f"{seed}-out"
        records = write(folder, form, seed)
        strict = attempt(form, folder, tmp_path / f"{seed}-strict", drop_bad=False)
        report = attempt(form, folder, out, drop_bad=True)
        if isinstance(report, DataError):
            assert isinstance(strict, DataError), f"{form} {seed}: refused only with --drop-bad: {report}"
            outcomes["refused"] += 1
            continue
        assert isinstance(strict, DataError) == bool(report.rejects.height), f"{form} {seed}"
        log = load_log(out)  # every row that is left obeys the rules
        assert log.interactions.height + log.searches.height and log.items.height
        for file in report.files:
            assert file.read == file.written + file.rejected + sum(o.rows for o in file.outcomes), f"{form} {seed}"
            if records[file.file] is not None:
                assert file.read == records[file.file], f"{form} {seed}: {file}"
        outcomes["written"] += 1
    assert outcomes["written"] > VARIANTS // 10 and outcomes["refused"]
