"""T5's decoder step by step against the library's own run in full, and T5 models from sizes and from checkpoints."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from searec.errors import DependencyError
from searec.models.gensar.t5 import InferenceT5, encode, new_t5
from searec.nn.bfloat16 import BFloat16Linear
from searec.nn.t5_decoder import BeamDecoder, DecoderWeights

transformers = pytest.importorskip("transformers")

B, L, V = 3, 7, 40
SIZES = {
    "width": 16,
    "layers": 2,
    "heads": 2,
    "head_width": 6,
    "inner": 24,
    "dropout": 0.1,
    "init": 0.05,
    "pretrained": "",
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def small(feed: str, layers: int) -> Any:
    """Few buckets, so that positions share some.

    Norms are not all ones, heads are not as wide as the model over their number.
    """
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=V,
            d_model=16,
            d_kv=6,
            d_ff=24,
            num_layers=1,
            num_decoder_layers=layers,
            num_heads=2,
            relative_attention_num_buckets=4,
            relative_attention_max_distance=5,
            feed_forward_proj=feed,
            layer_norm_epsilon=1e-3,
            dropout_rate=0.5,
            decoder_start_token_id=0,
        )
    )
    for weights in model.parameters():
        if weights.ndim == 1:
            torch.nn.init.uniform_(weights, 0.5, 1.5)
    return model.eval()


def in_full(model: Any, prefixes: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """[B, K, D] the library's last states of every prefix [B, K, t], each run by itself from its first token."""
    beams = prefixes.shape[1]
    found = model.decoder(
        input_ids=prefixes.flatten(0, 1),
        encoder_hidden_states=states.repeat_interleave(beams, 0),
        encoder_attention_mask=mask.repeat_interleave(beams, 0),
        use_cache=False,
    )
    return found.last_hidden_state[:, -1].unflatten(0, (-1, beams))


@pytest.mark.parametrize("widths", [(1, 4, 4, 2, 6, 1, 5), (3, 2, 7)], ids=["from one beam", "from several beams"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("feed", ["relu", "gated-gelu"])
@torch.no_grad()
def test_steps_equal_the_library(feed: str, layers: int, widths: Sequence[int]) -> None:
    """Beams go on from any beams of the step before: in another order, twice, fewer and more."""
    model = small(feed, layers)
    mask = torch.arange(L) < torch.tensor([[L], [1], [4]])
    mask[2, 1] = False
    states = torch.randn(B, L, 16)
    decoder = BeamDecoder(DecoderWeights(model.decoder), states, mask, len(widths))
    prefixes, parent = torch.zeros(B, widths[0], 0, dtype=torch.long), None
    for before, width in zip((widths[0], *widths), widths, strict=False):
        if prefixes.shape[2]:
            parent = torch.randint(before, (B, width))
            prefixes = prefixes.gather(1, parent[..., None].expand(-1, -1, prefixes.shape[2]))
        tokens = torch.randint(V, (B, width))
        prefixes = torch.cat((prefixes, tokens[..., None]), 2)
        found = decoder.step(model.shared(tokens), parent)
        torch.testing.assert_close(found, in_full(model, prefixes, states, mask), atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_of_the_prompt_is_not_read() -> None:
    model = small("relu", 2)
    mask = torch.tensor([[True, False, True, False]])
    states = torch.randn(1, 4, 16)
    changed = torch.where(mask[..., None], states, 99.0)
    tokens = model.shared(torch.tensor([[5]]))
    one, other = (BeamDecoder(DecoderWeights(model.decoder), each, mask, 1).step(tokens) for each in (states, changed))
    assert torch.equal(one, other)
    assert not torch.equal(one, BeamDecoder(DecoderWeights(model.decoder), states, ~mask, 1).step(tokens))


@torch.no_grad()
def test_bfloat16_rounds_the_factors_of_linear_layers_alone() -> None:
    """What a layer gives is known; a whole T5 is near the float32 one, whose own weights stay as they are."""
    layer = BFloat16Linear(torch.tensor([[1.0, 1.0 + 2**-10], [0.0, 3.0]]))
    assert layer(torch.tensor([[2.0, 1.0 + 2**-10]])).tolist() == [[3.0, 3.0]]
    model = small("gated-gelu", 2)
    ids = torch.randint(V, (B, L))
    mask = torch.ones_like(ids, dtype=torch.bool)
    plain, rounded = (InferenceT5.of(model, bfloat16=on) for on in (False, True))
    states, others = (encode(one, ids, mask) for one in (plain, rounded))
    steps = [
        BeamDecoder(one.decoder, states, mask, 1).step(model.shared(torch.tensor([[5]] * B)))
        for one in (plain, rounded)
    ]
    for exact, near in ((states, others), steps):
        assert not torch.equal(exact, near)
        assert (exact - near).norm() < 0.02 * exact.norm()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def built(**changes: object) -> tuple[Any, dict[str, Any], int]:
    return new_t5(SimpleNamespace(**{**SIZES, **changes}), V, start=30)


def test_a_model_of_sizes_and_another_of_its_shape() -> None:
    model, shape, held = built()
    assert held == V == model.shared.num_embeddings
    assert (len(model.encoder.block), len(model.decoder.block)) == (2, 2)
    again, told, _ = new_t5(None, 1, start=0, shape=json.loads(json.dumps(shape)))
    assert told == shape
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }


def test_dropout_is_ours_and_spares_attention() -> None:
    model = built(dropout=0.3)[0]
    kinds = {type(module).__module__ for module in model.modules() if type(module).__name__ == "Dropout"}
    assert kinds == {"searec.nn.dropout"}
    assert {module.dropout for module in model.modules() if type(module).__name__ == "T5Attention"} == {0.0}
    ids = torch.randint(V, (2, 5))
    states = [model.train(mode).encoder(input_ids=ids).last_hidden_state for mode in (False, False, True)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("own_head", [False, True])
@pytest.mark.parametrize(
    ("start", "held"), [(30, 45), (40, 45), (44, 49)], ids=["spare rows", "as many", "too few rows"]
)
def test_a_checkpoint_keeps_its_weights_and_makes_room(tmp_path: Path, start: int, held: int, own_head: bool) -> None:
    """40 tokens of text; five more are asked for behind all of them, and behind `start`.

    T5 1.1 has a head of its own and no scale.
    """
    stored = small("gated-gelu", 3)
    if own_head:
        stored.config.scale_decoder_outputs = False
        stored.config.tie_word_embeddings = False
        stored.lm_head.weight = torch.nn.Parameter(torch.randn(V, stored.config.d_model))
    stored.save_pretrained(tmp_path)
    model, shape, tokens = new_t5(SimpleNamespace(**{**SIZES, "pretrained": str(tmp_path)}), start + 5, start=start)
    assert tokens == held == model.shared.num_embeddings == model.lm_head.out_features
    assert torch.equal(model.shared.weight[:V], stored.shared.weight)
    own = model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in stored.state_dict().items() if len(tensor) != V)
    again = new_t5(None, 1, start=0, shape=shape)[0]
    again.load_state_dict(own)
    ids = torch.randint(V, (2, 5))
    outs = [each.eval()(input_ids=ids, decoder_input_ids=ids).logits[..., :V] for each in (stored, model, again)]
    torch.testing.assert_close(outs[1], outs[0])
    assert torch.equal(outs[2], outs[1])
    assert (model.lm_head.weight is model.shared.weight) != own_head


def test_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="cannot load the checkpoint"):
        built(pretrained=str(tmp_path / "none"))


def test_no_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DependencyError, match="need transformers"):
        built()
