"""Causal language models of the transformers library: opened from a path, or a small new one; texts to tokens."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from searec.errors import DependencyError, SettingsError
from searec.files import fingerprint
from searec.text.tokenizer import EOS, PAD, loading, needs_transformers

PLACES = 8192
"""Positions of a model that says nothing of its context."""


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Silence progress bars and warnings of the transformers library within the block."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)


def open_tokenizer(path: Path | str) -> Any:
    """The tokenizer of a checkpoint, by folder or hub id, padding with its end of text where it has no padding.

    Raises:
        DependencyError: transformers is not installed, or the checkpoint cannot be had or has no end of text.
    """
    with needs_transformers():
        from transformers import AutoTokenizer
    with loading(path):
        tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
    if tokenizer.eos_token_id is None:
        raise DependencyError("the tokenizer has no end of text", where=path, remedy="name a causal model that writes")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def open_model(path: Path | str, *, device: str = "auto") -> Any:
    """Load the model of a checkpoint, from safetensors alone; in bfloat16 on a CUDA device that supports it.

    Args:
        path: folder or hub id.
        device: a torch device; "auto" is an accelerator if there is one.

    Raises:
        DependencyError: transformers is not installed, or the checkpoint cannot be had.
    """
    import torch

    with needs_transformers():
        from transformers import AutoModelForCausalLM
    place = device_named(device)
    kind = torch.bfloat16 if place == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    with loading(path), without_warnings():
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(path), dtype=kind, use_safetensors=True, trust_remote_code=False
        )
    return model.to(place)


def device_named(name: str) -> str:
    """Return the device of a name, "auto" being an accelerator if there is one."""
    import torch

    if name != "auto":
        return name
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator is not None else "cpu"


def context_length(model: Any) -> int:
    """Return how many tokens the model reads."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or PLACES)


def small_tokenizer(texts: Sequence[str], size: int) -> Any:
    """Train a byte-level BPE, which decodes every text exactly.

    Args:
        texts: to train on.
        size: most tokens.
    """
    with needs_transformers():
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in ("<pad>", "</s>")]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer_type: Any = PreTrainedTokenizerFast
    return tokenizer_type(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


def small_model(tokenizer: Any, *, width: int, layers: int, heads: int, context: int) -> Any:
    """Return a Llama of these sizes with random weights, drawn from torch's generator.

    Args:
        tokenizer: of its vocabulary.
        width: of the hidden states.
        layers: how many.
        heads: how many; they divide the width into even parts.
        context: most tokens.

    Raises:
        SettingsError: heads do not divide the width into even parts.
    """
    with needs_transformers():
        from transformers import LlamaConfig, LlamaForCausalLM
    if width % (2 * heads):
        raise SettingsError("heads must divide the width into even parts", got=f"width {width}, heads {heads}")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        # The library's 0.02 is for large models: at width 64 it takes twice the steps to learn.
        initializer_range=width**-0.5,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a prompt with the tokenizer's prefix and without its suffix.

    Args:
        tokenizer: of the model.
        prompt: its special tokens are plain letters.
    """
    ids: list[int] = tokenizer(prompt, split_special_tokens=True)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """Return the tokens of an answer and its end.

    They are encoded apart from the prompt, whose tokens then do not depend on the answer.

    Args:
        tokenizer: of the model.
        answer: one line.
    """
    ids: list[int] = tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def weights_digest(folder: Path) -> str:
    """Return 32 hex digits over a folder's weights and configuration."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json"), *folder.glob("tokenizer.json")])
    return fingerprint(*(part for file in files for part in (file.name, file)))
