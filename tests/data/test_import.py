"""Plain files in, a dataset folder out; or one clear error and the old folder as it was."""

import errno
import gzip
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imported import utc
from searec.data.formats import FORMATS
from searec.data.formats.base import FILE, ROW, ImportOptions, Raw, completed
from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log, write_table
from searec.data.schema import TABLES
from searec.errors import DataError, SearecError, SettingsError, StorageError

ITEMS_CSV = (
    'item_id,title,categories,price\n1,Red lamp,"[""Home"",""Light""]",9.5\n2,Blue mug,Home|Kitchen,4\n'
    '3,"Rug, ""soft""",,7\n'
)
USERS_CSV = "user_id,age\n7,30\n8,\n"
CLICKS_CSV = (
    "user_id,item_id,timestamp,event\n7,1,2023-01-01T10:00:00Z,click\n8,2,2023-01-01 11:00:00,view\n"
    "7,3,2023-01-02,click\n"
)
SEARCHES_CSV = (
    "search_id,user_id,query,timestamp,clicked\n"
    's1,7,red lamp,2023-01-01T09:00:00Z,"[""1"",""2""]"\n'
    "s2,8,mug,2023-01-01T12:00:00+02:00,2|3\n"
    "s3,8,rug,2023-01-01T12:00:00.25Z,\n"
)
FILES = {"items": ITEMS_CSV, "users": USERS_CSV, "interactions": CLICKS_CSV, "searches": SEARCHES_CSV}


def source(folder: Path, **changes: str | bytes | None) -> Path:
    """A folder of the four CSV files, some replaced or (None) left out."""
    folder.mkdir(exist_ok=True)
    for name, text in {**FILES, **changes}.items():
        if text is not None:
            (folder / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def old_folder(out: Path) -> dict[str, bytes]:
    """A dataset folder already at `out`, and what it holds."""
    import_folder("csv", source(out.parent / "old-source"), out)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refused(tmp_path: Path, format: str = "csv", error: type[SearecError] = DataError, **options: Any) -> str:
    """The message of an import that fails, after checking that the old OUT stayed and nothing lies about."""
    out = tmp_path / "room" / "out"
    out.parent.mkdir()
    before = old_folder(out)
    with pytest.raises(error) as caught:
        import_folder(format, tmp_path / "src", out, **options)
    assert contents(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["old-source", "out"]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_csv(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_folder("csv", source(tmp_path / "src"), out)
    assert report.read == report.written == {"items": 3, "users": 2, "interactions": 3, "searches": 3}
    assert report.rejects.is_empty() and report.notes == ()
    assert sorted(contents(out)) == sorted(table.file for table in TABLES)
    items = pl.read_parquet(out / "items.parquet")
    assert items["item_id"].to_list() == ["1", "2", "3"]
    assert items["title"][2] == 'Rug, "soft"'
    assert items["categories"].to_list() == [["Home", "Light"], ["Home", "Kitchen"], None]
    assert items["price"].to_list() == ["9.5", "4", "7"]
    assert pl.read_parquet(out / "users.parquet")["age"].to_list() == ["30", None]
    times = pl.read_parquet(out / "interactions.parquet")["timestamp"]
    assert times.to_list() == [utc(2023, 1, 1, 10), utc(2023, 1, 1, 11), utc(2023, 1, 2)]
    searches = pl.read_parquet(out / "searches.parquet")
    assert searches["timestamp"].to_list() == [
        utc(2023, 1, 1, 9),
        utc(2023, 1, 1, 10),
        utc(2023, 1, 1, 12, 0, 0, 250_000),
    ]
    assert searches["clicked"].to_list() == [["1", "2"], ["2", "3"], []]
    assert load_log(out).searches["clicked"].to_list() == [[1, 2], [2, 3], []]


def as_json_lines(folder: Path) -> Path:
    """The same four tables as JSON Lines, ids as numbers, times in milliseconds.

    One file under another ending and packed.
    """
    folder.mkdir()
    rows: dict[str, list[dict[str, Any]]] = {
        "items": [
            {"item_id": 1, "title": "Red lamp", "categories": ["Home", "Light"], "price": 9.5},
            {"item_id": 2, "title": "Blue mug", "categories": ["Home", "Kitchen"], "price": 4},
            {"item_id": 3, "title": 'Rug, "soft"', "categories": None, "price": 7},
        ],
        "users": [{"user_id": 7, "age": 30}, {"user_id": 8}],
        "interactions": [
            {"user_id": user, "item_id": item, "timestamp": int(time.timestamp() * 1000), "event": event}
            for user, item, time, event in [
                (7, 1, utc(2023, 1, 1, 10), "click"),
                (8, 2, utc(2023, 1, 1, 11), "view"),
                (7, 3, utc(2023, 1, 2), "click"),
            ]
        ],
        "searches": [
            {
                "search_id": "s1",
                "user_id": 7,
                "query": "red lamp",
                "timestamp": "2023-01-01T09:00:00Z",
                "clicked": [1, 2],
            },
            {"search_id": "s2", "user_id": 8, "query": "mug", "timestamp": "2023-01-01T10:00:00Z", "clicked": [2, 3]},
            {"search_id": "s3", "user_id": 8, "query": "rug", "timestamp": "2023-01-01T12:00:00.250Z", "clicked": []},
        ],
    }
    for name, lines in rows.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if name == "items":
            (folder / "items.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / f"{name}.{'ndjson' if name == 'users' else 'jsonl'}").write_text(text)
    return folder


def test_three_formats_give_the_same_folder(tmp_path: Path) -> None:
    import_folder("csv", source(tmp_path / "csv"), tmp_path / "from-csv")
    import_folder("jsonl", as_json_lines(tmp_path / "jsonl"), tmp_path / "from-jsonl")
    import_folder("parquet", tmp_path / "from-csv", tmp_path / "from-parquet")
    for table in TABLES:
        columns = [
            column.name for column in table.columns if column.name not in ("description", "brand", "weight", "shown")
        ]
        first, second, third = (
            pl.read_parquet(tmp_path / name / table.file) for name in ("from-csv", "from-jsonl", "from-parquet")
        )
        assert first.select(columns).equals(second.select(columns)), table.name
        assert first.equals(third), table.name


def test_numbers_of_pandas_become_ids_and_times(tmp_path: Path) -> None:
    src = tmp_path / "src"
    src.mkdir()
    pl.DataFrame({"item_id": [1, 2], "title": ["a", "b"]}).write_parquet(src / "items.parquet")
    nan = float("nan")
    items, times = pl.Series([1, 2, 2], dtype=pl.UInt8), [1.6e9, nan, 1.6e9 + 0.5]
    rows = {"user_id": [5.0, 6.0, nan], "item_id": items, "timestamp": times, "event": ["c"] * 3}
    pl.DataFrame(rows).write_parquet(src / "interactions.parquet")
    report = import_folder("parquet", src, tmp_path / "out", drop_bad=True)
    assert report.rejects.rows() == [
        ("interactions.parquet", 2, "no valid time", "NaN"),
        ("interactions.parquet", 3, "unknown user", None),
    ]
    kept = pl.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert kept.row(0) == ("5", "1", utc(2020, 9, 13, 12, 26, 40), "c")
    assert kept.height == 1


def test_absent_users_searches_and_event(tmp_path: Path) -> None:
    clicks = "user_id,item_id,timestamp\nu9,1,2023-01-01\nu1,1,2023-01-02\nu9,2,2023-01-03\n"
    src = source(tmp_path / "src", users=None, searches=None, interactions=clicks)
    report = import_folder("csv", src, tmp_path / "out")
    log = load_log(tmp_path / "out")
    assert log.users["user_id"].to_list() == ["u1", "u9"]
    assert log.searches.is_empty()
    assert set(log.interactions["event"]) == {"click"}
    assert len(report.notes) == 3 and any("searches" in note for note in report.notes)


def test_mapping_of_columns_and_files(tmp_path: Path) -> None:
    src = source(
        tmp_path / "src", items="asin,item_id,name\nB1,row 1,Lamp\n", users=None, searches=None, interactions=None
    )
    (src / "clicks.csv").write_text("who,asin,at\nu,B1,1600000000\n")
    mapping = {
        "items.item_id": "asin",
        "items.title": "name",
        "interactions": "clicks.csv",
        "interactions.user_id": "who",
        "interactions.item_id": "asin",
        "interactions.timestamp": "at",
    }
    import_folder("csv", src, tmp_path / "out", ImportOptions(mapping=mapping))
    assert pl.read_parquet(tmp_path / "out" / "items.parquet").to_dicts() == [{"item_id": "B1", "title": "Lamp"}]
    assert pl.read_parquet(tmp_path / "out" / "interactions.parquet")["timestamp"].to_list() == [
        utc(2020, 9, 13, 12, 26, 40)
    ]


def test_a_mapped_file_may_be_of_another_format(tmp_path: Path) -> None:
    src = source(tmp_path / "src", items=None)
    pl.DataFrame({"item_id": [1, 2, 3], "title": ["a", "b", "c"]}).write_parquet(src / "catalogue.parquet")
    assert (
        import_folder("csv", src, tmp_path / "out", ImportOptions(mapping={"items": "catalogue.parquet"})).written[
            "items"
        ]
        == 3
    )


@pytest.mark.parametrize(
    ("mapping", "error", "text"),
    [
        (
            {"interactions.itemid": "asin"},
            SettingsError,
            "unknown mapping 'interactions.itemid'.*did you mean 'interactions.item_id'",
        ),
        ({"clicks": "a.csv"}, SettingsError, "unknown mapping 'clicks'"),
        (
            {"interactions.item_id": "item_ids"},
            DataError,
            r"missing column 'item_ids'; where: .*interactions\.csv.*did you mean 'item_id'",
        ),
        (
            {"interactions": "clicks.csv"},
            DataError,
            r"missing file; where: .*clicks\.csv; got: interactions\.csv, items\.csv",
        ),
    ],
)
def test_mapping_errors(tmp_path: Path, mapping: dict[str, str], error: type[SearecError], text: str) -> None:
    with pytest.raises(error, match=text):
        import_folder("csv", source(tmp_path / "src"), tmp_path / "out", ImportOptions(mapping=mapping))
    assert not (tmp_path / "out").exists()


BAD_CLICKS = (
    CLICKS_CSV
    + "9,1,2023-01-01,click\n7,4,2023-01-01,click\n7,1,yesterday,click\n7,1,2023-01-01,\n7,1,2023-02-31,click\n"
)
REJECTS = [
    ("interactions.csv", 4, "unknown user", "9"),
    ("interactions.csv", 5, "unknown item", "4"),
    ("interactions.csv", 6, "no valid time", "yesterday"),
    ("interactions.csv", 7, "empty event", None),
    ("interactions.csv", 8, "no valid time", "2023-02-31"),
]


def test_a_bad_row_stops_the_import(tmp_path: Path) -> None:
    source(tmp_path / "src", interactions=BAD_CLICKS)
    text = refused(tmp_path)
    assert "5 rows break a rule" in text and "--drop-bad" in text
    assert "interactions.csv row 4: unknown user (9) | interactions.csv row 5: unknown item (4)" in text
    assert "interactions.csv row 6: no valid time (yesterday)" in text


def test_drop_bad_leaves_out_the_rows_and_lists_them(tmp_path: Path) -> None:
    src, out = source(tmp_path / "src", interactions=BAD_CLICKS), tmp_path / "out"
    report = import_folder("csv", src, out, drop_bad=True)
    assert report.rejects.rows() == REJECTS
    assert pl.read_parquet(out / "rejects.parquet").equals(report.rejects)
    assert (report.read["interactions"], report.written["interactions"]) == (8, 3)
    assert load_log(out).interactions.height == 3
    import_folder("csv", source(tmp_path / "good"), out)
    assert not (out / "rejects.parquet").exists()


def test_a_dropped_item_takes_its_events_with_it(tmp_path: Path) -> None:
    src, out = source(tmp_path / "src", items=ITEMS_CSV.replace("Blue mug", " ")), tmp_path / "out"
    report = import_folder("csv", src, out, drop_bad=True)
    assert set(report.rejects["rule"]) == {"empty title", "unknown item", "unknown clicked item"}
    assert report.written == {"items": 2, "users": 2, "interactions": 2, "searches": 1}
    assert load_log(out).items["item_id"].to_list() == ["1", "3"]


@settings(max_examples=15, deadline=None)
@given(
    plan=st.dictionaries(
        st.integers(0, 29), st.sampled_from(["9,1,2023-01-01,c", "7,99,2023-01-01,c", "7,1,never,c"]), max_size=12
    )
)
def test_planted_rows_are_the_rejects(tmp_path_factory: pytest.TempPathFactory, plan: dict[int, str]) -> None:
    room = tmp_path_factory.mktemp("planted")
    lines = [plan.get(n, f"7,1,2023-01-01 00:00:{n:02},c") for n in range(30)]
    src = source(room / "src", interactions="\n".join(["user_id,item_id,timestamp,event", *lines]))
    report = import_folder("csv", src, room / "out", drop_bad=True)
    assert [row - 1 for row in report.rejects["row"]] == sorted(plan)
    assert load_log(room / "out").interactions.height == 30 - len(plan)


HEADER = "user_id,item_id,timestamp,event\n"
# What is wrong with a file, and what the message must say
FAULTS: list[tuple[dict[str, str | bytes | None], str]] = [
    ({"items": None}, r"missing file; where: .*items\.csv; got: interactions\.csv"),
    (
        {"items": ITEMS_CSV.replace("title", "titel")},
        r"missing column 'title'; where: .*items\.csv; .*'titel'\? --map items\.title=",
    ),
    (
        {"items": ITEMS_CSV.encode().replace(b"lamp", b"caf\xe9")},
        r"not UTF-8; where: .*items\.csv line 2 \(byte 40\); got: byte 0xe9",
    ),
    ({"items": b"item_id,title,caf\xe9\n1,a,b\n"}, r"not UTF-8; where: .*items\.csv line 1 \(byte 17\)"),
    ({"users": ""}, r"file is empty; where: .*users\.csv"),
    ({"users": 'user_id,age\n7,30\n8,"1\n'}, r"broken CSV: a quote .* never closed; where: .*users\.csv line 3"),
    (
        {"users": "user_id,age\n7,30\n8,a,b\n"},
        r"users\.csv row 2: too many fields \(line 3 has 3 fields, the header 2: 8,a,b\)",
    ),
    ({"searches": SEARCHES_CSV.replace("query", "")}, r"missing column 'query'; where: .*searches\.csv"),
    (
        {"items": ITEMS_CSV.replace("Home|Kitchen", "['Home']")},
        r"items\.csv row 2: categories holds a list that is not JSON \(\['Home'\]\).*a list is written as",
    ),
    ({"searches": SEARCHES_CSV.replace("2|3", "['2']")}, r"searches\.csv row 2: unknown clicked item \(\['2'\]\)"),
    ({"interactions": f"{HEADER}7,1,20230,c\n"}, r"unit of the times in 'timestamp' is not clear; .*--time-unit"),
    ({"interactions": f"{HEADER}7,1,1600000000,c\n7,1,1600000000000,c\n"}, r"numbers from 1600000000 to 1600000000000"),
    ({"interactions": f"{HEADER}7,1,2999-01-01,c\n"}, r"interactions\.csv row 1: no valid time \(2999-01-01"),
    ({"searches": SEARCHES_CSV.replace(",mug,", ", ,")}, r"searches\.csv row 2: empty query"),
]


@pytest.mark.parametrize(("change", "expected"), FAULTS, ids=[pattern[:30] for _, pattern in FAULTS])
def test_one_clear_error_and_the_old_folder_stays(
    tmp_path: Path, change: dict[str, str | bytes | None], expected: str
) -> None:
    source(tmp_path / "src", **change)
    assert re.search(expected, refused(tmp_path))


JSON_FAULTS = [
    (b'{"user_id": 7}\n{"user_id": 8\n{"user_id": 9}\n', r"users\.ndjson row 2: broken JSON line"),
    (b'{"user_id": 7}\n{"user_id": NaN}\n', r"row 2: broken JSON line .*NaN is not JSON; write null"),
    (b'{"user_id": 7}\n[8]\n', r"users\.ndjson row 2: JSON line is not an object \(\[8\]\)"),
    (b'{"user_id": 7}\n{"user_id": "caf\xe9"}\n', r"not UTF-8; where: .*users\.ndjson line 2 \(byte 31\)"),
    (b"", r"file is empty; where: .*users\.ndjson"),
]


@pytest.mark.parametrize(("data", "expected"), JSON_FAULTS)
def test_broken_json_lines(tmp_path: Path, data: bytes, expected: str) -> None:
    (as_json_lines(tmp_path / "src") / "users.ndjson").write_bytes(data)
    with pytest.raises(DataError, match=expected):
        import_folder("jsonl", tmp_path / "src", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_truncated_parquet_and_truncated_gzip(tmp_path: Path) -> None:
    import_folder("csv", source(tmp_path / "csv"), tmp_path / "src")
    path = tmp_path / "src" / "items.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    assert "damaged or not Parquet; where: " in refused(tmp_path, "parquet")
    packed = as_json_lines(tmp_path / "jsonl") / "items.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"items\.jsonl\.gz"):
        import_folder("jsonl", tmp_path / "jsonl", tmp_path / "out")


def test_wrong_type(tmp_path: Path) -> None:
    import_folder("csv", source(tmp_path / "csv"), tmp_path / "src")
    path = tmp_path / "src" / "interactions.parquet"
    pl.read_parquet(path).with_columns(timestamp=pl.lit(True)).write_parquet(path)
    assert "column 'timestamp' has the wrong type" in refused(tmp_path, "parquet")


def test_out_is_refused_where_it_would_cost_files(tmp_path: Path) -> None:
    src = source(tmp_path / "src")
    for out in (src, tmp_path):
        with pytest.raises(DataError, match=r"OUT would replace the source"):
            import_folder("csv", src, out)
    notes = tmp_path / "home"
    notes.mkdir()
    (notes / "thesis.txt").write_text("dear reader")
    with pytest.raises(DataError, match=r"not a dataset folder's.*thesis\.txt"):
        import_folder("csv", src, notes)
    assert (notes / "thesis.txt").exists() and len(contents(src)) == 4


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown format 'cvs'.*did you mean 'csv'"):
        import_folder("cvs", tmp_path, tmp_path / "out")


def test_a_full_disk_in_polars_words_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source(tmp_path / "src")
    calls: list[Path] = []

    def write_then_fail(frame: pl.LazyFrame, path: Path) -> None:
        calls.append(path)
        if len(calls) > 6:  # four tables of the old folder, then two of the new one
            monkeypatch.setattr(pl.LazyFrame, "sink_parquet", full)
        write_table(frame, path)

    def full(*_: object, **__: object) -> None:
        raise pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)")

    monkeypatch.setattr("searec.data.importing.write_table", write_then_fail)
    assert "the disk is full" in refused(tmp_path, error=StorageError)
    assert len(calls) == 7


def test_a_full_disk_in_the_words_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source(tmp_path / "src")
    old = tmp_path / "out"
    before = old_folder(old)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", full)
    with pytest.raises(
        StorageError, match=r"the disk is full; where: .*out; .*nothing that was there before has changed"
    ):
        import_folder("csv", tmp_path / "src", old)
    assert contents(old) == before


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 192 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", disk], capture_output=True, check=False
        ).returncode
        != 0
    ):
        pytest.skip("may not mount a small disk here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_really_full(tmp_path: Path, tiny_disk: Path) -> None:
    out = tiny_disk / "out"
    import_folder("csv", source(tmp_path / "src"), out)
    before = contents(out)
    items = pl.DataFrame(
        {"item_id": range(100_000), "title": [f"{n * n * 7919 % 1_000_003:x}" for n in range(100_000)]}
    ).write_csv()
    with pytest.raises(StorageError, match="the disk is full"):
        import_folder("csv", source(tmp_path / "large", items=items), out)
    assert contents(out) == before
    assert [path.name for path in tiny_disk.iterdir()] == ["out"]
    with pytest.raises(OSError, match="No space left"):  # as Python says it, which `replacing` knows
        write_table(pl.scan_csv(tmp_path / "large" / "items.csv"), tiny_disk / "items.parquet")


def test_ctrl_c_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "room" / "out"
    out.parent.mkdir()
    before = old_folder(out)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("searec.data.importing.read_log", stop)
    with pytest.raises(KeyboardInterrupt):
        import_folder("csv", source(tmp_path / "src", interactions=BAD_CLICKS), out, drop_bad=True)
    assert contents(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["old-source", "out"]


def test_the_report_is_what_was_done(tmp_path: Path) -> None:
    report = import_folder("csv", source(tmp_path / "src"), str(tmp_path / "out"))
    assert isinstance(report, ImportReport) and report.out == tmp_path / "out"


def sorted_out(src: Path, options: ImportOptions) -> Raw:
    """A format whose interactions are the good half of two files, newest first, and which refuses one row itself."""
    parts = [
        pl.scan_csv(src / name, infer_schema=False).with_row_index(ROW, 1).with_columns(pl.lit(name).alias(FILE))
        for name in ("a.csv", "b.csv")
    ]
    rows = pl.concat(parts).filter(pl.col("event").ne_missing("shown")).reverse()
    items = completed(pl.LazyFrame({"item_id": ["1"], "title": ["Lamp"]}), "item_id", [rows]).with_columns(
        pl.col("title").fill_null("?")
    )
    own = pl.LazyFrame({"file": ["b.csv"], "row": [9], "rule": ["torn in two"], "value": ["x"]})
    return Raw(
        {"items": items, "interactions": rows}, {"items": src / "a.csv", "interactions": src / "a.csv"}, rejects=own
    )


def test_rows_that_moved_are_named_by_where_they_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS.built_in, "sorted-out", f"{__name__}:sorted_out")  # type: ignore[call-overload]
    src, header = tmp_path / "src", "user_id,item_id,timestamp,event\n"
    src.mkdir()
    (src / "a.csv").write_text(header + "7,1,never,shown\n7,1,2023-01-01,click\n8,2,someday,click\n")
    (src / "b.csv").write_text(header + "8,1,2023-01-03,click\n8,1,2023-01-03,click\n7,2,2023-01-02,\n")
    with pytest.raises(DataError, match=r"4 rows break a rule.*b\.csv row 9: torn in two \(x\)"):
        import_folder("sorted-out", src, tmp_path / "out")
    report = import_folder("sorted-out", src, tmp_path / "out", drop_bad=True)
    assert report.rejects.rows() == [
        ("b.csv", 9, "torn in two", "x"),
        ("b.csv", 3, "empty event", None),
        ("b.csv", 1, "duplicate row", "1"),
        ("a.csv", 3, "no valid time", "someday"),
    ]
    written = {table.name: pl.read_parquet(tmp_path / "out" / table.file) for table in TABLES}
    assert written["interactions"].columns == ["user_id", "item_id", "timestamp", "event"]
    assert written["interactions"].rows() == [
        ("8", "1", utc(2023, 1, 3), "click"),
        ("7", "1", utc(2023, 1, 1), "click"),
    ]
    assert written["items"].rows() == [("1", "Lamp"), ("2", "?")]
    assert load_log(tmp_path / "out").rejects.is_empty()
