"""Words of titles and queries, before they are folded and stemmed (`text.analyser`).

Texts are first normalised (NFKC, lower case), so that characters typed in different ways are equal. Words are runs of
letters, digits and the marks on them. A script without spaces between words is segmented by ICU's dictionaries;
Chinese, Japanese and Korean also into overlapping pairs of characters, so that a query meets a title that is segmented
in another way. A model number is also searched by its parts and with its hyphens closed up; 32" is 32 inches.
"""

import functools
import itertools
import re
import sys
import unicodedata

import polars as pl
from icu4py.breakers import WordBreaker

_JOINERS = "'’\u00ad\u200c\u200d\u2060\ufeff\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Characters inside a word that are no part of it: apostrophes, soft hyphen, joiners, variation selectors."""
_TRADEMARKS = "™℠"
"""NFKC would make letters of them."""
_FOLDED = {"ß": "ss", "ς": "σ"}
"""Lower-case letters that case folding changes."""
_HAN = "\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3005\u3006\U00020000-\U0003ffff"
_HANGUL = "\uac00-\ud7a3"
_SMALL = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF))
"""Blocks of Thai and Lao, Myanmar, Hangul letters, Khmer, Hiragana and Katakana."""
_WITHOUT_SPACES = f"{_HAN}{_HANGUL}" + "".join(
    char for first, last in _SMALL for char in map(chr, range(first, last + 1)) if char.isalpha()
)
"""Letters whose words are cut into pairs: of scripts that put no spaces between words, and of Korean."""
HYPHENS = "-‐"
_IN_WORD = r"[\p{L}\p{N}\p{Mn}\p{Mc}]"
_WORD = rf"[\p{{L}}\p{{N}}]{_IN_WORD}*"
_COMPOUND = (  # what `_words_of_compound` takes apart: a script without spaces, or letters next to digits
    rf"(?:{_IN_WORD}+[{HYPHENS}])*{_IN_WORD}*"
    rf"(?:[{_WITHOUT_SPACES}]|\p{{L}}\p{{M}}*[{HYPHENS}]?\p{{M}}*\p{{N}}|\p{{N}}\p{{M}}*[{HYPHENS}]?\p{{M}}*\p{{L}})"
    rf"{_IN_WORD}*(?:[{HYPHENS}]{_IN_WORD}+)*"
)
_ASCII_WORD = re.compile("[a-z0-9]+")
_ASCII_COMPOUND = re.compile("[a-z]-?[0-9]|[0-9]-?[a-z]")
_ASCII_PART = re.compile("[a-z]+|[0-9]+")
_INCHES = r"([0-9])(?:\"|''|[″”])"
_INCHES_RE = re.compile(_INCHES)
_AFTER_NUMBER = {"in": "inch", "l": "liter", "g": "gram", "m": "meter"}
"""Units that are other words where no number stands before them."""
_NOT_PLAIN = r"[^\x00-\x7f]|[A-Za-z]['-]*[0-9]|[0-9]['-]*[A-Za-z]"
"""What no text of plain ASCII words has."""


def split_words(column: pl.Expr) -> pl.Expr:
    """List of the lower-case words of a text as a reader sees them, apostrophes closed up ("Sal's" -> "sals")."""
    text = column.fill_null("").str.normalize("NFKC").str.to_lowercase()
    return text.str.replace_all(f"[{_JOINERS}]", "").str.extract_all(_WORD)


def plain_words(text: str) -> list[str]:
    """Return what `split_words` of `apart` gives, for one text.

    >>> plain_words("Sal's WF-1000, 自行车 2")
    ['sals', 'wf', '1000', '自行车', '2']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower().replace("'", ""))
    patterns = _patterns()
    text = patterns.joiner.sub("", patterns.unspaced_run.sub(r" \1 ", text))
    text = patterns.joiner.sub("", unicodedata.normalize("NFKC", text).lower())
    return patterns.plain.findall(text)


def apart(column: pl.Expr) -> pl.Expr:
    """A text with blanks around the runs of letters that have no spaces between words."""
    return column.fill_null("").str.replace_all(rf"((?:[{_WITHOUT_SPACES}]\p{{M}}*)+)", " $1 ")


def unspaced(words: pl.Series) -> pl.Series:
    """Whether each word has letters that have no spaces between words."""
    return words.str.contains(f"[{_WITHOUT_SPACES}]")


def words_of(text: str) -> list[str]:
    """Return the words of a text; those of compounds follow the plain ones, a repeated one stands twice.

    >>> words_of("Sal's Pizza, Nº 7")
    ['sals', 'pizza', 'no', '7']
    >>> words_of("WF-1000XM5"), words_of("12V")
    (['wf1000xm5', 'wf', '1000xm5', '1000', 'xm', '5'], ['12v', '12', 'v'])
    >>> words_of('32" TV'), words_of("ภาษาไทย")
    (['tv', '32inch', '32', 'inch'], ['ภาษา', 'ไทย'])
    >>> words_of("电动自行车")
    ['电动', '动自', '自行', '行车', '电', '动', '车']
    """
    groups = _groups(text)
    return [word for last in (False, True) for group, is_compound in groups if is_compound == last for word in group]


def word_groups(text: str) -> list[list[str]]:
    """Return the words of a text in order; those of one compound stand together.

    >>> word_groups("sony WF-1000XM5 case")
    [['sony'], ['wf1000xm5', 'wf', '1000xm5', '1000', 'xm', '5'], ['case']]
    """
    return [group for group, _ in _groups(text) if group]


def _groups(text: str) -> list[tuple[list[str], bool]]:
    """The words of a text, those of a compound together, and whether it is one."""
    text = _INCHES_RE.sub(r"\1inch ", text)
    if text.isascii():
        text = text.lower().replace("'", "")
        if not _ASCII_COMPOUND.search(text):
            return [([word], False) for word in _ASCII_WORD.findall(text)]
    else:
        for mark in _TRADEMARKS:
            text = text.replace(mark, " ")
        text = unicodedata.normalize("NFKC", text).lower()
        for letter, folded in _FOLDED.items():
            text = text.replace(letter, folded)
        text = unicodedata.normalize("NFKC", text)
    patterns = _patterns()
    groups: list[tuple[list[str], bool]] = []
    for compound in patterns.compound.findall(patterns.joiner.sub("", text.replace("_", " "))):
        if compound.isascii() and compound.isalpha():
            groups.append(([compound], False))
        elif patterns.unspaced.search(compound) or _mixed(compound):
            groups.append((_words_of_compound(compound), True))
        else:
            groups += [([run], False) for run in _runs(compound)]
    return groups


class _Patterns:
    """Regular expressions over all scripts; those of Python have no class of marks."""

    def __init__(self) -> None:
        characters = map(chr, range(0x300, min(0x1F000, sys.maxunicode)))
        marks = "".join(char for char in characters if unicodedata.category(char) in ("Mn", "Mc"))
        self.marks = marks
        self.compound = re.compile(rf"[\w{marks}]+(?:[{HYPHENS}][\w{marks}]+)*")
        self.part = re.compile(rf"(?:[^\W\d][{marks}]*)+|(?:\d[{marks}]*)+|[^\W][{marks}]*")
        self.plain = re.compile(rf"[^\W_][^\W_{marks}]*(?:[{marks}]+[^\W_]*)*")
        self.unspaced = re.compile(f"[{_WITHOUT_SPACES}]")
        self.unspaced_only = re.compile(f"[{_WITHOUT_SPACES}]+")
        self.unspaced_run = re.compile(f"((?:[{_WITHOUT_SPACES}][{marks}]*)+)")
        self.paired = re.compile(f"[{_HAN}{_HANGUL}\u1100-\u11ff\u3040-\u30ff\u31f0-\u31ff]")
        self.particle = re.compile("[\u3040-\u309f]")  # one hiragana letter
        self.character = re.compile(rf"\w[{marks}]*")
        self.joiner = re.compile(f"[{_JOINERS}]")


@functools.cache
def _patterns() -> _Patterns:
    return _Patterns()


def _mixed(text: str) -> bool:
    """Whether a text has both letters and digits."""
    return not text.isalpha() and any(map(str.isalpha, text)) and any(map(_is_number, text))


def _is_number(char: str) -> bool:
    return char.isnumeric() and not char.isalpha()


def _runs(compound: str) -> list[str]:
    """The runs of letters and digits between hyphens."""
    marks = _patterns().marks
    runs = (run if run.isalnum() else run.lstrip(marks) for run in re.split(f"[{HYPHENS}]", compound))
    return [run for run in runs if run]


def _words_of_compound(compound: str) -> list[str]:
    """Return the words of runs of letters and digits that hyphens hold together."""
    patterns = _patterns()
    if patterns.unspaced_only.fullmatch(compound):
        return _segments(compound)
    if compound.isascii():
        return _forms(_runs(compound))
    words: list[str] = []
    for place, piece in enumerate(patterns.unspaced_run.split(compound)):
        words += _segments(piece) if place % 2 else _forms(_runs(piece))
    return words


def _segments(text: str) -> list[str]:
    """Return the words of letters without spaces between words: pairs of Chinese, Japanese and Korean, then ICU's."""
    units = text.encode("utf-16-le")  # ICU counts in them
    words = [units[2 * start : 2 * end].decode("utf-16-le") for start, end in WordBreaker(text, "root").segments()]
    patterns = _patterns()
    if not patterns.paired.search(text):
        return words
    characters = list(text) if text.isalnum() else patterns.character.findall(text)
    pairs = [first + second for first, second in itertools.pairwise(characters)]
    return pairs + [word for word in words if word not in pairs and not patterns.particle.fullmatch(word)] or [text]


def _forms(runs: list[str]) -> list[str]:
    """Return the runs; where they have letters and digits, also the joined form and the parts of each run."""
    if not _mixed("".join(runs)):
        return runs
    words = ["".join(runs)] if len(runs) > 1 else []
    for run in runs:
        words.append(run)
        if _mixed(run):
            parts = (_ASCII_PART if run.isascii() else _patterns().part).findall(run)
            words += [
                _AFTER_NUMBER.get(part, part) if place and _is_number(parts[place - 1][-1]) else part
                for place, part in enumerate(parts)
            ]
    return words


def split_indexed(texts: pl.Series) -> pl.Series:
    """Return the words of each text, the same as `words_of` of each: by expressions; only compounds one by one."""
    texts = texts.fill_null("").str.replace_all(_INCHES, "${1}inch ")
    plain = texts.str.to_lowercase().str.replace_all("'", "", literal=True).str.extract_all("[a-z0-9]+")
    is_plain = ~texts.str.contains(_NOT_PLAIN)
    rows = (~is_plain).arg_true()
    if rows.is_empty():
        return plain
    normal = _normalised(texts.gather(rows))
    plain_words = normal.str.replace_all(_COMPOUND, " ").str.extract_all(_WORD)
    compounds = pl.DataFrame({"row": rows, "compound": normal.str.extract_all(_COMPOUND)}).explode("compound")
    distinct = compounds["compound"].drop_nulls().unique()
    parts = pl.Series("part", [_words_of_compound(one) for one in distinct.to_list()], dtype=pl.List(pl.String))
    table = pl.DataFrame({"compound": distinct, "part": parts})
    compounds = compounds.join(table, on="compound", how="left", maintain_order="left")
    of_compounds = compounds.drop_nulls().group_by("row").agg(pl.col("part").explode())
    frame = pl.DataFrame({"row": rows, "plain": plain_words}).join(
        of_compounds, on="row", how="left", maintain_order="left"
    )
    words = frame.select(pl.concat_list("plain", pl.col("part").fill_null([])).alias(texts.name)).to_series()
    place = pl.concat([is_plain.arg_true(), rows]).arg_sort()
    return pl.concat([plain.filter(is_plain), words]).gather(place)


def _normalised(texts: pl.Series) -> pl.Series:
    """The texts as `words_of` reads them."""
    if (texts.str.len_bytes() == texts.str.len_chars()).all():
        return texts.str.to_lowercase().str.replace_all("'", "", literal=True)
    texts = texts.str.replace_all(f"[{_TRADEMARKS}]", " ").str.normalize("NFKC").str.to_lowercase()
    for letter, folded in _FOLDED.items():
        texts = texts.str.replace_all(letter, folded, literal=True)
    return texts.str.normalize("NFKC").str.replace_all(f"[{_JOINERS}]", "")


FIELDS = ("title", "brand", "categories", "description")
"""The columns of an item that are searched."""


def item_fields(columns: list[str]) -> dict[str, pl.Expr]:
    """Return the texts of an item by field, from the columns that exist."""
    return {
        name: pl.col(name).list.join(" ", ignore_nulls=True) if name == "categories" else pl.col(name)
        for name in FIELDS
        if name in columns
    }


def item_text(columns: list[str]) -> pl.Expr:
    """Title, brand, categories and description of an item as one text, from the columns that exist."""
    return pl.concat_str(item_fields(columns).values(), separator=" ", ignore_nulls=True)
