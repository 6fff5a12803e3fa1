"""Highlights mark what a reader would mark, in any script."""

import pytest

from searec.search.highlight import highlight, match_terms, snippet
from searec.search.query import parse
from searec.text.analyser import Analyser

ENGLISH = Analyser("en")


def marked(query: str, text: str, analyser: Analyser = ENGLISH) -> list[str]:
    spans = highlight(text, match_terms(parse(query, analyser), analyser), analyser)
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("query", "text", "parts"),
    [
        ("cafés", "The Café Noir", ["Café"]),
        ("cafe", "Cafe\u0301 Noir", ["Cafe\u0301"]),
        ("batteries", "Battery charger", ["Battery"]),
        ("wf1000xm5", "Sony WF-1000XM5 earbuds", ["WF-1000XM5"]),
        ("1000xm5", "Sony WF-1000XM5 earbuds", ["1000XM5"]),
        ("12 volt", "12V battery, 12 V, 12-volt", ["12V", "12", "V", "12", "volt"]),
        ('32" tv', "32in TV 32″ stand", ["32in", "TV", "32″"]),
        ("led", "ＬＥＤ lamp", ["ＬＥＤ"]),
        ("sals pizza", "Sal's Pizza", ["Sal's", "Pizza"]),
        ("the best burger", "The best Burgers of the town", ["best", "Burgers"]),
        ("the", "The best", ["The"]),
        ("自行车", "电动自行车 shop", ["自行车"]),
        ("フライパン", "テフロンフライパン28cm", ["フライパン"]),
        ("ไทย", "ภาษาไทย", ["ไทย"]),
        ("한국어", "한국어를 배우다", ["한국어"]),
        ("किताब", "नई किताबें", ["किताबें"]),
        ("shoe 👟", "👟👩🏽‍🚀 Shoes", ["Shoes"]),
        ("hat", "Trail shoe", []),
        ("hat", "", []),
    ],
)
def test_what_matches_is_marked(query: str, text: str, parts: list[str]) -> None:
    assert marked(query, text) == parts


def test_the_language_of_the_catalogue_counts() -> None:
    assert marked("häuser", "Ein Haus", Analyser("de")) == ["Haus"]
    assert marked("strasse", "Straße 5", Analyser("de")) == ["Straße"]


def test_a_snippet_holds_the_matches_that_stand_together() -> None:
    text = "A red thing. " + "Lorem ipsum dolor sit amet " * 20 + "a red café here " + "consectetur elit " * 20
    terms = ENGLISH.terms("red cafés")
    short = snippet(text, terms, ENGLISH)
    assert [short.text[start:end] for start, end in short.spans] == ["red", "café"]
    assert len(short.text) <= 162
    assert short.text[0] == short.text[-1] == "…"
    assert short.text.strip("…") in text
    assert f" {short.text.strip('…')} " in text  # whole words


@pytest.mark.parametrize("text", ["", "A red thing.", "字" * 500, "x" * 500, "word " * 100])
def test_a_snippet_of_anything_is_short(text: str) -> None:
    short = snippet(text, ENGLISH.terms("red"), ENGLISH)
    assert len(short.text) <= 162
    assert short.text.strip("…") in text
    if len(text) <= 160:
        assert short.text == text
