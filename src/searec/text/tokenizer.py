"""Tokens of a generative model: a tokenizer trained on the data, or a checkpoint's own."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.errors import DependencyError, RunError, optional_package
from searec.text.model_building import BUILDING

PAD, EOS = 0, 1
"""Ids of padding and end of text; T5's, and those of every tokenizer trained here."""
_CHUNK = 10_000
_REMEMBERED = 1 << 18


class Tokens:
    """Texts to token ids and back; any tokenizer of the tokenizers library, as its JSON.

    Raises:
        DependencyError: the tokenizers library is not installed.
        RunError: the JSON is no tokenizer.
    """

    def __init__(self, text: str) -> None:
        with needs_transformers():
            from tokenizers import Tokenizer
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise RunError(
                "the tokenizer is damaged", got=str(error).splitlines()[0], remedy="train the run again"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "</s>" in a title is four letters, not its end
        self.text = text
        self._known: dict[str, tuple[int, ...]] = {}

    @property
    def size(self) -> int:
        """V: ids are below it."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @classmethod
    def trained(cls, texts: Sequence[str], size: int) -> "Tokens":
        """Train a byte-level BPE in lower case; no text is unknown to it.

        Args:
            texts: what to learn from.
            size: most tokens.
        """
        with needs_transformers():
            from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<pad>", "</s>"],
            initial_alphabet=alphabet,
            min_frequency=2,
            show_progress=False,
        )

        def parts() -> Iterator[list[str]]:
            for start in range(0, len(texts), _CHUNK):
                yield list(texts[start : start + _CHUNK])

        tokenizer.train_from_iterator(parts(), trainer)
        return cls(tokenizer.to_str())

    @classmethod
    def of_checkpoint(cls, path: str) -> "Tokens":
        """The tokenizer of a T5 checkpoint, by path or hub id.

        Raises:
            DependencyError: transformers is not installed, or the checkpoint cannot be had.
            RunError: its padding or end of text have other ids than T5's.
        """
        with needs_transformers():
            from transformers import AutoTokenizer
        with loading(path):
            encoded: Any = AutoTokenizer.from_pretrained(path, use_fast=True)
        if (encoded.pad_token_id, encoded.eos_token_id) != (PAD, EOS):
            raise RunError(
                "not a T5 tokenizer",
                where=path,
                got=f"pad {encoded.pad_token_id}, end {encoded.eos_token_id}",
                expected="0 and 1",
            )
        backend = json.loads(encoded.backend_tokenizer.to_str())
        backend["post_processor"] = None  # ends of texts are ours to set
        return cls(json.dumps(backend))

    def ids(self, texts: Sequence[str], limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first tokens of each text, end to end, and how many each has [n].

        Args:
            texts: n texts.
            limit: most tokens of a text.
        """
        if len(self._known) > _REMEMBERED:
            self._known = {}
        known = self._known  # threads may share this; a new dict never takes the place of the one that is read here
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for text, encoded in zip(new, self._tokenizer.encode_batch(new, add_special_tokens=False), strict=True):
            known[text] = tuple(encoded.ids)
        rows = [known[text][:limit] for text in texts]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        return np.fromiter((token for row in rows for token in row), dtype=np.int64, count=int(lengths.sum())), lengths

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of token ids, without padding and end."""
        return [
            self._tokenizer.decode([int(token) for token in row if token not in (PAD, EOS)]).strip() for row in rows
        ]


def needs_transformers() -> AbstractContextManager[None]:
    """Return a block for imports of transformers or tokenizers, with an error where they are not installed."""
    return optional_package("generative models need transformers", "generative")


@contextmanager
def loading(path: str | Path) -> Iterator[None]:
    """Turn errors of opening a checkpoint in the block into a DependencyError; one thread at a time is in one."""
    try:
        with BUILDING:
            yield
    except (OSError, ValueError) as error:
        got, remedy = str(error).splitlines()[0], "name a local folder or a reachable model"
        raise DependencyError("cannot load the checkpoint", where=path, got=got, remedy=remedy) from error
