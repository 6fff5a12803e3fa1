"""Tokens: the same text is the same tokens everywhere, and every text comes back."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searec.errors import DependencyError, RunError
from searec.text.tokenizer import EOS, PAD, Tokens

pytest.importorskip("tokenizers")

TEXTS = ["Coffee grinder, steel", "coffee mug", "coffee grinder with a steel lid", "日本 coffee", "steel lid 日本"] * 3
TRAIN = "import json, sys; from searec.text.tokenizer import Tokens; texts = json.load(sys.stdin)"
TRAIN += "; found = Tokens.trained(texts, 300); print(json.dumps([found.text, found.ids(texts, 99)[0].tolist()]))"


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens.trained(TEXTS, 300)


def rows(tokens: Tokens, texts: list[str], limit: int = 1000) -> list[list[int]]:
    """The tokens of each text."""
    flat, lengths = tokens.ids(texts, limit)
    ends = lengths.cumsum()
    return [flat[end - length : end].tolist() for end, length in zip(ends, lengths, strict=True)]


def test_another_process_learns_the_same_tokens(tokens: Tokens) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "2"}
    told = subprocess.run(
        [sys.executable, "-c", TRAIN],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=100,
    )
    text, ids = json.loads(told.stdout)
    assert text == tokens.text
    assert ids == tokens.ids(TEXTS, 99)[0].tolist()


def test_the_json_is_all_of_it(tokens: Tokens) -> None:
    again = Tokens(tokens.text)
    assert again.size == tokens.size
    assert rows(again, TEXTS) == rows(tokens, TEXTS)
    assert again.text == tokens.text


# Letters that lower or normalise to others, blanks, scripts it has never seen, and half of a flag.
@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="aBcXyZ .,'<>/\n\tÄßéñΩЖ日本한ไ१Ⅳ１ﬁ🍕🇩\u200d\u0301", max_size=12), max_size=6))
def test_every_text_comes_back_in_lower_case(tokens: Tokens, texts: list[str]) -> None:
    found = rows(tokens, texts)
    assert tokens.texts(found) == [unicodedata.normalize("NFKC", text).lower().strip() for text in texts]
    assert all(EOS < token < tokens.size for row in found for token in row), "padding and end are nobody's text"


@pytest.mark.parametrize("text", ["日本 🍕", "Ünïcode ÄÖ", "   two   blanks ", "\u0000\u0001", ""])
def test_strange_texts_survive(tokens: Tokens, text: str) -> None:
    assert tokens.texts(rows(tokens, [text])) == [text.lower().strip()]


@pytest.mark.parametrize("text", ["a </s> b", "a <pad> b"])
def test_names_of_padding_and_end_are_text_like_any_other(tokens: Tokens, text: str) -> None:
    found = rows(tokens, [text])
    assert not {PAD, EOS} & set(found[0])
    assert tokens.texts(found) == [text]


def test_frequent_words_are_few_tokens(tokens: Tokens) -> None:
    assert 258 < tokens.size <= 300
    assert Tokens.trained(TEXTS, 270).size == 270
    assert {name: json.loads(tokens.text)["model"]["vocab"][name] for name in ("<pad>", "</s>")} == {
        "<pad>": PAD,
        "</s>": EOS,
    }
    assert [len(row) for row in rows(tokens, ["coffee", "Coffee COFFEE"])] == [1, 2]
    assert len(rows(tokens, ["wxyz"])[0]) > 3


def test_the_first_tokens_of_each_text(tokens: Tokens) -> None:
    fresh = Tokens(tokens.text)
    cut, whole = rows(fresh, TEXTS, 3), rows(tokens, TEXTS)
    assert rows(fresh, TEXTS) == whole, "what is remembered is not cut"
    assert max(map(len, whole)) > 3 > min(map(len, whole))
    assert rows(tokens, TEXTS, 3) == cut == [row[:3] for row in whole]
    assert rows(tokens, TEXTS, 0) == [[]] * len(TEXTS)


def test_repeated_and_missing_texts(tokens: Tokens) -> None:
    one, other = rows(tokens, ["coffee mug"])[0], rows(tokens, ["steel"])[0]
    assert rows(tokens, ["steel", "coffee mug", "", "steel", "coffee mug"]) == [other, one, [], other, one]
    flat, lengths = tokens.ids([], 5)
    assert (flat.shape, lengths.shape) == ((0,), (0,))


def test_a_full_memory_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searec.text.tokenizer._REMEMBERED", 2)
    tokens = Tokens.trained(TEXTS, 300)
    first = rows(tokens, TEXTS)
    for text, row in zip(TEXTS, first, strict=True):
        assert rows(tokens, [text]) == [row]
        assert len(tokens._known) <= 3


def test_padding_and_end_are_left_out_of_texts(tokens: Tokens) -> None:
    row = rows(tokens, ["coffee mug"])[0]
    assert tokens.texts([[*row, EOS, PAD, PAD], [PAD, EOS], []]) == ["coffee mug", "", ""]


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"model": {"type": "BPE"'])
def test_a_damaged_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(RunError, match="the tokenizer is damaged"):
        Tokens(text)


def checkpoint(folder: Path, first: tuple[str, ...] = ("<pad>", "</s>")) -> Path:
    """A tokenizer folder as T5's: words, an end after each text, and a habit of cutting and padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*first, "<unk>", "▁coffee", "▁mug", "▁", *map(chr, range(97, 123))]
    own = Tokenizer(
        models.Unigram([(word, -float(place)) for place, word in enumerate(words)], unk_id=words.index("<unk>"))
    )
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    own.decoder = decoders.Metaspace()
    own.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", words.index("</s>"))])
    own.enable_truncation(4)
    own.enable_padding(length=8, pad_id=words.index("<pad>"), pad_token="<pad>")
    PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def test_a_checkpoints_own_tokens(tmp_path: Path) -> None:
    """Neither its end of text nor its cutting and padding."""
    pytest.importorskip("transformers")
    tokens = Tokens.of_checkpoint(str(checkpoint(tmp_path)))
    assert tokens.size == 2 + 4 + 26
    found = rows(tokens, ["coffee mug coffee mug coffee mug", "mug"])
    assert found == [[3, 4] * 3, [4]]
    assert tokens.texts([[*found[0], EOS, PAD]]) == ["coffee mug coffee mug coffee mug"]
    assert rows(Tokens(tokens.text), ["mug abc"]) == rows(tokens, ["mug abc"])


def test_a_checkpoint_with_other_ids_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(RunError, match=r"not a T5 tokenizer.*got: pad 1, end 0; expected: 0 and 1"):
        Tokens.of_checkpoint(str(checkpoint(tmp_path, ("</s>", "<pad>"))))


def test_no_checkpoint_is_told(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(DependencyError, match="cannot load the checkpoint"):
        Tokens.of_checkpoint(str(tmp_path / "none"))


def test_no_library_is_told(monkeypatch: pytest.MonkeyPatch, tokens: Tokens) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    for make in (lambda: Tokens(tokens.text), lambda: Tokens.trained(TEXTS, 300), lambda: Tokens.of_checkpoint("any")):
        with pytest.raises(DependencyError, match="need transformers"):
            make()
