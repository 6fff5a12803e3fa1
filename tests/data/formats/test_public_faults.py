"""Faults of public files that once passed in silence or stopped an import, one by one."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accounts import became, raw_of
from imported import table
from public_sources import amazon, kuaisar, movielens_100k, movielens_latest, qilin, recbole, ubi
from searec.data.importing import ImportReport, import_folder
from searec.errors import DataError


def log_of(tmp_path: Path, *lines: dict[str, Any] | str) -> ImportReport:
    """Import a UBI log."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (tmp_path / "log.ndjson").write_text(text)
    return import_folder("ubi", tmp_path / "log.ndjson", tmp_path / "out")


def clicked(client: str, item: str, second: int, **more: Any) -> dict[str, Any]:
    """A click in the search q1."""
    event: dict[str, Any] = {"query_id": "q1", "client_id": client, "action_name": "click"}
    time, about = f"2024-06-05T10:00:{second:02}Z", {"object": {"object_id": item}}
    return {**event, "timestamp": time, "event_attributes": about, **more}


def asked(client: str | None, second: int, **more: Any) -> dict[str, Any]:
    """A query row of q1."""
    time = f"2024-06-05T10:00:{second:02}Z"
    return {"query_id": "q1", "client_id": client, "user_query": "bag", "timestamp": time, **more}


def test_ubi_hits_under_the_name_of_older_logs(tmp_path: Path) -> None:
    log_of(tmp_path, asked("c1", 1, query_response_object_ids=["a", "b"]), clicked("c1", "b", 2))
    assert table(tmp_path / "out", "searches").select("clicked", "shown").rows() == [(["b"], ["a", "b"])]


def test_ubi_clients_that_share_a_query_id(tmp_path: Path) -> None:
    report = log_of(
        tmp_path,
        asked("c1", 1),
        asked("c2", 2),
        clicked("c2", "b", 3),
        clicked("c1", "a", 4),
        clicked("c3", "c", 5),
        asked(None, 6),
    )
    searches = table(tmp_path / "out", "searches").select("search_id", "user_id", "clicked")
    assert searches.rows() == [("q1", "c1", ["a"]), ("q1#2", "c2", ["b"])]
    assert table(tmp_path / "out", "interactions").select("user_id", "item_id").rows() == [("c3", "c")]
    assert any("1 query_id is used by several users, such as 'q1'" in note for note in report.notes)


def test_ubi_judgements_and_dislikes_are_events_of_their_own(tmp_path: Path) -> None:
    log_of(
        tmp_path,
        asked("c1", 1),
        clicked("c1", "a", 2, action_name="user_feedback", message="Relevance: no"),
        clicked("c1", "b", 3, action_name="user_feedback", message="Relevance: yes"),
        clicked("c1", "c", 4, action_name="user_feedback", message="hm"),
        clicked("c1", "d", 5, action_name="declined_product"),
        clicked("c1", "e", 6, action_name="product_hover"),
    )
    assert table(tmp_path / "out", "searches")["clicked"].to_list() == [["b"]]
    events = table(tmp_path / "out", "interactions").select("item_id", "event").rows()
    assert events == [("a", "relevance_no"), ("d", "declined_product")]
    counts = became(raw_of("ubi", tmp_path / "log.ndjson"))
    assert counts["merged into their search as clicks (relevance_yes 1)"] == 1
    assert counts["left out as events that say nothing of an item (product_hover 1, user_feedback 1)"] == 2


def test_ubi_marks_tabs_and_half_characters(tmp_path: Path) -> None:
    click = json.dumps(clicked("c1", "a", 2)).replace('"a"', '"a", "description": "Bag \\ud83d"')
    report = log_of(tmp_path, "\ufeff" + json.dumps(asked("c1", 1)), "ubi_events\t" + click)
    assert table(tmp_path / "out", "items").rows() == [("a", "Bag \ufffd")]
    assert "1 line holds half a character, replaced by \ufffd, such as line 2 of log.ndjson" in report.notes


def test_qilin_clicks_are_not_older_than_they_were(tmp_path: Path) -> None:
    report = import_folder("qilin", qilin(tmp_path / "src"), tmp_path / "out", drop_bad=True)
    searches = table(tmp_path / "out", "searches")
    first, late = datetime(2024, 11, 27, 19, 27, 38, tzinfo=UTC), datetime(2024, 11, 27, 23, 25, 14, tzinfo=UTC)
    of_query = searches.filter(query="q").select("search_id", "timestamp", "clicked", "shown")
    assert of_query.sort("timestamp").rows() == [("train-1", first, [], ["6"]), ("train-1-2", late, ["5"], ["5"])]
    assert any("1 clicks of searches are at another time" in note for note in report.notes)


def test_amazon_arrays_blanks_and_the_category_of_2018(tmp_path: Path) -> None:
    import_folder("amazon", amazon(tmp_path / "src"), tmp_path / "out")
    items = table(tmp_path / "out", "items").select("item_id", "brand", "price", "main_category")
    assert items.rows() == [("A", None, None, "Toys"), ("B", "x", "$3", None), ("C", None, None, None)]
    assert table(tmp_path / "out", "interactions").height == 4


def test_amazon_categories_that_say_nothing_make_no_search(tmp_path: Path) -> None:
    source = amazon(tmp_path / "src")
    meta = source / "meta_X.json"
    meta.write_text(meta.read_text().replace("Puzzles", "Games"))
    report = import_folder("amazon", source, tmp_path / "out")
    assert report.written["searches"] == 0 and report.written["interactions"] == 4
    assert any("every item with a path of categories has the query 'toys games'" in note for note in report.notes)


def test_recbole_extra_fields_and_values_that_are_no_numbers(tmp_path: Path) -> None:
    source = recbole(tmp_path / "src")
    log = source / "src.inter"
    log.write_bytes(b"\xef\xbb\xbf" + log.read_bytes().replace(b"891717742", b"891717742\t1"))
    with pytest.raises(DataError, match=r"src\.inter row 2: too many fields \(5 fields, not 4: 186"):
        import_folder("recbole", source, tmp_path / "out")
    report = import_folder("recbole", source, tmp_path / "out", drop_bad=True)
    assert report.written["interactions"] == 2 and report.rejects.height == 1
    assert "src.item: 1 value of price:float is no number and becomes null, such as '$3' in row 1" in report.notes


@pytest.mark.parametrize("name", ["u.data", "u.item", "u.user"])
def test_movielens_files_without_a_line(tmp_path: Path, name: str) -> None:
    source = movielens_100k(tmp_path / "src")
    (source / name).write_text("")
    with pytest.raises(DataError, match=rf"where: .*{name}"):
        import_folder("movielens", source, tmp_path / "out", drop_bad=True)


def test_movielens_ratings_of_a_header_alone(tmp_path: Path) -> None:
    source = movielens_latest(tmp_path / "src")
    (source / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    with pytest.raises(DataError, match=r"no ratings; where: .*ratings\.csv"):
        import_folder("movielens", source, tmp_path / "out")


def test_movielens_lines_that_are_cut(tmp_path: Path) -> None:
    source = movielens_100k(tmp_path / "src")
    (source / "u.item").write_text("1|Film 1 (1995)\n" + (source / "u.item").read_text().split("\n")[1] + "\n")
    report = import_folder("movielens", source, tmp_path / "out")
    assert "u.item: 1 line ends before the last field, such as line 1: the rest is empty" in report.notes


def test_kuaisar_columns_with_names_that_are_taken(tmp_path: Path) -> None:
    report = import_folder("kuaisar", kuaisar(tmp_path / "src"), tmp_path / "out")
    assert {"words", "__row"} <= set(table(tmp_path / "out", "items").columns)
    assert table(tmp_path / "out", "items")["title"].to_list()[:2] == ["w1 w213", "Joke"]
    assert "column 'title' of item_features.csv has a name that searec uses and is left out" in report.notes
    assert table(tmp_path / "out", "users").filter(user_id="0")["follows"].to_list() == [["1"]]


def test_an_odd_line_names_file_row_and_value(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'log\.ndjson row 10: broken JSON line \(\{"broken":\)'):
        import_folder("ubi", ubi(tmp_path / "src"), tmp_path / "out")
