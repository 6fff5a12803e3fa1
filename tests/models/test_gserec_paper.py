"""gserec against the plain rendering of the published structure, and what each of its parts sees."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.artifacts.user_codes import new_rqvae
from searec.config import configure
from searec.data.batch import Batch, Batcher
from searec.data.dataset import Dataset
from searec.data.split import Requests, Split
from searec.errors import SettingsError
from searec.experiments.run_training import settings_for
from searec.models.base import Preset
from searec.models.gserec_paper import GSERecPaper
from searec.models.lcr_ser_paper import LCRSERPaper
from searec.semantic_ids.code_config import SINKHORN
from searec.semantic_ids.user_code_table import UserCodes
from searec.training.examples import TrainingExamples

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def coded(data: Dataset, size: int = 8, levels: int = 2, absent: float = 0.2) -> UserCodes:
    """Codes drawn by seed, some users without any on a side."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, size, (data.sizes.users + 1, 2, levels)).astype(np.int16)
    codes[rng.random((data.sizes.users + 1, 2)) < absent] = -1
    codes[0] = -1
    return UserCodes(codes, size)


def built(data: Dataset, known: Tensor | None = None, codes: UserCodes | None = None, **settings: Any) -> GSERecPaper:
    torch.manual_seed(0)
    base = {"width": 16, "inner": 16, "levels": 2, "codes": 8, "dropout": 0.0, "attention_dropout": 0.0, "init": 0.3}
    model = GSERecPaper(configure(GSERecPaper.Config, {**base, **settings}), data.sizes)
    everybody = torch.ones(data.sizes.users + 1, dtype=torch.bool)
    model.load_artifacts(coded(data) if codes is None else codes, everybody if known is None else known)
    return model


def asked(data: Dataset) -> tuple[Requests, np.ndarray]:
    requests = Split(data).held_out("recommend", "test")
    others = np.random.default_rng(1).integers(1, data.sizes.items + 1, (len(requests), 6)).astype(np.int32)
    return requests, np.concatenate((requests.target[:, None], others), axis=1)


def batch_of(model: GSERecPaper, data: Dataset) -> Batch:
    return Batcher(data, model.needs).batch(*asked(data))


@pytest.fixture(scope="module")
def reference() -> Any:
    """benchmarks/reference_gserec.py, which imports nothing of searec."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("reference_gserec", BENCHMARKS / "reference_gserec.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["reference_gserec"] = module
        spec.loader.exec_module(module)
        from reference_loader import read_arrays

        module.read_arrays = read_arrays  # type: ignore[attr-defined]
        return module
    finally:
        sys.path.remove(str(BENCHMARKS))


def copied(ours: GSERecPaper, theirs: Any) -> None:
    """Our weights in the reference; its positions count from the oldest event and are set by `placed`."""
    with torch.no_grad():
        theirs.user.weight.copy_(ours.user.weight)
        theirs.code.weight.copy_(ours.code.weight)
        theirs.item.weight.copy_(ours.item.weight)
        theirs.word.weight.copy_(ours.word.weight)
        for side in (0, 1):
            other = theirs.sides[side]
            for layer, attention, own in (
                (other.encoder, other.encoder.self_attn, ours.encode[side]),
                (other.fusion, other.fusion.multihead_attn, ours.fuse[side].across),
            ):
                attend(attention, own.attention)
                last = layer.norm2 if layer is other.encoder else layer.norm3
                before = layer.norm1 if layer is other.encoder else layer.norm2
                before.load_state_dict(own.norm_attention.state_dict())
                last.load_state_dict(own.norm_feed_forward.state_dict())
                layer.linear1.load_state_dict(own.feed_forward[0].state_dict())
                layer.linear2.load_state_dict(own.feed_forward[3].state_dict())
            attend(other.fusion.self_attn, ours.fuse[side].own)
            other.fusion.norm1.load_state_dict(ours.fuse[side].norm_own.state_dict())
            other.target.copy_(ours.scorer.pool[side].bridge.weight.T)
        theirs.predictor[0].load_state_dict(ours.scorer.first.state_dict())
        theirs.predictor[3].load_state_dict(ours.scorer.rest[2].state_dict())
        theirs.predictor[6].load_state_dict(ours.scorer.rest[5].state_dict())
        for one, other in zip(
            (theirs.contrast, *(side.contrast for side in theirs.sides)),
            (ours.user_contrast, *ours.history_contrast),
            strict=True,
        ):
            one.load_state_dict(other.state_dict())


def attend(theirs: Any, ours: Any) -> None:
    theirs.in_proj_weight.copy_(torch.cat((ours.query.weight, ours.key_value.weight)))
    theirs.in_proj_bias.copy_(torch.cat((ours.query.bias, ours.key_value.bias)))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def plain(reference: Any, ours: GSERecPaper, data: Dataset, codes: UserCodes) -> Any:
    """The reference with our weights; both without positions, which they count from the oldest event, we the newest."""
    for table in ours.position:
        torch.nn.init.zeros_(table.weight)
    theirs = reference.ReferenceGSERec(
        codes.codes,
        reference.Sessions.of(reference.read_arrays(data.folder)),
        items=data.sizes.items,
        words=data.sizes.words,
        size=8,
        width=16,
        layers=ours.config.layers,
        dropout=0.0,
    )
    copied(ours, theirs)
    for side in theirs.sides:
        torch.nn.init.zeros_(side.position)
    return theirs


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_scores_are_those_of_the_published_structure(small_world: Dataset, reference: Any, layers: int) -> None:
    data = small_world
    ours = built(data, layers=layers).eval()
    theirs = plain(reference, ours, data, coded(data)).eval()
    requests, candidates = asked(data)
    rows = reference.FixedRows(reference.read_arrays(data.folder), requests, candidates=candidates)
    (batch,) = reference.reference_rows(rows, len(requests))
    coded_both = torch.from_numpy(coded(data).has())[batch["user"]]
    keep = coded_both.all(1)  # without codes they leave the history as it is, we still run its self-attention
    assert keep.sum() > 20
    with torch.no_grad():
        torch.testing.assert_close(
            ours.score(batch_of(ours, data))[keep], theirs.score(batch)[keep], atol=1e-4, rtol=1e-4
        )


def test_losses_are_those_of_the_published_structure(small_world: Dataset, reference: Any) -> None:
    """Three contrasts, each vector against the 2N - 2 of other rows, by tanh(z W z') / tau, W and tau its own."""
    data, codes = small_world, coded(small_world, absent=0.0)
    ours = built(data, codes=codes).train()
    with torch.no_grad():
        assert ours.user_contrast is not None
        for place, contrast in enumerate((ours.user_contrast, *ours.history_contrast)):
            contrast.temperature.fill_(0.1 + 0.2 * place)
    theirs = plain(reference, ours, data, codes).train()
    requests = Split(data).train("recommend", ("recommend",))[np.arange(80)]
    assert len(np.unique(requests.user)) < 80, "a user has several rows"
    others = np.random.default_rng(1).integers(1, data.sizes.items + 1, (80, 4)).astype(np.int32)
    candidates = np.concatenate((requests.target[:, None], others), axis=1)
    rows = reference.FixedRows(reference.read_arrays(data.folder), requests, candidates=candidates)
    (batch,) = reference.reference_rows(rows, 80)
    losses = ours.loss(Batcher(data, ours.needs).batch(requests, candidates))
    torch.testing.assert_close(losses.total, theirs.loss(batch), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(losses.parts["user_contrast"], theirs(batch)[1], atol=1e-5, rtol=1e-5)
    losses.total.backward()
    for contrast in (ours.user_contrast, *ours.history_contrast):
        assert contrast.temperature.grad != 0 and (contrast.weight.grad != 0).all(), "both are learned"


def test_first_weights_go_by_the_size_of_each_table(small_world: Dataset) -> None:
    """Xavier's, as published: codes, of which there are many, start smaller than these few users."""
    model = GSERecPaper(configure(GSERecPaper.Config, {}), small_world.sizes)
    for table in (model.item, model.user, model.code, model.word, *model.position):
        rows, width = table.weight.shape
        assert float(table.weight.detach().std()) == pytest.approx((2 / (rows + width)) ** 0.5, rel=0.15)
    assert model.item.weight[0].abs().sum() == 0
    assert model.user.weight.std() > 2 * model.code.weight.std()


def test_the_predictor_drops_hidden_units_in_training(small_world: Dataset) -> None:
    model = built(small_world, dropout=0.5).eval()
    batch = batch_of(model, small_world)
    with torch.no_grad():
        assert torch.equal(model.score(batch), model.score(batch))
        model.scorer.train()
        assert not torch.equal(model.score(batch), model.score(batch))


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_codes_are_made_as_published(preset: Preset) -> None:
    """Everybody has codes on both sides, and the last level is balanced in training."""
    config, training = settings_for("gserec-paper", preset, {})
    assert config.text_fallback
    rqvae = new_rqvae(config, 8, 0)
    assert [quantiser.sinkhorn for quantiser in rqvae.quantisers] == [SINKHORN, SINKHORN]
    assert (training.batch, training.lr, training.weight_decay, training.patience) == (1024, 1e-3, 1e-5, 5)


def test_negatives_are_drawn_as_often_as_they_were_clicked(small_world: Dataset) -> None:
    split = Split(small_world)
    clicks = np.bincount(split.train_clicks(("recommend",))[1], minlength=small_world.sizes.items + 1)

    def likeness(model: Any) -> float:
        examples = TrainingExamples(split, model, batch=64, seed=0, negatives=50)
        batches = [examples.batch(0, step).candidates for step in range(examples.steps(0))]
        drawn = torch.cat([rows[:, 1:].flatten() for rows in batches if rows is not None])
        return float(np.corrcoef(np.bincount(drawn.numpy(), minlength=len(clicks))[1:], clicks[1:])[0, 1])

    ours = built(small_world)
    assert likeness(ours) > 0.9
    lcr_ser = LCRSERPaper(configure(LCRSERPaper.Config, {}), small_world.sizes)
    assert likeness(lcr_ser) < 0.3


def test_without_the_graph_a_user_is_only_his_own_embedding(small_world: Dataset) -> None:
    model = built(small_world, layers=0)
    batch = batch_of(model, small_world)
    read, _ = model.propagated()
    users = model.user_sides(batch, model.graphs.nodes[batch.user.long()], read)
    torch.testing.assert_close(users, model.user(batch.user)[:, None].expand(-1, 2, -1))


def test_the_row_of_a_user_who_came_later_is_never_read(small_world: Dataset) -> None:
    known = torch.ones(small_world.sizes.users + 1, dtype=torch.bool)
    known[5] = False
    model = built(small_world, known).eval()
    batch = batch_of(model, small_world)
    row = int((batch.user == 5).nonzero()[0, 0])
    before = model.score(batch)
    with torch.no_grad():
        model.user.weight[5] += 3.0
    torch.testing.assert_close(model.score(batch), before)
    with torch.no_grad():
        model.code.weight[model.graphs.nodes[5].flatten().clamp(max=model.graphs.count - 1)] += 3.0
    assert not torch.allclose(model.score(batch)[row], before[row])


def test_the_loss_is_the_sum_of_its_parts_by_hand(small_world: Dataset) -> None:
    model = built(small_world).eval()
    examples = TrainingExamples(Split(small_world), model, batch=64, seed=0)
    batch = examples.batch(0, examples.steps(0) - 1)
    losses = model.loss(batch)
    scores = model.score(batch)
    truth = torch.zeros_like(scores)
    truth[:, 0] = 1
    assert losses.parts["bce"].item() == pytest.approx(
        F.binary_cross_entropy_with_logits(scores, truth).item(), rel=1e-5
    )
    names = {"bce", "user_contrast", "history_contrast_recommend", "history_contrast_search"}
    assert set(losses.parts) == names and dict(losses.weights) == {
        "bce": 1.0,
        "user_contrast": 0.1,
        "history_contrast_recommend": 0.01,
        "history_contrast_search": 0.01,
    }


def test_without_codes_there_is_nothing_to_contrast(small_world: Dataset) -> None:
    without = built(small_world)
    batch = batch_of(without, small_world)
    without.load_artifacts(UserCodes(np.full_like(coded(small_world).codes, -1), 8), without.graphs.known)
    parts = without.loss(batch).parts
    assert all(parts[name].item() == 0 for name in parts if "contrast" in name)
    assert parts["bce"].isfinite()


def test_a_history_that_is_not_there_brings_nothing(small_world: Dataset) -> None:
    """Without sessions and clicks only the user's embedding and the candidate speak, and nothing is NaN."""
    model = built(small_world).eval()
    batch = batch_of(model, small_world)
    empty = dataclasses.replace(
        batch,
        feed_item=torch.zeros_like(batch.feed_item),
        search_query=torch.zeros_like(batch.search_query),
        search_click=torch.zeros_like(batch.search_click),
    )
    read, _ = model.propagated()
    nodes = model.graphs.nodes[batch.user.long()]
    assert batch.candidates is not None
    users, vectors = model.user_sides(batch, nodes, read), model.item(batch.candidates)
    parts = torch.cat((torch.zeros(len(batch), 7, 32), users.flatten(1)[:, None].expand(-1, 7, -1), vectors), dim=-1)
    torch.testing.assert_close(
        model.score(empty), model.scorer.rest(model.scorer.first(parts)).squeeze(-1), atol=1e-5, rtol=1e-5
    )


def test_codes_of_another_size_are_refused(small_world: Dataset) -> None:
    model = built(small_world)
    with pytest.raises(SettingsError, match="2 x 8"):
        model.load_artifacts(coded(small_world, levels=3), model.graphs.known)
    with pytest.raises(SettingsError, match="query vectors do not fit"):
        built(small_world, query="sentence")
