"""T5 of the transformers library: from a checkpoint, or from sizes."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from searec.nn.bfloat16 import in_bfloat16
from searec.nn.dropout import Dropout
from searec.nn.t5_decoder import DecoderWeights
from searec.text.model_building import BUILDING
from searec.text.tokenizer import PAD, loading, needs_transformers

_SHAPE = (
    "vocab_size",
    "d_model",
    "d_kv",
    "d_ff",
    "num_layers",
    "num_decoder_layers",
    "num_heads",
    "dropout_rate",
    "feed_forward_proj",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "layer_norm_epsilon",
)


def new_t5(
    config: Any, size: int, *, start: int, shape: dict[str, Any] | None = None
) -> tuple[Any, dict[str, Any], int]:
    """Make a T5 of the transformers library.

    One that is trained from sizes has small embeddings and no scale before its head: T5's own start, embeddings of size
    one, is made for Adafactor, and takes Adam hundreds of steps to move.

    Args:
        config: width, layers, heads, head_width, inner, dropout, init; `pretrained`, a checkpoint by path or hub id.
        size: V, tokens that the model must hold.
        start: tokens before the new ones; they are text, which a checkpoint may hold more of.
        shape: what this returned before, in place of all of these; the weights are random.

    Returns:
        The model, its shape (JSON-ready), and how many tokens it holds.

    Raises:
        DependencyError: transformers is not installed, or the checkpoint cannot be loaded.
    """
    with needs_transformers():
        from transformers import T5Config, T5ForConditionalGeneration
    own_head = None
    if shape is not None:
        sizes = {name: shape[name] for name in _SHAPE} | {
            "tie_word_embeddings": shape["scaled"],
            "decoder_start_token_id": PAD,
        }
        with BUILDING:
            model: Any = T5ForConditionalGeneration(T5Config(**sizes))
        own_head = None if shape["tied"] else model.shared.weight.detach().clone()
    elif config.pretrained:
        with loading(config.pretrained):
            model = T5ForConditionalGeneration.from_pretrained(config.pretrained)
        known = None if model.lm_head.weight is model.shared.weight else model.lm_head.weight.detach().clone()
        model.resize_token_embeddings(max(model.config.vocab_size, start) + size - start)
        if known is not None:  # T5 1.1 has a head of its own, which the library ties to the table as it grows
            own_head = model.shared.weight.detach().clone()
            own_head[: len(known)] = known
    else:
        new: dict[str, Any] = {
            "vocab_size": size,
            "d_model": config.width,
            "d_kv": config.head_width,
            "d_ff": config.inner,
            "num_layers": config.layers,
            "num_heads": config.heads,
            "dropout_rate": config.dropout,
            "tie_word_embeddings": False,  # by which the library means no scale; it ties them all the same
            "decoder_start_token_id": PAD,
        }
        with BUILDING:
            model = T5ForConditionalGeneration(T5Config(**new))
        nn.init.normal_(model.shared.weight, std=config.init)
    if own_head is not None:
        model.lm_head = nn.Linear(own_head.shape[1], own_head.shape[0], bias=False)
        model.lm_head.weight = nn.Parameter(own_head)
    _cheap_dropout(model)
    result = {name: getattr(model.config, name) for name in _SHAPE}
    result |= {"scaled": model.config.scale_decoder_outputs, "tied": own_head is None}
    return model, result, model.config.vocab_size


def _cheap_dropout(model: nn.Module) -> None:
    """Use our dropout, and none on attention weights: drawing them is a quarter of a small model's step."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, Dropout(child.p))
        if type(module).__name__ == "T5Attention":
            module.dropout = 0.0  # type: ignore[assignment]


@dataclass(frozen=True)
class InferenceT5:
    """A T5 with its weights as decoding multiplies by them.

    Attributes:
        model: of the transformers library.
        encoder: its encoder.
        decoder: the weights of its decoder.
    """

    model: Any
    encoder: Any
    decoder: DecoderWeights

    @classmethod
    def of(cls, t5: Any, *, bfloat16: bool = False) -> "InferenceT5":
        """Return it for a model.

        Args:
            t5: of the transformers library.
            bfloat16: whether linear layers are in bfloat16, all but the head.
        """
        decoder = DecoderWeights(t5.decoder)
        return cls(t5, in_bfloat16(t5.encoder), in_bfloat16(decoder)) if bfloat16 else cls(t5, t5.encoder, decoder)


def encode(t5: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the encoder's states [B, L, D].

    Args:
        t5: of the transformers library, or `InferenceT5`.
        ids: [B, L] tokens.
        mask: [B, L] where there is a token.
    """
    return t5.encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]


def head_scale(t5: Any) -> float:
    """Return the factor of the decoder's states before the head; the first T5 scales them."""
    return t5.config.d_model**-0.5 if t5.config.scale_decoder_outputs else 1.0


def head(t5: Any, first: int, count: int) -> Tensor:
    """Return the rows [count, D] of the head for tokens from `first` on.

    Args:
        t5: of the transformers library.
        first: the first token.
        count: how many tokens.
    """
    return t5.lm_head.weight[first : first + count]  # type: ignore[no-any-return]
