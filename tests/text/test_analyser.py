"""Terms: stems by language, folded accents, units, and the language of a catalogue."""

import json
from pathlib import Path

import bm25s
import numpy as np
import polars as pl
import pytest
import Stemmer

from searec.data.dataset import load
from searec.data.text_settings import TextSettings
from searec.errors import DataError, SettingsError
from searec.search.lexical_index import LexicalIndex
from searec.search.postings import FieldWeights
from searec.search.query import parse
from searec.text.analyser import STOP_WEIGHT, Analyser, fold
from searec.text.language import LANGUAGES, detect, function_words, stemmer


@pytest.mark.parametrize(
    ("language", "query", "title"),
    [
        ("en", "pizzas", "Pizza Palace"),
        ("en", "batteries", "battery pack"),
        ("en", "TV", "TVs and stands"),
        ("en", "cafe", "Café Lumière"),
        ("en", "café", "Cafes"),
        ("en", "dentist", "Family Dentists"),
        ("de", "Jacken", "Jacke mit Kapuze"),
        ("de", "haus", "Häuser"),
        ("de", "strasse", "Straße"),
        ("fr", "chaussures", "chaussure"),
        ("es", "canciones", "canción"),
        ("sv", "jackor", "jacka"),
        ("en", "παπούτσι", "παπούτσια"),
        ("en", "книга", "книги"),
        ("en", "किताबें", "किताब"),
        ("en", "smorrebrod", "smørrebrød"),
        ("en", '32" tv', "32 inch"),
        ("en", "12 volt", "12V"),
        ("en", "5 lb", "5 pounds"),
        ("en", "12 oz", "12 ounce can"),
        ("de", "1l Flasche", "1 Liter"),
        ("en", "6 ft ladder", "6 feet"),
        ("en", "2l bottle", "2 liters"),
        ("none", "lamps", "lamps"),
    ],
)
def test_a_query_has_the_terms_of_a_title_that_it_means(language: str, query: str, title: str) -> None:
    analyser = Analyser(language)
    shared = set(analyser.terms(query)) & set(analyser.terms(title))
    assert {term for term in shared if not term.isdigit()}


@pytest.mark.parametrize(
    ("language", "query", "title"),
    [
        ("en", 'iphone 5 "case"', "inch"),
        ("en", "कि", "की"),
        ("none", "lamps", "lamp"),
        ("en", "universe", "unit"),
        ("en", "ガ", "カ"),
        ("en", "й", "и"),
    ],
)
def test_words_that_differ_in_more_stay_apart(language: str, query: str, title: str) -> None:
    analyser = Analyser(language)
    assert not set(analyser.terms(query)) & set(analyser.terms(title))


def test_stems_are_snowballs() -> None:
    english = Stemmer.Stemmer("english")
    stem = stemmer("en")
    for word in ("running", "generously", "universities", "glasses", "news"):
        assert stem(word) == english.stemWord(word)
    assert stem("dvds") == "dvd"  # snowball alone leaves it
    assert stemmer("none")("running") == "running"


def test_a_fold_keeps_letters_that_are_not_accents() -> None:
    assert fold("ÀÉîõü".lower()) == "aeiou"
    assert fold("किताब") == "किताब"
    assert fold("й") == "й"
    assert fold("ё") == "е"
    assert [fold(digits) for digits in ("١٢٨", "۱۲۸", "१२८", "๑๒๘")] == ["128"] * 4
    assert fold("फ़ोन") == fold("फोन") == "फोन"  # the dot below is left out by many


def test_function_words_count_less() -> None:
    analyser = Analyser("en")
    assert analyser.weight("the") < analyser.weight("lamp") == 1.0
    assert Analyser("none").weight("the") == 1.0
    for language in LANGUAGES:
        words = function_words(language)
        assert words == {fold(word) for word in words}


@pytest.mark.parametrize("language", [*LANGUAGES])
def test_every_name_of_a_unit_has_one_term(language: str) -> None:
    analyser = Analyser(language)
    assert len({analyser.term(word) for word in ("oz", "ounce", "ounces")}) == 1
    assert len({analyser.term(word) for word in ("liter", "litre", "liters", "litres")}) == 1


def test_function_words_weigh_less_in_bm25(tmp_path: Path) -> None:
    """Of "the lamp" the article has a fifth of its weight in bm25s, in the index and for a text that is not in it."""
    titles = ["the lamp for the desk", "lamp of the hall", "green chair"]
    data = load(shop(tmp_path / "shop", titles, "en"))
    analyser = data.analyser
    engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    engine.index([analyser.terms(title) for title in titles], show_progress=False)
    the, lamp = (engine.get_scores([analyser.term(word)]) for word in ("the", "lamp"))
    index, every = LexicalIndex.of(data, FieldWeights(k1=1.5, fields=(1, 1, 1, 1))), np.arange(1, 4)
    scores = index.evidence(parse("the lamp", analyser), every).words
    np.testing.assert_allclose(scores, STOP_WEIGHT * the + lamp, rtol=1e-5)


def test_languages_are_detected() -> None:
    german = ["Damen Winterjacke mit Kapuze", "Herren Schuhe aus Leder", "Fahrrad für Jungen und Mädchen"] * 5
    french = ["Chaussures en cuir pour homme", "Veste d'hiver à capuche", "Vélo pour enfants avec roulettes"] * 5
    assert detect(pl.Series(german)) == "de"
    assert detect(pl.Series(french)) == "fr"
    assert detect(pl.Series(german + french[:1])) == "de"
    assert detect(pl.Series(["电动自行车"] * 100)) == "none"
    assert detect(pl.Series(["a", None, "b"])) == "none"
    assert detect(pl.Series([], dtype=pl.String)) == "none"


def shop(folder: Path, titles: list[str], language: str | None) -> Path:
    folder.mkdir()
    pl.DataFrame({"item_id": [f"i{n}" for n in range(len(titles))], "title": titles}).write_parquet(
        folder / "items.parquet"
    )
    pl.DataFrame({"user_id": ["u"]}).write_parquet(folder / "users.parquet")
    time = pl.Series([0]).cast(pl.Datetime("us", "UTC"))
    pl.DataFrame({"user_id": ["u"], "item_id": ["i0"], "timestamp": time, "event": ["click"]}).write_parquet(
        folder / "interactions.parquet"
    )
    pl.DataFrame(
        {"search_id": ["s"], "user_id": ["u"], "query": ["schuh"], "timestamp": time, "clicked": [["i0"]]}
    ).write_parquet(folder / "searches.parquet")
    if language is not None:
        (folder / "text_settings.json").write_text(json.dumps({"language": language}))
    return folder


def test_a_folder_may_name_its_language(tmp_path: Path) -> None:
    titles = ["Damen Winterjacke mit Kapuze und Taschen", "Herren Schuhe aus Leder für den Winter"] * 6
    assert load(shop(tmp_path / "detected", titles, None)).analyser.language == "de"
    data = load(shop(tmp_path / "named", titles, "none"))
    assert data.analyser.language == "none"
    assert "schuhe" in data.word_index
    assert "schuh" in load(tmp_path / "detected").word_index


def test_bad_text_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown language.*'english'"):
        TextSettings("english")
    folder = shop(tmp_path / "bad", ["lamp"], "klingon")
    with pytest.raises(DataError, match=r"unknown language.*text_settings\.json"):
        load(folder)
    (folder / "text_settings.json").write_text("[1]")
    with pytest.raises(DataError, match="cannot be read"):
        load(folder)
