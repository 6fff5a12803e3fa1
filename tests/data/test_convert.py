"""Ids, times and lists of any source type, in and out."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imported import utc
from searec.data.convert import as_lists, as_text, as_times, time_facts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-01-02", utc(2023, 1, 2)),
        ("2023-01-02T03:04", utc(2023, 1, 2, 3, 4)),
        (" 2023-01-02 03:04:05.678901 ", utc(2023, 1, 2, 3, 4, 5, 678_901)),
        ("2023-01-02T03:04:05-0530", utc(2023, 1, 2, 8, 34, 5)),
        ("2023-01-02T03:04+02:00", utc(2023, 1, 2, 1, 4)),
        ("2023-01-02T03:04:05.1234567-00:30", utc(2023, 1, 2, 3, 34, 5, 123_456)),
        ("1969-12-31T23:59:59Z", utc(1969, 12, 31, 23, 59, 59)),
        ("2023-02-31", None),
        ("2023-01-02 24:00:00", utc(2023, 1, 3)),
        ("2023-01-02 03:04:05 UTC", utc(2023, 1, 2, 3, 4, 5)),
        ("1672628645", utc(2023, 1, 2, 3, 4, 5)),
        ("1672628645.25", utc(2023, 1, 2, 3, 4, 5, 250_000)),
        ("NaN", None),
        ("inf", None),
        ("1e300", None),
        ("2023-13-02", None),
        ("02/01/2023", None),
        ("", None),
        (None, None),
    ],
)
def test_times_from_text(text: str | None, expected: datetime | None) -> None:
    frame = pl.DataFrame({"t": [text]}, schema={"t": pl.String})
    made = as_times("t", pl.String(), "s")
    assert made is not None and frame.select(made).to_series().to_list() == [expected]


@settings(max_examples=60, deadline=None)
@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.timezones()), st.sampled_from("T "))
def test_any_iso_time_comes_back(time: datetime, between: str) -> None:
    offset = time.utcoffset()
    assume(offset is not None and offset.total_seconds() % 60 == 0)  # ISO 8601 has no seconds in an offset
    frame = pl.DataFrame({"t": [time.isoformat(between)]})
    made = as_times("t", pl.String(), None)
    assert made is not None and frame.select(made).to_series().to_list() == [time.astimezone(UTC)]


@pytest.mark.parametrize(("scale", "unit"), [(1, "s"), (1_000, "ms"), (1_000_000, "us")])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String])
def test_the_unit_is_read_from_the_size(scale: int, unit: str, dtype: type[pl.DataType]) -> None:
    times = [utc(1990, 1, 1), utc(2023, 1, 2, 3, 4, 5)]
    frame = pl.LazyFrame({"t": [int(time.timestamp()) * scale for time in times]}).with_columns(pl.col("t").cast(dtype))
    facts = time_facts(frame, "t", Path("x.csv"))
    assert facts.unit == unit
    made = as_times("t", dtype(), facts.unit, guessed=True, facts=facts)
    assert made is not None and frame.select(made).collect().to_series().to_list() == times


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('["a","b, c"]', ["a", "b, c"]),
        ('[ "\\u00e9\\"", 7 , 2.5]', ['é"', "7", "2.5"]),
        ("[]", []),
        ("a;b", ["a", "b"]),
        ("; a ;", ["a"]),
        ("", []),
        ("['a']", ["['a']"]),
        ('["a",]', ['["a",]']),
        ('["\\ud800"]', ['["\\ud800"]']),
        ('[["a"]]', ['[["a"]]']),
        (None, None),
    ],
)
def test_lists_from_text(value: str | None, expected: list[str] | None) -> None:
    made = as_lists(pl.col("c"), pl.String(), ";")
    frame = pl.DataFrame({"c": [value, '["z"]']}, schema={"c": pl.String})
    assert made is not None and frame.select(made).to_series().to_list() == [expected, ["z"]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(max_size=6), max_size=4), min_size=1, max_size=5))
def test_any_json_list_of_texts_comes_back(lists: list[list[str]]) -> None:
    made = as_lists(pl.col("c"), pl.String(), "|")
    assert made is not None
    for ascii_only in (True, False):
        frame = pl.DataFrame({"c": [json.dumps(members, ensure_ascii=ascii_only) for members in lists]})
        assert frame.select(made).to_series().to_list() == lists


def test_ids_from_numbers() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.5, float("nan"), None, 1e300]})
    made = as_text(pl.col("a"), pl.Float64())
    assert made is not None and frame.select(made).to_series().to_list() == ["1", "2.5", None, None, "1e+300"]
    assert as_text(pl.col("a"), pl.Datetime()) is None
