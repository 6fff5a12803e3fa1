"""Words of other scripts, of model numbers, and of texts typed in different ways."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searec.text.analysis import split_indexed, split_words, words_of

ODD = "aAzZ09-‐'’_ \u0301\u094d\u093f\u0915電自ｶㄱ한กา٣½²ßẞΣς™Ａ１\u200d\u20e3\ufe0f\u104aⅧǰ㎏"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("café", "cafe\u0301"),
        ("ＬＥＤ lamp", "led LAMP"),
        ("STRASSE", "Straße"),
        ("ΟΔΟΣ", "οδος"),
        ("SAL’S", "Sal's"),
        ("soft\u00adware", "software"),
        ("ｶﾒﾗ", "カメラ"),
        ("Sony™ radio", "sony radio"),
        ("1️⃣", "1"),
    ],
)
def test_texts_typed_in_different_ways_have_the_same_words(text: str, same: str) -> None:
    assert words_of(text) == words_of(same) != []


@pytest.mark.parametrize(
    ("query", "title", "matches"),
    [
        ("wf1000xm5", "WF-1000XM5 headphones", True),
        ("wf-1000xm5", "WF1000XM5", True),
        ("1000xm5", "WF-1000XM5", True),
        ("wf 1000xm5", "WF-1000XM5", True),
        ("12 v", "12V adapter", True),
        ("12v", "adapter 12 V", True),
        ("12-v", "12V", True),
        ("自行车", "电动自行车", True),
        ("手机壳", "iPhone15手机壳", True),
        ("iphone15", "iPhone15手机壳", True),
        ("ภาษา", "ภาษาไทย", True),
        ("カメラ", "日本製カメラ", True),
        ("किताब", "किताब घर", True),
        ("किताब", "कुत्ता की खाना", False),
        ("कि", "की खाना", False),
        ("शब्द", "शब", False),
        ("汽车", "电动自行车", False),
        ("shirt", "t-shirt", True),
        ("24", "2024-11-30", False),
    ],
)
def test_queries_meet_the_titles_they_mean(query: str, title: str, matches: bool) -> None:
    assert bool(set(words_of(query)) & set(words_of(title))) == matches


def test_the_words_of_a_query_of_a_model_number_are_all_in_the_title() -> None:
    assert set(words_of("wf1000xm5")) <= {*words_of("WF-1000XM5"), "1000xm5"}
    assert set(words_of("自行车")) <= set(words_of("电动自行车"))
    assert set(words_of("12 v")) <= set(words_of("12V"))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text(
            st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8", exclude_categories=["Cs", "Cn"])), max_size=10
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_column_and_single_texts_have_the_same_words(texts: list[str]) -> None:
    column = split_indexed(pl.Series(texts, dtype=pl.String)).to_list()
    assert column == [words_of(text) for text in texts]


def test_a_column_keeps_its_rows_in_order() -> None:
    texts = ["plain words", None, "12V", "", "自行车", "Sal's", "!", "a-1 b"]
    column = split_indexed(pl.Series("text", texts))
    assert column.to_list() == [words_of(text or "") for text in texts]
    assert column.name == "text"


def test_words_for_readers_have_no_forms() -> None:
    texts = pl.DataFrame({"text": ["WF-1000XM5 12V", "किताब Sal's", None]})
    words = texts.select(split_words(pl.col("text"))).to_series().to_list()
    assert words == [["wf", "1000xm5", "12v"], ["किताब", "sals"], []]
