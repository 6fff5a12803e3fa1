"""KuaiSAR's files as published, warts included, become the dataset folder they mean."""

import csv
import gzip
import io
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imported import utc
from searec.data.formats.base import ImportOptions
from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log
from searec.errors import DataError, SettingsError

FEED = "user_id,item_id,duration_ms,playing_time,timestamp,forward,like,follow,search_item_related,search,click,time"
SEARCH = (
    "keyword,item_id,click_cnt,search_session_id,item_type,user_id,search_session_timestamp,search_source,"
    "search_session_time"
)
LEVELS = ("first", "second", "third", "fourth")
ITEMS = ",".join(
    (
        "item_id,caption,author_id,item_type,upload_time,upload_type,music_id",
        *(f"{level}_level_category_id,{level}_level_category_name" for level in LEVELS),
        *(f"{level}_level_category_name_en" for level in LEVELS),
    )
)
USERS = "user_id,onehot_feat1,onehot_feat2,search_active_level,reco_active_level"
FOLLOWS = "user_id,user_follow_id"
HEADERS = {
    "rec_inter": FEED,
    "src_inter": SEARCH,
    "item_features": ITEMS,
    "user_features": USERS,
    "social_network": FOLLOWS,
}

ENGLISH = ["Funny", "Funny joke", "empty", "empty"]
EMPTY = ["0", "空"] * 4
ROWS: dict[str, list[list[Any]]] = {
    "rec_inter": [
        # 15:53:20 in Beijing is 07:53:20 UTC
        [0, 7, 45400.0, 60792.0, 1684742000000.0, 0, 1, 0, 0, 0, 1, "2023-05-22 15:53:20"],
        [0, 8, 45400.0, 0.0, 1684742000000.0, 0, 0, 0, 0, 0, 0, "2023-05-22 15:53:20"],
        [14358, 9, 100.0, 9.0, 1684742001234.0, 0, 0, 0, 0, 1, 1, "2023-05-22 15:53:21"],
        [0, 7, 45400.0, 100.0, 1684742000000.0, 0, 0, 0, 0, 0, 1, "2023-05-22 15:53:20"],  # the first once more
        [0, 9, 1.0, 1.0, "", 0, 0, 0, 0, 0, 1, "2023-06-01 00:30:00"],  # no timestamp
        [0, 103656000000, 1.0, 1.0, 1685550600001.0, 1, 0, 0, 0, 0, 1, "2023-06-01 00:30:00"],  # not in item_features
    ],
    "src_inter": [
        ["[20, 34, 3]", 9, 0, 1, "VIDEO", 14358, 1684763932919, "USER_INPUT", "2023-05-22 21:58:52"],
        ["[20, 34, 3]", 7, 2, 1, "VIDEO", 14358, 1684763932919, "USER_INPUT", "2023-05-22 21:58:52"],
        ["[20, 34, 3]", 555, 1, 1, "USER", 14358, 1684763932919, "USER_INPUT", "2023-05-22 21:58:52"],
        ["[5]", "", 0, 2, "", 99, 1684763940000, "HISTORY", "2023-05-22 21:59:00"],  # nothing was shown; a new user
        [
            "[20, 34, 3]",
            7,
            1,
            1,
            "VIDEO",
            14358,
            1684763932919,
            "USER_INPUT",
            "2023-05-22 21:58:52",
        ],  # shown twice, and apart
        [
            "[8]",
            "8.0",
            1,
            1,
            "VIDEO",
            14358,
            1684763999000,
            "USER_INPUT",
            "2023-05-22 21:59:59",
        ],  # the same session, another query
        ["[5]", 9, 0, 2, "LIVE", 0, "", "HISTORY", "2023-05-22 22:00:00"],  # the session of another user, no timestamp
        ["[5]", 0, 0, 3, "", 0, 1684763950000, "HISTORY", "2023-05-22 21:59:10"],  # 0 is no item here
    ],
    "item_features": [
        [
            7,
            "[1, 213, 24]",
            10,
            "NORMAL",
            "2023-04-22",
            "LongImport",
            4,
            9,
            "搞笑",
            136,
            "搞笑段子",
            0,
            "空",
            0,
            "空",
            *ENGLISH,
        ],
        [
            8,
            "[]",
            0,
            "UNKNOWN",
            "1970-01-01",
            "UNKNOWN",
            0,
            3,
            "美食",
            0,
            "空",
            0,
            "空",
            0,
            "空",
            "empty",
            "empty",
            "empty",
            "empty",
        ],
        [9, "[]", 12, "NORMAL", "2023-05-01", "LongImport", 0, *EMPTY, "empty", "empty", "empty", "empty"],
        [10, "[2]", 12, "AD", "2023-05-01", "LongImport", 0, *["-124", "UNKNOWN"] * 4, *["UNKNOWN"] * 4],
    ],
    "user_features": [[0, 1, 2, 3, 4], [14358, 0, 0, 5, 1]],
    "social_network": [[0, 14358], [0, 14358]],
}


def text(name: str, rows: Sequence[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([HEADERS[name].split(","), *rows])
    return file.getvalue()


def published(folder: Path, **changes: Sequence[Sequence[Any]] | str | bytes | None) -> Path:
    """The five files; some replaced by other rows, by bytes or (None) left out."""
    folder.mkdir(parents=True)
    for name, rows in {**ROWS, **changes}.items():
        if rows is not None:
            made = rows if isinstance(rows, (str, bytes)) else text(name, rows)
            (folder / f"{name}.csv").write_bytes(made if isinstance(made, bytes) else made.encode())
    return folder


def imported(room: Path, drop_bad: bool = False, **changes: Any) -> tuple[ImportReport, dict[str, pl.DataFrame]]:
    report = import_folder("kuaisar", published(room / "KuaiSAR_final", **changes), room / "out", drop_bad=drop_bad)
    return report, {
        name: pl.read_parquet(room / "out" / f"{name}.parquet")
        for name in ("items", "users", "interactions", "searches")
    }


def test_the_published_shape(tmp_path: Path) -> None:
    report, tables = imported(tmp_path)
    assert report.rejects.is_empty()
    assert tables["interactions"].rows() == [
        ("0", "7", utc(2023, 5, 22, 7, 53, 20), "click"),
        ("14358", "9", utc(2023, 5, 22, 7, 53, 21, 234_000), "click"),
        ("0", "9", utc(2023, 5, 31, 16, 30), "click"),
        ("0", "103656000000", utc(2023, 5, 31, 16, 30, 0, 1_000), "click"),
    ]
    assert tables["searches"].select("search_id", "user_id", "query", "timestamp", "clicked", "shown").rows() == [
        ("14358-1", "14358", "w20 w34 w3", utc(2023, 5, 22, 13, 58, 52, 919_000), ["7", "555"], ["9", "7", "555"]),
        ("99-2", "99", "w5", utc(2023, 5, 22, 13, 59), [], []),
        ("14358-1-2", "14358", "w8", utc(2023, 5, 22, 13, 59, 59), ["8"], ["8"]),
        ("0-2", "0", "w5", utc(2023, 5, 22, 14), [], ["9"]),
        ("0-3", "0", "w5", utc(2023, 5, 22, 13, 59, 10), [], []),
    ]
    assert tables["items"].select("item_id", "title", "categories").rows() == [
        ("7", "w1 w213 w24", ["Funny", "Funny joke"]),
        ("8", "美食", ["美食"]),
        ("9", "item 9", []),
        ("10", "w2", []),
        ("103656000000", "item 103656000000", None),
        ("555", "item 555", None),
    ]
    kept = ["author_id", "item_type", "upload_time", "upload_type", "music_id"]
    assert tables["items"].columns == ["item_id", "title", "categories", *kept]
    assert tables["items"].select(kept).rows()[:2] == [
        ("10", "NORMAL", "2023-04-22", "LongImport", "4"),
        (None, "UNKNOWN", None, "UNKNOWN", None),
    ]
    assert tables["users"].select("user_id", "search_active_level", "reco_active_level", "follows").rows() == [
        ("0", "3", "4", ["14358"]),
        ("14358", "5", "1", None),
        ("99", None, None, None),
    ]
    log = load_log(tmp_path / "out")
    assert (log.interactions.height, log.searches.height) == (4, 5)


def test_what_was_mended_is_told(tmp_path: Path) -> None:
    report, _ = imported(tmp_path)
    assert [note.split(" ")[0] for note in report.notes] == ["2", "1", "2", "1", "2"]
    for note, part in zip(
        report.notes,
        ("Beijing", "a search of its own", "not in item_fe", "not in user_fe", "no caption"),
        strict=True,
    ):
        assert part in note


def test_clean_files_need_no_notes(tmp_path: Path) -> None:
    report, tables = imported(
        tmp_path,
        rec_inter=ROWS["rec_inter"][:3],
        src_inter=ROWS["src_inter"][:2],
        item_features=[*ROWS["item_features"][:1], *rest()],
    )
    assert report.notes == ()
    assert report.written == {"items": 3, "users": 2, "interactions": 2, "searches": 1}
    assert tables["searches"]["search_id"].to_list() == ["14358-1"]


def rest() -> list[list[Any]]:
    return [[row[0], "[4,5]", *row[2:]] for row in ROWS["item_features"][1:3]]


def test_item_zero_is_an_item_where_the_catalogue_has_it(tmp_path: Path) -> None:
    zero = [0, *ROWS["item_features"][0][1:]]
    _, tables = imported(tmp_path, item_features=[*ROWS["item_features"], zero])
    assert tables["searches"]["shown"].to_list()[-1] == ["0"]


BAD_FEED = [
    *ROWS["rec_inter"],
    [0, 7, 1, 1, 1684742000001, 0, 0, 0, 0, 0, "yes", "2023-05-22 15:53:20"],
    [0, 7, 1, 1, "soon", 0, 0, 0, 0, 0, 1, "22 May"],
    ["", 7, 1, 1, 1684742000001, 0, 0, 0, 0, 0, 1, ""],
    [0, 0, 1, 1, 1684742000001, 0, 0, 0, 0, 0, 1, ""],
    [0, 8, 1, 1, 4000000000000, 0, 0, 0, 0, 0, 1, ""],
    [0, 8, 1, 1, "soon", 0, 0, 0, 0, 0, 0, "not clicked"],
]
BAD_SEARCH = [
    ["[20", 7, 0, 8, "VIDEO", 0, 1684763932919, "USER_INPUT", ""],
    *ROWS["src_inter"],
    ["[20]", 7, 0, 9, "VIDEO", 0, 0, "USER_INPUT", ""],
    ["[20]", 9, 0, 9, "VIDEO", 0, 1684763932919, "USER_INPUT", ""],
    ["[20]", "", 1, 9, "VIDEO", 0, 1684763932919, "USER_INPUT", ""],
    ["[20]", 7, "many", 9, "VIDEO", 0, 1684763932919, "USER_INPUT", ""],
    ["[20]", 7, 0, "", "VIDEO", 0, 1684763932919, "USER_INPUT", ""],
    ["[]", 7, 0, 10, "VIDEO", 0, 1684763932919, "USER_INPUT", ""],
]
BAD_ITEMS = [[11, "[1, x]", *ROWS["item_features"][0][2:]], *ROWS["item_features"], ["", *ROWS["item_features"][0][1:]]]
REJECTS = {
    ("item_features.csv", 1, "no list of words", "[1, x]"),
    ("item_features.csv", 6, "empty item_id", None),
    ("rec_inter.csv", 7, "no valid click", "yes"),
    ("rec_inter.csv", 8, "no valid time", "soon"),
    ("rec_inter.csv", 9, "unknown user", ""),
    ("rec_inter.csv", 10, "unknown item", "0"),
    ("rec_inter.csv", 11, "no valid time", "2096-10-02 07:06:40.000000+00:00"),
    ("src_inter.csv", 1, "empty query", "[20"),
    ("src_inter.csv", 10, "no valid time", "0"),
    ("src_inter.csv", 12, "unknown clicked item", ""),
    ("src_inter.csv", 13, "no valid click_cnt", "many"),
    ("src_inter.csv", 14, "empty search_session_id", ""),
    ("src_inter.csv", 15, "empty query", "[]"),
}


def test_what_is_broken_is_a_reject_with_file_and_row(tmp_path: Path) -> None:
    bad = {"rec_inter": BAD_FEED, "src_inter": BAD_SEARCH, "item_features": BAD_ITEMS}
    with pytest.raises(
        DataError, match=rf"{len(REJECTS)} rows break a rule.*item_features\.csv row 1: no list of words \(\[1, x\]\)"
    ):
        imported(tmp_path / "refused", **bad)
    report, tables = imported(tmp_path, drop_bad=True, **bad)
    assert set(report.rejects.rows()) == REJECTS and report.rejects.height == len(REJECTS)
    _, sound = imported(tmp_path / "sound")
    assert tables["interactions"].equals(sound["interactions"])
    more = tables["searches"].filter(pl.col("search_id") == "0-9")  # of its four rows one is sound
    assert more.select("query", "clicked", "shown").rows() == [("w20", [], ["9"])]
    assert tables["searches"].filter(pl.col("search_id") != "0-9").equals(sound["searches"])
    assert tables["items"]["item_id"].to_list() == sound["items"]["item_id"].to_list()
    load_log(tmp_path / "out")


def packed(folder: Path) -> Path:
    for path in folder.iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return folder


@pytest.mark.parametrize(
    ("place", "change"), [("", packed), ("KuaiSAR_v2", lambda folder: folder), ("KuaiSAR", packed)]
)
def test_files_as_they_lie_on_disks(tmp_path: Path, place: str, change: Callable[[Path], Path]) -> None:
    change(published(tmp_path / "src" / place))
    imported(tmp_path / "plain")
    import_folder("kuaisar", tmp_path / "src", tmp_path / "out")
    for name in ("items", "users", "interactions", "searches"):
        there, expected = (pl.read_parquet(room / "out" / f"{name}.parquet") for room in (tmp_path, tmp_path / "plain"))
        assert there.equals(expected), name


def test_without_the_social_network(tmp_path: Path) -> None:
    _, tables = imported(tmp_path, social_network=None)
    assert "follows" not in tables["users"].columns


FAULTS: list[tuple[dict[str, str | bytes | None], str]] = [
    (
        {"src_inter": None},
        r"missing file src_inter\.csv; .*got: item_features\.csv, .*zenodo\.org/records/8181109.*CC BY-NC-SA",
    ),
    ({"rec_inter": None}, r"missing file rec_inter\.csv"),
    (
        {"rec_inter": FEED.replace("click", "clicks") + "\n"},
        r"missing column 'click'; where: .*rec_inter\.csv; .*did you mean 'clicks'",
    ),
    ({"item_features": ""}, r"file is empty; where: .*item_features\.csv"),
    (
        {"item_features": text("item_features", ROWS["item_features"]).encode("gbk")},
        r"not UTF-8; where: .*item_features\.csv line 2",
    ),
    ({"src_inter": SEARCH + '\n"[1,2'}, r"src_inter\.csv"),
    ({"user_features": USERS + "\n1,2,3,4,5,6\n"}, r"user_features\.csv row 1: too many fields"),
    ({"user_features": "id\n1\n"}, r"missing column 'user_id'; where: .*user_features\.csv"),
    ({"social_network": "user_id,friend\n1,2\n"}, r"missing column 'user_follow_id'; where: .*social_network\.csv"),
]


@pytest.mark.parametrize(("change", "expected"), FAULTS, ids=[pattern[:34] for _, pattern in FAULTS])
def test_one_clear_error(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        imported(tmp_path, **change)
    assert re.search(expected, str(caught.value)), caught.value
    assert not (tmp_path / "out").exists()


def test_a_truncated_gzip(tmp_path: Path) -> None:
    folder = packed(published(tmp_path / "src"))
    path = folder / "rec_inter.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"rec_inter\.csv\.gz"):
        import_folder("kuaisar", folder, tmp_path / "out")


def test_wrong_sources(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder.*zenodo"):
        import_folder("kuaisar", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "KuaiSAR.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"not unpacked.*unzip KuaiSAR\.zip"):
        import_folder("kuaisar", tmp_path / "KuaiSAR.zip", tmp_path / "out")
    for name in ("KuaiSAR_final", "KuaiSAR_v2"):
        published(tmp_path / "both" / name)
    with pytest.raises(DataError, match=r"several folders with a rec_inter\.csv.*got: KuaiSAR_final, KuaiSAR_v2"):
        import_folder("kuaisar", tmp_path / "both", tmp_path / "out")
    shutil.rmtree(tmp_path / "both" / "KuaiSAR_v2")
    with pytest.raises(SettingsError, match=r"'kuaisar' has no use for the mapping 'items\.title'"):
        import_folder("kuaisar", tmp_path / "both", tmp_path / "out", ImportOptions(mapping={"items.title": "name"}))


def test_from_the_command_line(tmp_path: Path, searec: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = searec("import", "kuaisar", published(tmp_path / "KuaiSAR_final"), tmp_path / "out")
    assert (code, err) == (0, "")
    assert "1 merged into the click that they repeat, such as row 4" in out
    assert "interactions: 4 of 4 rows kept" in out and "searches: 5 of 5 rows kept" in out
    assert searec("check", tmp_path / "out")[0] == 0


Result = tuple[int, int, int, bool]  # user, session, item, clicked


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 6), st.booleans()), min_size=1, max_size=40
    )
)
def test_searches_are_their_rows(tmp_path_factory: pytest.TempPathFactory, rows: list[Result]) -> None:
    """In any order of rows: searches by first row, results once each in order, a click if any row has one."""
    room = tmp_path_factory.mktemp("searches")
    results = [
        [f"[{s}]", item, int(hit), s, "VIDEO", user, 1684763932000 + s, "HOT", ""] for user, s, item, hit in rows
    ]
    _, tables = imported(room, rec_inter=[], src_inter=results)
    expected: dict[str, tuple[list[str], list[str]]] = {}
    for user, session, item, hit in rows:
        clicked, shown = expected.setdefault(f"{user}-{session}", ([], []))
        for there in [shown, *([clicked] if hit else [])]:
            if str(item) not in there:
                there.append(str(item))
    found = {
        name: (clicked, shown)
        for name, clicked, shown in tables["searches"].select("search_id", "clicked", "shown").rows()
    }
    assert list(found) == list(expected)
    assert found == expected
