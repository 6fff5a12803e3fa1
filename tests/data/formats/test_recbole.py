"""RecBole's atomic files: as published, under other names, in parts, and broken."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from searec.data.formats.base import ImportOptions
from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log
from searec.errors import DataError, SearecError, SettingsError

# The shape of ml-100k as RecBole publishes it: no quotes meant, lists parted by blanks, seconds as floats, ratings.
INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
    "186\t302\t3\t891717742\n22\t377\t1\t878887116\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tKolya\t1996\tComedy\n302\tL.A. Confidential\t1997\tCrime Film-Noir Mystery Thriller\n"
    "377\tHeavyweights\t1994\tChildren's Comedy\n"
)
USER = "user_id:token\tage:token\tgender:token\n196\t49\tM\n186\t39\tF\n22\t25\tM\n"


def source(folder: Path, files: Mapping[str, str | bytes | None] | None = None) -> Path:
    """A folder as RecBole keeps it, some files replaced or (None) left out; names are suffixes or whole names."""
    folder.mkdir(parents=True)
    for name, text in {".inter": INTER, ".item": ITEM, ".user": USER, **(files or {})}.items():
        if text is not None:
            path = folder / (folder.name + name if name.startswith(".") else name)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def imported(
    tmp_path: Path, files: Mapping[str, str | bytes | None] | None = None, drop_bad: bool = False, **options: Any
) -> ImportReport:
    return import_folder(
        "recbole", source(tmp_path / "ml-100k", files), tmp_path / "out", ImportOptions(**options), drop_bad=drop_bad
    )


def table(tmp_path: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(tmp_path / "out" / f"{name}.parquet")


def test_a_published_dataset(tmp_path: Path) -> None:
    report = imported(tmp_path)
    assert report.written == report.read == {"items": 3, "users": 3, "interactions": 3, "searches": 0}
    assert report.notes == (
        "ml-100k.inter has no event column: every interaction is a 'rating'; ratings are not kept",
        "RecBole knows no searches: there are none",
    )
    assert table(tmp_path, "interactions").rows() == [
        ("196", "242", datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC), "rating"),
        ("186", "302", datetime(1998, 4, 4, 19, 22, 22, tzinfo=UTC), "rating"),
        ("22", "377", datetime(1997, 11, 7, 7, 18, 36, tzinfo=UTC), "rating"),
    ]
    items = table(tmp_path, "items")
    assert items.row(1, named=True) == {
        "item_id": "302",
        "title": "L.A. Confidential",
        "categories": ["Crime", "Film-Noir", "Mystery", "Thriller"],
        "release_year": "1997",
    }
    assert table(tmp_path, "users").row(1) == ("186", "39", "F")
    assert load_log(tmp_path / "out").interactions.height == 3


def test_interactions_alone(tmp_path: Path) -> None:
    report = imported(tmp_path, {".item": None, ".user": None})
    assert table(tmp_path, "items").rows() == [("242", "242"), ("302", "302"), ("377", "377")]
    assert table(tmp_path, "users")["user_id"].to_list() == ["186", "196", "22"]
    assert {
        "no ml-100k.item: items are the ids seen in events",
        "3 items have no title: the id is used as the title",
    } <= set(report.notes)


def test_what_published_files_lack_or_repeat(tmp_path: Path) -> None:
    """An item and a user that only events name, a title that is missing, a row that stands twice."""
    inter = INTER + "196\t999\t4\t881250950\n7\t242\t5\t881250951\n22\t377\t2\t878887116\n"
    report = imported(tmp_path, {".inter": inter, ".item": ITEM.replace("Kolya", "")})
    assert report.written == {"items": 4, "users": 4, "interactions": 5, "searches": 0} and report.rejects.is_empty()
    assert report.notes[-1] == "1 row of interactions occurs in the source more than once: written once"
    assert "1 value of item_id that events name and no file has: added" in report.notes
    assert "1 value of user_id that events name and no file has: added" in report.notes
    assert "2 items have no title: the id is used as the title" in report.notes
    assert table(tmp_path, "items").select("item_id", "title").rows()[::3] == [("242", "242"), ("999", "999")]


def test_rejects_name_the_row_of_the_file(tmp_path: Path) -> None:
    """Rows that stand twice, and lines that hold nothing, are left out before a later row breaks a rule."""
    inter = INTER + "22\t377\t1\t878887116\n\n22\t242\t1\tyesterday\n\t302\t1\t878887117\n"
    report = imported(tmp_path, {".inter": inter}, drop_bad=True)
    assert report.rejects.rows() == [
        ("ml-100k.inter", 6, "no valid time", "yesterday"),
        ("ml-100k.inter", 7, "unknown user", None),
    ]
    assert imported(
        tmp_path / "more", {".item": ITEM.replace("302", "\n302") + "242\tAgain\n"}, drop_bad=True
    ).rejects.rows() == [("ml-100k.item", 5, "duplicate item_id", "242")]
    assert table(tmp_path / "more", "items").columns == ["item_id", "title", "categories", "release_year"]
    with pytest.raises(
        DataError, match=r"ml-100k\.inter row 6: no valid time \(yesterday\) \| ml-100k\.inter row 7: unknown user"
    ):
        import_folder("recbole", tmp_path / "ml-100k", tmp_path / "other")


def test_types_of_the_header(tmp_path: Path) -> None:
    item = "item_id:token\ttitle:token\tcategories:token_seq\tprice:float\tvector:float_seq\tkind:token\n"
    item += '242\t"Great ""Cats"""\t"a b"\t2.5\t1 -0.5\t1.0\n302\t"Lone\t\t\t\t\n377\tMug "big"\tx  y\tnan\t3\t"q"\n'
    imported(tmp_path, {".item": item})
    items = table(tmp_path, "items")
    assert items["title"].to_list() == ['Great "Cats"', '"Lone', 'Mug "big"']
    assert items["categories"].to_list() == [["a", "b"], None, ["x", "y"]]
    assert items["price"][0] == 2.5 and items["price"][1] is None and items["price"].is_nan()[2]
    assert items["vector"].to_list() == [[1.0, -0.5], None, [3.0]]
    assert items["kind"].to_list() == ["1.0", None, "q"]


def test_backslashes_of_other_programs_stay(tmp_path: Path) -> None:
    imported(tmp_path, {".item": ITEM.replace("Kolya", r"AC\nDC \e")})
    assert table(tmp_path, "items")["title"][0] == r"AC\nDC \e"


def test_columns_by_mapping(tmp_path: Path) -> None:
    inter = "reader:token\tbook:token\tat:float\tdone:token\n1\tb1\t1600000000.5\tread\n"
    files = {
        ".inter": None,
        ".item": None,
        ".user": None,
        "log.inter": inter,
        "books.txt": "book:token\tlabel:token\tshelf:token\nb1\tDune\tspace opera\n",
    }
    mapping = {
        "interactions": "log.inter",
        "interactions.user_id": "reader",
        "interactions.item_id": "book",
        "interactions.timestamp": "at",
        "interactions.event": "done",
        "items": "books.txt",
        "items.item_id": "book",
        "items.title": "label",
        "items.categories": "shelf",
    }
    imported(tmp_path, files, mapping=mapping)
    assert table(tmp_path, "items").to_dicts() == [{"item_id": "b1", "title": "Dune", "categories": ["space opera"]}]
    assert table(tmp_path, "interactions").rows() == [
        ("1", "b1", datetime(2020, 9, 13, 12, 26, 40, 500_000, tzinfo=UTC), "read")
    ]


def test_parts_are_read_together(tmp_path: Path) -> None:
    head, *rows = INTER.splitlines(keepends=True)
    files = {
        ".inter": None,
        ".test.inter": head + rows[2],
        ".train.inter": head + rows[0] + rows[1].replace("891717742", "x"),
    }
    report = imported(tmp_path, files, drop_bad=True)
    assert report.read["interactions"] == 3
    assert report.rejects.rows() == [("ml-100k.train.inter", 2, "no valid time", "x")]
    assert "read together: ml-100k.test.inter, ml-100k.train.inter" in report.notes
    assert report.written["items"] == 3


def test_a_file_for_a_folder_and_a_folder_of_another_name(tmp_path: Path) -> None:
    folder = source(tmp_path / "ml-100k")
    assert import_folder("recbole", folder / "ml-100k.inter", tmp_path / "a").written["items"] == 3
    folder.rename(tmp_path / "moved")
    assert import_folder("recbole", tmp_path / "moved", tmp_path / "b").written["items"] == 3
    assert pl.read_parquet(tmp_path / "a" / "items.parquet").equals(pl.read_parquet(tmp_path / "b" / "items.parquet"))


FAULTS: list[tuple[dict[str, str | bytes | None], type[SearecError], str]] = [
    (
        {".inter": None},
        DataError,
        r"missing file; where: .*ml-100k\.inter; got: ml-100k\.item, ml-100k\.user; .*--map interactions=FILE",
    ),
    (
        {".inter": None, "a.inter": INTER, "b.inter": INTER},
        DataError,
        "several datasets in one folder.*a.inter, b.inter.*--map interactions=",
    ),
    (
        {".inter": INTER.replace("timestamp", "moment")},
        DataError,
        "missing column 'timestamp'.*user_id, item_id, rating, moment.*a file without times",
    ),
    (
        {".inter": INTER.replace("item_id", "it")},
        DataError,
        "missing column 'item_id'.*--map interactions.item_id=COLUMN",
    ),
    (
        {".inter": INTER.replace(":token", "", 1)},
        DataError,
        "not the header of an atomic file.*got: 'user_id'; expected: name:type",
    ),
    ({".inter": INTER.replace("\t", ",")}, DataError, "not the header of an atomic file"),
    (
        {".inter": INTER.replace("3\t881250949", "3\t4\t881250949")},
        DataError,
        r"ml-100k\.inter row 1: too many fields \(5 fields, not 4: 196\t242\t3\t4\t881250949\)",
    ),
    (
        {".item": ITEM.encode().replace(b"Kolya", b"Koly\xe9")},
        DataError,
        r"not UTF-8; where: .*ml-100k\.item line 2 \(byte 79\)",
    ),
    ({".user": ""}, DataError, r"file is empty; where: .*ml-100k\.user"),
    (
        {".inter": INTER.replace("881250949", "881250949000")},
        DataError,
        "unit of the times in 'timestamp' is not clear",
    ),
]


@pytest.mark.parametrize(("files", "error", "expected"), FAULTS, ids=[pattern[:30] for *_, pattern in FAULTS])
def test_one_clear_error(
    tmp_path: Path, files: dict[str, str | bytes | None], error: type[SearecError], expected: str
) -> None:
    with pytest.raises(error) as caught:
        imported(tmp_path, files)
    assert re.search(expected, str(caught.value)) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mapping", "error", "expected"),
    [
        ({"searches.query": "q"}, SettingsError, "unknown mapping 'searches.query'"),
        ({"interactions.user": "q"}, SettingsError, "did you mean 'interactions.user_id'"),
        ({"interactions.user_id": "usr_id"}, DataError, "missing column 'usr_id'.*did you mean 'user_id'"),
        ({"items": "films.item"}, DataError, r"missing file; where: .*films\.item"),
        ({"interactions": "films.inter"}, DataError, r"missing file; where: .*films\.inter"),
    ],
)
def test_mappings_of_nothing(tmp_path: Path, mapping: dict[str, str], error: type[SearecError], expected: str) -> None:
    with pytest.raises(error, match=expected):
        imported(tmp_path, mapping=mapping)


def test_the_command(searec: Any, tmp_path: Path) -> None:
    code, told, _ = searec(
        "import", "recbole", source(tmp_path / "ml-100k"), tmp_path / "out", "--map", "interactions.event=rating"
    )
    assert code == 0 and "interactions: 3 of 3 rows kept" in told
    assert table(tmp_path, "interactions")["event"].to_list() == ["3", "3", "1"]
    assert searec("check", tmp_path / "out")[0] == 0
    code, _, told = searec("import", "recbole", tmp_path / "nowhere", tmp_path / "out")
    assert code == 1 and "no such folder" in told and "NAME.inter" in told
