"""Languages of texts: which one a catalogue is in, its stemmer, and its function words."""

import functools
import re
import unicodedata
from collections.abc import Callable

import polars as pl
import Stemmer

NO_LANGUAGE = "none"
"""Words are folded but not stemmed."""

_LATIN = {
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "sv": "swedish",
    "tr": "turkish",
}
"""Snowball's stemmer of each language that is written in Latin letters."""
_SCRIPTS = {
    "ARABIC": "arabic",
    "ARMENIAN": "armenian",
    "CYRILLIC": "russian",
    "DEVANAGARI": "hindi",
    "GREEK": "greek",
    "TAMIL": "tamil",
}
"""The stemmer of words in other letters, by the first word of a letter's Unicode name."""
LANGUAGES = (*sorted(_LATIN), NO_LANGUAGE)
"""What a catalogue's Latin words can be in; a word in another script is read by its script."""

_FUNCTION_WORDS = {
    "de": "am an auf aus bei das dem den der des die ein eine einem einen einer eines er es fur im in ist mit nach "
    "oder sie und unter vom von vor zu zum zur",
    "en": "a an and are as at be by for from i in is it me my near of on or our some that the their there this to "
    "with you your",
    "es": "a al con de del e el en es la las lo los o para por que se su un una y",
    "fr": "a au aux avec ce ces cette chez d dans de des du en est et l la le les ou par pour sans sur un une",
    "it": "a al alla con da dal del della delle di e gli i il in la le lo o per su un una",
    "nl": "aan bij dat de den der die een en het in is met of om op te uit van voor",
    "pt": "a ao aos as com da das de do dos e em na nas no nos o os ou para por sem um uma",
    "sv": "att av de den det en ett for fran i med och om pa som till",
}
_ABBREVIATIONS = re.compile("[bcdfghjklmnpqrtvwxz]{2,}s")
_SHORTEST = 2
"""Letters of a stem in other scripts, marks apart: the Hindi stemmer would make one letter of many short words."""
_SAMPLE = 20_000
"""Characters that are read to detect a language."""
_LEAST = 200
"""Fewer letters are too little."""


def stemmer(language: str) -> Callable[[str], str]:
    """Return a function from a folded word to its stem; words of unknown scripts stay as they are.

    Args:
        language: of Latin words, from `LANGUAGES`.
    """
    latin = _english if language == "en" else _snowball(_LATIN[language]) if language in _LATIN else None

    def stem_of(word: str) -> str:
        if word.isascii():
            return latin(word) if latin is not None else word
        script = _script(word[0])
        if script == "LATIN":
            return latin(word) if latin is not None else word
        stem = _snowball(_SCRIPTS[script])(word) if script in _SCRIPTS else word
        return stem if sum(map(str.isalpha, stem)) >= _SHORTEST else word

    return stem_of


def function_words(language: str) -> frozenset[str]:
    """Return the folded articles, prepositions and the like of a language; none of a language without a list.

    Args:
        language: from `LANGUAGES`.
    """
    return frozenset(_FUNCTION_WORDS.get(language, "").split())


def detect(texts: pl.Series) -> str:
    """Return the language of the Latin words of texts, "none" where the texts are too short.

    Args:
        texts: titles and descriptions; a sample spread over all of them is read.
    """
    import py3langid

    step = max(1, int(texts.str.len_chars().sum()) // _SAMPLE)
    sample = " ".join(texts.gather_every(step).drop_nulls().to_list())[:_SAMPLE].lower()
    latin = "".join(char if char.isascii() or _script(char) == "LATIN" else " " for char in sample)
    if sum(map(str.isalpha, latin)) < _LEAST:
        return NO_LANGUAGE
    name, _ = py3langid.classify(latin)
    name = {"nb": "no", "nn": "no"}.get(name, name)
    return name if name in _LATIN else NO_LANGUAGE


def _english(word: str) -> str:
    """Snowball leaves the plural of an abbreviation as it is ("tvs")."""
    return word[:-1] if _ABBREVIATIONS.fullmatch(word) else _snowball("english")(word)


@functools.cache
def _snowball(algorithm: str) -> Callable[[str], str]:
    return Stemmer.Stemmer(algorithm).stemWord  # type: ignore[no-any-return]


@functools.lru_cache(1 << 14)
def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0]
