"""Pseudo-queries: from an item's own words, and by a tiny model made here."""

import sys
from pathlib import Path

import polars as pl
import pytest
import torch

from searec.artifacts.pseudo_queries import from_words, pseudo_queries, written
from searec.data.ragged import Ragged
from searec.errors import DependencyError

ITEMS = pl.DataFrame(
    {
        "title": ["Steel mug", "Lid", None, " Steel mug ", "Drinks"],
        "categories": [["Kitchen", "Drinks", "Mugs"], None, [], ["Kitchen", "Mugs"], ["Kitchen", "Drinks"]],
        "brand": ["Acme", None, None, "Acme", ""],
    },
    schema={"title": pl.String, "categories": pl.List(pl.String), "brand": pl.String},
)
TEXTS = ["steel mug with a lid", "a lid", "", "mugs and drinks"] * 10


def told(found: tuple[list[str], Ragged]) -> list[list[str]]:
    """The queries of each item."""
    queries, of_item = found
    assert len(set(queries)) == len(queries)
    assert set(of_item.values.tolist()) == set(range(len(queries))), "every query is somebody's"
    return [[queries[place] for place in of_item.row(item).tolist()] for item in range(len(of_item))]


def test_words_are_title_then_categories_from_narrow_to_broad_then_brand() -> None:
    """Blanks round a text and repeats are dropped, and items may share queries or have none."""
    assert told(pseudo_queries(ITEMS, [""] * 5)) == [
        ["Steel mug", "Mugs", "Drinks", "Kitchen", "Acme"],
        ["Lid"],
        [],
        ["Steel mug", "Mugs", "Kitchen", "Acme"],
        ["Drinks", "Kitchen"],
    ]


def test_texts_that_differ_in_blanks_are_one_query() -> None:
    items = pl.DataFrame({"title": ["Mug ", "Mug"], "categories": [["Mug"], [" Mug"]]})
    assert pseudo_queries(items, ["", ""])[0] == ["Mug"]
    assert told(pseudo_queries(items, ["", ""])) == [["Mug"], ["Mug"]]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_at_most_so_many_an_item(count: int) -> None:
    whole, some = (told(pseudo_queries(ITEMS, [""] * 5, count=each)) for each in (99, count))
    assert some == [row[:count] for row in whole]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("title",), [["Steel mug"], ["Lid"], [], ["Steel mug"], ["Drinks"]]),
        (("title", "brand"), [["Steel mug", "Acme"], ["Lid"], [], ["Steel mug", "Acme"], ["Drinks"]]),
        (("title", "categories"), [["Steel mug", "Mugs"], ["Lid"], [], ["Steel mug", "Mugs"], ["Drinks", "Kitchen"]]),
    ],
    ids=["titles", "brands", "categories"],
)
def test_tables_with_fewer_columns(columns: tuple[str, ...], expected: list[list[str]]) -> None:
    assert from_words(ITEMS.select(columns), 2) == expected


def test_no_items_have_no_queries() -> None:
    assert told(pseudo_queries(ITEMS.head(0), [])) == []
    assert told(pseudo_queries(ITEMS[2:3], [""])) == [[]], "an item without words"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A T5 whose weights are random, and which never ends by itself."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("doc2query") / "tiny"
    words = [
        "<pad>",
        "</s>",
        "<unk>",
        *(f"▁{word}" for word in ("steel", "mug", "lid", "with", "a", "and", "drinks", "cup", "tea", "hot")),
    ]
    own = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    own.decoder = decoders.Metaspace()
    own.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": len(words)}
        transformers.T5ForConditionalGeneration(
            transformers.T5Config(**sizes, decoder_start_token_id=0)
        ).save_pretrained(folder)
    return str(folder)


def test_a_seed_repeats_what_is_written(checkpoint: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = written(TEXTS, checkpoint, 2, seed=0)
    assert torch.equal(torch.get_rng_state(), before), "others draw as if nothing had been written"
    torch.manual_seed(6)
    assert written(TEXTS, checkpoint, 2, seed=0) == one
    assert written(TEXTS, checkpoint, 2, seed=1) != one


def test_so_many_are_written_for_each_text(checkpoint: str) -> None:
    """More texts than fit in a batch."""
    found = written(TEXTS, checkpoint, 3, seed=0)
    assert [len(row) for row in found] == [3] * 40
    assert len({query for row in found for query in row}) > 60
    assert not any(mark in query for row in found for query in row for mark in ("<pad>", "</s>"))


def test_a_model_writes_from_the_texts_alone(checkpoint: str) -> None:
    found = told(pseudo_queries(ITEMS, TEXTS[:5], model=checkpoint, count=4, seed=3))
    expected = [
        list(dict.fromkeys(query.strip() for query in row if query.strip()))
        for row in written(TEXTS[:5], checkpoint, 4, 3)
    ]
    assert found == expected


def test_no_checkpoint_is_told(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(DependencyError, match="cannot load the checkpoint"):
        pseudo_queries(ITEMS, TEXTS[:5], model=str(tmp_path / "none"))


def test_no_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DependencyError, match="need transformers"):
        pseudo_queries(ITEMS, TEXTS[:5], model="any")
    assert told(pseudo_queries(ITEMS, TEXTS[:5])), "words need no library"
