"""Every rule of the dataset folder meets exactly the row that breaks it, and bad files give one clear error."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searec.data.log import Log, load_log, open_folder, read_log, refuse_rejects
from searec.data.schema import INTERACTIONS, ITEMS, SEARCHES, TABLES, TIME, USERS
from searec.errors import DataError

NOW = datetime(2024, 1, 1, tzinfo=UTC)
DAY = datetime(2023, 5, 1, 12, tzinfo=UTC)

Rows = dict[str, list[dict[str, Any]]]

TYPES: dict[str, dict[str, Any]] = {
    ITEMS.name: {"item_id": pl.String, "title": pl.String},
    USERS.name: {"user_id": pl.String},
    INTERACTIONS.name: {"user_id": pl.String, "item_id": pl.String, "timestamp": TIME, "event": pl.String},
    SEARCHES.name: {
        "search_id": pl.String,
        "user_id": pl.String,
        "query": pl.String,
        "timestamp": TIME,
        "clicked": pl.List(pl.String),
    },
}


def good_rows() -> Rows:
    """3 items, 2 users, 4 interactions, 3 searches, none of which breaks a rule."""
    hour = timedelta(hours=1)
    return {
        "items": [{"item_id": f"i{n}", "title": f"lamp {n}"} for n in (1, 2, 3)],
        "users": [{"user_id": "anna"}, {"user_id": "ben"}],
        "interactions": [
            {"user_id": user, "item_id": item, "timestamp": DAY + n * hour, "event": "click"}
            for n, (user, item) in enumerate([("anna", "i1"), ("ben", "i2"), ("anna", "i3"), ("ben", "i1")])
        ],
        "searches": [
            {"search_id": f"s{n}", "user_id": "ben", "query": "lamp", "timestamp": DAY + n * hour, "clicked": clicked}
            for n, clicked in enumerate([["i1", "i3"], [], None])
        ],
    }


def frames(rows: Rows) -> dict[str, pl.LazyFrame]:
    return {name: pl.LazyFrame(rows[name], schema=TYPES[name]) for name in TYPES}


def read(rows: Rows) -> Log:
    return read_log(frames(rows), now=NOW)


def write(rows: Rows, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames(rows).items():
        frame.collect().write_parquet(folder / f"{name}.parquet")
    return folder


def test_good_rows_stay_and_ids_are_their_places() -> None:
    log = read(good_rows())
    assert log.rejects.is_empty()
    assert log.rows == {"items": 3, "users": 2, "interactions": 4, "searches": 3}
    assert log.interactions["user"].to_list() == [1, 2, 1, 2]
    assert log.interactions["item"].to_list() == [1, 2, 3, 1]
    assert log.interactions["time"][0] == int(DAY.timestamp() * 1_000_000)
    assert log.searches["clicked"].to_list() == [[1, 3], [], []]
    assert log.interactions.schema["user"] == log.interactions.schema["item"] == pl.Int32


# table, row spoilt (0-based), what is changed, rule, value shown
BROKEN = [
    ("items", 1, {"item_id": None}, "empty item_id", None),
    ("items", 1, {"item_id": "  "}, "empty item_id", "  "),
    ("items", 2, {"item_id": "i1"}, "duplicate item_id", "i1"),
    ("items", 1, {"title": None}, "empty title", None),
    ("items", 1, {"title": ""}, "empty title", ""),
    ("users", 1, {"user_id": None}, "empty user_id", None),
    ("users", 1, {"user_id": "anna"}, "duplicate user_id", "anna"),
    ("interactions", 2, {"user_id": "carl"}, "unknown user", "carl"),
    ("interactions", 2, {"user_id": None}, "unknown user", None),
    ("interactions", 3, {"item_id": "i9"}, "unknown item", "i9"),
    ("interactions", 3, {"item_id": None}, "unknown item", None),
    ("interactions", 0, {"timestamp": None}, "no valid time", None),
    ("interactions", 0, {"timestamp": NOW + timedelta(days=1)}, "no valid time", "2024-01-02 00:00:00.000000+00:00"),
    (
        "interactions",
        0,
        {"timestamp": datetime(1969, 12, 31, tzinfo=UTC)},
        "no valid time",
        "1969-12-31 00:00:00.000000+00:00",
    ),
    ("interactions", 1, {"event": None}, "empty event", None),
    ("interactions", 1, {"event": " "}, "empty event", " "),
    ("interactions", 2, good_rows()["interactions"][0], "duplicate row", "i1"),
    ("searches", 0, {"user_id": "carl"}, "unknown user", "carl"),
    ("searches", 1, {"query": ""}, "empty query", ""),
    ("searches", 1, {"query": " \t"}, "empty query", " \t"),
    ("searches", 1, {"query": None}, "empty query", None),
    ("searches", 2, {"clicked": ["i1", "i9"]}, "unknown clicked item", "i9"),
    ("searches", 2, {"clicked": ["i1", None]}, "unknown clicked item", "null"),
    ("searches", 0, {"timestamp": None}, "no valid time", None),
    ("searches", 0, {"timestamp": NOW + timedelta(seconds=1)}, "no valid time", "2024-01-01 00:00:01.000000+00:00"),
    ("searches", 1, {"search_id": "s0"}, "duplicate search_id", "s0"),
    ("searches", 1, {"search_id": None}, "empty search_id", None),
]


@pytest.mark.parametrize(
    ("table", "place", "change", "rule", "value"), BROKEN, ids=[f"{t}-{r}-{v}" for t, _, _, r, v in BROKEN]
)
def test_a_rule_meets_the_broken_row_alone(
    table: str, place: int, change: dict[str, Any], rule: str, value: str | None
) -> None:
    rows = good_rows()
    rows[table][place] = rows[table][place] | change
    log = read(rows)
    mine = log.rejects.filter(pl.col("file") == f"{table}.parquet")
    assert mine.rows() == [(f"{table}.parquet", place + 1, rule, value)]
    assert getattr(log, table).height == len(rows[table]) - 1
    if table in ("interactions", "searches"):
        assert log.rejects.height == 1


def test_every_rule_has_a_case() -> None:
    """A rule added to `read_log` without a case above is found by breaking everything at once."""
    rows: Rows = {name: [dict.fromkeys(types)] for name, types in TYPES.items()}
    nulls = set(read(rows).rejects["rule"])
    assert nulls <= {rule for *_, rule, _ in BROKEN}
    assert {
        "empty item_id",
        "empty title",
        "empty user_id",
        "unknown user",
        "no valid time",
        "empty event",
        "empty query",
    } <= nulls


def test_an_event_of_a_bad_item_or_user_is_a_reject_too() -> None:
    rows = good_rows()
    rows["items"][0]["title"] = ""
    rejects = read(rows).rejects
    assert set(rejects.rows()) == {
        ("interactions.parquet", 1, "unknown item", "i1"),
        ("interactions.parquet", 4, "unknown item", "i1"),
        ("items.parquet", 1, "empty title", ""),
        ("searches.parquet", 1, "unknown clicked item", "i1"),
    }


def test_a_row_that_breaks_two_rules_is_named_for_both_and_dropped_once() -> None:
    rows = good_rows()
    rows["searches"][1] |= {"query": "", "user_id": "carl"}
    log = read(rows)
    assert sorted(log.rejects["rule"]) == ["empty query", "unknown user"]
    assert log.rejects["row"].to_list() == [2, 2]
    assert log.searches.height == 2


SPOIL: dict[str, dict[str, Any]] = {
    "unknown user": {"user_id": "nobody"},
    "unknown item": {"item_id": "nothing"},
    "no valid time": {"timestamp": None},
    "empty event": {"event": ""},
}


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 60),
    plan=st.dictionaries(st.integers(0, 59), st.sampled_from(sorted(SPOIL)), max_size=20),
)
def test_planted_rows_and_no_others_are_rejects(size: int, plan: dict[int, str]) -> None:
    rows = good_rows()
    rows["interactions"] = [
        {
            "user_id": ("anna", "ben")[n % 2],
            "item_id": f"i{n % 3 + 1}",
            "timestamp": DAY + timedelta(minutes=n),
            "event": "click",
        }
        for n in range(size)
    ]
    plan = {place: rule for place, rule in plan.items() if place < size}
    for place, rule in plan.items():
        rows["interactions"][place] |= SPOIL[rule]
    log = read(rows)
    assert set(log.rejects.select("row", "rule").rows()) == {(place + 1, rule) for place, rule in plan.items()}
    assert log.rejects.height == len(plan)
    assert log.interactions.height == size - len(plan)
    minutes = (log.interactions["time"] - int(DAY.timestamp() * 1_000_000)) // 60_000_000
    assert minutes.to_list() == [n for n in range(size) if n not in plan]


def test_load_log_names_file_and_row(tmp_path: Path) -> None:
    rows = good_rows()
    rows["searches"][2]["query"] = ""
    with pytest.raises(DataError, match=r"1 row breaks a rule.*searches\.parquet row 3: empty query.*--drop-bad"):
        load_log(write(rows, tmp_path / "d"))


def test_refusal_shows_the_first_few_and_counts_the_rest(tmp_path: Path) -> None:
    rows = good_rows()
    rows["interactions"] = [row | {"user_id": "carl"} for row in rows["interactions"] * 2]
    with pytest.raises(DataError) as caught:
        refuse_rejects(read(rows).rejects, tmp_path, "mend")
    text = str(caught.value)
    assert text.count("unknown user") == 5 and "more" in text and text.endswith("what to do: mend")


def test_a_good_folder_loads(tmp_path: Path) -> None:
    assert load_log(write(good_rows(), tmp_path / "d")).interactions.height == 4


def test_missing_folder_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such dataset folder; where: .*nowhere"):
        open_folder(tmp_path / "nowhere")
    folder = write(good_rows(), tmp_path / "d")
    (folder / "users.parquet").unlink()
    with pytest.raises(
        DataError, match=r"missing file; where: .*users\.parquet; got: interactions\.parquet, items\.parquet"
    ):
        open_folder(folder)


def test_missing_column_and_wrong_type(tmp_path: Path) -> None:
    folder = write(good_rows(), tmp_path / "d")
    pl.DataFrame({"item_id": ["a"], "name": ["b"]}).write_parquet(folder / "items.parquet")
    with pytest.raises(DataError, match=r"missing column 'title'; where: .*items\.parquet; got: item_id, name"):
        open_folder(folder)
    pl.DataFrame({"item_id": [1], "title": ["b"]}).write_parquet(folder / "items.parquet")
    with pytest.raises(
        DataError, match=r"column 'item_id' has the wrong type; where: .*items\.parquet; got: Int64; expected: text"
    ):
        open_folder(folder)


@pytest.mark.parametrize("table", [table.name for table in TABLES])
def test_truncated_parquet(tmp_path: Path, table: str) -> None:
    folder = write(good_rows(), tmp_path / "d")
    path = folder / f"{table}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"damaged or not Parquet; where: .*{table}\.parquet"):
        load_log(folder)


def test_a_column_of_floats_is_no_time(tmp_path: Path) -> None:
    folder = write(good_rows(), tmp_path / "d")
    path = folder / "interactions.parquet"
    pl.read_parquet(path).with_columns(timestamp=pl.lit(float("nan"))).write_parquet(path)
    with pytest.raises(
        DataError, match=r"'timestamp' has the wrong type; where: .*interactions\.parquet; got: Float64; expected: time"
    ):
        open_folder(folder)


def test_times_of_other_zones_and_units_are_the_same_instant() -> None:
    tables = frames(good_rows())
    expected = read_log(tables, now=NOW).interactions["time"]
    for time in (
        pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"),
        pl.col("timestamp").cast(pl.Datetime("ns", "UTC")),
        pl.col("timestamp").dt.replace_time_zone(None),
    ):
        moved = dict(tables) | {"interactions": tables["interactions"].with_columns(time)}
        assert read_log(moved, now=NOW).interactions["time"].equals(expected)
