"""What people have as plain files: what is read of it, what is named, and that every record is accounted for."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imported import utc
from searec.data.check import check, render
from searec.data.dataset import load
from searec.data.formats.base import ImportOptions, Outcome, Raw
from searec.data.formats.csv_text import count_records
from searec.data.importing import ImportReport, import_folder, read_items
from searec.data.log import load_log
from searec.errors import DataError, SettingsError

ITEMS = "item_id,title\n1,lamp\n2,mug\n3,rug\n"
CLICKS = "user_id,item_id,timestamp,event\nu1,1,2023-01-01,click\nu2,2,2023-02-01,click\n"


def imported(room: Path, files: Mapping[str, str | bytes], form: str = "csv", **options: Any) -> ImportReport:
    """Import files of a folder by name."""
    drop_bad = options.pop("drop_bad", False)
    (room / "src").mkdir(exist_ok=True)
    for name, text in files.items():
        (room / "src" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_folder(form, room / "src", room / "out", ImportOptions(**options), drop_bad=drop_bad)


def table(room: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(room / "out" / f"{name}.parquet")


def lines(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_quote_inside_a_value_hides_no_row(tmp_path: Path) -> None:
    searches = 'search_id,user_id,query,timestamp,clicked\ns0,u1,tv 32",2024-02-01,1\ns1,u2,27" screen,2024-02-02,\n'
    report = imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": CLICKS, "searches.csv": searches})
    assert table(tmp_path, "searches")["query"].to_list() == ['tv 32"', '27" screen']
    assert [str(file) for file in report.files] == [
        "items.csv: 3 records read = 3 kept",
        "interactions.csv: 2 records read = 2 kept",
        "searches.csv: 2 records read = 2 kept",
    ]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", [None, "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_line_ends_encodings_and_separators(tmp_path: Path, ends: str, encoding: str | None, separator: str) -> None:
    items = ITEMS.replace("lamp", "café").replace(",", separator).replace("\n", ends)
    clicks = CLICKS.replace(",", separator).replace("\n", ends)
    codec = encoding or "utf-8"
    options: dict[str, Any] = {"separator": separator, "encoding": encoding if encoding != "utf-8-sig" else None}
    imported(tmp_path, {"items.csv": items.encode(codec), "interactions.csv": clicks.encode(codec)}, **options)
    assert table(tmp_path, "items")["title"].to_list() == ["café", "mug", "rug"]
    assert table(tmp_path, "interactions").height == 2


@pytest.mark.parametrize(
    "text", ['a,b\n"x\r\ny",1\r\n\r\n"p""q", r"\r', 'a\n""\n"\n"\n\n', '\ufeff"a\n",b\n1,2', 'a,b\n1,x"\n2,y"']
)
def test_records_are_counted_as_python_counts_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text, newline="")
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert count_records(tmp_path / "x.csv") == (sum(map(bool, rows)), sum(not row for row in rows))


def test_a_quote_that_swallows_rows_is_refused(tmp_path: Path) -> None:
    for text, fault in (('1,"tv\n2,mug\n', "never closed"), ('1,"tv\n2,"mug\n', "in the middle of a value")):
        with pytest.raises(DataError, match=f"{fault}.*line 2"):
            imported(tmp_path, {"items.csv": f"item_id,title\n{text}", "interactions.csv": CLICKS})


def test_uneven_records_are_rejects(tmp_path: Path) -> None:
    files = {"items.csv": ITEMS, "interactions.csv": CLICKS + "\nu1\nu1,2,2023-03-01,click,x\nu1,3,2023-03-01,click\n"}
    report = imported(tmp_path, files, drop_bad=True)
    assert [(row, rule) for _, row, rule, _ in report.rejects.rows()] == [(3, "too few fields"), (4, "too many fields")]
    assert table(tmp_path, "interactions")["item_id"].to_list() == ["1", "2", "3"]
    assert str(report.files[1]) == "interactions.csv: 5 records read = 3 kept + 2 rejected"
    assert "interactions.csv: 1 empty line is skipped" in report.notes


def test_ids_of_json_lines_stay_as_they_are_written(tmp_path: Path) -> None:
    large = [12345678901234567, 12345678901234568]
    clicks = [
        {"user_id": user, "item_id": "1", "timestamp": f"2023-01-0{n}"} for n, user in enumerate([*large, 7.0], 1)
    ]
    searches = [{"user_id": 7.0, "query": "x", "timestamp": "2023-02-01", "clicked": [1, 2.0]}]
    items = [{"item_id": 1, "title": "a"}, {"item_id": 2.0, "title": "b\ud800"}]
    files = {"items.jsonl": lines(*items), "interactions.jsonl": "\ufeff" + lines(*clicks)}
    report = imported(tmp_path, {**files, "searches.jsonl": lines(*searches)}, "jsonl")
    assert table(tmp_path, "users")["user_id"].to_list() == [*map(str, large), "7.0"]
    assert table(tmp_path, "items").rows() == [("1", "a"), ("2.0", "b\ufffd")]
    assert table(tmp_path, "searches")["clicked"].to_list() == [["1", "2.0"]]
    assert any("items.jsonl: 1 row holds half a character" in note for note in report.notes)


def test_large_ids_of_floating_point_are_named(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    pl.DataFrame({"item_id": ["1"], "title": ["a"]}).write_parquet(tmp_path / "src" / "items.parquet")
    users = [float(2**53), float(2**53 + 1)]
    rows = {"user_id": users, "item_id": ["1", "1"], "timestamp": ["2023-01-01", "2023-02-01"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "src" / "interactions.parquet")
    report = import_folder("parquet", tmp_path / "src", tmp_path / "out")
    assert any("2 values of user_id, such as 9007199254740992," in note for note in report.notes)


TIMES = [
    ("2024-01-05 10:00:00+00", utc(2024, 1, 5, 10)),
    ("20240105T100000Z", utc(2024, 1, 5, 10)),
    ("20240105", utc(2024, 1, 5)),
    ('"2024-01-05T10:00:00,25"', utc(2024, 1, 5, 10, 0, 0, 250_000)),
    ("2024-01-05T24:00", utc(2024, 1, 6)),
    ("2024-01-05 10:00 -0330", utc(2024, 1, 5, 13, 30)),
]


@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_forms_of_iso_8601(tmp_path: Path, text: str, expected: Any) -> None:
    clicks = f"user_id,item_id,timestamp\nu1,1,{text}\nu1,2,2023-01-01\n"
    imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": clicks})
    assert table(tmp_path, "interactions")["timestamp"][0] == expected


def test_a_time_format(tmp_path: Path) -> None:
    files = {
        "items.csv": ITEMS,
        "interactions.csv": "user_id,item_id,timestamp\nu1,1,25/11/2018 09:30\nu1,2,1/2/2019 10:00\n",
    }
    with pytest.raises(DataError, match=r"no valid time \(25/11/2018 09:30\).*--time-format"):
        imported(tmp_path, files)
    imported(tmp_path, files, time_format="%d/%m/%Y %H:%M")
    assert table(tmp_path, "interactions")["timestamp"].to_list() == [utc(2018, 11, 25, 9, 30), utc(2019, 2, 1, 10)]


def test_one_stray_number_among_times_is_one_reject(tmp_path: Path) -> None:
    clicks = CLICKS + "u1,3,20,click\n"
    report = imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": clicks}, drop_bad=True)
    assert report.rejects.rows() == [("interactions.csv", 3, "no valid time", "20")]
    seconds = "".join(f"u1,{n % 3 + 1},{1_600_000_000 + n},click\n" for n in range(20))
    clicks = f"user_id,item_id,timestamp,event\n{seconds}u1,1,0,click\n"
    report = imported(tmp_path, {"interactions.csv": clicks}, drop_bad=True)
    assert report.rejects.rows() == [("interactions.csv", 21, "no valid time", "0")]


def test_times_that_a_spreadsheet_rounded_and_logs_of_one_second_are_named(tmp_path: Path) -> None:
    clicks = "user_id,item_id,timestamp\n" + "".join(f"u1,{item},1.70E+12\n" for item in (1, 2, 3))
    report = imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": clicks})
    assert any("3 times are written with an exponent" in note for note in report.notes)
    assert any("all 3 events are within one second" in note for note in report.notes)
    clicks = "user_id,item_id,timestamp\nu1,1,0\nu1,2,1700000000\n"
    report = imported(tmp_path, {"interactions.csv": clicks}, time_unit="s")
    assert any("1 of 2 events are in 1970" in note for note in report.notes)
    assert "are in 1970" in render(check(load_log(tmp_path / "out")))


SIMILAR = {
    "blanks": ["u1", "u1 ", "u1\u00a0"],
    "invisible": ["u1", "u\u200b1"],
    "case": ["u1", "U1"],
    "zeros": ["1", "001"],
    "decimal": ["1", "1.0"],
}


@pytest.mark.parametrize("rule", SIMILAR)
def test_ids_that_look_alike_are_named_and_folded(tmp_path: Path, rule: str) -> None:
    ids = SIMILAR[rule]
    rows = [f'"{user}",1,2023-0{n}-01\n' for n, user in enumerate([ids[0], *ids, "another"], start=1)]
    files = {"items.csv": ITEMS, "interactions.csv": "user_id,item_id,timestamp\n" + "".join(rows)}
    report = imported(tmp_path, files)
    assert [
        note for note in report.notes if f"--fold-ids {rule} makes them one" in note and f"{len(ids)} differ" in note
    ]
    assert f"user ids: {len(ids)} differ only by" in render(check(load_log(tmp_path / "out")))
    report = imported(tmp_path, files, fold_ids=(rule,))
    assert table(tmp_path, "users")["user_id"].to_list() == [ids[0], "another"]
    assert any(f"folded into others by --fold-ids {rule}" in note for note in report.notes)
    assert not any("differ only" in note for note in report.notes)


def test_folded_items_are_one_row_and_lists_follow(tmp_path: Path) -> None:
    searches = "user_id,query,timestamp,clicked\nu1,x,2023-01-01,7.0|2\n"
    files = {"items.csv": "item_id,title\n7,lamp\n7.0,lamp\n2,mug\n", "searches.csv": searches}
    report = imported(tmp_path, files, fold_ids=("decimal",))
    assert table(tmp_path, "items")["item_id"].to_list() == ["7.0", "2"]
    assert table(tmp_path, "searches")["clicked"].to_list() == [["7.0", "2"]]
    assert (report.files[0].read, report.files[0].written, report.files[0].outcomes[0].rows) == (3, 2, 1)


def test_interactions_that_are_one_when_ids_are_folded_are_merged(tmp_path: Path) -> None:
    rows = "u1,2,2023-01-01\nU1,2,2023-01-01\nu1,1,2023-01-02\nu1,1,2023-01-02\n"
    files = {"items.csv": ITEMS, "interactions.csv": "user_id,item_id,timestamp\n" + rows}
    report = imported(tmp_path, files, fold_ids=("case",), drop_bad=True)
    assert report.rejects.rows() == [("interactions.csv", 4, "duplicate row", "1")]  # one before they are folded too
    account = report.files[-1]
    assert (account.read, account.written, account.rejected) == (4, 2, 1)
    [outcome] = account.outcomes
    assert (outcome.rows, "when ids are folded" in outcome.rule) == (1, True)


def test_a_broken_list_is_a_reject_of_its_row_and_of_events_that_name_it(tmp_path: Path) -> None:
    items = 'item_id,title,categories\n1,lamp,"[""a"",""b""]"\n2,mug,[a\n3,pot,[a]\n'
    clicks = "user_id,item_id,timestamp\nu1,1,2023-01-01\nu1,3,2023-01-02\n"
    report = imported(tmp_path, {"items.csv": items, "interactions.csv": clicks}, drop_bad=True)
    assert report.rejects.rows() == [
        ("items.csv", 3, "categories holds a list that is not JSON", "[a]"),
        ("interactions.csv", 2, "unknown item", "3"),
    ]
    assert table(tmp_path, "items")["categories"].to_list() == [["a", "b"], ["[a"]]


def test_objects_without_a_field_lack_a_column(tmp_path: Path) -> None:
    files = {"items.jsonl": lines({"item_id": "1", "title": "lamp"}), "users.jsonl": "{}\n{}\n"}
    clicks = lines({"user_id": "u1", "item_id": "1", "timestamp": "2023-01-01"})
    with pytest.raises(DataError, match=r"missing column 'user_id'; where: .*users\.jsonl; got: no columns"):
        imported(tmp_path, {**files, "interactions.jsonl": clicks}, form="jsonl")


def test_a_missing_value_that_became_a_user_is_named(tmp_path: Path) -> None:
    clicks = CLICKS + "".join(f"NA,{n % 3 + 1},2023-03-{n:02},click\n" for n in range(1, 11))
    report = imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": clicks})
    assert any("user id 'NA' is in 10 of 12 events" in note for note in report.notes)


def test_repeats_inside_one_list_are_merged(tmp_path: Path) -> None:
    searches = "search_id,user_id,query,timestamp,clicked\ns1,u1,mug,2023-01-01," + "|".join(["2"] * 50 + ["1"]) + "\n"
    report = imported(tmp_path, {"items.csv": ITEMS, "searches.csv": searches})
    assert table(tmp_path, "searches")["clicked"].to_list() == [["2", "1"]]
    assert any(note.startswith("49 repeats of an item inside one list of clicked") for note in report.notes)


def test_searches_alone_and_without_ids(tmp_path: Path) -> None:
    searches = "user_id,query,timestamp,clicked\nu1,mug,2023-01-01,2\nu1,lamp,2023-01-02,\n"
    report = imported(tmp_path, {"items.csv": ITEMS, "searches.csv": searches})
    assert table(tmp_path, "searches")["search_id"].to_list() == ["row-1", "row-2"]
    assert any("no interactions file" in note for note in report.notes)
    assert any("no search_id column" in note for note in report.notes)
    with pytest.raises(DataError, match="a log of interactions, of searches, or both"):
        imported(tmp_path / "src", {"items.csv": ITEMS})


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    header = CLICKS.splitlines()[0] + "\n"
    with pytest.raises(DataError, match=r"nothing is left to write.*0 interactions"):
        imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": header})
    with pytest.raises(DataError, match=r"nothing is left to write.*the first: interactions\.csv row 1: unknown item"):
        imported(tmp_path, {"interactions.csv": header + "u1,9,2023-01-01,click\n"}, drop_bad=True)
    with pytest.raises(DataError, match=r"nothing is left to write; .*got: 0 items"):
        imported(tmp_path, {"items.csv": "item_id,title\n", "interactions.csv": CLICKS}, drop_bad=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_other_columns_may_have_any_name(tmp_path: Path, form: str) -> None:
    names = ["row", "__row", "__file", "__place", "user", "item", "time", "len", "index", "", "rule", "empty title"]
    items = pl.DataFrame(
        {"item_id": ["1", "2", "3"], "title": ["lamp", "mug", " "], **{name: ["x"] * 3 for name in names}}
    )
    imported(tmp_path, {"items.csv": items.write_csv(), "interactions.csv": CLICKS}, drop_bad=True)
    if form == "parquet":
        import_folder("parquet", tmp_path / "out", tmp_path / "again")
    assert table(tmp_path, "items").columns == ["item_id", "title", *names]
    assert load(tmp_path / "out").item_table["item_id"].to_list() == ["1", "2"]
    check(load_log(tmp_path / "out"))


@pytest.mark.parametrize(("separator", "remedy"), [(";", "--separator ';'"), ("\t", "--separator tab")])
def test_another_separator_is_named(tmp_path: Path, separator: str, remedy: str) -> None:
    files = {"items.csv": ITEMS, "interactions.csv": CLICKS.replace(",", separator).replace(f"{separator}event", "", 1)}
    with pytest.raises(DataError, match=f"look separated by .*{remedy}") as caught:
        imported(tmp_path, files)
    assert "event," not in str(caught.value)


@pytest.mark.parametrize("separator", ["", ";;", '"', "\n", "é"])
def test_what_is_no_separator(tmp_path: Path, separator: str) -> None:
    with pytest.raises(SettingsError, match="one character"):
        imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": CLICKS}, separator=separator or "::")


def test_an_option_without_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'kuaisar' has no use for this option; where: --separator"):
        import_folder("kuaisar", tmp_path, tmp_path / "out", ImportOptions(separator=";"))


def test_records_that_do_not_add_up_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from searec.data.formats import plain

    read = plain.read_plain

    def forgetful(form: str, source: Path, options: ImportOptions) -> Raw:
        raw = read(form, source, options)
        return Raw(**{**vars(raw), "read": {**(raw.read or {}), "items.csv": 4}, "outcomes": outcomes})

    monkeypatch.setattr(plain, "read_csv", lambda source, options: forgetful("csv", source, options))
    outcomes: tuple[Outcome, ...] = ()
    with pytest.raises(DataError, match=r"do not add up.*items\.csv: 4 records read = 3 kept"):
        imported(tmp_path, {"items.csv": ITEMS, "interactions.csv": CLICKS})
    assert not (tmp_path / "out").exists()
    outcomes = (Outcome("items.csv", "left out: a comment", 1, "# items"),)
    report = imported(tmp_path, {})
    assert str(report.files[0]) == "items.csv: 4 records read = 3 kept + 1 left out: a comment, such as # items"


def test_messages_count_rows_and_show_the_member_at_fault(tmp_path: Path) -> None:
    searches = "search_id,user_id,query,timestamp,clicked\n,u1,,2023-01-01,1|9\n"
    expected = r"1 row breaks a rule.*row 1: empty query \(no value\), unknown clicked item \(9\), empty search_id"
    with pytest.raises(DataError, match=expected):
        imported(tmp_path, {"items.csv": ITEMS, "searches.csv": searches})


def test_items_to_add_are_read_as_an_import_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text('item_id,title,categories\n007,bond,A|B\nx1,zebra,"[""C""]"\n')
    assert read_items(path) == [
        {"item_id": "007", "title": "bond", "categories": ["A", "B"]},
        {"item_id": "x1", "title": "zebra", "categories": ["C"]},
    ]
    path.write_text("item_id,title\n1,\n")
    with pytest.raises(DataError, match=r"1 row breaks a rule.*new\.csv row 1: empty title"):
        read_items(path)
