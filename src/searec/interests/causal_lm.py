"""A causal language model of the transformers library: opened from a path, or made small from sizes; texts to its tokens."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from searec.errors import DependencyError, SettingsError
from searec.files import fingerprint
from searec.text.tokenizer import EOS, PAD, cannot_load, missing

PLACES = 8192
"""Positions of a model that says nothing of its context."""


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """No progress bars of the transformers library within the block, no remarks of it below an error, and none on names that peft uses."""
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
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise missing() from error
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
    except (OSError, ValueError) as error:
        raise cannot_load(path, error) from error
    if tokenizer.eos_token_id is None:
        raise DependencyError("the tokenizer has no end of text", where=path, remedy="name a causal model that writes")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def open_model(path: Path | str, *, device: str = "auto", half: bool | None = None) -> Any:
    """The model of a checkpoint, by folder or hub id, from safetensors alone.

    Args:
        device: a torch device; "auto" takes an accelerator if there is one.
        half: bfloat16 weights; None for them on a CUDA device that computes in them, and float32 elsewhere.

    Raises:
        DependencyError: transformers is not installed, or the checkpoint cannot be had.
    """
    import torch

    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise missing() from error
    place = device_named(device)
    narrow = (place == "cuda" and torch.cuda.is_bf16_supported()) if half is None else half
    kind = torch.bfloat16 if narrow else torch.float32
    try:
        with without_warnings():
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(path), dtype=kind, use_safetensors=True, trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        raise cannot_load(path, error) from error
    return model.to(place)


def device_named(name: str) -> str:
    """The device, "auto" being an accelerator if there is one."""
    import torch

    if name != "auto":
        return name
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None else "cpu"


def context_length(model: Any) -> int:
    """How many tokens the model reads."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or PLACES)


def small_tokenizer(texts: Sequence[str], size: int) -> Any:
    """A byte-level BPE of at most `size` tokens; every text is written back letter by letter."""
    try:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise missing() from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in ("<pad>", "</s>")]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", clean_up_tokenization_spaces=False)


def small_model(tokenizer: Any, *, width: int, layers: int, heads: int, context: int) -> Any:
    """A Llama of these sizes with random weights, drawn from torch's generator.

    Raises:
        SettingsError: heads do not divide the width into even parts.
    """
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise missing() from error
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
        initializer_range=width
        ** -0.5,  # the library's 0.02 is made for large ones: at width 64 it takes twice the steps to learn
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Tokens of a prompt, with what the tokenizer puts before a text and without what it puts after; "</s>" in a query is four letters."""
    ids: list[int] = tokenizer(prompt, split_special_tokens=True)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """Tokens of an answer and its end. Apart from the prompt's, so that the prompt has the same tokens with and without an answer."""
    ids: list[int] = tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def weights_digest(folder: Path) -> str:
    """32 hex digits over a folder's weights and configuration."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json"), *folder.glob("tokenizer.json")])
    return fingerprint(*(part for file in files for part in (file.name, file)))
