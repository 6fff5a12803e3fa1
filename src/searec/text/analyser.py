"""The analyser: from texts to the terms that are indexed and searched, one for every use.

A text is split into words (`text.analysis`). Each word becomes a term: accents are folded, units have one name, and the
stem is taken by language. Models, hard negatives, nearest items, the search index and suggestions read the same terms.
"""

import functools
import unicodedata

import polars as pl

from searec.text.analysis import split_indexed, words_of
from searec.text.language import LANGUAGES, function_words, stemmer

STOP_WEIGHT = 0.2
"""What a function word counts beside another word."""
_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ё": "е", "ß": "ss", "ſ": "s"}
)
_NUKTA = "\u093c"
"""The dot below letters of Hindi, which people leave out."""
_FOLDS = ("LATIN", "GREEK", "ARABIC", "HEBREW")
"""Scripts whose marks are accents or points; in others they are vowels or make other letters."""
_UNITS = {
    variant: unit
    for unit, variants in {
        "inch": "inches zoll pouce pouces pollice pollici pulgada pulgadas",
        "foot": "ft feet",
        "pound": "lb lbs pounds",
        "ounce": "oz ounces",
        "gallon": "gal gallons",
        "quart": "qt quarts",
        "liter": "liters litre litres",
        "ml": "milliliter milliliters millilitre millilitres",
        "kg": "kilogram kilograms kilo kilos",
        "gram": "grams gr",
        "cm": "centimeter centimeters centimetre centimetres",
        "mm": "millimeter millimeters millimetre millimetres",
        "meter": "meters metre metres mtr",
        "yard": "yd yards",
        "volt": "v volts",
        "watt": "w watts",
        "amp": "amps ampere amperes",
        "mah": "milliampere",
        "gb": "gigabyte gigabytes",
        "tb": "terabyte terabytes",
        "hz": "hertz",
        "psi": "lbf",
    }.items()
    for variant in (unit, *variants.split())
}


class Analyser:
    """Makes terms of texts.

    Args:
        language: of words in Latin letters, from `text.language.LANGUAGES`.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._stem = stemmer(language)
        self._terms: dict[str, str] = {}
        self.stop_terms = frozenset(map(self.term, function_words(language)))

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text in order, with those of compounds last.

        Args:
            text: of an item or a query.

        >>> Analyser("en").terms("The Cafés: 32in TVs")
        ['the', 'cafe', 'tv', '32in', '32', 'inch']
        """
        return [self.term(word) for word in words_of(text)]

    def term(self, word: str) -> str:
        """Return the term of one word of `words_of`."""
        term = self._terms.get(word)
        if term is None:
            if len(self._terms) > 1 << 20:  # a service reads any text that users type
                self._terms.clear()
            term = self._terms[word] = self._make(word)
        return term

    def column(self, column: pl.Expr) -> pl.Expr:
        """List of the terms of each text, the same as `terms` of each."""
        return column.map_batches(self._column, return_dtype=pl.List(pl.String))

    def weight(self, term: str) -> float:
        """Return what a term counts in matching: less for function words."""
        return STOP_WEIGHT if term in self.stop_terms else 1.0

    def _make(self, word: str) -> str:
        folded = fold(word)
        if unit := _UNITS.get(folded):
            return unit
        if any(map(str.isdigit, folded)):
            return folded
        return self._stem(folded) or folded

    def _column(self, texts: pl.Series) -> pl.Series:
        words = split_indexed(texts)
        distinct = words.explode().drop_nulls().unique()
        terms = pl.Series([self.term(word) for word in distinct.to_list()], dtype=pl.String)
        frame = pl.DataFrame({"row": range(len(words)), "word": words}).explode("word").drop_nulls("word")
        frame = frame.with_columns(pl.col("word").replace_strict(distinct, terms, return_dtype=pl.String))
        by_row = frame.group_by("row", maintain_order=True).agg("word")
        every = pl.DataFrame({"row": range(len(words))}).join(by_row, on="row", how="left", maintain_order="left")
        return every["word"].fill_null([]).alias(texts.name)


@functools.cache
def analyser(language: str) -> Analyser:
    """Return the analyser of a language, one for the process.

    Args:
        language: from `text.language.LANGUAGES`.
    """
    assert language in LANGUAGES, language
    return Analyser(language)


def fold(word: str) -> str:
    """Return a lower-case word without accents, with digits 0 to 9; marks that are vowels or make other letters stay.

    >>> fold("café"), fold("smørrebrød"), fold("किताब"), fold("ガ"), fold("١٢٨")
    ('cafe', 'smorrebrod', 'किताब', 'ガ', '128')
    """
    if word.isascii():
        return word
    letters: list[str] = []
    folds = False
    for char in unicodedata.normalize("NFD", word.translate(_LETTERS)):
        if not unicodedata.combining(char):
            folds = unicodedata.name(char, "").startswith(_FOLDS)
            letters.append(str(unicodedata.decimal(char, char)))
        elif not folds and char != _NUKTA:
            letters.append(char)
    return unicodedata.normalize("NFC", "".join(letters)) or word
