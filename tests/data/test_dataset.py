"""The encoding of a dataset folder: by user and time, cached by content, nothing lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searec.data.dataset import FEED, SEARCH, Dataset, load
from searec.errors import DataError, SearecError
from searec.text.analyser import analyser

SHOP = {
    "items": {
        "a": {"title": "Red lamp", "brand": "Luma", "categories": ["home", "light"]},
        "b": {"title": "Sal's chair", "brand": None, "categories": ["home"]},
        "c": {"title": "Desk, oak", "brand": None, "categories": None},
    },
    "users": ["anna", "ben", "carl"],
    "feed": [("ben", "a", 50), ("anna", "b", 30), ("anna", "a", 10), ("ben", "c", 20), ("anna", "c", 30)],
    "searches": [
        ("anna", "red lamp", 20, ["c", "b"]),
        ("ben", "oak?", 60, []),
        ("anna", "red lamp", 5, ["a"]),
        ("anna", "new", 30, ["a"]),
    ],
}


@pytest.fixture(scope="module")
def shop(make_data: Callable[..., Dataset]) -> Dataset:
    return make_data(**SHOP)


def names(data: Dataset, items: np.ndarray) -> str:
    return "".join(data.items.to_external(np.asarray(items)))


def test_sizes_and_ids(shop: Dataset) -> None:
    words = {"red", "lamp", "luma", "home", "light", "sals", "chair", "desk", "oak", "new"}
    assert (shop.sizes.users, shop.sizes.items, shop.sizes.queries) == (3, 3, 3)
    assert (shop.sizes.words, shop.sizes.categories) == (len(words), 2)
    assert shop.word_index.keys() == words
    assert sorted(shop.word_index.values()) == list(range(1, len(words) + 1))
    assert shop.items.to_internal(["a", "c"]).tolist() == [1, 3], "ids are places in sorted order"


def test_feed_is_by_user_and_time_and_ties_follow_the_item(shop: Dataset) -> None:
    feed = shop.interactions
    assert feed.offsets.tolist() == [0, 0, 3, 5, 5]
    assert names(shop, feed.item) == "abc" + "ca"
    assert (np.diff(feed.time[:3]) >= 0).all()
    assert shop.event_names == ("click",)
    assert feed.event.tolist() == [0] * 5


def test_searches_are_by_user_and_time_with_their_clicks(shop: Dataset) -> None:
    searches = shop.searches
    assert searches.offsets.tolist() == [0, 0, 3, 4, 4]
    assert shop.queries.texts.gather(searches.query.astype(np.int64) - 1).to_list() == [
        "red lamp",
        "red lamp",
        "new",
        "oak?",
    ]
    assert [names(shop, searches.clicks.row(n)) for n in range(4)] == ["a", "cb", "a", ""]


def test_trail_merges_feed_and_search_clicks(shop: Dataset) -> None:
    click_history = shop.click_history
    assert click_history.offsets.tolist() == [0, 0, 7, 9, 9]
    anna = slice(click_history.offsets[1], click_history.offsets[2])
    # 5 s: search a; 10 s: feed a; 20 s: search c, b; 30 s: feed b, c and search a (feed first where times are equal)
    assert names(shop, click_history.item[anna]) == "aacb" + "bca"
    assert click_history.source[anna].tolist() == [SEARCH, FEED, SEARCH, SEARCH, FEED, FEED, SEARCH]
    assert (np.diff(click_history.time[anna]) >= 0).all()


def test_words_and_categories(shop: Dataset) -> None:
    spoken = {place: word for word, place in shop.word_index.items()}
    assert [[spoken[word] for word in shop.item_words.row(n)] for n in range(4)] == [
        [],
        ["red", "lamp", "luma", "home", "light"],
        ["sals", "chair", "home"],
        ["desk", "oak"],
    ]
    assert [[spoken[word] for word in shop.queries.words.row(n)] for n in range(4)][1:] == [
        analyser("en").terms(text) for text in shop.queries.texts.to_list()
    ]
    assert [shop.category_names.to_external(shop.item_categories.row(n)) for n in (1, 2, 3)] == [
        ["home", "light"],
        ["home"],
        [],
    ]
    assert shop.item_texts() == ["Red lamp Luma home light", "Sal's chair home", "Desk, oak"]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cn"]), max_size=12))
def test_words_of_one_text_are_those_of_a_column(text: str) -> None:
    column = pl.DataFrame({"text": [text]}).select(analyser("en").column(pl.col("text"))).to_series().to_list()[0]
    assert analyser("en").terms(text) == column


@pytest.mark.parametrize(
    "text",
    [
        "Sal's",
        "SAL’S sals",
        "Ärger über Öl",
        "İstanbul",
        "naïve cafe\u0301",
        "हिन्दी किताब",
        "snake_case x² ½",
        "ΟΔΟΣ",
        "日本語 2kg",
    ],
)
def test_words_of_languages(text: str) -> None:
    column = pl.DataFrame({"text": [text]}).select(analyser("en").column(pl.col("text"))).to_series().to_list()[0]
    assert analyser("en").terms(text) == column


def test_arrays_are_memory_mapped_and_read_only(shop: Dataset) -> None:
    for array in (shop.interactions.item, shop.searches.query, shop.click_history.time, shop.item_words.values):
        assert isinstance(array, np.memmap) or isinstance(array.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[:1] = 1


def test_the_same_content_is_encoded_once(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(**SHOP)
    first = load(folder)
    marker = first.folder / "made-once"
    marker.touch()
    shutil.copytree(folder, tmp_path / "copy")
    again = load(tmp_path / "copy")
    assert again.fingerprint == first.fingerprint
    assert (again.folder / "made-once").is_file()
    marker.unlink()
    other = load(make_folder(**{**SHOP, "feed": SHOP["feed"][:-1]}))
    assert other.fingerprint != first.fingerprint


def test_a_damaged_cache_says_what_to_remove(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(**{**SHOP, "users": ["anna", "ben", "carl", "dora"]})
    home = load(folder).folder
    (home / "click_history.item.npy").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cached encoding is damaged.*remove that folder"):
        load(folder)
    shutil.rmtree(home)
    assert load(folder).sizes.users == 4


@pytest.mark.parametrize("empty", ["feed", "searches", "both"])
def test_an_empty_table_is_no_fault(make_data: Callable[..., Dataset], empty: str) -> None:
    gone = ("feed", "searches") if empty == "both" else (empty,)
    data = make_data(**{**SHOP, **{name: [] for name in gone}})
    assert len(data.interactions.item) == (0 if "feed" in gone else 5)
    assert len(data.searches.query) == (0 if "searches" in gone else 4)
    assert len(data.click_history.item) == (0 if "feed" in gone else 5) + (0 if "searches" in gone else 4)
    assert data.interactions.offsets[-1] == len(data.interactions.item)


def test_no_users_is_an_error(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(SearecError, match="no items or no users"):
        load(make_folder(items=SHOP["items"], users=[]))


def test_a_broken_row_is_an_error(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"interactions.parquet row 6: unknown item \(z\)"):
        load(make_folder(**{**SHOP, "feed": [*SHOP["feed"], ("anna", "z", 70)]}))
