"""Qilin in the shape of its Parquet shards, and what becomes of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts import became, raw_of
from imported import table, utc
from searec.data.formats.base import ImportOptions
from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log
from searec.errors import DataError, SettingsError

START = 1_724_680_800  # 2024-08-26 14:00 UTC


def result(time_name: str, note: int, position: int, seconds: int, click: int = 0, **actions: int) -> dict[str, Any]:
    """One shown note; page_time is NaN where nothing was opened."""
    done = {"click": click, "collect": 0, "comment": 0, "like": 0, **actions}
    return {
        **done,
        "note_idx": note,
        "page_time": 3.5 if click else float("nan"),
        "position": position,
        time_name: START + seconds,
        "share": 0,
    }


def shown(note: int, position: int, seconds: int, click: int = 0, **actions: int) -> dict[str, Any]:
    return result("request_timestamp", note, position, seconds, click, **actions)


def found(note: int, position: int, seconds: int, click: int = 0, **actions: int) -> dict[str, Any]:
    return result("search_timestamp", note, position, seconds, click, **actions)


NOTES = {
    "note_title": ["粉色美甲", "", None, "  ", "Trip"],
    "note_content": ["", "三里屯 的\n咖啡店 推荐 " * 20, None, "Short", "To the sea"],
    "note_type": [1, 2, 1, 1, 2],
    "content_length": [0, 300, 0, 5, 10],
    "commercial_flag": [0, 0, 1, 0, 0],
    "taxonomy1_id": ["美妆", "美食", "nan", "12", "12"],
    "taxonomy2_id": ["美甲", "", None, "12", "7"],
    "taxonomy3_id": [None, None, None, None, "3"],
    "click_num": [5, 4, 3, 2, 1],
    "note_idx": [0, 1, 2, 3, 4],
    "image_path": [["image/0.jpg"], [], [], [], []],
}
USERS = {
    "gender": ["female", "male", None],
    "platform": ["ios", "android", "ios"],
    "age": ["18-22", "23-27", None],
    "fans_num": [10, 0, 3],
    "follows_num": [4, 5, 6],
    "dense_feat1": [0.5, 0.1, 0.2],
    "dense_feat40": [0.5, 0.1, 0.2],
    "location": ["上海", "北京", None],
    "user_idx": [100, 101, 102],
}
FEED_TRAIN = [
    (100, 0, [shown(1, 1, 0), shown(0, 0, 0, click=1, like=1), shown(2, 2, 5, like=1)]),
    (101, 1, [shown(1, 0, 60), shown(2, 1, 60)]),
    (102, 2, []),
]
FEED_TEST = [(101, 3, [shown(99, 0, 3600, click=1), shown(99, 4, 3600, click=1)])]
SEARCH_TRAIN = [
    (
        100,
        7,
        "美甲 粉色",
        2.0,
        [found(3, 2, 30, click=1), found(0, 0, 30), found(1, 1, 30, click=2), found(3, 5, 30, click=1)],
    ),
    (101, 8, " ", None, [found(3, 0, 90, click=1)]),
    (101, 9, "海边", 0.0, [found(4, 0, 95)]),
    (102, 10, "nothing found", 0.0, []),
]
SEARCH_TEST = [(100, 7, "咖啡", 1.0, [found(98, 0, 7200, click=1)])]


def write(src: Path, part: str, columns: dict[str, Any], shards: int = 1) -> None:
    (src / part).mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(columns, strict=False)
    size = -(-frame.height // shards)
    for place in range(shards):
        frame[place * size : (place + 1) * size].write_parquet(
            src / part / f"train-{place:05d}-of-{shards:05d}.parquet"
        )


def feed_columns(rows: list[Any], as_details: Any = None) -> dict[str, Any]:
    return {
        "recent_clicked_note_idxs": [[0, 1]] * len(rows),
        "request_idx": [row[1] for row in rows],
        "session_idx": [row[1] // 2 for row in rows],
        "user_idx": [row[0] for row in rows],
        "query": [""] * len(rows),
        "rec_result_details_with_idx": [row[2] if as_details is None else as_details(row[2]) for row in rows],
    }


def search_columns(rows: list[Any], as_details: Any = None) -> dict[str, Any]:
    return {
        "query": [row[2] for row in rows],
        "query_from_type": [row[3] for row in rows],
        "recent_clicked_note_idxs": [[0, 1]] * len(rows),
        "search_idx": [row[1] for row in rows],
        "session_idx": [row[1] // 2 for row in rows],
        "user_idx": [row[0] for row in rows],
        "dpr_results": [[[1.0, 0.5]]] * len(rows),
        "search_result_details_with_idx": [row[4] if as_details is None else as_details(row[4]) for row in rows],
    }


def qilin(src: Path, as_details: Any = None) -> Path:
    """The hub's layout: a folder a part, shards in it; dqa beside them."""
    write(src, "notes", NOTES, shards=2)
    write(src, "user_feat", USERS)
    write(src, "recommendation_train", feed_columns(FEED_TRAIN, as_details), shards=2)
    write(src, "recommendation_test", feed_columns(FEED_TEST, as_details))
    write(src, "search_train", search_columns(SEARCH_TRAIN, as_details), shards=2)
    write(src, "search_test", search_columns(SEARCH_TEST, as_details))
    write(src, "dqa", {"query": ["q"]})
    return src


def imported(src: Path, drop_bad: bool = False, **options: Any) -> tuple[ImportReport, Path]:
    out = src.parent / "out"
    return import_folder("qilin", src, out, ImportOptions(**options), drop_bad=drop_bad), out


@pytest.mark.parametrize("as_details", [None, json.dumps, repr], ids=["list", "json", "literal"])
def test_qilin(tmp_path: Path, as_details: Any) -> None:
    report, out = imported(qilin(tmp_path / "src", as_details))
    assert report.rejects.is_empty()
    assert report.notes == (
        "2 clicked notes are not among the notes: titled 'note' and the note's number",
        "1 row of interactions occurs in the source more than once: written once",
    )
    assert became(raw_of("qilin", tmp_path / "src")) == {
        "left out as searches without a query": 1,
        "left out as searches without results, and so without a time": 1,
        "left out as requests in which nothing was clicked": 2,
    }
    assert report.written == {"items": 7, "users": 3, "interactions": 3, "searches": 3}
    assert table(out, "interactions").rows() == [
        ("100", "0", utc(2024, 8, 26, 14), "click"),
        ("100", "2", utc(2024, 8, 26, 14, 0, 5), "like"),
        ("101", "99", utc(2024, 8, 26, 15), "click"),
    ]
    assert table(out, "searches").rows() == [
        ("train-7", "100", "美甲 粉色", utc(2024, 8, 26, 14, 0, 30), ["1", "3"], ["0", "1", "3"]),
        ("train-9", "101", "海边", utc(2024, 8, 26, 14, 1, 35), [], ["4"]),
        ("test-7", "100", "咖啡", utc(2024, 8, 26, 16), ["98"], ["98"]),
    ]
    items = table(out, "items")
    assert items.columns == [
        "item_id",
        "title",
        "description",
        "categories",
        "note_type",
        "content_length",
        "commercial_flag",
    ]
    assert items["item_id"].to_list() == ["0", "1", "2", "3", "4", "98", "99"]
    cut = ("三里屯 的 咖啡店 推荐 " * 20)[:60].strip()
    assert items["title"].to_list() == ["粉色美甲", cut, "note 2", "Short", "Trip", "note 98", "note 99"]
    assert items["categories"].to_list() == [
        ["美妆", "美甲"],
        ["美食"],
        [],
        ["1-12", "2-12"],
        ["1-12", "2-7", "3-3"],
        None,
        None,
    ]
    assert items["note_type"].to_list() == [1, 2, 1, 1, 2, None, None]
    users = table(out, "users")
    assert users.columns == ["user_id", "gender", "platform", "age", "fans_num", "follows_num", "location"]
    assert users.row(0) == ("100", "female", "ios", "18-22", 10, 4, "上海")
    assert load_log(out).searches.height == 3


def test_users_that_no_shard_lists(tmp_path: Path) -> None:
    src = qilin(tmp_path / "src")
    write(src, "recommendation_test", feed_columns([(999, 3, [shown(1, 0, 3600, click=1)])]))
    report, out = imported(src)
    assert "1 user is not in user_feat: no attributes are known" in report.notes
    assert table(out, "users").row(3) == ("999", None, None, None, None, None, None)


def test_one_file_a_part_and_parts_that_are_not_there(tmp_path: Path) -> None:
    src = qilin(tmp_path / "src")
    flat = tmp_path / "flat"
    flat.mkdir()
    for part in ("notes", "recommendation_train", "search_train"):
        pl.concat([pl.read_parquet(path) for path in sorted((src / part).iterdir())]).write_parquet(
            flat / f"{part}.parquet"
        )
    report, out = imported(flat)
    assert report.notes[:2] == ("no recommendation_test: it is left out", "no search_test: it is left out")
    assert report.written == {"items": 5, "users": 2, "interactions": 2, "searches": 2}
    assert table(out, "users")["user_id"].to_list() == ["100", "101"]


def test_what_is_broken_is_a_reject_where_it_stands(tmp_path: Path) -> None:
    src = qilin(tmp_path / "src", json.dumps)
    rows = feed_columns(FEED_TRAIN, json.dumps)
    details = ['[{"note_idx": 1, "click": 1', json.dumps([shown(1, 0, 0, click=1) | {"request_timestamp": None}]), None]
    write(src, "recommendation_train", {**rows, "rec_result_details_with_idx": details})
    (src / "recommendation_train" / "train-00001-of-00002.parquet").unlink()
    (src / "recommendation_train" / "train-00000-of-00002.parquet").unlink()
    late = [(100, 20, "a", 0.0, [found(1, 0, 40 * 365 * 86400)]), (None, 21, "b", 0.0, [found(1, 0, 0)])]
    write(src, "search_test", search_columns(late, json.dumps))
    report, out = imported(src, drop_bad=True)
    assert sorted(report.rejects.select("file", "row", "rule").rows()) == [
        ("recommendation_train/train-00000-of-00001.parquet", 1, "rec_result_details_with_idx is no list"),
        ("recommendation_train/train-00000-of-00001.parquet", 2, "no valid time"),
        ("search_test/train-00000-of-00001.parquet", 1, "no valid time"),
        ("search_test/train-00000-of-00001.parquet", 2, "unknown user"),
    ]
    assert report.rejects["value"][0] == details[0]
    assert report.written["interactions"] == 1
    with pytest.raises(DataError, match=r"4 rows break a rule"):
        imported(src)
    assert table(out, "interactions").height == 1


def test_milliseconds(tmp_path: Path) -> None:
    src = qilin(tmp_path / "src")
    for part in ("recommendation_train", "recommendation_test"):
        for path in (src / part).iterdir():
            path.unlink()
    at = 1_724_680_800_123
    write(src, "recommendation_train", feed_columns([(100, 0, [shown(1, 0, 0, click=1) | {"request_timestamp": at}])]))
    _, out = imported(src)
    assert table(out, "interactions")["timestamp"].to_list() == [utc(2024, 8, 26, 14, 0, 0, 123_000)]


@pytest.mark.parametrize(
    ("part", "columns", "message"),
    [
        ("notes", {"note_idx": [1]}, r"missing column 'note_title'; where: .*notes.*train-00000-of-00001\.parquet"),
        ("recommendation_test", {"user_idx": [1]}, "missing column 'rec_result_details_with_idx'"),
        (
            "search_test",
            {**search_columns(SEARCH_TEST), "search_result_details_with_idx": [[1, 2]]},
            "the results are no list",
        ),
        (
            "search_test",
            {**search_columns(SEARCH_TEST), "search_result_details_with_idx": [[{"note_idx": 1}]]},
            "results lack 'click'",
        ),
    ],
)
def test_columns_that_are_missing(tmp_path: Path, part: str, columns: dict[str, Any], message: str) -> None:
    src = qilin(tmp_path / "src")
    for path in (src / part).iterdir():
        path.unlink()
    write(src, part, columns)
    with pytest.raises(DataError, match=message) as caught:
        imported(src)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no notes; where: .*no such folder.*huggingface"):
        imported(tmp_path / "none")
    src = qilin(tmp_path / "src")
    for part in ("search_train", "search_test"):
        for path in (src / part).iterdir():
            path.unlink()
    with pytest.raises(DataError, match="no search_train or search_test"):
        imported(src)
    src = qilin(tmp_path / "other")
    shard = src / "notes" / "train-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"damaged or not Parquet; where: .*notes/train-00001"):
        imported(src)
    with pytest.raises(SettingsError, match="no use for the mapping 'items'"):
        imported(src, mapping={"items": "notes"})


RESULTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 1)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(st.lists(RESULTS, min_size=1, max_size=6), st.sampled_from([None, json.dumps]))
def test_clicks_stand_in_order_of_position(
    tmp_path_factory: pytest.TempPathFactory, searches: list[list[tuple[int, int, int]]], as_details: Any
) -> None:
    src = qilin(tmp_path_factory.mktemp("qilin") / "src", as_details)
    for path in [*(src / "search_train").iterdir(), *(src / "search_test").iterdir()]:
        path.unlink()
    rows = [
        (100, place, f"q{place}", 0.0, [found(n, p, place, click=c) for n, p, c in one])
        for place, one in enumerate(searches)
    ]
    write(src, "search_train", search_columns(rows, as_details))
    _, out = imported(src)
    made = table(out, "searches")
    assert made["query"].to_list() == [f"q{place}" for place in range(len(searches))]
    for one, clicked, listed in zip(searches, made["clicked"], made["shown"], strict=True):
        ordered = sorted(one, key=lambda shown: shown[1])
        assert clicked.to_list() == list(dict.fromkeys(str(note) for note, _, click in ordered if click))
        assert listed.to_list() == list(dict.fromkeys(str(note) for note, _, _ in ordered))


def test_command_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "searec",
        "import",
        "qilin",
        str(qilin(tmp_path / "src")),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "note: 2 clicked notes are not among the notes" in done.stdout
    assert "searches: 3 of 3 rows kept" in done.stdout
