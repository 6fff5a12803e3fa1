"""The table of query variants holds: each query is searched as it says, and finds what it says first."""

from collections import Counter
from pathlib import Path

import pytest

from query_variants import YELP, answer, is_expected, read_table, served

ROWS = read_table()


def test_the_table_has_every_kind() -> None:
    kinds = Counter(row["kind"] for row in ROWS)
    assert len(ROWS) >= 60
    required = ("typo", "plural", "accent", "order", "synonym", "category", "brand + noun", "model number", "CJK")
    assert {*required, "Thai", "Hindi", "Arabic", "compound", "units", "nonsense"} <= kinds.keys()


@pytest.mark.parametrize("name", dict.fromkeys(row["catalogue"] for row in ROWS))
def test_queries_find_what_is_expected(name: str, tmp_path: Path) -> None:
    if name == "yelp" and not YELP.is_dir():
        pytest.skip(f"no data in {YELP}; SEAREC_SHARED_DATA names another folder")
    with served(name, tmp_path) as pipeline:
        for row in (row for row in ROWS if row["catalogue"] == name):
            searched, titles, texts = answer(pipeline, row["query"])
            assert is_expected(row, texts), (row["query"], texts)
            assert searched == row["searched"], row["query"]
            remedy = "if that is right: python tests/query_variants.py"
            assert " | ".join(titles) == row["actual"], (row["query"], remedy)
