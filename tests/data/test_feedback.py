"""Negative feedback is neither history nor target and hides the item; neutral events change nothing but counts."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from searec.config import configure
from searec.data.batch import Batcher
from searec.data.check import check, render
from searec.data.dataset import FOREVER, Dataset, load
from searec.data.events import FILE
from searec.data.feedback import disliked_items, excluded_items, train_weights
from searec.data.formats.base import ImportOptions
from searec.data.importing import import_folder
from searec.data.leakage.checks import data_leaks, request_leaks
from searec.data.log import load_log, open_folder, read_log
from searec.data.split import NEVER, Split, check_no_leak, requests_at
from searec.errors import DataError, LeakError
from searec.evaluation.protocol import full_ranks
from searec.models.itemknn import ItemKNN
from searec.models.popular import Popular

Folder = Callable[..., Path]
Feed = Sequence[tuple[Any, ...]]

FEED: Feed = [
    ("u1", "a", 1, "click"),
    ("u1", "b", 2, "impression"),
    ("u1", "c", 3, "Not Interested"),
    ("u1", "d", 4, "purchase"),
    ("u1", "e", 5, "click"),
    ("u1", "c", 6, "click"),
    ("u1", "a", 7, "dislike"),
    ("u1", "f", 8, "click"),
    ("u1", "f", 9, "hide"),
    ("u2", "a", 1, "like"),
    ("u2", "c", 2, "click"),
]
ITEMS = {letter: f"thing {letter}" for letter in "abcdefg"}


def folder_of(make_folder: Folder, feed: Feed = FEED, **tables: Any) -> Path:
    return make_folder(items=ITEMS, users=["u1", "u2", "u3"], feed=feed, **tables)


@pytest.fixture
def data(make_folder: Folder) -> Dataset:
    return load(folder_of(make_folder))


def named(data: Dataset, items: np.ndarray) -> str:
    return "".join(data.items.to_external(np.asarray(items)[np.asarray(items) > 0]))


def seconds(data: Dataset, times: np.ndarray) -> list[int]:
    first = int(data.interactions.time.min()) - 1_000_000
    return [-1 if time == FOREVER else (int(time) - first) // 1_000_000 for time in times]


def test_the_arrays_hold_each_kind_of_feedback_once(data: Dataset) -> None:
    assert named(data, data.interactions.item) == "adecfac"
    assert data.interactions.weight.tolist() == [1, 3, 1, 1, 1, 2, 1]
    assert data.event_names == ("click", "like", "purchase")
    assert named(data, data.click_history.item) == "adecfac"
    assert data.click_history.weight.tolist() == [1, 3, 1, 1, 1, 2, 1]
    assert data.dislikes.offsets.tolist() == [0, 0, 3, 3, 3]
    assert named(data, data.dislikes.item) == "caf"
    assert seconds(data, data.dislikes.time) == [3, 7, 9]
    assert seconds(data, data.dislikes.until) == [6, -1, -1], "c was chosen again"


def test_a_disliked_item_is_no_target_and_no_history(data: Dataset) -> None:
    split = Split(data)
    test, val = split.held_out("recommend", "test"), split.held_out("recommend", "val")
    assert (named(data, test.target), named(data, val.target)) == ("f", "c")
    batch = Batcher(data, Popular(Popular.Config(), data.sizes).needs).batch(test)
    assert len(batch) == 1
    assert named(data, data.interactions.item[data.interactions.offsets[1] : test.feed_end[0]]) == "adec"
    assert named(data, split.train("recommend").target) == "dec", "c of the second user"


def test_only_earlier_feedback_hides_an_item(data: Dataset) -> None:
    hidden = {}
    first = int(data.interactions.time.min())
    for second in (3, 4, 6, 7, 8, 9, 10):
        requests = requests_at(data, "recommend", np.array([1]), np.array([first + (second - 1) * 1_000_000]))
        hidden[second] = named(data, disliked_items(data, requests)[0])
    assert hidden == {3: "", 4: "c", 6: "c", 7: "", 8: "a", 9: "a", 10: "af"}
    last = requests_at(data, "recommend", np.array([1, 2, 3]), np.full(3, NEVER))
    assert [named(data, np.unique(row)) for row in excluded_items(data, last)] == ["acdef", "ac", ""]


def test_lists_of_the_full_protocol_leave_it_out(make_folder: Folder) -> None:
    liked = [(f"u{user}", "a", user, "click") for user in (2, 3)]
    feed = [("u1", "b", 1), ("u1", "c", 2), ("u1", "d", 3), ("u1", "e", 5), *liked]
    ranks = []
    for more in ([], [("u1", "a", 4, "dislike")], [("u1", "a", 6, "dislike")], [("u1", "e", 4, "dislike")]):
        split = Split(load(folder_of(make_folder, [*feed, *more])))
        model = Popular(Popular.Config(), split.data.sizes)
        model.fit(split.data, split)
        rank, top = full_ranks(model, split, split.held_out("recommend", "test"), 3)
        ranks.append((float(rank[0]), "a" in named(split.data, top[0])))
    assert ranks == [(3.0, True), (2.0, False), (3.0, True), (3.0, True)], "a target stays, whatever came before"


def test_neutral_events_change_counts_alone(make_folder: Folder) -> None:
    clicks = [event for event in FEED if event[3] != "impression"]
    more = [("u1", "g", second, kind) for second, kind in ((3, "hover"), (20, "impression"))]
    one, other = load(folder_of(make_folder, clicks)), load(folder_of(make_folder, [*FEED, *more]))
    for stream in ("interactions", "click_history", "dislikes"):
        for field in dataclasses.fields(getattr(one, stream)):
            assert np.array_equal(*(getattr(getattr(data, stream), field.name) for data in (one, other)))
    assert one.event_names == other.event_names


def test_the_audit_knows_negative_feedback(data: Dataset) -> None:
    split = Split(data)
    assert data_leaks(split).errors == ()
    requests = split.held_out("recommend", "test")
    late = dataclasses.replace(requests, dislike_end=requests.dislike_end + 1)
    with pytest.raises(LeakError, match="dislikes"):
        check_no_leak(data, late)
    [finding] = request_leaks(data, late, "test requests")
    assert "dislikes" in finding.what and "'f'" in str(finding.rows[0])


def test_events_of_one_weight_count_as_clicks(make_folder: Folder) -> None:
    users, items = ("u1", "u2", "u3"), "aabcabdceadb"
    arrays = []
    for kind in ("click", "rating", "purchase"):
        feed = [(users[n % 3], item, n, kind) for n, item in enumerate(items)]
        split = Split(load(folder_of(make_folder, feed, searches=[("u1", "thing a", 1.0, ["g"])])), min_events=99)
        popular, itemknn = Popular(Popular.Config(), split.data.sizes), ItemKNN(ItemKNN.Config(), split.data.sizes)
        for model in (popular, itemknn):
            model.fit(split.data, split)
        assert train_weights(split, ("recommend",)).tolist() == [1.0] * 13
        arrays.append((popular.weighted.tolist(), itemknn.values.tolist()))
    assert arrays[0] == arrays[1] == arrays[2]


def test_weights_count_in_popular_and_itemknn(make_folder: Folder) -> None:
    feed = [("u1", "a", 1), ("u1", "a", 2, "purchase"), ("u1", "b", 3), ("u2", "a", 1), ("u2", "b", 2, "cart")]
    data = load(folder_of(make_folder, [*feed, ("u3", "b", 1)], searches=[("u3", "thing c", 2.0, ["c"])]))
    split = Split(data, min_events=99)
    popular = Popular(Popular.Config(), data.sizes)
    popular.fit(data, split)
    assert popular.weighted[0, 1:4].tolist() == [5.0, 4.0, 1.0]
    assert popular.counts[0, 1:4].tolist() == [3.0, 3.0, 1.0]
    itemknn = ItemKNN(
        configure(ItemKNN.Config, {**ItemKNN.presets["paper"], "shrink": 0.5, "weighted": True}), data.sizes
    )
    itemknn.fit(data, split)
    matrix = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])  # the largest weight of each pair
    length = np.sqrt((matrix**2).sum(axis=0))
    expected = matrix.T @ matrix / (np.outer(length, length) + 0.5)
    np.fill_diagonal(expected, 0)
    rows = np.zeros((8, 8))
    for item in range(1, 8):
        start, end = int(itemknn.offsets[item]), int(itemknn.offsets[item + 1])
        rows[item, itemknn.columns[start:end].long().numpy()] = itemknn.values[start:end].numpy()
    assert np.allclose(rows[1:4, 1:4], expected) and rows.sum() == pytest.approx(expected.sum())
    assert itemknn.leaks(split).errors == ()


def test_a_column_of_weights_multiplies_the_table(make_folder: Folder) -> None:
    folder = folder_of(
        make_folder, [("u1", "a", 1, "purchase"), ("u1", "b", 2), ("u1", "c", 3, "hide"), ("u1", "d", 4)]
    )
    frame = pl.read_parquet(folder / "interactions.parquet")
    frame.with_columns(weight=pl.Series([0.5, 0.0, 2.0, 1.5])).write_parquet(folder / "interactions.parquet")
    assert load_log(folder).interactions["weight"].to_list() == [1.5, 0.0, -2.0, 1.5]
    data = load(folder)
    assert named(data, data.interactions.item) == "ad" and named(data, data.dislikes.item) == "c"
    for bad in (None, -1.0, float("nan"), float("inf")):
        frame.with_columns(weight=pl.Series([0.5, bad, 2.0, 1.5])).write_parquet(folder / "interactions.parquet")
        with pytest.raises(DataError, match=r"interactions\.parquet row 2: no valid weight"):
            load_log(folder)
    frame.with_columns(weight=pl.lit("much")).write_parquet(folder / "interactions.parquet")
    with pytest.raises(DataError, match="'weight' has the wrong type"):
        load_log(folder)


def test_import_writes_weights_and_names_what_they_do(make_folder: Folder, tmp_path: Path) -> None:
    feed = [*FEED, ("u1", "g", 10, "zoom"), ("u1", "g", 11, "zoom")]
    source = folder_of(make_folder, feed)
    report = import_folder("parquet", source, tmp_path / "plain")
    assert not (tmp_path / "plain" / FILE).exists()
    assert [note.split(" of ")[0] for note in report.notes] == ["2 rows", "3 rows", "1 row"]
    assert (
        report.notes[0].endswith("sets another): zoom 2")
        and "dislike 1, hide 1" in report.notes[1]
        and "impression 1" in report.notes[2]
    )
    options = ImportOptions(event_weights={"Zoom": 0.0, "like": 4.0})
    report = import_folder("parquet", source, tmp_path / "out", options)
    assert report.notes[-1].endswith("zoom 2, impression 1") and "without a known weight" not in str(report.notes)
    assert json.loads((tmp_path / "out" / FILE).read_text()) == {"Zoom": 0.0, "like": 4.0}
    import_folder("parquet", tmp_path / "out", tmp_path / "copy", ImportOptions(event_weights={"LIKE": 5.0}))
    assert json.loads((tmp_path / "copy" / FILE).read_text()) == {"LIKE": 5.0, "Zoom": 0.0}
    data, plain = load(tmp_path / "out"), load(tmp_path / "plain")
    assert data.fingerprint != plain.fingerprint == load(source).fingerprint
    assert named(data, data.interactions.item) == "adecfac" and named(plain, plain.interactions.item) == "adecfggac"
    assert data.event_weights.weight("like") == 4.0


def test_texts_in_the_column_of_weights_are_read(make_folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "csv"
    source.mkdir()
    (source / "items.csv").write_text("item_id,title\na,thing\nb,other\n")
    lines = "user_id,item_id,timestamp,event,weight\nu,a,2024-01-01,click,2.5\nu,b,2024-01-02,click,1\n"
    (source / "interactions.csv").write_text(lines)
    import_folder("csv", source, tmp_path / "out")
    assert load_log(tmp_path / "out").interactions["weight"].to_list() == [2.5, 1.0]
    (source / "interactions.csv").write_text(lines + "u,b,2024-01-03,click,much\n")
    with pytest.raises(DataError, match="row 3: no valid weight"):
        import_folder("csv", source, tmp_path / "out")


def test_check_counts_feedback_and_names_unknown_events(make_folder: Folder) -> None:
    folder = folder_of(make_folder, [*FEED, ("u1", "g", 10, "zoom")])
    report = check(read_log(open_folder(folder)))
    assert report.feedback == {"positive": 8, "neutral": 1, "negative": 3}
    assert report.unknown_events == {"zoom": 1}
    assert report.findings.repeats == 0.0, "an item that was refused and then chosen is no repeat"
    text = render(report)
    assert "negative  3" in text and "events of no known weight" in text


def test_old_clicks_fade_by_half_in_each_half_life(make_folder: Folder) -> None:
    day = 24 * 3600
    feed = [("u1", "a", 0), ("u1", "a", 2 * day), ("u2", "b", 4 * day), ("u2", "a", 3 * day)]
    split = Split(load(folder_of(make_folder, feed)), min_events=99)
    popular = Popular(configure(Popular.Config, {"half_life": 2.0}), split.data.sizes)
    popular.fit(split.data, split)
    assert popular.weighted[0, 1:3].tolist() == pytest.approx([0.25 + 0.5 + 0.5**0.5, 1.0])
    assert popular.counts[0, 1:3].tolist() == [3.0, 1.0]
