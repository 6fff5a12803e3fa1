"""Words of titles as they are indexed, against a plain split into lower-case words; and encoding with each."""

import random
import tempfile
from pathlib import Path
from unittest.mock import patch

import polars as pl

from searec.data import dataset
from searec.data.log import load_log
from searec.text.analyser import Analyser, analyser
from timing import line, paired

ROWS = 200_000


def plain_words(column: pl.Expr) -> pl.Expr:
    """Runs of letters and digits in lower case: no normalisation, no forms."""
    return column.fill_null("").str.to_lowercase().str.replace_all(r"['’]", "").str.extract_all(r"[\p{L}\p{N}]+")


def titles(kind: str) -> pl.DataFrame:
    """`ROWS` titles of eight made-up words; one in three with a model number, or Chinese."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(50_000)]
    models = [f"{word[:2].upper()}-{draw.randint(1, 2_000)}X{draw.randint(1, 9)}" for word in words[:10_000]]
    texts = []
    for row in range(ROWS):
        text = " ".join(draw.choices(words, k=8))
        if kind == "model numbers" and row % 3 == 0:
            text += " " + draw.choice(models)
        elif kind == "Chinese":
            text = "".join(chr(draw.randint(0x4E00, 0x6000)) for _ in range(18))
        texts.append(text)
    return pl.DataFrame({"text": texts})


def run(data: Path) -> None:
    """Print the ratios of splitting, then of encoding `data`."""
    for kind in ("plain words", "model numbers", "Chinese"):
        frame = titles(kind)
        figures = paired(
            lambda frame=frame: frame.select(analyser("en").column(pl.col("text"))),  # type: ignore[misc]
            lambda frame=frame: frame.select(plain_words(pl.col("text"))),  # type: ignore[misc]
        )
        line("words of titles, against a plain split", kind, figures)
    log = load_log(data)

    def encode() -> None:
        with tempfile.TemporaryDirectory() as room:
            dataset.write(log, Path(room) / "encoded")

    def encode_plainly() -> None:
        with patch.object(Analyser, "column", lambda _, column: plain_words(column)):
            encode()

    figures = paired(encode, encode_plainly)
    line("encoding with the words that are indexed, against a plain split", data, figures)
