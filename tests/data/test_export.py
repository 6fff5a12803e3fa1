"""A dataset folder in another format and back: every event returns, whatever its texts hold.

OUT is whole, or as it was.
"""

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from searec.data.exporting import export_folder
from searec.data.formats import EXPORTS, recbole_text
from searec.data.importing import import_folder
from searec.data.log import load_log
from searec.data.schema import TABLES, TIME
from searec.errors import DataError, SettingsError, StorageError

Folder = Callable[..., Path]
FORMATS = sorted(EXPORTS.names())
HOSTILE = (
    *(
        "1.0",
        "NA",
        "null",
        "None",
        "[PAD]",
        '"',
        '"quoted"',
        'a "b" c',
        "\\",
        "\\t",
        "\\e",
        "\\N",
        "\\-",
        "\\s",
        "a\\",
        "tab\there",
        "two\nlines",
    ),
    *(
        "cr\rhere",
        "a b",
        " lead",
        "trail ",
        "a|b",
        "x:y",
        '{"index": {}}',
        "[1]",
        "\0",
        "é",
        "日本",
        "😀",
        "\u2028",
        "\x85",
        "\ufeff",
        "%20",
        "#2",
    ),
)
TEXT = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.sampled_from("ab1.0 \t\n\r\"'\\|,:NAes-\0é日😀\u2028"), max_size=6)
)
NAME = TEXT.filter(lambda text: text.strip() != "")
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2024, 1, 1), timezones=st.just(UTC))
LISTS = st.lists(TEXT, max_size=3)


@st.composite
def folders(draw: Any) -> dict[str, pl.DataFrame]:
    """The four tables, all rules obeyed."""
    items = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    users = draw(st.lists(NAME, min_size=1, max_size=3, unique=True))
    some = st.sampled_from(items)
    rows = st.tuples(
        st.sampled_from(users),
        some,
        TIMES,
        st.one_of(st.sampled_from(["click", "impression", "search", "page_exit"]), NAME),
    )
    clicked = st.lists(some, max_size=3, unique=True)
    asked = st.tuples(NAME, st.sampled_from(users), NAME, TIMES, clicked, st.none() | st.lists(NAME, max_size=3))
    return {
        "items": pl.DataFrame(
            {
                "item_id": items,
                "title": [draw(NAME) for _ in items],
                "description": [draw(st.none() | TEXT) for _ in items],
                "categories": [draw(st.none() | LISTS) for _ in items],
                "a:b\tc": [draw(st.none() | TEXT) for _ in items],
                "price": [draw(st.none() | st.floats(-1e6, 1e6)) for _ in items],
            },
            schema_overrides={
                "description": pl.String,
                "categories": pl.List(pl.String),
                "a:b\tc": pl.String,
                "price": pl.Float64,
            },
        ),
        "users": pl.DataFrame(
            {"user_id": users, "age": [draw(st.none() | TEXT) for _ in users]}, schema_overrides={"age": pl.String}
        ),
        "interactions": pl.DataFrame(
            draw(st.lists(rows, max_size=5, unique=True)),
            schema={"user_id": pl.String, "item_id": pl.String, "timestamp": TIME, "event": pl.String},
            orient="row",
        ),
        "searches": pl.DataFrame(
            draw(st.lists(asked, max_size=4, unique_by=lambda row: row[0])),
            schema={
                **dict.fromkeys(("search_id", "user_id", "query"), pl.String),
                **{"timestamp": TIME, "clicked": pl.List(pl.String), "shown": pl.List(pl.String)},
            },
            orient="row",
        ),
    }


def written(tables: dict[str, pl.DataFrame], folder: Path) -> Path:
    folder.mkdir()
    for name, frame in tables.items():
        frame.write_parquet(folder / f"{name}.parquet")
    load_log(folder)
    return folder


def same(first: Path, second: Path) -> None:
    """The tables of two folders are the same.

    Interactions in any order, a column of nulls alone may be absent or of no type.
    """
    for table in TABLES:
        left, right = (pl.read_parquet(folder / table.file) for folder in (first, second))
        right = right.cast({name: left.schema[name] for name, dtype in right.schema.items() if dtype == pl.Null})
        gone = [name for name in left.columns if name not in right.columns]
        assert all(left[name].is_null().all() for name in gone)
        ordered = table.name != "interactions"
        assert_frame_equal(left.drop(gone), right, check_row_order=ordered, rel_tol=1e-15)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=15, deadline=None)
@given(tables=folders())
def test_every_event_returns(
    tmp_path_factory: pytest.TempPathFactory, format: str, tables: dict[str, pl.DataFrame]
) -> None:
    assume(tables["interactions"].height + tables["searches"].height)  # an import of no event is refused
    room = tmp_path_factory.mktemp("round")
    data = written(tables, room / "data")
    counts = export_folder(format, data, room / "out")
    assert counts == {name: frame.height for name, frame in tables.items()}
    report = import_folder(format, room / "out", room / "back")
    assert report.rejects.is_empty()
    same(data, room / "back")


def test_an_id_that_is_a_byte_order_mark_returns() -> None:
    ids = pl.Series(["\ufeff", "\ufeffx", "a"])
    fields = pl.select(recbole_text.written(pl.lit(ids))).to_series()
    assert not fields.str.starts_with("\ufeff").any(), "a line of it alone counts as empty"
    assert pl.select(recbole_text.read(pl.lit(fields))).to_series().to_list() == ids.to_list()


@settings(max_examples=15, deadline=None)
@given(tables=folders())
def test_recbole_can_read_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, tables: dict[str, pl.DataFrame]
) -> None:
    """By the rules of pandas' Python engine, which RecBole reads with: csv, strict; some words are gaps.

    A blank parts a list.
    """
    room = tmp_path_factory.mktemp("read")
    export_folder("recbole", written(tables, room / "data"), room / "shop")
    for suffix, table, key in (
        (".inter", "interactions", "item_id"),
        (".item", "items", "title"),
        (".user", "users", "user_id"),
    ):
        with (room / "shop" / f"shop{suffix}").open(encoding="utf-8", newline="") as file:
            assert file.readline()[:-1].count(":") == len(tables[table].columns)
            file.seek(0)
            header, *rows = csv.reader(file, delimiter="\t", strict=True)
        assert {field.split(":")[1] for field in header} <= {"token", "token_seq", "float", "float_seq"}
        assert [len(row) for row in rows] == [len(header)] * tables[table].height
        place = [field.split(":")[0] for field in header].index(key)
        assert not {row[place] for row in rows} & {"", "NA", "null", "None", "[PAD]"}
        assert len({row[place] for row in rows}) == tables[table][key].n_unique()
        if table == "items":
            lists = [row[header.index("categories:token_seq")].split(" ") for row in rows]
            assert [len(made) for made in lists] == [
                max(len(given or []), 1) for given in tables["items"]["categories"].to_list()
            ]


def shop(make_folder: Folder) -> Path:
    """Two items, two users, three interactions (not by time), three searches."""
    return make_folder(
        items={
            "i1": {"title": "Red lamp", "categories": ["Home", "Desk lamps"]},
            "i2": {"title": 'Mug "big"', "categories": ["Home"]},
        },
        users=["u1", "u2"],
        feed=[("u1", "i2", 60.25), ("u2", "i1", 1.000001), ("u1", "i1", 30.0)],
        searches=[("u1", "lamp", 5.0, ["i1", "i2"]), ("u2", "mug", 6.5, []), ("u2", "rug", 7.0, ["i2"])],
    )


@pytest.mark.parametrize("format", FORMATS)
def test_interactions_of_any_name_return(make_folder: Folder, tmp_path: Path, format: str) -> None:
    """Actions that UBI logs use for something else, too."""
    folder = shop(make_folder)
    names = pl.Series("event", ["impression", "search", "page_exit"])
    pl.read_parquet(folder / "interactions.parquet").with_columns(names).write_parquet(folder / "interactions.parquet")
    export_folder(format, folder, tmp_path / "out")
    import_folder(format, tmp_path / "out", tmp_path / "back")
    same(folder, tmp_path / "back")


def test_recbole_files(make_folder: Folder, tmp_path: Path) -> None:
    export_folder("recbole", shop(make_folder), tmp_path / "ml")
    assert {path.name: path.read_text() for path in (tmp_path / "ml").iterdir()} == {
        "ml.inter": "user_id:token\titem_id:token\ttimestamp:float\tevent:token\n"
        "u2\ti1\t1682899201.000001\tclick\nu1\ti1\t1682899230.000000\tclick\nu1\ti2\t1682899260.250000\tclick\n",
        "ml.item": (
            'item_id:token\ttitle:token\tcategories:token_seq\ni1\tRed lamp\tHome Desk\\slamps\ni2\tMug "big"\tHome\n'
        ),
        "ml.user": "user_id:token\nu1\nu2\n",
        "ml.search": (
            "search_id:token\tuser_id:token\tquery:token\ttimestamp:float\tclicked:token_seq\n"
            "s0\tu1\tlamp\t1682899205.000000\ti1 i2\ns1\tu2\tmug\t1682899206.500000\t\\-\n"
            "s2\tu2\trug\t1682899207.000000\ti2\n"
        ),
    }


def test_ubi_lines(make_folder: Folder, tmp_path: Path) -> None:
    folder = shop(make_folder)
    searches = pl.read_parquet(folder / "searches.parquet").with_columns(
        shown=pl.Series([["i2", "i1"], None, []], dtype=pl.List(pl.String))
    )
    searches.write_parquet(folder / "searches.parquet")
    export_folder("ubi", folder, tmp_path / "out")
    text = (tmp_path / "out" / "ubi_queries_events.ndjson").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n")
    assert lines[0::2] == [{"index": {"_index": "ubi_queries"}}] * 3 + [{"index": {"_index": "ubi_events"}}] * 6
    first, second, third, *events = lines[1::2]
    assert first == {
        "application": "searec",
        "query_id": "s0",
        "client_id": "u1",
        "user_id": "u1",
        "user_query": "lamp",
        "timestamp": "2023-05-01T00:00:05.000000Z",
        "query_response_hit_ids": ["i2", "i1"],
    }
    assert "query_response_hit_ids" not in second and third["query_response_hit_ids"] == []
    found = [(row["action_name"], row["query_id"], row["user_id"], row["timestamp"]) for row in events[:3]]
    assert found == [("click", "s0", "u1", first["timestamp"])] * 2 + [("click", "s2", "u2", third["timestamp"])]
    at = [
        (row["event_attributes"]["object"]["object_id"], row["event_attributes"]["position"]["ordinal"])
        for row in events
    ]
    assert at == [("i1", 2), ("i2", 1), ("i2", 0), ("i2", 0), ("i1", 0), ("i1", 0)]
    assert all("query_id" not in row for row in events[3:])
    assert [row["timestamp"] for row in events[3:]] == [
        f"2023-05-01T00:0{t}Z" for t in ("1:00.250000", "0:01.000001", "0:30.000000")
    ]
    items = [json.loads(line) for line in (tmp_path / "out" / "items.ndjson").read_text().splitlines()]
    assert items[0] == {"item_id": "i1", "title": "Red lamp", "categories": ["Home", "Desk lamps"]}


@pytest.mark.parametrize("format", FORMATS)
def test_out_is_whole_or_as_it_was(
    make_folder: Folder, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = shop(make_folder), tmp_path / "room" / "out"
    export_folder(format, data, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    bigger = make_folder(items={"i1": "t"}, users=["u"], feed=[("u", "i1", 1.0)])

    def full(*given: Any, **named: Any) -> None:
        raise pl.exceptions.ComputeError("No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(pl.LazyFrame, "sink_csv", full)
        with pytest.raises(StorageError, match="the disk is full"):
            export_folder(format, bigger, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    export_folder(format, bigger, out)
    assert {path.name for path in out.iterdir()} == set(before)
    assert all((out / name).read_bytes() != before[name] for name in before)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("format", FORMATS)
def test_out_that_holds_something_else(make_folder: Folder, tmp_path: Path, format: str) -> None:
    data, out = shop(make_folder), tmp_path / "out"
    export_folder(format, data, out)
    for change in ((out / "notes.txt").touch, lambda: [(out / "notes.txt").unlink(), next(out.glob("*")).unlink()]):
        change()
        before = sorted(path.name for path in out.iterdir())
        with pytest.raises(DataError, match=r"OUT holds files that are not such an export.*name a new folder"):
            export_folder(format, data, out)
        assert sorted(path.name for path in out.iterdir()) == before
    for inside in (data, data.parent):
        with pytest.raises(DataError, match="OUT would replace the source"):
            export_folder(format, data, inside)


def test_what_cannot_be_exported(make_folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown format 'recbol'; .*did you mean 'recbole'"):
        export_folder("recbol", tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="no such dataset folder"):
        export_folder("ubi", tmp_path / "nowhere", tmp_path / "out")
    bad = make_folder(items={"i1": "t"}, users=["u"], feed=[("u", "i2", 1.0)])
    with pytest.raises(DataError, match=r"interactions\.parquet row 1: unknown item \(i2\)"):
        export_folder("ubi", bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_the_command(searec: Any, make_folder: Folder, tmp_path: Path, format: str) -> None:
    data, out = shop(make_folder), tmp_path / "out"
    code, told, _ = searec("export", format, data, out)
    assert (code, told) == (0, f"items: 2 rows\nusers: 2 rows\ninteractions: 3 rows\nsearches: 3 rows\nwrote {out}\n")
    code, told, _ = searec("export", format, data, out, "--json", "-")
    assert code == 0 and json.loads(told) == {"items": 2, "users": 2, "interactions": 3, "searches": 3}
    code, told, _ = searec("import", format, out, tmp_path / "back")
    assert code == 0 and "interactions: 3 of 3 rows kept" in told and "searches: 3 of 3 rows kept" in told
    same(data, tmp_path / "back")


@pytest.mark.parametrize("format", FORMATS)
def test_the_command_joins_what_was_reported(searec: Any, make_folder: Folder, tmp_path: Path, format: str) -> None:
    from searec.store.events import Event
    from searec.store.store import Store

    place = f"sqlite:///{tmp_path / 'events.db'}"
    with Store(place) as store:
        for name, item in (("e1", "i2"), ("e2", "no")):
            store.events.append([Event(event_id=name, user="u1", kind="cart", time=1_690_000_000_000_001, item=item)])
    code, told, _ = searec("export", format, shop(make_folder), tmp_path / "out", "--store", place)
    assert (
        code == 0
        and "interactions: 4 rows" in told
        and "events: 2 new, up to number 2" in told
        and "1 rules were broken" in told
    )
    assert searec("import", format, tmp_path / "out", tmp_path / "back")[0] == 0
    back = pl.read_parquet(tmp_path / "back" / "interactions.parquet").filter(event="cart")
    assert back.select("user_id", "item_id", pl.col("timestamp").dt.epoch("us")).rows() == [
        ("u1", "i2", 1_690_000_000_000_001)
    ]


def test_a_dataset_folder_needs_a_store(
    searec: Any, make_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEAREC_STORE", raising=False)
    code, _, told = searec("export", "dataset", shop(make_folder), tmp_path / "out")
    assert code == 1 and "no store is named" in told and "SEAREC_STORE" in told
    code, _, told = searec("export", "ubbi", tmp_path, tmp_path / "out")
    assert code == 1 and "expected: dataset or recbole or ubi; what to do: did you mean 'ubi'" in told
