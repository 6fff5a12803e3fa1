"""Completions against a plain loop over all texts, and known answers."""

import numpy as np
import polars as pl
import pytest
from rapidfuzz.distance import OSA

from searec.search import completions
from searec.search.completions import CompletionIndex, Typed, typed_words, words_to_begin
from searec.text.analyser import fold
from searec.text.analysis import plain_words

TEXTS = [
    "Running shoes for women",
    "Trail running jacket",
    "Crème brûlée torch",
    "Sony WF-1000XM5",
    "电动自行车电池",
    "電池 for cars",
    "ภาษาไทย",
    "running shoes for women",
    "Shower curtain",
    "Starbucks coffee",
    "Tailor's shears",
]


def completed(typed: str, match: str = "exact", texts: list[str] = TEXTS, k: int = 8) -> list[str]:
    index = CompletionIndex(pl.Series(texts), np.arange(len(texts), 0, -1))
    return [texts[int(index.rows.row(entry)[0])] for entry in index.complete(Typed.of(typed), match, k)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("run", ["Running shoes for women", "Trail running jacket"]),
        ("RUNNING SH", ["Running shoes for women"]),
        ("shoes run", ["Running shoes for women"]),
        ("sho", ["Shower curtain", "Running shoes for women"]),
        ("creme bru", ["Crème brûlée torch"]),
        ("crème b", ["Crème brûlée torch"]),
        ("tailors", ["Tailor's shears"]),
        ("1000x", ["Sony WF-1000XM5"]),
        ("wf-1", ["Sony WF-1000XM5"]),
        ("wf1000", ["Sony WF-1000XM5"]),
        ("wf1000xm5", ["Sony WF-1000XM5"]),
        ("wf 1000 xm5", ["Sony WF-1000XM5"]),
        ("xm5 so", ["Sony WF-1000XM5"]),
        ("1000xm6", []),
        ("电动", ["电动自行车电池"]),
        ("自行", ["电动自行车电池"]),
        ("ไทย", ["ภาษาไทย"]),
        ("電", ["電池 for cars"]),
        ("run ", []),
        ("running ", ["Running shoes for women", "Trail running jacket"]),
        ("runing", []),
        ("", []),
        ("?!", []),
    ],
)
def test_what_is_typed_begins_words(typed: str, expected: list[str]) -> None:
    assert completed(typed) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("runing", "Running shoes for women"),  # one too few
        ("runnning sh", "Running shoes for women"),  # one too many
        ("starbuks", "Starbucks coffee"),
        ("sotny", "Sony WF-1000XM5"),
        ("shwo", "Shower curtain"),  # two in the wrong order
        ("shiwer", "Shower curtain"),
        ("thower", None),  # the first letter
        ("sht", None),  # too short
        ("coffee starbuks", "Starbucks coffee"),
        ("runing shose", "Running shoes for women"),
    ],
)
def test_one_letter_may_be_wrong(typed: str, expected: str | None) -> None:
    assert (completed(typed, "near") or [None])[0] == expected  # type: ignore[list-item]
    assert completed(typed) == []


def test_equal_texts_are_one_and_the_most_used_come_first() -> None:
    texts = ["shoe rack", "Shoe-rack", "red shoe", "shoe", "SHOE"]
    index = CompletionIndex(pl.Series(texts), np.array([5, 9, 5_000, 1, 2]))
    entries = index.complete(Typed.of("sh"), "exact", 9)
    assert [index.rows.row(entry).tolist() for entry in entries] == [[2], [1, 0], [4, 3]]


def test_a_text_that_is_typed_in_full_is_first() -> None:
    texts = ["red shoe rack", "shoe rack large", "shoe rack", "shoe", "电动", "电动车"]
    weights = np.array([900, 800, 1, 0, 1, 50])
    index = CompletionIndex(pl.Series(texts), weights)
    for typed in ("shoe rack", "SHOE ", "Shoe-rack", "电动"):
        best = index.rows.row(int(index.complete(Typed.of(typed), "exact", 3)[0]))[0]
        assert texts[best] == typed.lower().strip().replace("-", " ")


def plain(texts: list[str], weights: np.ndarray, typed: str, match: str) -> set[int]:
    """The texts that have what was typed."""
    parts = [fold(word) for word in plain_words(typed)]

    def has(words: list[str], part: str, *, is_last: bool) -> bool:
        if match == "exact":
            return any(word.startswith(part) if is_last else word == part for word in words)
        close = [word for word in words if word.startswith(part)]
        if len(part) >= 4:
            close += [
                word
                for word in words
                if word[0] == part[0]
                and min(OSA.distance(part, word[:n]) for n in range(len(part) - 1, len(part) + 2)) < 2
            ]
        return bool(close)

    rows = set()
    for row, text in enumerate(texts):
        words = [fold(word) for word in plain_words(text)]
        if parts and all(has(words, part, is_last=place == len(parts) - 1) for place, part in enumerate(parts)):
            rows.add(row)
    return rows


def test_hyphens_and_digits_may_be_typed_in_any_way() -> None:
    texts = ["T-Shirt", "Drill 12V", "12V battery 12v", "Wi-Fi", "A" + "-b" * 5_000, "Été-1"]
    assert completed("tsh", texts=texts) == ["T-Shirt"]
    assert completed("wifi", texts=texts) == ["Wi-Fi"]
    assert set(completed("12 v", texts=texts)) == {"Drill 12V", "12V battery 12v"}
    assert completed("ete1", texts=texts) == ["Été-1"]
    for text in texts[:4]:
        assert Typed.of(text.replace("-", "").lower()).matches(words_to_begin(text), "exact")
    assert words_to_begin("Red shoe") == ["red", "shoe"]


@pytest.mark.parametrize("scanned", [0, 2_048])
def test_all_and_only_texts_with_what_was_typed(monkeypatch: pytest.MonkeyPatch, scanned: int) -> None:
    monkeypatch.setattr(completions, "_SCANNED", scanned)
    monkeypatch.setattr(completions, "_VARIANTS", 1_000)
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdé"))
    vocabulary = ["".join(rng.choice(letters, rng.integers(1, 7))) for _ in range(200)]
    texts = list(dict.fromkeys(" ".join(rng.choice(vocabulary, rng.integers(1, 4))) for _ in range(400)))
    weights = rng.permutation(len(texts))
    index = CompletionIndex(pl.Series(texts), weights)
    for row in rng.choice(len(texts), 60):
        typed = texts[row][: rng.integers(1, len(texts[row]) + 1)].strip()
        for match in ("exact", "near"):
            entries = index.complete(Typed.of(typed), match, 1_000)  # type: ignore[arg-type]
            rows = [int(one) for entry in entries for one in index.rows.row(entry)]
            expected = plain(texts, weights, typed, match)
            assert set(rows) == expected, (typed, match)
            assert len(rows) == len(set(rows))
            best = index.complete(Typed.of(typed), match, 5)  # type: ignore[arg-type]
            assert best.tolist() == entries[:5].tolist(), (typed, match)
            words = [fold(word) for word in plain_words(typed)]
            for start in (True, False):  # each tier by use
                others = [row for row in rows if [fold(word) for word in plain_words(texts[row])] != words]
                is_tier = [_begins_with(texts[row], words) == start for row in others]
                used = [int(weights[row]) for row, is_one in zip(others, is_tier, strict=True) if is_one]
                if match == "exact":
                    assert used == sorted(used, reverse=True), (typed, start)


def _begins_with(text: str, words: list[str]) -> bool:
    have = [fold(word) for word in plain_words(text)]
    *whole, last = words
    return have[: len(whole)] == whole and len(have) > len(whole) and have[len(whole)].startswith(last)


def test_one_text_is_split_as_a_column_is() -> None:
    texts = [
        *TEXTS,
        "Straße",
        "ＦＵＬＬ ｗｉｄｔｈ",
        "किताब की दुकान",
        "LG전자 냉장고",
        "x² Nº 5™ ½",
        "a’b soft\u00adhyphen",
        "",
    ]
    assert typed_words(pl.Series(texts)).to_list() == [[fold(word) for word in plain_words(text)] for text in texts]
