"""UBI logs: as OpenSearch keeps them, with bulk actions or without, packed, broken; and the published sample."""

import gzip
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from accounts import became, raw_of
from searec.data.formats import ubi_events
from searec.data.formats.base import ImportOptions
from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log
from searec.errors import DataError, SearecError, SettingsError

SAMPLE = Path(__file__).parents[3].parent / "shared" / "data" / "ubi-sample" / "ubi_queries_events.ndjson"
DAY = "2025-03-03T10:00:"
Line = dict[str, Any]


def query(query_id: str | None, text: str | None, second: float = 0, client: str | None = "c1", **more: Any) -> Line:
    row = {"application": "shop", "query_id": query_id, "client_id": client, "user_query": text, "query_attributes": {}}
    return {**row, "timestamp": f"{DAY}{second:06.3f}Z", **more}


def event(
    action: str | None,
    item: Any = None,
    query_id: str | None = None,
    second: float = 0,
    client: str | None = "c1",
    **more: Any,
) -> Line:
    about: Line = {"position": {"ordinal": more.pop("ordinal", 1)}, "browser": "any"}
    if item is not None:
        about["object"] = {"object_id": item, "object_id_field": more.pop("field", "sku"), **more.pop("about", {})}
    row = {"application": "shop", "action_name": action, "query_id": query_id, "session_id": "s", "client_id": client}
    return {
        **row,
        "timestamp": f"{DAY}{second:06.3f}Z",
        "message_type": None,
        "message": None,
        "event_attributes": about,
        **more,
    }


def bulk(lines: Sequence[Line]) -> str:
    index = ("ubi_events" if "action_name" in line else "ubi_queries" for line in lines)
    return "".join(
        json.dumps({"index": {"_index": name, "_id": "x"}}) + "\n" + json.dumps(line) + "\n"
        for name, line in zip(index, lines, strict=True)
    )


def plain(lines: Sequence[Line]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def imported(tmp_path: Path, lines: Sequence[Line] | str, drop_bad: bool = False, **options: Any) -> ImportReport:
    path = tmp_path / "log.ndjson"
    path.write_text(lines if isinstance(lines, str) else bulk(lines))
    return import_folder("ubi", path, tmp_path / "out", ImportOptions(**options), drop_bad=drop_bad)


def table(tmp_path: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(tmp_path / "out" / f"{name}.parquet")


def at(second: float) -> datetime:
    return datetime(2025, 3, 3, 10, 0, int(second), round(second % 1 * 1e6), tzinfo=UTC)


LINES = [
    query("q1", "red lamp", 1, query_response_id="r1", query_response_hit_ids=["a", "b", "c"]),
    event("impression", "b", "q1", 2, ordinal=2),
    event("impression", "a", "q1", 2, ordinal=1),
    event("click", "b", "q1", 4.5, about={"description": "Lamp B"}),
    event("click", "a", "q1", 3),
    event("click", "b", "q1", 5),
    event("purchase", "b", "q1", 6),
    query("q2", "mug", 10, client="c2"),
    event("impression", "e", "q2", 11, client="c2", ordinal=2),
    event("impression", "d", "q2", 12, client="c2", ordinal=1),
    event("click", "d", None, 20, client="c2"),
    event("view", "a", "", 21, client="c2", user_id=""),
    event("page_exit", None, "q2", 30, client="c2"),
    event("impression", "z", None, 31, client="c2"),
]


def test_queries_and_events(tmp_path: Path) -> None:
    report = imported(tmp_path, LINES)
    assert report.written == report.read == {"items": 5, "users": 2, "interactions": 2, "searches": 2}
    assert table(tmp_path, "searches").rows() == [
        ("q1", "c1", "red lamp", at(1), ["a", "b"], ["a", "b", "c"]),
        ("q2", "c2", "mug", at(10), [], ["d", "e"]),
    ]
    assert table(tmp_path, "interactions").rows() == [("c2", "d", at(20), "click"), ("c2", "a", at(21), "view")]
    assert table(tmp_path, "items").rows() == [("a", "a"), ("b", "Lamp B"), ("c", "c"), ("d", "d"), ("e", "e")]
    assert report.notes == (
        "28 lines: 2 queries, 12 events, 14 bulk actions",
        "of the events: 4 clicked in a search, 4 shown by a search, 2 interaction, 0 search",
        "events read as interactions: click 1, view 1",
        "no items file: items are the ids seen in queries and events",
        "no users file: users are the ids seen in queries and events",
        "titles: 1 item goes by the description of events, 4 by id",
    )
    assert became(raw_of("ubi", tmp_path / "log.ndjson")) == {
        "merged into their search as clicks (click 3, purchase 1)": 4,
        "merged into their search as items shown (impression 4)": 4,
        "left out as events without an item (page_exit 1)": 1,
        "left out as impressions outside a search (impression 1)": 1,
        "left out as bulk actions, which name an index": 14,
    }
    assert load_log(tmp_path / "out").searches["clicked"].to_list() == [[1, 2], []]


def test_every_shape_gives_the_same_folder(tmp_path: Path) -> None:
    """Bulk actions or none; queries and events apart, packed; wrapped as elasticdump does; in any order."""
    imported(tmp_path, LINES)
    shapes: dict[str, dict[str, str | bytes]] = {
        "plain": {"log.jsonl": plain(LINES)},
        "apart": {
            "queries.json": plain([x for x in LINES if "user_query" in x]),
            "events.json": plain([x for x in LINES if "action_name" in x]),
        },
        "packed": {"log.ndjson.gz": gzip.compress(bulk(LINES).encode())},
        "wrapped": {
            "dump.json": plain([{"_index": "any", "_id": "1", "_score": 1, "_source": line} for line in LINES])
        },
        "blank lines": {"log.ndjson": bulk(LINES).replace("\n{", "\n\n{")},
        "carriage returns": {"log.ndjson": bulk(LINES).replace("\n", "\r\n")},
    }
    for name, files in shapes.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_bytes(text if isinstance(text, bytes) else text.encode())
        import_folder("ubi", tmp_path / name, tmp_path / "other")
        for made in ("items", "interactions", "searches", "users"):
            other = pl.read_parquet(tmp_path / "other" / f"{made}.parquet")
            assert other.sort(other.columns[0]).equals(table(tmp_path, made).sort(other.columns[0])), (name, made)


def test_files_follow_one_another(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.ndjson").write_text(
        plain([event("click", "x"), event("click", "y"), query("q1", "late", 9)])
    )
    (tmp_path / "logs" / "b.ndjson").write_text(plain([query("q2", "early", 1)]))
    import_folder("ubi", tmp_path / "logs", tmp_path / "out")
    assert table(tmp_path, "searches")["search_id"].to_list() == ["q1", "q2"]


def test_one_person_is_one_user(tmp_path: Path) -> None:
    """A client of one user is that user throughout; a client of two is a user of its own where nobody is named."""
    lines = [
        query("q1", "lamp", 1, client="phone"),
        event("click", "a", None, 2, client="phone"),
        event("click", "a", None, 3, client="phone", user_id="ann"),
        event("click", "a", None, 4, client="desk", user_id="ann"),
        event("click", "a", None, 5, client="shared", user_id="ann"),
        event("click", "a", None, 6, client="shared", user_id="bob"),
        event("click", "a", None, 7, client="shared", user_id=" "),
        query("q2", "mug", 8, client="shared"),
        event("click", "a", "q2", 9, client="shared", user_id="bob"),
        query("q3", "rug", 10, client=None),
        event("click", "a", "q3", 11, client="tablet"),
        query("q4", "bed", 12, client="tablet", user_id="eve"),
    ]
    imported(tmp_path, lines)
    assert table(tmp_path, "interactions")["user_id"].to_list() == ["ann", "ann", "ann", "ann", "bob", "shared"]
    assert table(tmp_path, "searches").select("search_id", "user_id").rows() == [
        ("q1", "ann"),
        ("q2", "bob"),
        ("q3", "eve"),
        ("q4", "eve"),
    ]


def test_what_belongs_to_no_search(tmp_path: Path) -> None:
    """A query without words is no search; a click whose query has no row is an interaction."""
    lines = [
        query("q1", " ", 1),
        event("click", "a", "q1", 2),
        event("click", "b", "gone", 3),
        event("impression", "b", "q1", 3),
    ]
    report = imported(tmp_path, lines)
    assert table(tmp_path, "interactions").select("item_id", "event").rows() == [("a", "click"), ("b", "click")]
    assert table(tmp_path, "searches").is_empty()
    assert "events read as interactions: click 2" in report.notes
    counts = became(raw_of("ubi", tmp_path / "log.ndjson"))
    assert counts["left out as queries without words"] == 1
    assert counts["left out as impressions outside a search (impression 1)"] == 1


def test_rows_of_one_query(tmp_path: Path) -> None:
    """Rows that repeat an id and its words are one search; other words under that id are another.

    An id is not needed.
    """
    lines = [
        query("q1", "toner", 3, query_response_hit_ids=[]),
        query("q1", "ton", 2, query_response_hit_ids=["x"]),
        query("q1", "toner", 4, query_response_hit_ids=["a", "b"]),
        query("q1", "toner", 5, query_response_hit_ids=["b", "c"]),
        event("click", "a", "q1", 6),
        query(None, "lost", 7),
        event("click", "a", None, 8),
    ]
    imported(tmp_path, lines)
    assert table(tmp_path, "searches").select("search_id", "query", "timestamp", "clicked", "shown").rows() == [
        ("q1#2", "toner", at(3), [], ["a", "b", "c"]),
        ("q1", "ton", at(2), ["a"], ["x"]),
        ("log.ndjson 12", "lost", at(7), [], None),
    ]
    assert became(raw_of("ubi", tmp_path / "log.ndjson"))["merged into the search of the same id and words"] == 2
    assert table(tmp_path, "interactions")["item_id"].to_list() == ["a"]


def test_events_that_say_what_was_searched_for(tmp_path: Path) -> None:
    """message_type QUERY: the message is the query, where no row is."""
    lines = [
        event("on_search", None, "q1", 2, message_type="QUERY", message="lamp"),
        event("on_search", None, "q1", 1, message_type="QUERY", message="lamp"),
        event("click", "a", "q1", 3),
        query("q2", "mug", 4),
        event("on_search", None, "q2", 5, message_type="QUERY", message="mug"),
        event("on_search", None, "q3", 6, message_type="QUERY", message=""),
    ]
    report = imported(tmp_path, lines)
    found = table(tmp_path, "searches").select("search_id", "query", "timestamp", "clicked").rows()
    assert found == [("q1", "lamp", at(1), ["a"]), ("q2", "mug", at(4), [])]
    assert report.notes[1] == "of the events: 1 clicked in a search, 0 shown by a search, 0 interaction, 2 search"
    counts = became(raw_of("ubi", tmp_path / "log.ndjson"))
    assert counts["merged into the query whose words they repeat (on_search 1)"] == 1
    assert counts["left out as searches without words (on_search 1)"] == 1
    assert counts["merged into the search of the same id and words"] == 1
    imported(tmp_path, lines, mapping={"actions.on_search": "none"})
    assert table(tmp_path, "searches")["search_id"].to_list() == ["q2"]


def test_what_an_action_means(tmp_path: Path) -> None:
    lines = [
        query("q1", "lamp", 1),
        event("product_hover", "a", "q1", 2),
        event("type_filter", "f", "q1", 3),
        event("global_tap", "(1, 2)", "q1", 3, field="click_location"),
        event("like", "b", "q1", 4),
        event("like", "b", None, 5),
        event("Purchase", "c", "q1", 6),
    ]
    imported(tmp_path, lines)
    assert table(tmp_path, "searches")["clicked"].to_list() == [["b", "c"]]
    assert table(tmp_path, "interactions").select("item_id", "event").rows() == [("b", "like")]
    counts = became(raw_of("ubi", tmp_path / "log.ndjson"))
    assert counts["left out as events without an item (global_tap 1)"] == 1
    assert counts["left out as events that say nothing of an item (product_hover 1, type_filter 1)"] == 2
    uses = {
        "actions.purchase": "interactions",
        "actions.like": "none",
        "actions.product_hover": "shown",
        "actions.type_filter": "clicked",
    }
    imported(tmp_path, lines, mapping=uses)
    assert table(tmp_path, "searches").select("clicked", "shown").rows() == [(["f"], ["a"])]
    assert table(tmp_path, "interactions").select("item_id", "event").rows() == [("c", "Purchase")]


def test_times_and_ids_of_every_kind(tmp_path: Path) -> None:
    lines = [
        query("q1", "lamp", timestamp="2025-03-03T10:00:01.5+02:00"),
        query("q2", "mug", timestamp="2025-03-03T10:00:01"),
        query("q3", "rug", timestamp=None),
        event("click", 1, "q3", timestamp=1740996003250),
        event("click", "1.0", None, timestamp="2025-03-03T10:00:05.123456+0000", ordinal="x"),
        event("click", 12345678901234567890, None, timestamp=1740996006000),
    ]
    imported(tmp_path, lines)
    times = [datetime(2025, 3, 3, 8, 0, 1, 500_000, tzinfo=UTC), at(1), at(3.25)]
    assert table(tmp_path, "searches").select("timestamp", "clicked").rows() == list(
        zip(times, [[], [], ["1"]], strict=True)
    )
    assert table(tmp_path, "interactions").select("item_id", "timestamp").rows() == [
        ("1.0", at(5.123456)),
        ("12345678901234567890", at(6)),
    ]


def test_items_and_users_from_files(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "log.ndjson").write_text(bulk(LINES))
    (folder / "items.csv").write_text("item_id,title,price\na,Lamp A,3\nb,,4\nq,Quilt,5\n")
    (folder / "users.jsonl").write_text('{"user_id": "c1", "age": 30}\n')
    report = import_folder("ubi", folder, tmp_path / "out")
    assert table(tmp_path, "items").rows() == [
        ("a", "Lamp A", "3"),
        ("b", "Lamp B", "4"),
        ("q", "Quilt", "5"),
        ("d", "d", None),
    ]
    assert table(tmp_path, "users").rows() == [("c1", 30), ("c2", None)]
    assert report.notes[-1] == "titles: 1 item goes by the description of events, 1 by id"
    (folder / "items.csv").rename(folder / "shop.csv")
    with pytest.raises(DataError, match=r"missing column 'item_id'.*--map items.item_id=COLUMN"):
        (folder / "shop.csv").write_text("sku,name\na,Lamp\n")
        import_folder("ubi", folder, tmp_path / "out", ImportOptions(mapping={"items": "shop.csv"}))
    import_folder(
        "ubi",
        folder / "log.ndjson",
        tmp_path / "out",
        ImportOptions(mapping={"items": "shop.csv", "items.item_id": "sku", "items.title": "name"}),
    )
    assert table(tmp_path, "items").head(2).rows() == [("a", "Lamp"), ("b", "Lamp B")]
    assert table(tmp_path, "users").height == 2


def test_an_event_that_was_sent_twice(tmp_path: Path) -> None:
    report = imported(
        tmp_path, [event("click", "a", None, 1), event("click", "a", None, 1), event("click", "a", None, 2)]
    )
    assert report.written["interactions"] == 2
    assert became(raw_of("ubi", tmp_path / "log.ndjson"))["merged into the interaction that they repeat"] == 1


def test_rejects_name_the_line(tmp_path: Path) -> None:
    lines = [
        query("q1", "lamp", 1),
        event("click", "a", "q1", 2),
        event("click", "a", None, timestamp="soon"),
        {"anything": 1},
        event("click", "b", None, client=None),
        event(None, "b", None),
        query("q2", "rug", timestamp="never"),
    ]
    report = imported(tmp_path, plain(lines), drop_bad=True)
    assert report.rejects.rows() == [
        ("log.ndjson", 4, "neither query nor event", None),
        ("log.ndjson", 3, "no valid time", "soon"),
        ("log.ndjson", 5, "unknown user", None),
        ("log.ndjson", 6, "empty event", None),
        ("log.ndjson", 7, "no valid time", "never"),
    ]
    assert report.written["searches"] == 1 and report.written["interactions"] == 0
    with pytest.raises(DataError, match=r"5 rows break a rule.*log\.ndjson row 4: neither query nor event"):
        imported(tmp_path, plain(lines))


GOOD = plain(LINES[:2])
FAULTS = [
    (GOOD + '{"query_id": "a"\n' + GOOD, r"log\.ndjson row 3: broken JSON line \(.\"query_id\": \"a\"\)"),
    (GOOD + "[1]\n", r"log\.ndjson row 3: JSON line is not an object \(\[1\]\)"),
    (
        GOOD + json.dumps(event("click") | {"event_attributes": ["x"]}) + "\n",
        r"log\.ndjson row 3: event_attributes has another shape \(\[\"x\"\]\)",
    ),
    (
        GOOD + json.dumps({"_source": event("click") | {"event_attributes": {"object": "x"}}}) + "\n",
        r"log\.ndjson row 3: _source\.event_attributes\.object has another shape \(\"x\"\)",
    ),
    ("", r"no queries and no events; where: .*log\.ndjson"),
]


@pytest.mark.parametrize(("text", "expected"), FAULTS, ids=[pattern[:30] for _, pattern in FAULTS])
def test_one_clear_error(tmp_path: Path, text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    message = ""
    try:
        imported(tmp_path, text)
    except DataError as error:
        message = str(error)
    assert re.search(expected, message) and "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["log.ndjson"]


def test_a_packed_file_cut_short(tmp_path: Path) -> None:
    (tmp_path / "log.json.gz").write_bytes(gzip.compress(bulk(LINES).encode())[:-30])
    with pytest.raises(DataError, match=r"log\.json\.gz"):
        import_folder("ubi", tmp_path, tmp_path / "other" / "out")


@pytest.mark.parametrize(
    ("mapping", "error", "expected"),
    [
        (
            {"actions.click": "chosen"},
            SettingsError,
            "unknown use of 'actions.click'.*got: chosen; expected: clicked or interactions or shown",
        ),
        ({"interactions.user_id": "x"}, SettingsError, "unknown mapping 'interactions.user_id'"),
        ({"items": "gone.csv"}, DataError, r"missing file; where: .*gone\.csv"),
        ({"users.user_id": "x"}, DataError, "missing file.*--map users=FILE"),
    ],
)
def test_mappings_of_nothing(tmp_path: Path, mapping: dict[str, str], error: type[SearecError], expected: str) -> None:
    with pytest.raises(error, match=expected):
        imported(tmp_path, LINES, mapping=mapping)


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder.*expected: JSON lines"):
        import_folder("ubi", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "readme.txt").touch()
    with pytest.raises(DataError, match=r"no UBI files.*got: readme\.txt; expected: .*\.ndjson"):
        import_folder("ubi", tmp_path / "logs", tmp_path / "out")


def test_what_is_kept_aside_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    imported(tmp_path, LINES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.ndjson", "out"]


def test_the_command(searec: Any, tmp_path: Path) -> None:
    (tmp_path / "log.ndjson").write_text(bulk(LINES))
    code, told, _ = searec("import", "ubi", tmp_path / "log.ndjson", tmp_path / "out", "--map", "actions.view=none")
    assert (
        code == 0
        and "note: 28 lines: 2 queries, 12 events, 14 bulk actions" in told
        and "interactions: 1 of 1 rows kept" in told
    )
    assert searec("check", tmp_path / "out")[0] == 0


def test_the_published_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its every event is accounted for; figures as docs/formats.md gives them."""
    if not SAMPLE.is_file():
        pytest.skip(f"the sample is not there: {SAMPLE}")
    accounts: list[pl.DataFrame] = []
    counted = ubi_events.account
    monkeypatch.setattr(ubi_events, "account", lambda events: accounts.append(counted(events)) or accounts[-1])
    report = import_folder("ubi", SAMPLE, tmp_path / "out")
    assert report.rejects.is_empty()
    assert report.written == report.read == {"items": 1168, "users": 230, "interactions": 45, "searches": 770}
    assert report.notes[0] == "7,842 lines: 473 queries, 3,448 events, 3,921 bulk actions"
    documents = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()[1::2]]
    events = [row for row in documents if "action_name" in row]
    account = accounts[0]
    assert account["len"].sum() == len(events) == 3448
    by_action = pl.DataFrame({"event": [row["action_name"] for row in events]})["event"].value_counts(name="len")
    assert (
        account.group_by("event")
        .agg(pl.col("len").sum())
        .sort("event")
        .equals(by_action.cast({"len": account.schema["len"]}).sort("event"))
    )
    assert dict(account.group_by("became").agg(pl.col("len").sum()).iter_rows()) == {
        "clicked in a search": 498,
        "shown by a search": 1979,
        "interaction": 45,
        "search": 496,
        "repeats the words of its query": 92,
        "search without words": 4,
        "no item": 300,
        "shown outside a search": 20,
        "left out": 14,
    }
    searches = table(tmp_path, "searches")
    words = {
        (row["query_id"], row["user_query"])
        for row in documents
        if "action_name" not in row and row["user_query"].strip()
    }
    assert {
        tuple(row)
        for row in searches.with_columns(pl.col("search_id").str.replace(r"#\d+$", ""))
        .select("search_id", "query")
        .rows()
    } >= words
    clicked = searches.explode("clicked").drop_nulls("clicked").select(pl.col("search_id"), "clicked").rows()
    chosen = {
        (row["query_id"], row["event_attributes"]["object"]["object_id"])
        for row in events
        if row["action_name"] in ("click", "add_to_cart")
    }
    assert {pair for pair in chosen if pair[0] in set(searches["search_id"])} <= set(clicked)
    assert (searches["clicked"].list.len() > 0).sum() == 103
    assert load_log(tmp_path / "out").rejects.is_empty()
