"""The lexical index: equal to bm25s, exact where it need not cut, and true to the items as they are now."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import searec
from searec.data.dataset import Dataset, load
from searec.data.lexical import bm25_index
from searec.data.text_settings import TextSettings
from searec.search import postings as postings_module
from searec.search.lexical_index import LexicalIndex
from searec.search.postings import FieldWeights
from searec.search.query import Alternative, QueryWord, SearchQuery, parse
from searec.search.scoring import PHRASE

TIME = pl.Datetime("us", "UTC")
BM25 = FieldWeights(k1=1.5, b=0.75, fields=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load(searec.sample_folder())


def shop(folder: Path, items: list[dict[str, Any]]) -> Dataset:
    """A dataset of items without events."""
    folder.mkdir(parents=True)
    rows = [{"item_id": f"i{number}", **item} for number, item in enumerate(items, start=1)]
    pl.DataFrame(rows).write_parquet(folder / "items.parquet")
    pl.DataFrame({"user_id": ["u1"]}).write_parquet(folder / "users.parquet")
    schema = {"user_id": pl.String, "item_id": pl.String, "event": pl.String, "timestamp": TIME}
    pl.DataFrame(schema=schema).write_parquet(folder / "interactions.parquet")
    of_searches = {"search_id": pl.String, "user_id": pl.String, "query": pl.String, "timestamp": TIME}
    pl.DataFrame(schema={**of_searches, "clicked": pl.List(pl.String)}).write_parquet(folder / "searches.parquet")
    TextSettings("en").write(folder)
    return load(folder)


def test_words_score_as_in_bm25s(data: Dataset) -> None:
    index, theirs = LexicalIndex.of(data, BM25), bm25_index(data, k1=1.5, b=0.75)
    every = np.arange(1, data.sizes.items + 1)
    plain = [text for text in data.queries.texts[:250].to_list() if not any(map(str.isdigit, text))]
    assert len(plain) > 150
    for text in plain:  # a size in several forms counts once
        query = parse(text, data.analyser)
        numbers = [number for term in data.analyser.terms(text) if (number := data.word_index.get(term))]
        expected = theirs.sum(torch.tensor([numbers or [0]]))[0, 1:].numpy()
        np.testing.assert_allclose(index.evidence(query, every).words, expected, atol=1e-4)


def test_the_best_are_those_of_all_items_scored(data: Dataset) -> None:
    index = LexicalIndex.of(data)
    every = np.arange(1, data.sizes.items + 1)
    prior = np.random.default_rng(0).random(data.sizes.items + 1).astype(np.float32)
    allowed = np.random.default_rng(1).random(data.sizes.items + 1) < 0.3
    for text in data.queries.texts[:50].to_list():
        query = parse(text, data.analyser)
        for mask, bonus in itertools.product((None, allowed), (None, prior)):
            scores = index.scores(query, every)
            passes = (scores > 0) & (True if mask is None else mask[1:])
            total = np.where(passes, scores + (0 if bonus is None else bonus[1:]), -1)
            expected = np.lexsort((every, -total))[: min(20, passes.sum())]
            items, found = index.best(query, 20, mask, bonus)
            assert items.tolist() == every[expected].tolist()
            np.testing.assert_allclose(found, total[expected], rtol=1e-5)


def test_frequent_words_are_cut_without_a_loss_among_the_first(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    index = LexicalIndex.of(data)
    whole = {text: index.best(parse(text, data.analyser), 10)[0] for text in data.queries.texts[:100].to_list()}
    monkeypatch.setattr(postings_module, "MOST_POSTINGS", 20)
    shared = [
        len(np.intersect1d(items, index.best(parse(text, data.analyser), 10)[0])) / max(1, len(items))
        for text, items in whole.items()
    ]
    assert np.mean(shared) > 0.9
    assert np.min(shared) < 1  # it was cut


def test_new_and_edited_items_score_as_in_a_dataset_that_has_them(tmp_path: Path) -> None:
    items = [
        {"title": "red shoe", "brand": "acme", "description": "for running"},
        {"title": "blue hat", "brand": "hatco", "description": "of wool"},
        {"title": "green sock", "brand": "acme", "description": "of wool"},
    ]
    edited = {"title": "blue umbrella", "brand": "rainco", "description": "for rain"}
    new = {"title": "red umbrella", "brand": "rainco", "description": "for rain and sun"}
    index = LexicalIndex.of(shop(tmp_path / "old", items))
    changed = index.with_items({2: edited, 4: new})
    whole = LexicalIndex.of(shop(tmp_path / "new", [items[0], edited, items[2], new]))
    for text in ("umbrella", "red", "blue umbrella", "rainco rain", "wool"):
        query = parse(text, index.analyser)
        found, expected = changed.best(query, 4)[0], whole.best(query, 4)[0]
        assert found.tolist() == expected.tolist(), text
    assert index.best(parse("umbrella", index.analyser), 4)[0].tolist() == []  # the former state stays as it was
    assert changed.best(parse("hat", index.analyser), 4)[0].tolist() == []
    assert changed.matching(parse("blue umbrella", index.analyser))[0].tolist() == [2]
    again = changed.with_items({4: {"title": "red hat"}})
    assert again.best(parse("umbrella", index.analyser), 4)[0].tolist() == [2]
    assert changed.best(parse("umbrella", index.analyser), 4)[0].tolist() == [2, 4]


def test_words_together_rank_above_words_apart_and_titles_above_descriptions(tmp_path: Path) -> None:
    titles = ["table for a coffee lover", "coffee table", "table coffee mat"]
    apart = {"title": "garden coffee", "description": "table"}
    data = shop(tmp_path / "shop", [*({"title": title} for title in titles), apart])
    index, query = LexicalIndex.of(data, FieldWeights(b=0)), parse("coffee table", data.analyser)
    evidence = index.evidence(query, np.arange(1, 5))
    rarer = min(map(index.rarity, query.terms))
    assert evidence.phrase.tolist() == [0, pytest.approx(rarer), 0, 0]
    assert evidence.title.tolist() == [1, 1, 1, 0.5]
    items, scores = index.best(query, 4)
    assert items.tolist() == [2, 1, 3, 4]
    assert scores[0] == pytest.approx(scores[1] + PHRASE * rarer)
    assert scores[1] == pytest.approx(scores[2])
    assert scores[2] > scores[3]


def test_alternatives_count_less_and_need_all_their_terms(tmp_path: Path) -> None:
    titles = ["sofa", "couch", "love seat", "seat"]
    index = LexicalIndex.of(shop(tmp_path / "shop", [{"title": title} for title in titles]))
    terms = [tuple(index.analyser.terms(text)) for text in ("sofa", "couch", "love seat")]
    word = QueryWord("sofa", terms[0], tuple(Alternative(one, 0.8, "synonym") for one in terms[1:]))
    query = SearchQuery("sofa", "sofa", (word,))
    evidence = index.evidence(query, np.arange(1, 5))
    assert evidence.words[1] == pytest.approx(0.8 * evidence.words[0])
    assert evidence.words[3] == 0
    assert evidence.coverage.tolist() == [1, 1, 1, 0]
    assert set(index.best(query, 4)[0].tolist()) == {1, 2, 3}
    assert index.matching(query) == (pytest.approx([1, 2, 3]), None)


def test_matching_gives_up_words_only_where_no_item_has_all(tmp_path: Path) -> None:
    titles = ["red running shoe", "blue running shoe", "red hat", "the cup"]
    index = LexicalIndex.of(shop(tmp_path / "shop", [{"title": title} for title in titles]))

    def matching(text: str) -> tuple[list[int], str | None]:
        items, relaxed = index.matching(parse(text, index.analyser))
        return items.tolist(), relaxed

    assert matching("the red shoes") == ([1], None)
    assert matching("blue running hat") == ([2], "most words")
    assert matching("red zebra") == ([1, 3], "any word")
    assert matching("zebra") == ([], "no word")
    assert matching("the") == ([4], None)


def test_a_size_counts_as_its_rarest_term_and_not_once_for_each_form(tmp_path: Path) -> None:
    titles = ["12v drill", "12v garden light", "hammer drill", "lamp 12 v", "sofa", "chair"]
    data = shop(tmp_path / "shop", [{"title": title} for title in titles])
    index, query = LexicalIndex.of(data), parse("12v", data.analyser)
    assert query.words[0].terms == ("12v", "12", "volt")
    words = index.evidence(query, np.arange(1, 7)).words
    rarest = max(map(index.rarity, query.terms))
    assert 0 < words[1] < rarest
    assert 0 < words[3] < words[1]
    assert index.best(parse("12v drill", data.analyser), 3)[0].tolist() == [1, 3, 2]


def test_edits_again_and_again_do_not_make_a_word_frequent(tmp_path: Path) -> None:
    titles = ["red lamp", "blue lamp", "green chair"]
    index = LexicalIndex.of(shop(tmp_path / "shop", [{"title": title} for title in titles]))
    edited = index
    for number in range(50):
        edited = edited.with_items({1: {"title": f"red lamp {number}"}})
    assert edited.rarity("lamp") > 0
    assert edited.document_frequency("lamp") == 3  # at most one more than the two items that have it
    assert edited.best(parse("lamp", index.analyser), 3)[0].tolist() == [2, 1]
